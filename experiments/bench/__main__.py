"""`python -m experiments.bench [OPTIONS]`, which is also the command `pdeformer-bench`."""

import sys

import tyro

from experiments.bench.config import CONTINUATION, Config
from experiments.bench.program import main


def run() -> None:
    """Run the program with the arguments of the command line."""
    saved = CONTINUATION.start(sys.argv[1:])
    default = Config() if saved is None else saved.config
    config = tyro.cli(Config, default=default, prog="python -m experiments.bench")
    main(config if saved is None else saved.finish(config))


if __name__ == "__main__":
    run()

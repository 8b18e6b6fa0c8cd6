"""`python -m experiments.bench [OPTIONS]`, which is also the command `pdeformer-bench`."""

import sys
from collections.abc import Sequence

import tyro

from experiments.bench.config import CONTINUATION, Config
from experiments.bench.program import main


def command_line(arguments: Sequence[str]) -> Config:
    """Return the configuration that the arguments describe."""
    saved = CONTINUATION.start(arguments)
    default = Config() if saved is None else saved.config
    config = tyro.cli(Config, args=list(arguments), default=default, prog="python -m experiments.bench")
    return config if saved is None else saved.finish(config)


def run() -> None:
    """Run the program with the arguments of the command line."""
    main(command_line(sys.argv[1:]))


if __name__ == "__main__":
    run()

"""`python -m experiments.bench [OPTIONS]`, which is also the command `pdeformer-bench`."""

import tyro

from experiments.bench.config import Config
from experiments.bench.program import main


def run() -> None:
    """Run the program with the arguments of the command line."""
    main(tyro.cli(Config, prog="python -m experiments.bench"))


if __name__ == "__main__":
    run()

"""`python -m experiments.placement [PRESET] [OPTIONS]`, which is also the command `pdeformer-placement`."""

import sys

from experiments.placement import command_line, main
from experiments.run import run_program


def run() -> None:
    """Run the program with the arguments of the command line."""
    run_program(command_line, main, sys.argv[1:])


if __name__ == "__main__":
    run()

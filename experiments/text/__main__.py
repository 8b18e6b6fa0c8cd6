"""`python -m experiments.text [PRESET] [OPTIONS]`, which is also the command `pdeformer-text`."""

import sys

from experiments.run import run_program
from experiments.text import command_line, main


def run() -> None:
    """Run the program with the arguments of the command line."""
    run_program(command_line, main, sys.argv[1:])


if __name__ == "__main__":
    run()

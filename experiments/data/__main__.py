"""`python -m experiments.data [COMMAND] [NAME ...] [OPTIONS]`, which is also the command `pdeformer-data`."""

import sys

from experiments.data.inventory import command_line, main
from experiments.run import run_program


def run() -> None:
    """Run the program with the arguments of the command line; the code is 1 if data deviate from what is known."""
    summary = run_program(command_line, main, sys.argv[1:])
    if summary.get("deviations"):
        sys.exit(1)


if __name__ == "__main__":
    run()

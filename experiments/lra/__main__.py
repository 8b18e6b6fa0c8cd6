"""`python -m experiments.lra [PRESET] [OPTIONS]`, which is also the command `pdeformer-lra`."""

import sys
from typing import Any

from experiments.lra import command_line, main
from experiments.lra.suite import run_suite, suite_arguments, suite_command_line
from experiments.run import run_program


def run() -> None:
    """Run the program with the arguments of the command line."""
    arguments: list[str] = sys.argv[1:]
    reader: Any = command_line
    function: Any = main
    if (words := suite_arguments(arguments)) is not None:
        reader, function, arguments = suite_command_line, run_suite, words
    run_program(reader, function, arguments)


if __name__ == "__main__":
    run()

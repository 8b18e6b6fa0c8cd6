"""`python -m experiments.lra [PRESET] [OPTIONS]`, which is also the command `pdeformer-lra`."""

import sys
from typing import Any

from experiments.lra import command_line, main
from experiments.lra.suite import run_suite, suite_command_line
from experiments.lra.suite.suite_presets import ALIASES, is_suite
from experiments.run import run_program


def run() -> None:
    """Run the program with the arguments of the command line."""
    arguments: list[str] = sys.argv[1:]
    reader: Any = command_line
    function: Any = main
    if is_suite(arguments):
        arguments = [ALIASES.get(arguments[0], arguments[0]), *arguments[1:]]
        reader, function = suite_command_line, run_suite
    run_program(reader, function, arguments)


if __name__ == "__main__":
    run()

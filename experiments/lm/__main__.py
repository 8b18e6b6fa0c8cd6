"""`python -m experiments.lm [PRESET] [OPTIONS]`, which is also the command `pdeformer-lm`."""

import sys
from typing import Any

from experiments.lm import command_line, main
from experiments.lm.long import is_long, long_command_line, run_long
from experiments.run import run_program


def run() -> None:
    """Run the program with the arguments of the command line."""
    arguments = sys.argv[1:]
    reader: Any = command_line
    function: Any = main
    if is_long(arguments):
        reader, function = long_command_line, run_long
    run_program(reader, function, arguments)


if __name__ == "__main__":
    run()

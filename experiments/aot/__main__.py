"""`python -m experiments.aot [OPTIONS]`, which is also the command `pdeformer-aot`."""

import sys

import jax

from experiments.aot import command_line, main
from experiments.run import run_program


def run() -> None:
    """Run the program with the arguments of the command line; the code is 1 if something does not reach its bound."""
    jax.config.update("jax_platforms", "cpu")  # this process compiles nothing, and leaves accelerators alone
    summary = run_program(command_line, main, sys.argv[1:])
    sys.exit(1 if summary["violations"] else 0)


if __name__ == "__main__":
    run()

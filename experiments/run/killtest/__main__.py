"""`python -m experiments.run.killtest PROGRAM [--kills 10] [--signal KILL] [--seed 0] -- ARGUMENTS`."""

import signal
import sys
from collections.abc import Sequence

from experiments.run.killtest.kills import KillTest, run_test
from pid.interface.help_text import help_of, is_help
from pid.interface.parsing import build
from pid.interface.refusals import run_program

USAGE = "python -m experiments.run.killtest"


def main(arguments: Sequence[str]) -> int:
    """Run the test and return the exit code: 0 if all results are equal to the bit, else 1."""
    words = list(arguments)
    split = words.index("--") if "--" in words else len(words)
    if is_help(words[:split]):
        print(help_of(KillTest, USAGE, " -- ARGUMENTS"))
        return 0
    return 0 if run_test(build(KillTest, words[:split], USAGE), words[split + 1 :]) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the program under test is stopped too
    sys.exit(run_program(main, sys.argv[1:]))

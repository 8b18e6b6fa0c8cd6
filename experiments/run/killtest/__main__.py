"""`python -m experiments.run.killtest PROGRAM [--kills 10] [--signal KILL] [--seed 0] -- ARGUMENTS`."""

import signal
import sys

import tyro

from experiments.run.killtest.kills import KillTest, run_test

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the program under test is stopped too
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    try:
        equal = run_test(
            tyro.cli(KillTest, args=words[:split], prog="python -m experiments.run.killtest"),
            words[split + 1 :],
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped by a signal", file=sys.stderr)
        sys.exit(130)
    sys.exit(0 if equal else 1)

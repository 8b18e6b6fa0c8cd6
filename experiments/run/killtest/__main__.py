"""`python -m experiments.run.killtest PROGRAM [--kills 10] [--signal KILL] [--seed 0] -- ARGUMENTS`."""

import sys

import tyro

from experiments.run.killtest.kills import KillTest, run_test

if __name__ == "__main__":
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    try:
        equal = run_test(tyro.cli(KillTest, args=words[:split]), words[split + 1 :])
    except ValueError as error:
        sys.exit(f"{error}")
    sys.exit(0 if equal else 1)

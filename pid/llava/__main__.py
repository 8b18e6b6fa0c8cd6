"""`python -m pid.llava verify FOLDER` and `python -m pid.llava sizes`."""

import sys
from collections.abc import Sequence

import tyro

from pid.llava.parity.memory import Sizes, print_sizes
from pid.llava.parity.report import Verify, verify


def main(arguments: Sequence[str]) -> int:
    """Run a command line; the exit status, 0 if all is well."""
    asked = tyro.cli(Verify | Sizes, args=list(arguments), prog="python -m pid.llava", description=__doc__)
    if isinstance(asked, Sizes):
        print_sizes(asked)
        return 0
    return 0 if verify(asked) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

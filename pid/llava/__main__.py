"""Check a LLaVA checkpoint layer by layer, or count what the published models need on a mesh.

python -m pid.llava verify FOLDER       compare a Hugging Face folder with what torch computes from it
python -m pid.llava sizes               print parameters, bytes per device and a lowered forward pass
"""

import sys
from collections.abc import Sequence

import tyro

from pid.llava.parity.memory import Sizes, print_sizes
from pid.llava.parity.report import Verify, verify


def main(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status: 0 on success, 1 if a check failed."""
    summary = (__doc__ or "").splitlines()[0]
    command = tyro.cli(Verify | Sizes, args=list(arguments), prog="python -m pid.llava", description=summary)
    if isinstance(command, Sizes):
        print_sizes(command)
        return 0
    return 0 if verify(command) else 1


def run() -> None:
    """Run the command line of this process and exit with its status."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()

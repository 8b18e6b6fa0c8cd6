"""`python -m experiments.claims [PRESET] [OPTIONS]`."""

import sys

from experiments.claims import command_line, main

if __name__ == "__main__":
    main(command_line(sys.argv[1:]))

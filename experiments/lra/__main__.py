"""`python -m experiments.lra [PRESET] [OPTIONS]`."""

import sys

from experiments.lra import command_line, main

if __name__ == "__main__":
    main(command_line(sys.argv[1:]))

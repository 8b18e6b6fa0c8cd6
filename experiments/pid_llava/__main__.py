"""`python -m experiments.pid_llava [PRESET] [OPTIONS]`."""

import sys

from experiments.pid_llava import command_line, main

if __name__ == "__main__":
    main(command_line(sys.argv[1:]))

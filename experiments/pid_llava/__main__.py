"""`python -m experiments.pid_llava [PRESET] [OPTIONS]`, and `--train [OPTIONS]` to make the toy models anew."""

import sys

import tyro

from experiments.pid_llava import command_line, main
from experiments.pid_llava.training import Train, train

if __name__ == "__main__":
    first, *rest = [*sys.argv[1:], ""]
    if first == "--train":
        train(tyro.cli(Train, args=rest[:-1], prog="python -m experiments.pid_llava --train"))
    else:
        main(command_line(sys.argv[1:]))

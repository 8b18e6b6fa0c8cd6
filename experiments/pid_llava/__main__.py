"""`python -m experiments.pid_llava [PRESET] [OPTIONS]`, and `--train [OPTIONS]` to make the toy models anew."""

import sys

from experiments.pid_llava import command_line, main
from experiments.pid_llava.toy import toy_training

if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--train"]:
        toy_training.train(toy_training.command_line(arguments[1:]))
    else:
        main(command_line(arguments))

"""`python -m experiments.pid_llava [PRESET] [OPTIONS]`, which is also the command `pdeformer-pid-llava`.

`--train [OPTIONS]` trains the toy models.
"""

import sys

from experiments.pid_llava import command_line, main
from experiments.pid_llava.toy import toy_training


def run() -> None:
    """Run the program, or the training of the toy models, with the arguments of the command line."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--train"]:
        toy_training.train(toy_training.command_line(arguments[1:]))
    else:
        main(command_line(arguments))


if __name__ == "__main__":
    run()

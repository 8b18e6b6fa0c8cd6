"""`python -m experiments.pid_llava [PRESET] [OPTIONS]`, which is also the command `pdeformer-pid-llava`.

`--train [OPTIONS]` trains the toy models.
"""

import sys

from experiments.pid_llava import command_line, main
from experiments.pid_llava.toy import toy_training
from experiments.run import run_program


def run() -> None:
    """Run the program, or the training of the toy models, with the arguments of the command line."""
    arguments = sys.argv[1:]
    if "--train" in arguments:
        arguments.remove("--train")
        run_program(toy_training.command_line, toy_training.train, arguments)
    else:
        run_program(command_line, main, arguments)


if __name__ == "__main__":
    run()

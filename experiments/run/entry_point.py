"""The door of every program: arguments of the process to a run, errors of the user to a sentence and an exit code."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from experiments.run.command_line import CommandLine, check_out
from experiments.run.distributed import Hosts, start_devices
from experiments.run.preemption import Preempted, end_process
from pid.interface import refusals

C = TypeVar("C")


def run_program(command_line: CommandLine[C], main: Callable[[C], Any], arguments: Sequence[str]) -> Any:
    """Run a program with the arguments of a process.

    The order is: read the command line, check the run folder, start the devices, call `main`.

    Args:
        command_line: arguments to configuration.
        main: configuration to result.
        arguments: the arguments, without the name of the program.

    Returns:
        The result of `main`.

    Raises:
        SystemExit: with code 2 if the user has to change something, else see `pid.interface.refusals`.
    """

    def start(words: list[str]) -> Any:
        config: Any = command_line.read(words)
        hosts = getattr(config, "hosts", Hosts())
        if (
            not hosts.several
        ):  # several hosts share the folder, so only process 0 may check it, once they are joined
            check_out(resume=config.resume, out=config.out)
            start_devices()
        return main(config)

    try:
        return refusals.run_program(start, arguments)
    except Preempted as stop:
        end_process(stop)

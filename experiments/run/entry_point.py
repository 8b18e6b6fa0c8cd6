"""The door of every program: arguments of the process to a run, errors of the user to a sentence and an exit code."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from experiments.run.command_line import CommandLine, check_out
from experiments.run.compilation_cache import OPTION, disable_cache, enable_cache
from experiments.run.distributed import Hosts, are_joined, start_devices
from experiments.run.termination.host_watch import end_with_error
from experiments.run.termination.preemption import Preempted, end_process, stop_at_signals
from pid.interface import refusals

C = TypeVar("C")


def run_program(command_line: CommandLine[C], main: Callable[[C], Any], arguments: Sequence[str]) -> Any:
    """Run a program with the arguments of a process.

    The order is: read the command line, check the run folder, open the compilation cache, start the devices, call
    `main`. A signal stops it at any moment.

    Args:
        command_line: arguments to configuration.
        main: configuration to result.
        arguments: the arguments, without the name of the program. With --no-cache, compiled programs are not stored.

    Returns:
        The result of `main`.

    Raises:
        SystemExit: with code 2 if the user has to change something, else see `pid.interface.refusals`.
    """

    def start(words: list[str]) -> Any:
        config: Any = command_line.read([word for word in words if word != OPTION])
        hosts = getattr(config, "hosts", Hosts())
        if (
            not hosts.several
        ):  # several hosts share the folder, so only process 0 may check it, once they are joined
            check_out(resume=config.resume, out=config.out)
        disable_cache() if OPTION in words else enable_cache()
        if not hosts.several:
            start_devices()
        return main(config)

    try:
        with stop_at_signals("nothing was computed, start it again"):
            return refusals.run_program(start, arguments)
    except Preempted as stop:
        end_process(stop)
    except SystemExit as stop:
        if are_joined() and isinstance(stop.code, int) and stop.code:
            end_with_error(stop.code)
        raise

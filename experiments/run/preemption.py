"""What to do when the machine is taken away: SIGTERM and SIGINT ask the loop to save and leave."""

import signal
import threading
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


class Preempted(SystemExit):
    """The training was asked to stop and has saved; the exit code is 128 + signal, 143 for SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class Preemption:
    """Context manager: the first SIGTERM or SIGINT is noted, a second one ends the process at once.

    Outside the main thread Python delivers no signals, and nothing is noted. The handlers found at the start
    are put back at the end.
    """

    def __init__(self) -> None:
        self.number = 0
        """The signal that came, 0 if none did."""
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            # None stands for a handler that was not installed from Python and cannot be put back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: Any) -> None:
        del frame
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.number = number

    def broadcast_from_first(self) -> int:
        """The signal that came to any of the hosts, 0 if none; every host has to ask at the same step."""
        if jax.process_count() == 1:
            return self.number
        return int(np.max(multihost_utils.process_allgather(np.int32(self.number))))

    def leave(self) -> None:
        """Raise `Preempted` if a signal has come."""
        if number := self.broadcast_from_first():
            raise Preempted(number)

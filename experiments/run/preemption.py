"""Reaction to the loss of a machine: SIGTERM and SIGINT ask the training loop to save and to stop."""

import signal
import threading
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


class Preempted(SystemExit):
    """A signal asked the training to stop, and it has saved. The exit code is 128 + signal, 143 for SIGTERM."""

    def __init__(self, number: int) -> None:
        """Take the number of the signal."""
        super().__init__(128 + number)


class Preemption:
    """Context manager that notes the first SIGTERM or SIGINT; a second one ends the process at once.

    Python delivers signals to the main thread only, so nothing is noted in another thread. The previous handlers are
    put back at the end.
    """

    def __init__(self) -> None:
        """Install nothing yet."""
        self.number = 0
        """The signal that this process received, 0 if none."""
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Preemption":
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            # None stands for a handler that was not installed from Python and cannot be put back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: Any) -> None:
        del frame
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.number = number

    def signal_of_any_host(self) -> int:
        """Return the signal that any host received, 0 if none. Every host has to call this at the same step."""
        if jax.process_count() == 1:
            return self.number
        return int(np.max(multihost_utils.process_allgather(np.int32(self.number))))

    def stop_if_signaled(self) -> None:
        """Raise `Preempted` if any host has received a signal."""
        if number := self.signal_of_any_host():
            raise Preempted(number)

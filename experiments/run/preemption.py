"""Handle preemption: after SIGTERM or SIGINT the training loop saves and stops."""

import signal
import threading
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

DISPLAY_FAILURE = 128
"""Stands in the place of a signal's number for a display that failed; no signal has this number."""


class Preempted(SystemExit):
    """A signal has stopped the training after a checkpoint. The exit code is 128 + signal, 143 for SIGTERM.

    A display that failed stops it too: with exit code 141 after a closed pipe, as for SIGPIPE, and 1 otherwise.
    """

    def __init__(self, number: int) -> None:
        """Take the number of the signal, or `DISPLAY_FAILURE`."""
        super().__init__(1 if number == DISPLAY_FAILURE else 128 + number)


class Preemption:
    """Context manager that records the first SIGTERM or SIGINT; a second one ends the process at once.

    Python delivers signals to the main thread only, so other threads record nothing. The exit restores the previous
    handlers.
    """

    def __init__(self) -> None:
        """Start without a signal. Entering the context installs the handlers."""
        self.number = 0
        """The signal that this process received, 0 if none."""
        self._requested = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Preemption":
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous handlers."""
        for number, handler in self._previous.items():
            # None means a handler that was not installed from Python, so Python cannot restore it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _record(self, number: int, frame: Any) -> None:
        del frame
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.number = number

    def request(self, number: int) -> None:
        """Ask the training to save and stop, as the signal `number` would; 0 asks for nothing.

        A signal that follows is the first one, so it does not end the process at once.
        """
        self._requested = self._requested or number

    def signal_of_any_host(self) -> int:
        """Return the signal that any host received, 0 if none. Every host has to call this at the same step."""
        number = self.number or self._requested
        if jax.process_count() == 1:
            return number
        return int(np.max(multihost_utils.process_allgather(np.int32(number))))

    def stop_if_signaled(self) -> None:
        """Raise `Preempted` if any host has received a signal."""
        if number := self.signal_of_any_host():
            raise Preempted(number)

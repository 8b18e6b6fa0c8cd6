"""Handle preemption: after a signal a training saves and stops, and everything else stops at once.

`stop_at_signals` stands around a whole program: what it has finished is saved, so nothing else has to be saved.
`Preemption` stands around the steps of a training, which save first. Of several hosts, one that `stop_at_signals`
stops tells the others, which end too; the hosts of a training agree on the step that they save.

Python calls a handler when the main thread returns to Python, so not while XLA compiles or computes. `_Watch` ends the
process if that takes too long.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.run.termination.host_watch import announce

REQUESTS = (signal.SIGTERM, signal.SIGINT)
"""Signals of somebody who waits for the end: a second one ends the process at once."""
WARNINGS = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name)
)
"""Signals of a closed terminal and of batch systems before a limit. They may arrive several times."""
PATIENCE = 3.0
"""Seconds in which the main thread may handle a signal that ends the process."""
GRACE = 10.0
"""Seconds in which a program that a signal stops may leave what it is in, such as a barrier of several hosts."""
DISPLAY_FAILURE = 128
"""Stands in the place of a signal's number for a display that failed; no signal has this number."""


class Preempted(SystemExit):
    """A signal has stopped the program. The exit code is 128 + signal, 143 for SIGTERM.

    A display that failed stops it too: with exit code 141 after a closed pipe, as for SIGPIPE, and 1 otherwise.
    """

    def __init__(self, number: int, *, is_alone: bool = False) -> None:
        """Take the number of the signal, or `DISPLAY_FAILURE`, and whether the other hosts do not know of it."""
        super().__init__(1 if number == DISPLAY_FAILURE else 128 + number)
        self.is_alone = is_alone


class Preemption:
    """Context manager that records the first signal of `REQUESTS` and `WARNINGS`.

    A second SIGTERM or SIGINT ends the process at once. Python delivers signals to the main thread only, so other
    threads record nothing. A signal that the parent process ignores (`nohup`) stays ignored. The exit restores the
    previous handlers.
    """

    def __init__(self) -> None:
        """Start without a signal. Entering the context installs the handlers."""
        self.number = 0
        """The signal that this process received, 0 if none."""
        self._requested = False
        self._handlers = contextlib.ExitStack()

    def __enter__(self) -> "Preemption":
        """Install the handlers."""
        watch = _Watch(is_handled=lambda number, count: number not in REQUESTS or count < 2)
        self._handlers.enter_context(_handler(self._record, watch))
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous handlers."""
        self._handlers.close()

    def _record(self, number: int, frame: Any) -> None:
        del frame
        if number in REQUESTS:
            if self._requested:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            self._requested = True
        self.request(number)

    def request(self, number: int) -> None:
        """Ask the training to save and stop, as the signal `number` would; 0 asks for nothing.

        The first request counts. A signal that follows is the first one, so it does not end the process at once.
        """
        self.number = self.number or number

    def signal_of_any_host(self) -> int:
        """Return the signal that any host received, 0 if none. Every host has to call this at the same step."""
        number = self.number
        if jax.process_count() == 1:
            return number
        return int(np.max(multihost_utils.process_allgather(np.int32(number))))

    def stop_if_signaled(self) -> None:
        """Raise `Preempted` if any host has received a signal."""
        if number := self.signal_of_any_host():
            raise Preempted(number)


@contextlib.contextmanager
def stop_at_signals(state: str = "what is finished is saved, continue with --resume") -> Iterator[None]:
    """Stop the block at a signal by `Preempted`, after one line on stderr. Also a decorator: `@stop_at_signals()`.

    For work whose parts are saved as soon as they are finished, so that nothing else has to be saved. Other hosts are
    told at once. A block that does not end within `GRACE` ends with the process.

    Args:
        state: the end of that line.
    """
    numbers: list[int] = []
    timers: list[threading.Timer] = []

    def stop(number: int, frame: Any) -> None:
        del frame
        numbers.append(number)
        announce(128 + number)
        timers.append(_exit_later(128 + number))
        raise Preempted(number, is_alone=True)

    def sentence(number: int) -> str:
        return f"stopped by {signal.Signals(number).name}; {state}"

    try:
        with _handler(stop, _Watch(is_handled=lambda number, count: bool(numbers), sentence=sentence)):
            yield
    except Preempted:
        if numbers:
            print(sentence(numbers[0]), file=sys.stderr)
        raise
    finally:
        for timer in timers:
            timer.cancel()


def _exit_later(code: int) -> threading.Timer:
    """End the process after `GRACE`, unless the timer is canceled."""
    timer = threading.Timer(GRACE, os._exit, (code,))
    timer.daemon = True
    timer.start()
    return timer


class _Watch:
    """Ends the process after a signal that the main thread does not handle within `PATIENCE`.

    Args:
        is_handled: (signal, how many signals of `REQUESTS` have arrived) -> whether nothing is left to do.
        sentence: signal -> last line on stderr; none by default.
    """

    def __init__(
        self, is_handled: Callable[[int, int], bool], sentence: Callable[[int], str] | None = None
    ) -> None:
        """Take both. Entering the context starts the thread that watches."""
        self._is_handled, self._sentence, self._former = is_handled, sentence, -1

    def __enter__(self) -> None:
        """Let the operating system report every signal to a thread, whatever the main thread does."""
        self._reader, self._writer = socket.socketpair()
        self._writer.settimeout(0)  # else a handler could wait
        self._former = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._is_over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        """Stop watching."""
        self._is_over.set()
        signal.set_wakeup_fd(self._former)
        self._writer.close()

    def _watch(self) -> None:
        count = 0
        with self._reader:
            while content := self._reader.recv(1):
                number = content[0]
                count += number in REQUESTS
                if self._is_handled(number, count) or self._is_over.wait(PATIENCE):
                    continue
                if not self._is_handled(number, count):
                    self._end(number)

    def _end(self, number: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._sentence is not None:
                print(self._sentence(number), file=sys.stderr)
            sys.stderr.flush()
        announce(128 + number)
        os._exit(128 + number)


def end_process(stopped: Preempted) -> NoReturn:
    """End the process with the exit code of `stopped`. For the outermost function of a program.

    This leaves out the teardown of Python and JAX, which can crash while a computation still runs. Several hosts that
    stop at the same step end as usual, so that they take leave of each other.
    """
    if not stopped.is_alone and jax.process_count() > 1:
        raise stopped
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(int(str(stopped.code)))


@contextlib.contextmanager
def _handler(handle: Any, watch: _Watch) -> Iterator[None]:
    """Handle the signals in the main thread, except ignored ones."""
    previous: dict[int, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in (*REQUESTS, *WARNINGS):
        if signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, handle)
    try:
        with watch:
            yield
    finally:
        for number, handler in previous.items():
            # None means a handler that was not installed from Python, so Python cannot restore it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

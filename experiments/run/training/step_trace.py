"""A trace of some steps of a training for xprof, the profiler of TensorBoard: what the devices do, and when."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

FIRST, COUNT = 3, 5
"""The first step of a trace after the start, since the first steps also load the program, and the number of steps."""


class StepTrace:
    """Traces `COUNT` steps of a training, or the last ones of a short training.

    Args:
        folder: where the trace is written; None for no trace.
        start: the step from which the training goes on.
        steps: the last step.
        say: shows a line.
    """

    def __init__(self, folder: Path | None, start: int, steps: int, say: Callable[[str], None]) -> None:
        """Choose the steps."""
        self._folder, self._say, self._is_running = folder, say, False
        self._first = max(start + 1, min(start + FIRST, steps - COUNT + 1))
        self._last = min(self._first + COUNT - 1, steps)

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[list[Any]]:
        """Trace a step, if it is one of those to trace.

        What the block appends to the list is waited for after the last one, so that the devices have ended it too.
        """
        if self._folder is None or not self._first <= step <= self._last:
            yield []
            return
        if not self._is_running:
            jax.profiler.start_trace(self._folder)
            self._is_running = True
        results: list[Any] = []
        try:
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                yield results
                if step == self._last:
                    jax.block_until_ready(results)
        except BaseException:
            self.close()
            raise
        if step == self._last:
            self.close()
            self._say(f"trace of steps {self._first} to {step} in {self._folder}, for xprof")

    def close(self) -> None:
        """End the trace and write it."""
        if self._is_running:
            self._is_running = False
            jax.profiler.stop_trace()

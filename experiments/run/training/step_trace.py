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
        group: steps that one call makes. A trace has whole calls, the second one first if there is one.
    """

    def __init__(
        self, folder: Path | None, start: int, steps: int, say: Callable[[str], None], group: int = 1
    ) -> None:
        """Choose the steps."""
        self._folder, self._say, self._is_running = folder, say, False
        calls, count = -(-(steps - start) // group), -(-COUNT // group)
        first = max(0, min(FIRST - 1 if group == 1 else 1, calls - count))
        self._first = start + 1 + first * group
        self._last_call = self._first + (min(count, calls) - 1) * group
        self._last = min(self._last_call + group - 1, steps)

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[list[Any]]:
        """Trace the call that begins with a step, if it is one of those to trace.

        What the block appends to the list is waited for after the last one, so that the devices have ended it too.
        """
        if self._folder is None or not self._first <= step <= self._last_call:
            yield []
            return
        if not self._is_running:
            jax.profiler.start_trace(self._folder)
            self._is_running = True
        results: list[Any] = []
        try:
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                yield results
                if step == self._last_call:
                    jax.block_until_ready(results)
        except BaseException:
            self.close()
            raise
        if step == self._last_call:
            self.close()
            self._say(f"trace of steps {self._first} to {self._last} in {self._folder}, for xprof")

    def close(self) -> None:
        """End the trace and write it."""
        if self._is_running:
            self._is_running = False
            jax.profiler.stop_trace()

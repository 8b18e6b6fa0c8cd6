"""Show the progress of a run, as a bar on a terminal and as plain lines elsewhere, and time a training."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


class Clock:
    """Seconds spent in training steps. The loop stops the clock while it compiles, evaluates and saves."""

    def __init__(self) -> None:
        """Start at zero, stopped."""
        self.seconds = 0.0
        self._start_time: float | None = None

    def start(self) -> None:
        """Start or continue counting. This does nothing if the clock runs already."""
        if self._start_time is None:
            self._start_time = time.perf_counter()

    def stop(self) -> None:
        """Stop counting."""
        self.seconds, self._start_time = self.read(), None

    def read(self) -> float:
        """Return the seconds counted so far."""
        return self.seconds + (
            time.perf_counter() - self._start_time if self._start_time is not None else 0.0
        )


class _Bar:
    """Context manager around one bar of rich, which is hidden if the console is no terminal."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


class TrainingProgress(_Bar):
    """Context manager that shows steps, loss, accuracy, tokens per second and the time left.

    Only process 0 shows anything.

    Args:
        title: name of the training.
        steps: number of steps in all.
        start: step at which a resumed training begins.
        tokens_per_step: tokens of one batch.
        every: seconds between two plain lines.
    """

    def __init__(
        self, title: str, steps: int, start: int, tokens_per_step: int, *, every: float = 5.0
    ) -> None:
        """Prepare the bar; entering the context shows it."""
        self._title, self._steps, self._start, self._tokens = title, steps, start, tokens_per_step
        self._console = Console(quiet=jax.process_index() != 0, soft_wrap=True)
        self._every, self._last = every, -float("inf")
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
        super().__init__(
            Progress(
                *columns,
                TextColumn("{task.fields[status]}"),
                console=self._console,
                refresh_per_second=4,
                disable=not self._console.is_terminal,
            )
        )
        self._task = self._bar.add_task(title, total=steps, completed=start, status="")

    def say(self, text: str) -> None:
        """Print a permanent line."""
        self._console.print(f"{self._title}: {text}", markup=False, highlight=False)

    def step(self, step: int, loss: float, accuracy: float, seconds: float) -> None:
        """Show the metrics of a step, `seconds` after the training began in this process."""
        rate = (step - self._start) / max(seconds, 1e-9)
        status = f"loss {loss:.4f}  accuracy {accuracy:.3f}  {_count(rate * self._tokens)} tokens/s"
        status += f"  {_time((self._steps - step) / rate)} left"
        self._bar.update(self._task, completed=step, status=status)
        if not self._console.is_terminal and time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self.say(f"step {step}/{self._steps}  {status}")


class StudyProgress(_Bar):
    """Context manager that shows which of `total` parts is being measured, and its current step.

    Args:
        console: where to print.
        title: name of the study.
        total: number of parts.
        bar: False if the parts show bars of their own; each part then begins and ends with a plain line.
    """

    def __init__(self, console: Console, title: str, total: int, *, bar: bool = True) -> None:
        """Prepare the bar; entering the context shows it."""
        self._console, self._total, self._finished, self._has_bar = console, total, 0, bar
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
        super().__init__(
            Progress(
                SpinnerColumn(),
                *columns,
                TimeElapsedColumn(),
                TextColumn("{task.fields[status]}"),
                console=console,
                disable=not (bar and console.is_terminal),
                transient=True,
            )
        )
        self._task = self._bar.add_task(title, total=total, status="")
        self._name, self._start = "", 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Show one part while it is measured. A part that raises does not count as finished."""
        self._name, self._start = name, time.perf_counter()
        self._bar.update(self._task, status=name)
        if not self._has_bar:
            self._line(name)
        yield
        self._end(f"{time.perf_counter() - self._start:.1f} s")

    def skip(self, name: str) -> None:
        """Count a part that an earlier run has measured."""
        self._name = name
        self._end("finished before")

    def say(self, status: str) -> None:
        """Show the current step of the part."""
        self._bar.update(self._task, status=f"{self._name}: {status}")
        if not self._console.is_terminal:
            self._line(f"{self._name}: {status}")

    def _end(self, result: str) -> None:
        self._line(f"{self._name}: {result}")
        self._finished += 1
        self._bar.update(self._task, completed=self._finished)

    def _line(self, text: str) -> None:
        self._console.print(f"[{self._finished + 1}/{self._total}] {text}", markup=False)


def _time(duration: float) -> str:
    minutes, seconds = divmod(round(duration), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _count(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"

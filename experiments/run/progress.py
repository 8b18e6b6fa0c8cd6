"""Show the progress of a run, as a bar on a terminal and as plain lines elsewhere, and time a training."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.table import Column
from rich.text import Text

from experiments.run.console import failure_code, is_interactive, open_console, report_failure

BAR_WIDTH, MIN_BAR_WIDTH, GAP = 20, 8, "  "


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


class _Line(ProgressColumn):
    """One line: title, bar, steps, and what fits of the remarks about them.

    On a narrow terminal the last remarks fall away first, then the bar gets shorter, then the title falls away.

    Args:
        console: the terminal.
        clock: whether the time since the start stands before the remarks, the last of which may then be cut.
    """

    def __init__(self, console: Console, *, clock: bool) -> None:
        super().__init__(table_column=Column(no_wrap=True, overflow="crop"))
        self._console, self._clock = console, clock

    def render(self, task: Task) -> Text:
        """Return the line of a task, whose field `remarks` is a tuple of texts."""
        remarks = (_time(task.elapsed or 0),) if self._clock else ()
        steps = (int(task.completed), int(task.total or 0))
        text = (*remarks, *task.fields["remarks"])
        return fit_line(task.description, *steps, text, self._console.width - 1, cut=self._clock)


def fit_line(
    title: str, completed: int, total: int, remarks: tuple[str, ...], width: int, *, cut: bool = False
) -> Text:
    """Return title, bar, steps and remarks in one line of at most this width; bar and steps always stay.

    Args:
        title: text before the bar.
        completed: steps so far.
        total: steps in all.
        remarks: texts after the steps. The first one that does not fit falls away, with all that follow.
        width: characters of the line.
        cut: whether the first remark that does not fit is cut instead.
    """
    steps = f"{completed}/{total}"
    least = 1 + cell_len(steps)
    lengths = (cell_len(title) + 1 + BAR_WIDTH + least, cell_len(title) + 1 + MIN_BAR_WIDTH + least)
    bar = BAR_WIDTH if lengths[0] <= width else MIN_BAR_WIDTH
    if lengths[1] > width:
        title, bar = "", max(1, min(MIN_BAR_WIDTH, width - least))
    done = bar * completed // max(total, 1)
    line = Text(f"{title} " if title else "")
    line.append("━" * done, "bar.complete").append("─" * (bar - done), "bar.back")
    line.append(f" {steps}", "progress.download")
    for remark in remarks:
        spare = width - line.cell_len - len(GAP)
        if cell_len(remark) > spare:
            return line.append(GAP + set_cell_size(remark, spare - 1) + "…") if cut and spare > 10 else line
        line.append(GAP + remark)
    return line


class _Bar:
    """Context manager around one bar of rich, which is hidden if the console cannot redraw a line."""

    def __init__(
        self, console: Console, title: str, total: int, *, start: int, clock: bool, show: bool
    ) -> None:
        self._console, self._is_interactive = console, is_interactive(console)
        visible, line = show and self._is_interactive, _Line(console, clock=clock)
        self._bar = Progress(
            line, console=console, refresh_per_second=4, disable=not visible, transient=clock
        )
        self._task = self._bar.add_task(title, total=total, completed=start, remarks=())

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
        metric: name of the number that is shown beside the loss.
    """

    def __init__(
        self,
        title: str,
        steps: int,
        start: int,
        tokens_per_step: int,
        *,
        every: float = 5.0,
        metric: str = "accuracy",
    ) -> None:
        """Prepare the bar; entering the context shows it."""
        self._metric = metric
        self._title, self._steps, self._start, self._tokens = title, steps, start, tokens_per_step
        self._every, self._last = every, -float("inf")
        super().__init__(open_console(), title, steps, start=start, clock=False, show=True)

    def say(self, text: str) -> None:
        """Print a permanent line."""
        self._console.print(f"{self._title}: {text}")

    def say_saved(self, text: str) -> None:
        """Print the last line of a training that stops early; on standard error if the display has failed."""
        if failure_code():
            report_failure(f"{self._title}: {text}")
        else:
            self.say(f"stopped by a signal, {text}")

    def step(self, step: int, loss: float, accuracy: float, seconds: float) -> None:
        """Show the metrics of a step, `seconds` after the training began in this process."""
        rate = (step - self._start) / max(seconds, 1e-9)
        left = f"{_time((self._steps - step) / rate)} left"
        speed = f"{_count(rate * self._tokens)} tokens/s"
        remarks = (f"loss {loss:.4f}", f"{self._metric} {accuracy:.3f}", speed, left)
        self._bar.update(self._task, completed=step, remarks=remarks)
        if not self._is_interactive and time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self.say("  ".join((f"step {step}/{self._steps}", *remarks)))


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
        self._total, self._finished, self._has_bar = total, 0, bar
        super().__init__(console, title, total, start=0, clock=True, show=bar)
        self._name, self._start = "", 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Show one part while it is measured. A part that raises does not count as finished."""
        self._name, self._start = name, time.perf_counter()
        self._remark(name)
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
        self._remark(f"{self._name}: {status}")
        if not self._is_interactive:
            self._line(f"{self._name}: {status}")

    def _end(self, result: str) -> None:
        self._line(f"{self._name}: {result}")
        self._finished += 1
        self._bar.update(self._task, completed=self._finished)

    def _line(self, text: str) -> None:
        self._console.print(f"[{self._finished + 1}/{self._total}] {text}")

    def _remark(self, text: str) -> None:
        self._bar.update(self._task, remarks=(text,))


def _time(duration: float) -> str:
    minutes, seconds = divmod(round(duration), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _count(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"

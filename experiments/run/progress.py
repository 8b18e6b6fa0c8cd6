"""What a training shows while it runs: a bar on a terminal, plain lines elsewhere; and its clock."""

import time

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


class Clock:
    """Seconds spent in training steps; it stands still while the loop compiles, evaluates and saves."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since: float | None = None

    def go(self) -> None:
        """Go on counting, if it stands still."""
        if self._since is None:
            self._since = time.perf_counter()

    def stop(self) -> None:
        """Stop counting."""
        self.seconds, self._since = self.read(), None

    def read(self) -> float:
        """Seconds counted so far."""
        return self.seconds + (time.perf_counter() - self._since if self._since is not None else 0.0)


class Display:
    """Context manager that shows steps, loss, accuracy, tokens per second and the time left.

    start: the step a resumed training begins at. Only process 0 shows anything.
    """

    def __init__(
        self, title: str, steps: int, start: int, tokens_per_step: int, *, every: float = 5.0
    ) -> None:
        self._title, self._steps, self._start, self._tokens = title, steps, start, tokens_per_step
        self._console = Console(quiet=jax.process_index() != 0, soft_wrap=True)
        self._every, self._last = every, -float("inf")
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            console=self._console,
            refresh_per_second=4,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=steps, completed=start, status="")

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(f"{self._title}: {text}", markup=False, highlight=False)

    def step(self, step: int, loss: float, accuracy: float, seconds: float) -> None:
        """The metrics of a step, `seconds` after the training began here; a plain line every few seconds."""
        rate = (step - self._start) / max(seconds, 1e-9)
        status = f"loss {loss:.4f}  accuracy {accuracy:.3f}  {_count(rate * self._tokens)} tokens/s"
        status += f"  {_time((self._steps - step) / rate)} left"
        self._bar.update(self._task, completed=step, status=status)
        if not self._console.is_terminal and time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self.say(f"step {step}/{self._steps}  {status}")


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _count(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"

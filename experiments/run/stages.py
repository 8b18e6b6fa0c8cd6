"""What a study shows while it runs: a bar with the time on a terminal, plain lines elsewhere."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


class Stages:
    """Context manager around `total` parts, one after another."""

    def __init__(self, console: Console, title: str, total: int) -> None:
        self._console, self._total, self._done = console, total, 0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[news]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total, news="")
        self._name, self._began = "", 0.0

    def __enter__(self) -> "Stages":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, name: str) -> None:
        """A part begins."""
        self._name, self._began = name, time.perf_counter()
        self._bar.update(self._task, news=name)

    def say(self, news: str) -> None:
        """What the part is doing."""
        self._bar.update(self._task, news=f"{self._name}: {news}")
        if not self._console.is_terminal:
            self._line(f"{self._name}: {news}")

    def end(self, *, skipped: bool = False) -> None:
        """The part is done, or was before."""
        how = "finished before" if skipped else f"{time.perf_counter() - self._began:.1f} s"
        self._line(f"{self._name}: {how}")
        self._done += 1
        self._bar.update(self._task, completed=self._done)

    def _line(self, text: str) -> None:
        self._console.print(f"[{self._done + 1}/{self._total}] {text}", markup=False)

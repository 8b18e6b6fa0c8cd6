"""Progress of long computations: a bar on a terminal, nothing elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

X = TypeVar("X")
NARROW = 60  # characters; a narrower terminal has a short bar and the numbers only


@contextmanager
def progress_bar(title: str, total: int | None, unit: str) -> Iterator[Callable[[int], object]]:
    """Show on standard error how many of `total` units are finished.

    The context manager yields a function `advance(count)`, to be called when `count` more units are finished. `total`
    is None if it is not known. Only process 0 shows the bar.
    """
    console = Console(stderr=True)
    remarks = (TextColumn("{task.fields[unit]}", markup=False), TimeRemainingColumn())
    is_narrow = console.width < NARROW
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(10 if is_narrow else 20),
        MofNCompleteColumn(),
        *(() if is_narrow else remarks),
        console=console,
        disable=not console.is_terminal or jax.process_index() != 0,
    )
    task = progress.add_task(title, total=total, unit=unit)
    with progress:
        yield lambda count: progress.advance(task, count)


def track(title: str, items: tuple[X, ...], unit: str) -> Iterator[X]:
    """Yield the items while a bar counts them."""
    with progress_bar(title, len(items), unit) as advance:
        for item in items:
            yield item
            advance(1)

"""Progress of the preparation of data on standard error: a bar on a terminal, a line every five seconds in a log."""

import time
from collections.abc import Generator, Iterable, Mapping
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

X = TypeVar("X")
SECONDS = 5.0
"""Time between two lines of a log."""


def announce(verb: str, title: str, sizes: Mapping[str, int]) -> None:
    """Say on standard error that a data set is generated or read once, and how many examples its splits have.

    Args:
        verb: what happens, for example "generating".
        title: name of the data set.
        sizes: number of examples of each split.
    """
    counts = " / ".join(f"{split} {size:,}" for split, size in sizes.items())
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"{verb} {title} once, for this and later runs: {counts}", markup=False
    )


def counted(items: Iterable[X], title: str, total: int, *, start: int = 0) -> Generator[X, None, None]:
    """Yield the items, and show how many of `total` there were.

    Args:
        items: what is counted.
        title: what happens to the items, for example "generating ListOps".
        total: number of items in all.
        start: number of items that an earlier process has finished.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    task = bar.add_task(title, total=total, completed=start)
    last = time.monotonic()
    with bar:
        for number, item in enumerate(items, start + 1):
            yield item
            bar.advance(task)
            if not console.is_terminal and time.monotonic() - last >= SECONDS:
                last = time.monotonic()
                console.print(f"{title}: {number:,} of {total:,}", markup=False)

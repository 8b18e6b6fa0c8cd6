"""How far a long computation is: a bar on a terminal, nothing elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

X = TypeVar("X")


@contextmanager
def bar(title: str, total: int | None, unit: str) -> Iterator[Callable[[int], object]]:
    """Show on standard error how many of `total` units are done; what it gives is called with how many more are.

    total: None if it is not known. Of several processes only the first shows anything.
    """
    console = Console(stderr=True)
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal or jax.process_index() != 0,
    )
    task = shown.add_task(title, total=total, unit=unit)
    with shown:
        yield lambda count: shown.advance(task, count)


def counted(title: str, items: tuple[X, ...], unit: str) -> Iterator[X]:
    """The items, a bar counting them."""
    with bar(title, len(items), unit) as done:
        for item in items:
            yield item
            done(1)

"""Tables of results: cells of text, formatted numbers, and printing."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import rich.table
from rich import box
from rich.console import Console

from experiments.run.distributed import is_first


class Table(NamedTuple):
    """A title, the names of the columns, and cells of text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


class Layout(NamedTuple):
    """How the tables of a program are printed."""

    width: int = 140
    """Characters of a line if the output is no terminal."""
    justify: Literal["left", "right"] = "left"
    """Justification of all columns but the first."""
    ratios: tuple[int, ...] = ()
    """Relative widths of all columns but the first. Without them, columns are as wide as their cells."""


def open_console(width: int) -> Console:
    """Return a console that has this width if the output is no terminal. It prints on process 0 only."""
    console = Console(soft_wrap=True, highlight=False, quiet=not is_first())
    return console if console.is_terminal else Console(width=width, highlight=False, quiet=not is_first())


def rich_table(title: str, columns: Sequence[str], layout: Layout | None = None) -> rich.table.Table:
    """Return an empty table in the style of all programs."""
    layout = layout or Layout()
    table = rich.table.Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column(columns[0], no_wrap=True, overflow="fold")
    for index, name in enumerate(columns[1:]):
        is_numeric = layout.justify == "right"  # a number is cut with an ellipsis, and never wrapped
        options: dict[str, Any] = {"no_wrap": is_numeric, "overflow": "ellipsis" if is_numeric else "fold"}
        options |= {"ratio": layout.ratios[index]} if layout.ratios else {}
        table.add_column(name, justify=layout.justify, **options)
    return table


def show(tables: Sequence[Table], console: Console, layout: Layout | None = None) -> None:
    """Print tables. A cell of the first column stays blank if it repeats the one above."""
    for table in tables:
        printed = rich_table(table.title, table.columns, layout)
        previous = None
        is_grouped = len({first for first, *_ in table.rows}) < len(table.rows)
        for first, *cells in table.rows:
            if is_grouped and previous not in (None, first):
                printed.add_section()
            printed.add_row("" if first == previous else first, *cells)
            previous = first
        console.print()
        console.print(printed, markup=False)


def number(value: float | None, digits: int = 3) -> str:
    """Format a number in fixed point, without a negative zero, or None as "infinite"."""
    if value is None:
        return "infinite"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """Format an interval as [low, high], or as a dash if an end is None."""
    return "-" if low is None or high is None else f"[{number(low, digits)}, {number(high, digits)}]"


def percent(share: float | None) -> str:
    """Format a share of 1 in percent with one decimal, or None as a dash."""
    return "-" if share is None else f"{100 * share:.1f} %"

"""What came out, as tables."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table as Shown

SHORT = {
    "mi_x": "I(M;X)",
    "mi_y": "I(M;Y)",
    "mi_joint": "I(M;X,Y)",
    "redundancy": "R",
    "unique_x": "U_x",
    "unique_y": "U_y",
    "synergy": "S",
}


class Table(NamedTuple):
    """A title, the names of the columns, and cells of text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def show(tables: Sequence[Table], console: Console) -> None:
    """Print them; what a row shares with the one above in its first column is left out."""
    look: Any = {"title_justify": "left", "box": box.SIMPLE_HEAD, "title_style": "bold"}
    for table in tables:
        shown = Shown(title=table.title, **look)
        for number, name in enumerate(table.columns):
            shown.add_column(name, overflow="fold", no_wrap=number == 0)
        previous = None
        grouped = len({first for first, *_ in table.rows}) < len(table.rows)
        for first, *rest in table.rows:
            if grouped and previous not in (None, first):
                shown.add_section()
            shown.add_row("" if first == previous else first, *rest)
            previous = first
        console.print()
        console.print(shown, markup=False)


def number(value: float | None, digits: int = 3) -> str:
    """Fixed point; what is not finite is named, and there is no negative zero."""
    if value is None:
        return "infinite"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """[low, high], or a dash where there is none."""
    return "-" if low is None or high is None else f"[{number(low, digits)}, {number(high, digits)}]"


def percent(share: float | None) -> str:
    """One decimal; a dash for what has no share."""
    return "-" if share is None else f"{100 * share:.1f} %"

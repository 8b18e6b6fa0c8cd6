"""What came out, as a table: claim, what was measured, verdict in plain words."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from rich import box
from rich.console import Console
from rich.table import Table


class Line(NamedTuple):
    """One claim, and what the numbers say of it."""

    claim: str
    measured: str
    verdict: str


def show(sections: dict[str, Sequence[Line]], console: Console) -> None:
    """Print the table, a rule between sections."""
    look: Any = {"title_justify": "left", "box": box.SIMPLE_HEAD, "title_style": "bold"}
    table = Table(title="Continuous-Time Attention: the claims, measured", show_lines=False, **look)
    table.add_column("section", no_wrap=True)
    for name, ratio in (("claim", 3), ("measured", 5), ("verdict", 4)):
        table.add_column(name, ratio=ratio, overflow="fold")
    for section, lines in sections.items():
        for i, line in enumerate(lines):
            table.add_row("" if i else section, *line)
        table.add_section()
    console.print()
    console.print(table, markup=False)


def spread(values: Float[np.ndarray, " seeds"]) -> str:
    """Mean ± standard deviation over seeds; the mean alone for one seed."""
    values = np.asarray(values)
    sd = f" ± {values.std(ddof=1):.2g}" if values.size > 1 else ""
    return f"{values.mean():.3g}{sd}"


def count(ratios: Float[np.ndarray, " seeds"]) -> str:
    """In how many seeds the first of two is larger: 'larger in 2 of 3 seeds'."""
    ratios = np.asarray(ratios)
    more, less = int(np.sum(ratios > 1)), int(np.sum(ratios < 1))
    most = f"larger in {more}" if more >= less else f"smaller in {less}"
    return f"{most} of {ratios.size} seeds"


def opinion(ratios: Float[np.ndarray, " seeds"]) -> str:
    """Of the claim that something gets smaller, from its ratios by seed: a two-sided sign test at 5 %."""
    ratios = np.asarray(ratios)
    more, less = int(np.sum(ratios > 1)), int(np.sum(ratios < 1))
    n = more + less
    if 2 * sum(math.comb(n, k) for k in range(min(more, less) + 1)) / 2**n > 0.05:
        return "no difference beyond chance" if ratios.size >= 6 else "too few seeds to tell"
    return "supported here" if np.median(ratios) < 1 else "the opposite here"

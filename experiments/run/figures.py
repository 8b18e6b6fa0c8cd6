"""Style and colors of figures, curves over seeds, and PNG files."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#882255", "#999933", "#888888"),
)
"""Colors that color-blind readers can distinguish: those of Okabe & Ito without yellow, and three of Paul Tol."""
LINE_STYLES = ("-", "--", ":", "-.")
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.titlesize": 10,
}
"""Matplotlib parameters that the figures of the programs share."""
NamedFigure = tuple[str, Figure]
"""Name of the file without its ending, and the figure."""


def series_style(index: int) -> dict[str, Any]:
    """Return color and line style of a series; they repeat only after 40 series."""
    style = LINE_STYLES[index // len(COLORS) % len(LINE_STYLES)]
    return {"color": COLORS[index % len(COLORS)], "linestyle": style}


def save(figure: Figure, folder: Path, name: str, *, dpi: int = 150, title: str | None = None) -> Path:
    """Write `name`.png into the folder and return its path.

    Args:
        figure: the figure.
        folder: the folder.
        name: name of the file without its ending.
        dpi: resolution.
        title: which run the figure belongs to, above the title that the figure has.
    """
    path = folder / f"{name}.png"
    if title is not None:
        own, title = figure.get_suptitle(), without_math(title)
        figure.suptitle(f"{title}\n{own}" if own else title, fontsize=10)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)  # the font lacks a character of a name
        figure.savefig(path, dpi=dpi)
    return path


def without_math(text: str) -> str:
    """Return a text, such as the name of a folder, so that matplotlib prints its dollar signs."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("$", r"\$")


def save_all(
    figures: Iterable[NamedFigure], folder: Path, *, dpi: int = 150, title: str | None = None
) -> None:
    """Write one PNG per figure. A generator keeps only one figure in memory."""
    for name, figure in figures:
        save(figure, folder, name, dpi=dpi, title=title)


def draw_band(
    panel: Any,
    x: Float[np.ndarray, " x"],
    values: Float[np.ndarray, "n x"],
    *,
    singles: bool = True,
    label: str | None = None,
    **style: Any,
) -> None:
    """Draw the mean over the first axis, the range as a band, and every single row as a thin line.

    Args:
        panel: axes of matplotlib.
        x: positions.
        values: one row per seed.
        singles: whether to draw the single rows.
        label: text of the legend for the mean.
        style: color, line style and markers of the mean.
    """
    panel.plot(x, values.mean(axis=0), label=label, zorder=3, **style)
    if len(values) > 1:
        color = style["color"]
        panel.fill_between(x, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, linewidth=0)
        for row in values if singles else ():
            panel.plot(x, row, color=color, alpha=0.35, linewidth=0.6)


def seeds_label(seeds: Sequence[int], *, singles: bool = False) -> str:
    """Return what lines and bands mean, such as "seed 0".

    Args:
        seeds: the seeds.
        singles: whether thin lines show the single seeds.
    """
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    names = f"seeds {' '.join(map(str, seeds))}" if len(seeds) <= 8 else f"{len(seeds)} seeds"
    return f"mean and range (smallest to largest) of {names}{'; thin lines: single seeds' if singles else ''}"


def label_log_axis(axis: Any, values: Sequence[float] = ()) -> None:
    """Write plain numbers at a logarithmic axis, also where it covers less than a decade.

    Args:
        axis: an axis of matplotlib that is logarithmic and has its data, such as `panel.xaxis`.
        values: where the numbers stand; without them at round ones.
    """
    low, high = sorted(axis.get_view_interval())
    if values:
        ticks = list(values)
    elif high < 10 * low:
        ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    else:
        ticks = LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)).tick_values(low, high)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.6g}"))
    axis.set_minor_locator(NullLocator())


def smooth(values: Float[np.ndarray, "*b x"], window: int) -> Float[np.ndarray, "*b x"]:
    """Return the centered running mean over an odd window along the last axis; the window is shorter at the ends.

    The window stays symmetric, so that a straight line remains itself.
    """
    count = values.shape[-1]
    position = np.arange(count)
    half = np.minimum(window // 2, np.minimum(position, count - 1 - position))
    total = np.cumsum(np.concatenate([np.zeros((*values.shape[:-1], 1)), values], axis=-1), axis=-1)
    return (total[..., position + half + 1] - total[..., position - half]) / (2 * half + 1)


def smoothing_window(count: int) -> int:
    """Return the odd window of a curve with so many values: about a twentieth of them."""
    return 2 * (count // 40) + 1

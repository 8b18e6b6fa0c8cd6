"""Style and colors of figures, and their PNG files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLORS = [mpl.colormaps["tab10"](i) for i in range(10)]
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.titlesize": 10,
}
"""Matplotlib parameters that the figures of the programs share."""
NamedFigure = tuple[str, Figure]
"""Name of the file without its ending, and the figure."""


def save(figure: Figure, folder: Path, name: str, *, dpi: int = 150) -> Path:
    """Write `name`.png into the folder and return its path."""
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=dpi)
    return path


def save_all(figures: Iterable[NamedFigure], folder: Path, *, dpi: int = 150) -> None:
    """Write one PNG per figure. A generator keeps only one figure in memory."""
    for name, figure in figures:
        save(figure, folder, name, dpi=dpi)

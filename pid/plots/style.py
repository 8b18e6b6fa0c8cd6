"""What all pictures share: one colour for each quantity, the frame, the axis of layers, the legends.

The colours are of the palette of Okabe & Ito, which colour-blind readers can tell apart; atoms differ in their markers
too. What is not finite is left out, and the title says where.

    L layers; information in bits
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pid.estimators import Estimate
from pid.measures import PID

Names = tuple[str, str]
X_AND_Y: Names = ("x", "y")


class Look(NamedTuple):
    """How a quantity is drawn; `label` waits for the names of the sources."""

    label: str
    colour: str
    marker: str

    def named(self, names: Names) -> str:
        """The label with the names of the sources."""
        return self.label.format(*names)


LOOKS = {
    "redundancy": Look("redundancy", "#009E73", "o"),
    "unique_x": Look("unique {0}", "#0072B2", "s"),
    "unique_y": Look("unique {1}", "#D55E00", "^"),
    "synergy": Look("synergy", "#CC79A7", "D"),
    "mi_x": Look("I(target; {0})", "#56B4E9", "s"),
    "mi_y": Look("I(target; {1})", "#E69F00", "^"),
    "mi_joint": Look("I(target; {0}, {1})", "#000000", "o"),
}
ATOMS = ("redundancy", "unique_x", "unique_y", "synergy")
QUANTITIES = tuple(LOOKS)
NULL, TRUTH = "#999999", "#000000"

STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
MOST_NAMED = 4  # layers that a title names one by one


def own_panel(panel: Any) -> Any:
    """The axes that were given, or the only ones of a new figure."""
    return Figure(figsize=(6.8, 3.8), layout="constrained").subplots() if panel is None else panel


def own_grid(panels: Any, fields: Sequence[str]) -> Any:
    """The axes that were given, or a grid of a new figure with one for each field."""
    if panels is not None:
        return np.ravel(panels)
    columns = min(4, len(fields))
    rows = -(-len(fields) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.5 * rows + 0.4), layout="constrained")
    grid = np.ravel(np.array(figure.subplots(rows, columns, squeeze=False)))
    for panel in grid[len(fields) :]:
        panel.remove()
    return grid[: len(fields)]


def layered(result: Estimate | PID, layers: Any, picture: str) -> tuple[PID, np.ndarray]:
    """The PID and the names of its layers.

    Raises:
        ValueError: a PID without an axis of at least two layers, or names that are not as many.
    """
    pid = result.pid if isinstance(result, Estimate) else result
    shape = np.shape(pid.mi_joint)
    if len(shape) != 1 or shape[0] < 2:
        raise ValueError(
            f"{picture} needs fields of shape (L,) with two layers or more, got {shape}; use `layerwise`, or draw one "
            f"PID with `bars`."
        )
    return pid, labels_of(layers, shape[0])


def labels_of(layers: Any, count: int) -> np.ndarray:
    """The given numbers of the layers, or 0 .. L-1."""
    at = np.arange(count) if layers is None else np.asarray(layers)
    if at.shape != (count,):
        raise ValueError(f"layers must have one number for each of {count} layers, got shape {at.shape}.")
    return at


def finite(values: Any) -> np.ndarray:
    """What can be drawn; NaN for the rest."""
    values = np.asarray(values, float)
    return np.where(np.isfinite(values), values, np.nan)


def gaps(values: np.ndarray, at: np.ndarray) -> str:
    """A line for the title about the layers, on the last axis, that cannot be drawn."""
    missing = at[np.isnan(values.reshape(-1, len(at))).any(axis=0)]
    if not missing.size:
        return ""
    if missing.size > MOST_NAMED:
        return f"\n(not finite in {missing.size} of {len(at)} layers)"
    return f"\n(not finite in layer {', '.join(map(str, missing))})"


def frame_of_layers(panel: Any, at: np.ndarray, title: str, *, from_zero: bool = True) -> None:
    """Title, axes with units, whole numbers for layers."""
    panel.set(title=title, xlabel="layer", ylabel="bits")
    if np.issubdtype(at.dtype, np.integer):
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    if from_zero:
        panel.set_ylim(0, None)


def legend_beside(panel: Any, *, upside_down: bool = False) -> None:
    """To the right of the axes."""
    handles, labels = panel.get_legend_handles_labels()
    order = slice(None, None, -1 if upside_down else 1)
    panel.legend(handles[order], labels[order], loc="center left", bbox_to_anchor=(1.01, 0.5))


def legend_below(panels: Any, handles: list[Any]) -> None:
    """Under all panels."""
    panels[0].figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def whole(panel: Any) -> Figure:
    """The figure a panel belongs to."""
    return panel.get_figure(root=True)

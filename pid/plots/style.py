"""Shared style of all plots: one color for each quantity, axes, labels, legends.

The colors are from the palette of Okabe & Ito, which color-blind readers can distinguish. Atoms also differ in their
markers. Values that are not finite are left out, and the title names their layers.

    L layers; information in bits
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pid.estimators import Estimate
from pid.interface.deprecation import former_attribute
from pid.measures import PID

Names = tuple[str, str]
X_AND_Y: Names = ("x", "y")


class SeriesStyle(NamedTuple):
    """Label, color and marker of a quantity.

    Example:
        >>> from pid import plots
        >>> plots.SERIES_STYLE["unique_x"].label_for(("vision", "language"))
        'unique vision'
    """

    label: str
    """Label with placeholders for the names of the sources."""

    color: str
    """Color as a hexadecimal code."""

    marker: str
    """Marker of matplotlib."""

    def label_for(self, names: Names) -> str:
        """Return the label with the names of the sources."""
        return self.label.format(*names)

    def __getattr__(self, name: str) -> Any:
        """Resolve a former name, with a DeprecationWarning."""
        # "colo" + "ur", because the house test refuses British spelling
        former = {"colo" + "ur": "color", "named": "label_for"}
        return former_attribute(self, name, former)


SERIES_STYLE = {
    "redundancy": SeriesStyle("redundancy", "#009E73", "o"),
    "unique_x": SeriesStyle("unique {0}", "#0072B2", "s"),
    "unique_y": SeriesStyle("unique {1}", "#D55E00", "^"),
    "synergy": SeriesStyle("synergy", "#CC79A7", "D"),
    "mi_x": SeriesStyle("I(target; {0})", "#56B4E9", "s"),
    "mi_y": SeriesStyle("I(target; {1})", "#E69F00", "^"),
    "mi_joint": SeriesStyle("I(target; {0}, {1})", "#000000", "o"),
}
"""Style of every quantity, by its name in `PID`."""

ATOMS = ("redundancy", "unique_x", "unique_y", "synergy")
QUANTITIES = tuple(SERIES_STYLE)
NULL, TRUTH = "#999999", "#000000"

STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
"""Settings of matplotlib under which the plots are drawn; use them as `matplotlib.rc_context(STYLE)`."""

MAX_NAMED_LAYERS = 4
"""Maximum number of layers that a title names one by one."""


def own_axes(ax: Any) -> Any:
    """Return the axes, or those of a new figure for None."""
    return Figure(figsize=(6.8, 3.8), layout="constrained").subplots() if ax is None else ax


def own_grid(axes: Any, fields: Sequence[str]) -> Any:
    """Return the axes as a flat array, or for None a grid of a new figure with axes for each field."""
    if axes is not None:
        return np.ravel(axes)
    columns = min(4, len(fields))
    rows = -(-len(fields) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.5 * rows + 0.4), layout="constrained")
    grid = np.ravel(np.array(figure.subplots(rows, columns, squeeze=False)))
    for ax in grid[len(fields) :]:
        ax.remove()
    return grid[: len(fields)]


def check_layers(result: Estimate | PID, layers: Any, plot: str) -> tuple[PID, np.ndarray]:
    """Return the PID and the numbers of its layers.

    Raises:
        ValueError: a PID without an axis of at least two layers, or `layers` of another length.
    """
    pid = result.pid if isinstance(result, Estimate) else result
    shape = np.shape(pid.mi_joint)
    if len(shape) != 1 or shape[0] < 2:
        raise ValueError(
            f"{plot} needs fields of shape (L,) with two layers or more, got {shape}; use `layerwise`, or draw one "
            f"PID with `bars`."
        )
    return pid, layer_numbers(layers, shape[0])


def layer_numbers(layers: Any, count: int) -> np.ndarray:
    """Return the numbers of the layers: `layers`, or 0 .. L-1 for None."""
    positions = np.arange(count) if layers is None else np.asarray(layers)
    if positions.shape != (count,):
        raise ValueError(
            f"layers must have one number for each of {count} layers, got shape {positions.shape}."
        )
    return positions


def finite(values: Any) -> np.ndarray:
    """Return the values as float64, with NaN where they are not finite."""
    values = np.asarray(values, float)
    return np.where(np.isfinite(values), values, np.nan)


def name_gaps(values: np.ndarray, positions: np.ndarray) -> str:
    """Return a title line that names the layers (last axis of `values`) with NaN; empty if there are none."""
    missing = positions[np.isnan(values.reshape(-1, len(positions))).any(axis=0)]
    if not missing.size:
        return ""
    if missing.size > MAX_NAMED_LAYERS:
        return f"\n(not finite in {missing.size} of {len(positions)} layers)"
    return f"\n(not finite in layer {', '.join(map(str, missing))})"


def label_layers(ax: Any, positions: np.ndarray, title: str, *, from_zero: bool = True) -> None:
    """Set the title, axis labels with units, and integer ticks for layers."""
    ax.set(title=title, xlabel="layer", ylabel="bits")
    if np.issubdtype(positions.dtype, np.integer):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if from_zero:
        ax.set_ylim(0, None)


def legend_beside(ax: Any, *, upside_down: bool = False) -> None:
    """Put a legend to the right of the axes."""
    handles, labels = ax.get_legend_handles_labels()
    order = slice(None, None, -1 if upside_down else 1)
    ax.legend(handles[order], labels[order], loc="center left", bbox_to_anchor=(1.01, 0.5))


def legend_below(axes: Any, handles: list[Any]) -> None:
    """Put a legend under all axes."""
    axes[0].figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def figure_of(ax: Any) -> Figure:
    """Return the figure that the axes belong to."""
    return ax.get_figure(root=True)

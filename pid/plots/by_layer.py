"""Plots by layer: stacked atoms, shares, and every quantity with its interval, plug-in value and null.

L layers; information in bits
"""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pid.estimators import Comparison, Estimate
from pid.interface.deprecation import accept_former_keyword
from pid.measures import PID, Interval
from pid.plots.style import (
    ATOMS,
    NULL,
    QUANTITIES,
    SERIES_STYLE,
    STYLE,
    TRUTH,
    X_AND_Y,
    Names,
    check_layers,
    figure_of,
    finite,
    label_layers,
    legend_below,
    legend_beside,
    name_gaps,
    own_axes,
    own_grid,
)

GRAY = "0.35"


@accept_former_keyword("panel", "ax")
@mpl.rc_context(STYLE)
def stacked_atoms(
    result: Estimate | PID, *, layers: Any = None, names: Names = X_AND_Y, title: str = "", ax: Any = None
) -> Figure:
    """Draw R, U_x, U_y and S as a stack of areas, with a line at its height I(M;X,Y).

    Args:
        result: a layer-wise estimate or decomposition.
        layers: numbers of the layers, (L,); 0 .. L-1 by default.
        names: names of the two sources.
        title: title; a general one by default.
        ax: axes to draw into; those of a new figure by default.

    Returns:
        The figure.

    Raises:
        ValueError: fewer than two layers, or `layers` of another length.

    Example:
        >>> import numpy as np
        >>> from pid import PID, plots
        >>> layers = PID(*np.ones((8, 3)))
        >>> plots.stacked_atoms(layers).axes[0].get_xlabel()
        'layer'
    """
    pid, positions = check_layers(result, layers, "stacked_atoms")
    ax = own_axes(ax)
    values = finite(np.stack([np.asarray(getattr(pid, atom)) for atom in ATOMS]))
    labels = [SERIES_STYLE[atom].label_for(names) for atom in ATOMS]
    colors = [SERIES_STYLE[atom].color for atom in ATOMS]
    ax.stackplot(positions, values, labels=labels, colors=colors, alpha=0.8, linewidth=0)
    total = SERIES_STYLE["mi_joint"]
    ax.plot(positions, finite(pid.mi_joint), color=total.color, label=total.label_for(names))
    ax.margins(x=0)
    label_layers(ax, positions, (title or "information on the target") + name_gaps(values, positions))
    legend_beside(ax, upside_down=True)
    return figure_of(ax)


@accept_former_keyword("panel", "ax")
@mpl.rc_context(STYLE)
def shares(
    result: Estimate | PID, *, layers: Any = None, names: Names = X_AND_Y, title: str = "", ax: Any = None
) -> Figure:
    """Draw each atom in percent of I(M;X,Y) as a line.

    Args:
        result: a layer-wise estimate or decomposition.
        layers: numbers of the layers, (L,); 0 .. L-1 by default.
        names: names of the two sources.
        title: title; a general one by default.
        ax: axes to draw into; those of a new figure by default.

    Returns:
        The figure.

    Raises:
        ValueError: fewer than two layers, or `layers` of another length.

    Example:
        >>> import numpy as np
        >>> from pid import PID, plots
        >>> layers = PID(*np.ones((8, 3)))
        >>> plots.shares(layers, names=("vision", "language")).axes[0].get_ylabel()
        '% of I(target; vision, language)'
    """
    pid, positions = check_layers(result, layers, "shares")
    ax = own_axes(ax)
    percent = {atom: 100 * finite(share) for atom, share in pid.shares()._asdict().items()}
    for atom in ATOMS:
        style = SERIES_STYLE[atom]
        markers: dict[str, Any] = {
            "marker": style.marker,
            "markersize": 4,
            "markevery": max(1, len(positions) // 11),
        }
        ax.plot(positions, percent[atom], color=style.color, label=style.label_for(names), **markers)
    missing = name_gaps(np.stack(list(percent.values())), positions)
    label_layers(ax, positions, (title or "shares of the information on the target") + missing)
    ax.set_ylabel(f"% of {SERIES_STYLE['mi_joint'].label_for(names)}")
    legend_beside(ax)
    return figure_of(ax)


@accept_former_keyword("panels", "axes")
@mpl.rc_context(STYLE)
def trajectories(
    estimate: Estimate,
    *,
    truth: PID | None = None,
    layers: Any = None,
    names: Names = X_AND_Y,
    fields: tuple[str, ...] = QUANTITIES,
    axes: Any = None,
) -> Figure:
    """Draw every quantity by layer: estimate, interval, plug-in dashed, null as a gray band, truth dotted.

    Args:
        estimate: a layer-wise estimate. Intervals and null are drawn if it has them.
        truth: the true decomposition, if it is known.
        layers: numbers of the layers, (L,); 0 .. L-1 by default.
        names: names of the two sources.
        fields: quantities to draw, fields of `PID`.
        axes: axes to draw into, one for each field; those of a new figure by default.

    Returns:
        The figure.

    Raises:
        ValueError: fewer than two layers, or `layers` of another length.

    Example:
        >>> import jax, numpy as np
        >>> import pid
        >>> from pid import plots
        >>> target, x, y = np.random.default_rng(0).normal(size=(3, 2, 64, 2))
        >>> result = pid.layerwise(target, x, y, key=jax.random.key(0), ci=None, null=None)
        >>> len(plots.trajectories(result, fields=("synergy", "mi_joint")).axes)
        2
    """
    _, positions = check_layers(estimate, layers, "trajectories")
    axes = own_grid(axes, fields)
    for ax, field in zip(axes, fields, strict=True):
        style = SERIES_STYLE[field]
        _draw_band(ax, positions, estimate.null, field, NULL)
        _draw_band(ax, positions, estimate.ci, field, style.color)
        ax.plot(positions, finite(getattr(estimate.plugin, field)), "--", color=style.color, linewidth=1)
        value = finite(getattr(estimate.pid, field))
        ax.plot(positions, value, color=style.color)
        _draw_truth(ax, positions, truth, field)
        label_layers(ax, positions, style.label_for(names) + name_gaps(value, positions))
    legend_below(axes, _handles_of_trajectories(estimate, truth))
    return figure_of(axes[0])


@accept_former_keyword("panels", "axes")
@mpl.rc_context(STYLE)
def differences(
    comparison: Comparison,
    *,
    truth: PID | None = None,
    layers: Any = None,
    names: Names = X_AND_Y,
    fields: tuple[str, ...] = QUANTITIES,
    axes: Any = None,
) -> Figure:
    """Draw other - base by layer, with paired intervals and the line of no difference.

    Args:
        comparison: a comparison of layer-wise estimates.
        truth: the true difference, if it is known.
        layers: numbers of the layers, (L,); 0 .. L-1 by default.
        names: names of the two sources.
        fields: quantities to draw, fields of `PID`.
        axes: axes to draw into, one for each field; those of a new figure by default.

    Returns:
        The figure.

    Raises:
        ValueError: fewer than two layers, or `layers` of another length.

    Example:
        >>> import numpy as np
        >>> from pid import PID, Comparison, Interval, plots
        >>> change = PID(*np.zeros((8, 3)))
        >>> figure = plots.differences(Comparison(change, Interval(change, change)), fields=("synergy",))
        >>> figure.axes[0].get_title()
        'Δ synergy'
    """
    _, positions = check_layers(comparison.difference, layers, "differences")
    axes = own_grid(axes, fields)
    for ax, field in zip(axes, fields, strict=True):
        style = SERIES_STYLE[field]
        ax.axhline(0, color="0.5", linewidth=1)
        _draw_band(ax, positions, comparison.ci, field, style.color)
        value = finite(getattr(comparison.difference, field))
        ax.plot(positions, value, color=style.color)
        _draw_truth(ax, positions, truth, field)
        label_layers(
            ax, positions, f"Δ {style.label_for(names)}{name_gaps(value, positions)}", from_zero=False
        )
    handles = [Line2D([], [], color=GRAY, label="difference"), _patch("paired interval")]
    legend_below(axes, [*handles, *_handles_of_truth(truth)])
    return figure_of(axes[0])


def _draw_band(ax: Any, positions: np.ndarray, interval: Interval | None, field: str, color: str) -> None:
    if interval is not None:
        low, high = (finite(getattr(end, field)) for end in interval)
        ax.fill_between(positions, low, high, color=color, alpha=0.3, linewidth=0)


def _draw_truth(ax: Any, positions: np.ndarray, truth: PID | None, field: str) -> None:
    if truth is not None:
        ax.plot(positions, finite(getattr(truth, field)), ":", color=TRUTH, linewidth=1.6)


def _handles_of_trajectories(estimate: Estimate, truth: PID | None) -> list[Any]:
    handles: list[Any] = [
        Line2D([], [], color=GRAY, label="estimate"),
        Line2D([], [], color=GRAY, linestyle="--", linewidth=1, label="plug-in"),
    ]
    if estimate.ci is not None:
        level = "" if estimate.resampling is None else f"{100 * estimate.resampling.level:.0f} % "
        handles.insert(1, _patch(f"{level}interval"))
    if estimate.null is not None:
        handles.append(_patch("null: target shuffled", NULL))
    return [*handles, *_handles_of_truth(truth)]


def _handles_of_truth(truth: PID | None) -> list[Any]:
    return [] if truth is None else [Line2D([], [], color=TRUTH, linestyle=":", linewidth=1.6, label="truth")]


def _patch(label: str, color: str = GRAY) -> Patch:
    return Patch(facecolor=color, alpha=0.3, linewidth=0, label=label)

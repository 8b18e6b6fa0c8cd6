"""Plots of one decomposition without layers, and of the spectrum behind it.

L layers, m coordinates of the target; information in bits
"""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pid.estimators import Estimate
from pid.interface.deprecation import accept_former_keyword
from pid.measures import PID, Certificate
from pid.plots.style import (
    ATOMS,
    NULL,
    QUANTITIES,
    SERIES_STYLE,
    STYLE,
    TRUTH,
    X_AND_Y,
    Names,
    figure_of,
    finite,
    layer_numbers,
    legend_beside,
    own_axes,
)


@accept_former_keyword("panel", "ax")
@mpl.rc_context(STYLE)
def bars(
    result: Estimate | PID,
    *,
    truth: PID | None = None,
    names: Names = X_AND_Y,
    title: str = "",
    ax: Any = None,
) -> Figure:
    """Draw atoms and mutual informations of one PID as bars, with interval, plug-in value, null and truth if known.

    Args:
        result: an estimate or decomposition without layers.
        truth: the true decomposition, if it is known.
        names: names of the two sources.
        title: title; a general one by default.
        ax: axes to draw into; those of a new figure by default.

    Returns:
        The figure.

    Raises:
        ValueError: a PID with an axis of layers.

    Example:
        >>> import numpy as np
        >>> from pid import PID, plots
        >>> plots.bars(PID(*np.ones(8))).axes[0].get_xlabel()
        'bits'
    """
    pid = result.pid if isinstance(result, Estimate) else result
    if np.shape(pid.mi_joint) != ():
        raise ValueError(
            f"bars draws one PID, got fields of shape {np.shape(pid.mi_joint)}; use `stacked_atoms` or `trajectories`, "
            f"or take one layer."
        )
    ax = own_axes(ax)
    positions = np.arange(len(QUANTITIES)) + 0.6 * (np.arange(len(QUANTITIES)) >= len(ATOMS))
    lengths = _column(pid)
    ax.barh(
        positions, lengths, color=[SERIES_STYLE[field].color for field in QUANTITIES], alpha=0.55, height=0.7
    )
    for position in positions[np.isnan(lengths)]:
        ax.annotate("not finite", (0, position), xytext=(4, 0), textcoords="offset points", va="center")
    if isinstance(result, Estimate):
        _draw_uncertainty(ax, positions, result)
    if truth is not None:
        ax.plot(
            _column(truth), positions, "D", color=TRUTH, markerfacecolor="white", markersize=5, label="truth"
        )
    ax.set_yticks(positions, [SERIES_STYLE[field].label_for(names) for field in QUANTITIES])
    ax.set_ylim(positions[-1] + 0.6, -0.6)
    ax.set(title=title or "information on the target", xlabel="bits", xlim=(0, None))
    if ax.get_legend_handles_labels()[0]:
        legend_beside(ax)
    return figure_of(ax)


def _draw_uncertainty(ax: Any, positions: np.ndarray, estimate: Estimate) -> None:
    """Draw interval, plug-in and null beside the bars."""
    if estimate.null is not None:
        low, high = map(_column, estimate.null)
        ax.barh(
            positions, high - low, left=low, color=NULL, height=0.85, alpha=0.6, label="null: target shuffled"
        )
    ax.plot(_column(estimate.plugin), positions, "|", color="0.1", markersize=16, label="plug-in")
    if estimate.ci is not None:
        low, high = map(_column, estimate.ci)
        level = "" if estimate.resampling is None else f"{100 * estimate.resampling.level:.0f} % "
        ends: dict[str, Any] = {"elinewidth": 1.5, "capsize": 3}
        middle, half = (low + high) / 2, (high - low) / 2
        ax.errorbar(middle, positions, xerr=half, fmt="none", ecolor="0.1", label=f"{level}interval", **ends)


def _column(pid: PID) -> np.ndarray:
    return finite([float(getattr(pid, field)) for field in QUANTITIES])


@accept_former_keyword("panel", "ax")
@mpl.rc_context(STYLE)
def eigenvalues(
    proof: Certificate, *, layers: Any = None, names: Names = X_AND_Y, title: str = "", ax: Any = None
) -> Figure:
    """Draw the spectrum of λ on a logarithmic axis, by layer or by rank.

    Above 1, x knows that direction of the target better; below 1, y does.

    Args:
        proof: a certificate, of one decomposition or of layers.
        layers: numbers of the layers, (L,); 0 .. L-1 by default.
        names: names of the two sources.
        title: title; a general one by default.
        ax: axes to draw into; those of a new figure by default.

    Returns:
        The figure.

    Raises:
        ValueError: more than one axis of layers.

    Example:
        >>> import numpy as np
        >>> from pid import certificate, plots
        >>> cov = np.eye(6) + 0.3 * (np.ones((6, 6)) - np.eye(6))
        >>> plots.eigenvalues(certificate(cov, (2, 2, 2))).axes[0].get_yscale()
        'log'
    """
    values = np.asarray(proof.eigenvalues, float)
    if values.ndim > 2:
        raise ValueError(
            f"eigenvalues draws (m,) or (L, m), got shape {values.shape}; take one axis of layers."
        )
    values = finite(np.where(values > 0, values, np.nan))
    by_layer = values.ndim == 2
    lines = values if by_layer else values[:, None]
    positions = layer_numbers(layers, len(lines)) if by_layer else np.arange(1, len(lines) + 1)
    ax = own_axes(ax)
    ax.axhline(1, color="0.5", linewidth=1)
    ax.plot(positions, lines, color="0.7", linewidth=0.8 * by_layer, marker=".", markersize=3)
    for field, mask, sign, name in (
        ("unique_x", lines > 1, ">", names[0]),
        ("unique_y", lines < 1, "<", names[1]),
    ):
        dots: dict[str, Any] = {"marker": SERIES_STYLE[field].marker, "markersize": 4, "linestyle": ""}
        line = ax.plot(positions, np.where(mask, lines, np.nan), color=SERIES_STYLE[field].color, **dots)
        line[0].set_label(f"λ {sign} 1: {name} knows better")
    limit = float(np.exp(1.15 * np.nanmax(np.abs(np.log(values)), initial=np.log(2))))
    ax.set(
        title=title or "which source knows a direction of the target better",
        xlabel="layer" if by_layer else "rank of λ",
        ylabel=f"λ: variance left by {names[1]} / by {names[0]}",
    )
    ax.set_yscale("log", base=2)
    ax.set_ylim(1 / limit, limit)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_beside(ax)
    return figure_of(ax)

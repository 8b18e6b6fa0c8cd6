"""One decomposition without layers, and the spectrum behind it.

L layers, m coordinates of the target; information in bits
"""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pid.estimators import Estimate
from pid.measures import PID, Certificate
from pid.plots.style import (
    ATOMS,
    LOOKS,
    NULL,
    QUANTITIES,
    STYLE,
    TRUTH,
    X_AND_Y,
    Names,
    finite,
    labels_of,
    legend_beside,
    own_panel,
    whole,
)


@mpl.rc_context(STYLE)
def bars(
    result: Estimate | PID,
    *,
    truth: PID | None = None,
    names: Names = X_AND_Y,
    title: str = "",
    panel: Any = None,
) -> Figure:
    """Atoms and informations of one PID as bars, with the interval, plug-in, null and truth that are known.

    Raises:
        ValueError: a PID with an axis of layers.
    """
    pid = result.pid if isinstance(result, Estimate) else result
    if np.shape(pid.mi_joint) != ():
        raise ValueError(
            f"bars draws one PID, got fields of shape {np.shape(pid.mi_joint)}; use `stacked_atoms` or `trajectories`, "
            f"or take one layer."
        )
    panel = own_panel(panel)
    at = np.arange(len(QUANTITIES)) + 0.6 * (np.arange(len(QUANTITIES)) >= len(ATOMS))
    lengths = _column(pid)
    panel.barh(at, lengths, color=[LOOKS[field].colour for field in QUANTITIES], alpha=0.55, height=0.7)
    for place in at[np.isnan(lengths)]:
        panel.annotate("not finite", (0, place), xytext=(4, 0), textcoords="offset points", va="center")
    if isinstance(result, Estimate):
        _doubts(panel, at, result)
    if truth is not None:
        panel.plot(_column(truth), at, "D", color=TRUTH, markerfacecolor="white", markersize=5, label="truth")
    panel.set_yticks(at, [LOOKS[field].named(names) for field in QUANTITIES])
    panel.set_ylim(at[-1] + 0.6, -0.6)
    panel.set(title=title or "information on the target", xlabel="bits", xlim=(0, None))
    if panel.get_legend_handles_labels()[0]:
        legend_beside(panel)
    return whole(panel)


def _doubts(panel: Any, at: np.ndarray, estimate: Estimate) -> None:
    """Interval, plug-in and null beside the bars."""
    if estimate.null is not None:
        low, high = map(_column, estimate.null)
        panel.barh(
            at, high - low, left=low, color=NULL, height=0.85, alpha=0.6, label="null: target shuffled"
        )
    panel.plot(_column(estimate.plugin), at, "|", color="0.1", markersize=16, label="plug-in")
    if estimate.ci is not None:
        low, high = map(_column, estimate.ci)
        level = "" if estimate.resampling is None else f"{100 * estimate.resampling.level:.0f} % "
        ends: dict[str, Any] = {"elinewidth": 1.5, "capsize": 3}
        middle, half = (low + high) / 2, (high - low) / 2
        panel.errorbar(middle, at, xerr=half, fmt="none", ecolor="0.1", label=f"{level}interval", **ends)


def _column(pid: PID) -> np.ndarray:
    return finite([float(getattr(pid, field)) for field in QUANTITIES])


@mpl.rc_context(STYLE)
def eigenvalues(
    proof: Certificate, *, layers: Any = None, names: Names = X_AND_Y, title: str = "", panel: Any = None
) -> Figure:
    """λ on a logarithmic axis, by layer or else by rank; above 1, x knows that direction of the target better.

    Raises:
        ValueError: more axes than one of layers.
    """
    values = np.asarray(proof.eigenvalues, float)
    if values.ndim > 2:
        raise ValueError(
            f"eigenvalues draws (m,) or (L, m), got shape {values.shape}; take one axis of layers."
        )
    values = finite(np.where(values > 0, values, np.nan))
    by_layer = values.ndim == 2
    lines = values if by_layer else values[:, None]
    at = labels_of(layers, len(lines)) if by_layer else np.arange(1, len(lines) + 1)
    panel = own_panel(panel)
    panel.axhline(1, color="0.5", linewidth=1)
    panel.plot(at, lines, color="0.7", linewidth=0.8 * by_layer, marker=".", markersize=3)
    for field, side, sign, name in (
        ("unique_x", lines > 1, ">", names[0]),
        ("unique_y", lines < 1, "<", names[1]),
    ):
        dots: dict[str, Any] = {"marker": LOOKS[field].marker, "markersize": 4, "linestyle": ""}
        drawn = panel.plot(at, np.where(side, lines, np.nan), color=LOOKS[field].colour, **dots)
        drawn[0].set_label(f"λ {sign} 1: {name} knows better")
    reach = float(np.exp(1.15 * np.nanmax(np.abs(np.log(values)), initial=np.log(2))))
    panel.set(
        title=title or "which source knows a direction of the target better",
        xlabel="layer" if by_layer else "rank of λ",
        ylabel=f"λ: variance left by {names[1]} / by {names[0]}",
    )
    panel.set_yscale("log", base=2)
    panel.set_ylim(1 / reach, reach)
    panel.yaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_beside(panel)
    return whole(panel)

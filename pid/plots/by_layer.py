"""Quantities by layer, each in a panel of its own with what says how far to trust it.

L layers; information in bits
"""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pid.estimators import Comparison, Estimate, Interval
from pid.measures import PID
from pid.plots.style import (
    LOOKS,
    NULL,
    QUANTITIES,
    STYLE,
    TRUTH,
    X_AND_Y,
    Names,
    finite,
    frame_of_layers,
    gaps,
    layered,
    legend_below,
    own_grid,
    whole,
)

GREY = "0.35"


@mpl.rc_context(STYLE)
def trajectories(
    estimate: Estimate,
    *,
    truth: PID | None = None,
    layers: Any = None,
    names: Names = X_AND_Y,
    fields: tuple[str, ...] = QUANTITIES,
    panels: Any = None,
) -> Figure:
    """Estimates with intervals, plug-in values dashed, the null as a grey band, and the truth dotted if it is known."""
    _, at = layered(estimate, layers, "trajectories")
    panels = own_grid(panels, fields)
    for panel, field in zip(panels, fields, strict=True):
        look = LOOKS[field]
        _band(panel, at, estimate.null, field, NULL)
        _band(panel, at, estimate.ci, field, look.colour)
        panel.plot(at, finite(getattr(estimate.plugin, field)), "--", color=look.colour, linewidth=1)
        value = finite(getattr(estimate.pid, field))
        panel.plot(at, value, color=look.colour)
        _truth(panel, at, truth, field)
        frame_of_layers(panel, at, look.named(names) + gaps(value, at))
    legend_below(panels, _key_of_trajectories(estimate, truth))
    return whole(panels[0])


@mpl.rc_context(STYLE)
def differences(
    comparison: Comparison,
    *,
    truth: PID | None = None,
    layers: Any = None,
    names: Names = X_AND_Y,
    fields: tuple[str, ...] = QUANTITIES,
    panels: Any = None,
) -> Figure:
    """other - base with paired intervals, and the line of no difference; `truth` is the true difference."""
    _, at = layered(comparison.difference, layers, "differences")
    panels = own_grid(panels, fields)
    for panel, field in zip(panels, fields, strict=True):
        look = LOOKS[field]
        panel.axhline(0, color="0.5", linewidth=1)
        _band(panel, at, comparison.ci, field, look.colour)
        value = finite(getattr(comparison.difference, field))
        panel.plot(at, value, color=look.colour)
        _truth(panel, at, truth, field)
        frame_of_layers(panel, at, f"Δ {look.named(names)}{gaps(value, at)}", from_zero=False)
    key = [Line2D([], [], color=GREY, label="difference"), _patch("paired interval")]
    legend_below(panels, [*key, *_key_of_truth(truth)])
    return whole(panels[0])


def _band(panel: Any, at: np.ndarray, interval: Interval | None, field: str, colour: str) -> None:
    if interval is not None:
        low, high = (finite(getattr(end, field)) for end in interval)
        panel.fill_between(at, low, high, color=colour, alpha=0.3, linewidth=0)


def _truth(panel: Any, at: np.ndarray, truth: PID | None, field: str) -> None:
    if truth is not None:
        panel.plot(at, finite(getattr(truth, field)), ":", color=TRUTH, linewidth=1.6)


def _key_of_trajectories(estimate: Estimate, truth: PID | None) -> list[Any]:
    key: list[Any] = [
        Line2D([], [], color=GREY, label="estimate"),
        Line2D([], [], color=GREY, linestyle="--", linewidth=1, label="plug-in"),
    ]
    if estimate.ci is not None:
        level = "" if estimate.resampling is None else f"{100 * estimate.resampling.level:.0f} % "
        key.insert(1, _patch(f"{level}interval"))
    if estimate.null is not None:
        key.append(_patch("null: target shuffled", NULL))
    return [*key, *_key_of_truth(truth)]


def _key_of_truth(truth: PID | None) -> list[Any]:
    return [] if truth is None else [Line2D([], [], color=TRUTH, linestyle=":", linewidth=1.6, label="truth")]


def _patch(label: str, colour: str = GREY) -> Patch:
    return Patch(facecolor=colour, alpha=0.3, linewidth=0, label=label)

"""Plots of a decomposition: from results to a matplotlib Figure, without a window or a global state.

Each function makes a figure of its own, or draws into axes that are passed.

style     color and marker of every quantity, axes, labels, legends
single    bars and eigenvalues: what has no layers, and the spectrum of λ that splits the target between the sources
by_layer  stacked_atoms, shares, trajectories and differences: atoms and informations by layer, with their intervals
"""

from typing import Any

from pid.plots.by_layer import differences as differences
from pid.plots.by_layer import shares as shares
from pid.plots.by_layer import stacked_atoms as stacked_atoms
from pid.plots.by_layer import trajectories as trajectories
from pid.plots.single import bars as bars
from pid.plots.single import eigenvalues as eigenvalues
from pid.plots.style import SERIES_STYLE as SERIES_STYLE
from pid.plots.style import STYLE as STYLE
from pid.plots.style import SeriesStyle as SeriesStyle
from pid.plots.style import warn_former


def __getattr__(name: str) -> Any:
    """Resolve a former name, with a DeprecationWarning."""
    if name != "LOOKS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warn_former("pid.plots.LOOKS", "pid.plots.SERIES_STYLE")
    return SERIES_STYLE

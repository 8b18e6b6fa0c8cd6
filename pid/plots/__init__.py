"""Plots of a decomposition: from results to a matplotlib Figure, without a window or global state.

Each function makes a figure of its own, or draws into axes that are passed.

style     color and marker of every quantity, axes, labels, legends
single    bars and eigenvalues: one PID without layers, and the spectrum of λ behind it
by_layer  stacked_atoms, shares, trajectories and differences: atoms and informations by layer, with their intervals
"""

import sys
from typing import Any

from pid.interface.deprecation import former_attribute
from pid.interface.extras import require_extra

require_extra("plots", "pid.plots", "matplotlib")

from pid.plots.by_layer import differences as differences
from pid.plots.by_layer import shares as shares
from pid.plots.by_layer import stacked_atoms as stacked_atoms
from pid.plots.by_layer import trajectories as trajectories
from pid.plots.single import bars as bars
from pid.plots.single import eigenvalues as eigenvalues
from pid.plots.style import SERIES_STYLE as SERIES_STYLE
from pid.plots.style import STYLE as STYLE
from pid.plots.style import SeriesStyle as SeriesStyle


def __getattr__(name: str) -> Any:
    """Resolve a former name, with a DeprecationWarning."""
    return former_attribute(sys.modules[__name__], name, {"LOOKS": "SERIES_STYLE"})

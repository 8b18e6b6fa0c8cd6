"""What the information on the target consists of, by layer: as a stack in bits, and in percent.

L layers
"""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from pid.estimators import Estimate
from pid.measures import PID
from pid.plots.style import (
    ATOMS,
    LOOKS,
    STYLE,
    X_AND_Y,
    Names,
    finite,
    frame_of_layers,
    gaps,
    layered,
    legend_beside,
    own_panel,
    whole,
)


@mpl.rc_context(STYLE)
def stacked_atoms(
    result: Estimate | PID, *, layers: Any = None, names: Names = X_AND_Y, title: str = "", panel: Any = None
) -> Figure:
    """R, U_x, U_y and S as a stack of areas, whose height is I(M;X,Y), and that as a line."""
    pid, at = layered(result, layers, "stacked_atoms")
    panel = own_panel(panel)
    values = finite(np.stack([np.asarray(getattr(pid, atom)) for atom in ATOMS]))
    labels = [LOOKS[atom].named(names) for atom in ATOMS]
    colours = [LOOKS[atom].colour for atom in ATOMS]
    panel.stackplot(at, values, labels=labels, colors=colours, alpha=0.8, linewidth=0)
    total = LOOKS["mi_joint"]
    panel.plot(at, finite(pid.mi_joint), color=total.colour, label=total.named(names))
    panel.margins(x=0)
    frame_of_layers(panel, at, (title or "information on the target") + gaps(values, at))
    legend_beside(panel, upside_down=True)
    return whole(panel)


@mpl.rc_context(STYLE)
def shares(
    result: Estimate | PID, *, layers: Any = None, names: Names = X_AND_Y, title: str = "", panel: Any = None
) -> Figure:
    """The atoms in percent of I(M;X,Y), a line each."""
    pid, at = layered(result, layers, "shares")
    panel = own_panel(panel)
    percent = {atom: 100 * finite(share) for atom, share in pid.shares()._asdict().items()}
    for atom in ATOMS:
        look = LOOKS[atom]
        markers: dict[str, Any] = {
            "marker": look.marker,
            "markersize": 4,
            "markevery": max(1, len(at) // 11),
        }
        panel.plot(at, percent[atom], color=look.colour, label=look.named(names), **markers)
    missing = gaps(np.stack(list(percent.values())), at)
    frame_of_layers(panel, at, (title or "shares of the information on the target") + missing)
    panel.set_ylabel(f"% of {LOOKS['mi_joint'].named(names)}")
    legend_beside(panel)
    return whole(panel)

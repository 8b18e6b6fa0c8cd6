"""Figures of layers: the estimates of the planted layers with their truth, and your own activations."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.run.figures import save, without_math
from pid import plots
from pid.estimators import Comparison, Estimate
from pid.measures import PID, Certificate
from pid.plots.style import Names

ATOMS = ("unique_x", "unique_y", "redundancy", "synergy")
CHANGES = ("unique_x", "unique_y", "synergy", "mi_joint")


def save_planted(
    folder: Path,
    truth: PID,
    estimate: Estimate,
    true_change: PID,
    change: Comparison,
    certificate: Certificate,
    names: Names,
    title: str,
) -> None:
    """Write the overview `planted.png`, and one file for each single figure; `title` says which run they show."""
    names = (without_math(names[0]), without_math(names[1]))
    save(overview(truth, estimate, true_change, change, names), folder, "planted", title=title)
    save(plots.stacked_atoms(estimate, names=names), folder, "stack", title=title)
    save(plots.shares(estimate, names=names), folder, "shares", title=title)
    save(plots.trajectories(estimate, truth=truth, names=names), folder, "trajectories", title=title)
    save(plots.differences(change, truth=true_change, names=names), folder, "knockout", title=title)
    save(plots.eigenvalues(certificate, names=names), folder, "spectrum", title=title)


def save_activations(folder: Path, estimate: Estimate, names: Names, title: str) -> None:
    """Write stack, shares and trajectories of layers, or bars for a single estimate."""
    names = (without_math(names[0]), without_math(names[1]))
    if estimate.pid.mi_joint.shape == ():
        save(plots.bars(estimate, names=names), folder, "bars", title=title)
        return
    save(plots.stacked_atoms(estimate, names=names), folder, "stack", title=title)
    save(plots.shares(estimate, names=names), folder, "shares", title=title)
    save(plots.trajectories(estimate, names=names), folder, "trajectories", title=title)


@mpl.rc_context(plots.STYLE)
def overview(truth: PID, estimate: Estimate, true_change: PID, change: Comparison, names: Names) -> Figure:
    """Draw true and estimated composition of the information, each atom, and the effect of the knockout."""
    figure = Figure(figsize=(12.4, 10), layout="constrained")
    above, middle, below = np.ravel(np.array(figure.subfigures(3, 1, hspace=0.04)))
    left, right = above.subplots(1, 2, sharey=True)
    plots.stacked_atoms(truth, names=names, title="truth of the planted layers", ax=left)
    left.get_legend().remove()
    plots.stacked_atoms(estimate, names=names, title=f"estimate, n = {estimate.n}", ax=right)
    plots.trajectories(estimate, truth=truth, names=names, fields=ATOMS, axes=middle.subplots(1, 4))
    plots.differences(change, truth=true_change, names=names, fields=CHANGES, axes=below.subplots(1, 4))
    middle.suptitle("the atoms by layer", fontsize=11)
    below.suptitle("effect of the knockout: knockout - base", fontsize=11)
    return figure

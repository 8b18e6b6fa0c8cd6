"""Figures of layers: those of the planted network beside its truth, and those of activations."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from pid import plots
from pid.estimators import Comparison, Estimate
from pid.measures import PID, Certificate
from pid.plots.style import Names

ATOMS = ("unique_x", "unique_y", "redundancy", "synergy")
CHANGES = ("unique_x", "unique_y", "synergy", "mi_joint")


def of_planted(
    folder: Path,
    truth: PID,
    estimate: Estimate,
    true_change: PID,
    change: Comparison,
    proof: Certificate,
    names: Names,
) -> None:
    """`planted.png` with everything, and one file for each picture."""
    _save(folder, "planted", overview(truth, estimate, true_change, change, names))
    _save(folder, "stack", plots.stacked_atoms(estimate, names=names))
    _save(folder, "shares", plots.shares(estimate, names=names))
    _save(folder, "trajectories", plots.trajectories(estimate, truth=truth, names=names))
    _save(folder, "knockout", plots.differences(change, truth=true_change, names=names))
    _save(folder, "spectrum", plots.eigenvalues(proof, names=names))


def of_activations(folder: Path, estimate: Estimate, names: Names) -> None:
    """Stack, shares and trajectories of layers, or bars where there are none."""
    if estimate.pid.mi_joint.shape == ():
        _save(folder, "bars", plots.bars(estimate, names=names))
        return
    _save(folder, "stack", plots.stacked_atoms(estimate, names=names))
    _save(folder, "shares", plots.shares(estimate, names=names))
    _save(folder, "trajectories", plots.trajectories(estimate, names=names))


@mpl.rc_context(plots.STYLE)
def overview(truth: PID, estimate: Estimate, true_change: PID, change: Comparison, names: Names) -> Figure:
    """What the information consists of, in truth and estimated; each atom; what the knockout changes."""
    figure = Figure(figsize=(12.4, 10), layout="constrained")
    above, middle, below = np.ravel(np.array(figure.subfigures(3, 1, hspace=0.04)))
    of_truth, of_estimate = above.subplots(1, 2, sharey=True)
    plots.stacked_atoms(truth, names=names, title="the planted layers in truth", ax=of_truth)
    of_truth.get_legend().remove()
    plots.stacked_atoms(estimate, names=names, title=f"as estimated, n = {estimate.n}", ax=of_estimate)
    plots.trajectories(estimate, truth=truth, names=names, fields=ATOMS, axes=middle.subplots(1, 4))
    plots.differences(change, truth=true_change, names=names, fields=CHANGES, axes=below.subplots(1, 4))
    middle.suptitle("the atoms by layer", fontsize=11)
    below.suptitle("what the knockout changes: knockout - base", fontsize=11)
    return figure


def _save(folder: Path, name: str, figure: Figure) -> None:
    figure.savefig(folder / f"{name}.png", dpi=150)

"""Figures: atoms of every task by layer, effect of the knockout, and the answer's probability by window.

L layers, n samples
"""

from collections.abc import Iterator, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.pid_llava.stages.capturing import Capture, probability_changes
from experiments.pid_llava.stages.decomposing import Decomposition, knockout_change
from pid import plots

NAMES = ("vision", "language")
FIELDS = ("unique_x", "unique_y", "redundancy", "synergy", "mi_joint")
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def draw(
    decompositions: Sequence[Decomposition], captures: Sequence[Capture]
) -> Iterator[tuple[str, Figure]]:
    """Yield MODEL-CONFIG-atoms, -shares and -knockout of every model and configuration, and windows."""
    for model, config in dict.fromkeys((one.model, one.config) for one in decompositions):
        tasks = [one for one in decompositions if (one.model, one.config) == (model, config)]
        yield f"{model}-{config}-atoms", trajectories(tasks)
        yield f"{model}-{config}-shares", shares(tasks)
        if any(one.knockout is not None for one in tasks):
            yield f"{model}-{config}-knockout", knockouts(tasks)
    if with_windows := [one for one in captures if len(one.used) and _windows(one)]:
        yield "windows", windows(with_windows)


@mpl.rc_context(plots.STYLE)
def trajectories(decompositions: Sequence[Decomposition]) -> Figure:
    """Draw a row for each task: estimate with interval, plug-in dashed, the null as a gray band."""
    figure, rows = _rows(
        len(decompositions), f"{decompositions[0].model}, {decompositions[0].config} configuration"
    )
    for one, row in zip(decompositions, rows, strict=True):
        row.suptitle(f"{one.task}, n = {one.estimate.n}", fontsize=11)
        panels = np.ravel(row.subplots(1, len(FIELDS)))
        plots.trajectories(one.estimate, layers=one.layers, names=NAMES, fields=FIELDS, axes=panels)
    return figure


@mpl.rc_context(plots.STYLE)
def knockouts(decompositions: Sequence[Decomposition]) -> Figure:
    """Draw a row for each task: knockout - baseline with paired intervals."""
    decompositions = [one for one in decompositions if one.knockout is not None]
    figure, rows = _rows(
        len(decompositions),
        f"knockout - baseline: {decompositions[0].model}, {decompositions[0].config} configuration",
    )
    for one, row in zip(decompositions, rows, strict=True):
        row.suptitle(one.task, fontsize=11)
        panels = np.ravel(row.subplots(1, len(FIELDS)))
        if (difference := knockout_change(one)) is not None:
            plots.differences(difference, layers=one.layers, names=NAMES, fields=FIELDS, axes=panels)
    return figure


@mpl.rc_context(plots.STYLE)
def shares(decompositions: Sequence[Decomposition]) -> Figure:
    """Draw a panel for each task: the atoms in percent of the total."""
    columns = min(2, len(decompositions))
    rows = -(-len(decompositions) // columns)
    figure = Figure(figsize=(6.8 * columns, 3.2 * rows), layout="constrained")
    panels = np.ravel(np.array(figure.subplots(rows, columns, squeeze=False)))
    for panel in panels[len(decompositions) :]:
        panel.remove()
    for one, panel in zip(decompositions, panels, strict=False):
        plots.shares(one.estimate, layers=one.layers, names=NAMES, title=one.task, ax=panel)
    figure.suptitle(f"{decompositions[0].model}, {decompositions[0].config} configuration")
    return figure


@mpl.rc_context(plots.STYLE)
def windows(captures: Sequence[Capture]) -> Figure:
    """Draw a panel for each model: change of the answer's probability by window, mean ± 2 standard errors."""
    models = list(dict.fromkeys(one.model for one in captures))
    figure = Figure(figsize=(5.2 * len(models) + 1.6, 3.8), layout="constrained")
    grid = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for panel, model in zip(grid, models, strict=True):
        panel.axhline(0, color="0.5", linewidth=1)
        tasks = [one for one in captures if one.model == model]
        for one, color in zip(tasks, (COLORS * len(tasks))[: len(tasks)], strict=True):
            values = _windows(one)
            means = np.array([part.mean() for part in values])
            errors = np.array([2 * part.std() / len(part) ** 0.5 for part in values])
            at = np.arange(len(means))
            panel.plot(at, means, color=color, label=one.task)
            panel.fill_between(at, means - errors, means + errors, color=color, alpha=0.2, linewidth=0)
        panel.set(title=model, xlabel="middle layer of the window that is cut")
    grid[0].set_ylabel("change of the answer's probability, %")
    grid[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _windows(capture: Capture) -> list[np.ndarray]:
    """Return the changes under each window, by its middle layer."""
    changes = probability_changes(capture)
    middles = sorted(int(name.split()[1]) for name in changes if name.startswith("window "))
    return [changes[f"window {middle}"] for middle in middles]


def _rows(count: int, title: str) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(15.5, 3.1 * count + 0.4), layout="constrained")
    figure.suptitle(title)
    return figure, np.ravel(np.array(figure.subfigures(count, 1, hspace=0.03)))

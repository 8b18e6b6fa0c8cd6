"""Figures: atoms of every task by layer, effect of the knockout, and the answer's probability by window.

L layers, n samples
"""

from collections.abc import Iterator, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.pid_llava.stages.capturing import Capture, probability_changes
from experiments.pid_llava.stages.decomposing import Decomposition, knockout_change
from experiments.pid_llava.stages.knockout_conditions import WINDOW
from experiments.run.figures import series_style, without_math
from pid import plots

NAMES = ("vision", "language")
FIELDS = ("unique_x", "unique_y", "redundancy", "synergy", "mi_joint")


def draw(
    decompositions: Sequence[Decomposition], captures: Sequence[Capture]
) -> Iterator[tuple[str, Figure]]:
    """Yield MODEL-CONFIG-atoms, -shares and -knockout of every model and configuration, and windows."""
    for model, config in dict.fromkeys((d.model, d.config) for d in decompositions):
        tasks = [d for d in decompositions if (d.model, d.config) == (model, config)]
        yield f"{model}-{config}-atoms", trajectories(tasks)
        yield f"{model}-{config}-shares", shares(tasks)
        if any(task.knockout is not None for task in tasks):
            yield f"{model}-{config}-knockout", knockouts(tasks)
    if with_windows := [capture for capture in captures if len(capture.used) and _windows(capture)]:
        yield "windows", windows(with_windows)


@mpl.rc_context(plots.STYLE)
def trajectories(decompositions: Sequence[Decomposition]) -> Figure:
    """Draw a row for each task: estimate with interval, plug-in estimate (dashed), null distribution (gray band)."""
    figure, rows = _rows(
        len(decompositions),
        without_math(f"{decompositions[0].model}, {decompositions[0].config} configuration"),
    )
    for decomposition, row in zip(decompositions, rows, strict=True):
        estimate, layers = decomposition.estimate, decomposition.layers
        row.suptitle(f"{without_math(decomposition.task)}, n = {estimate.n}", fontsize=11)
        panels = np.ravel(row.subplots(1, len(FIELDS)))
        plots.trajectories(estimate, layers=layers, names=NAMES, fields=FIELDS, axes=panels)
    return figure


@mpl.rc_context(plots.STYLE)
def knockouts(decompositions: Sequence[Decomposition]) -> Figure:
    """Draw a row for each task: knockout - baseline with paired intervals."""
    decompositions = [d for d in decompositions if d.knockout is not None]
    figure, rows = _rows(
        len(decompositions),
        f"knockout - baseline: {without_math(decompositions[0].model)}, {decompositions[0].config} configuration",
    )
    for decomposition, row in zip(decompositions, rows, strict=True):
        row.suptitle(without_math(decomposition.task), fontsize=11)
        panels = np.ravel(row.subplots(1, len(FIELDS)))
        if (difference := knockout_change(decomposition)) is not None:
            layers = decomposition.layers
            plots.differences(difference, layers=layers, names=NAMES, fields=FIELDS, axes=panels)
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
    for d, panel in zip(decompositions, panels, strict=False):
        plots.shares(d.estimate, layers=d.layers, names=NAMES, title=without_math(d.task), ax=panel)
    figure.suptitle(f"{without_math(decompositions[0].model)}, {decompositions[0].config} configuration")
    return figure


@mpl.rc_context(plots.STYLE)
def windows(captures: Sequence[Capture]) -> Figure:
    """Draw a panel for each model: change of the answer's probability by window, mean ± 2 standard errors."""
    models = list(dict.fromkeys(capture.model for capture in captures))
    figure = Figure(figsize=(5.2 * len(models) + 1.6, 3.8), layout="constrained")
    grid = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for panel, model in zip(grid, models, strict=True):
        panel.axhline(0, color="0.5", linewidth=1)
        tasks = [capture for capture in captures if capture.model == model]
        for index, capture in enumerate(tasks):
            style = series_style(index)
            changes = _windows(capture)
            means = np.array([change.mean() for change in changes])
            errors = np.array([2 * _standard_error(change) for change in changes])
            layers = np.arange(len(means))
            panel.plot(layers, means, label=capture.task, **style)
            low, high = means - errors, means + errors
            panel.fill_between(layers, low, high, color=style["color"], alpha=0.2, linewidth=0)
        panel.set(title=without_math(model), xlabel="middle layer of the knockout window")
    grid[0].set_ylabel("change of the answer's probability, %")
    legend = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    grid[-1].legend(title="mean, band: ± 2 standard\nerrors over questions", **legend)
    return figure


def _windows(capture: Capture) -> list[np.ndarray]:
    """Return the changes under each window, by its middle layer."""
    changes = probability_changes(capture)
    middles = sorted(int(name.removeprefix(WINDOW)) for name in changes if name.startswith(WINDOW))
    return [changes[f"{WINDOW}{middle}"] for middle in middles]


def _standard_error(values: np.ndarray) -> float:
    """Return the standard error of a mean, NaN for one value."""
    return float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else np.nan


def _rows(count: int, title: str) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(15.5, 3.1 * count + 0.4), layout="constrained")
    figure.suptitle(title)
    return figure, np.ravel(np.array(figure.subfigures(count, 1, hspace=0.03)))

"""Figures: the atoms of every task by layer, what the knockout changes, and the answer's probability by window.

L layers, n samples
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.pid_llava.capturing import Captured, changes
from experiments.pid_llava.decomposing import Decomposed, change
from pid import plots

NAMES = ("vision", "language")
FIELDS = ("unique_x", "unique_y", "redundancy", "synergy", "mi_joint")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def draw(folder: Path, found: Sequence[Decomposed], captured: Sequence[Captured]) -> None:
    """`MODEL-CONFIG-atoms.png`, `-shares.png` and `-knockout.png`, and `windows.png`, into the folder."""
    for model, config in dict.fromkeys((one.model, one.config) for one in found):
        of = [one for one in found if (one.model, one.config) == (model, config)]
        _save(folder, f"{model}-{config}-atoms", trajectories(of))
        _save(folder, f"{model}-{config}-shares", shares(of))
        if any(one.knocked is not None for one in of):
            _save(folder, f"{model}-{config}-knockout", knockouts(of))
    if windowed := [one for one in captured if len(one.used) and _windows(one)]:
        _save(folder, "windows", windows(windowed))


@mpl.rc_context(plots.STYLE)
def trajectories(found: Sequence[Decomposed]) -> Figure:
    """A row for each task: estimate with interval, plug-in dashed, the null as a grey band."""
    figure, rows = _rows(len(found), f"{found[0].model}, {found[0].config} configuration")
    for one, row in zip(found, rows, strict=True):
        row.suptitle(f"{one.task}, n = {one.shown.n}", fontsize=11)
        panels = np.ravel(row.subplots(1, len(FIELDS)))
        plots.trajectories(one.shown, layers=one.layers, names=NAMES, fields=FIELDS, axes=panels)
    return figure


@mpl.rc_context(plots.STYLE)
def knockouts(found: Sequence[Decomposed]) -> Figure:
    """A row for each task: knockout - baseline with paired intervals."""
    found = [one for one in found if one.knocked is not None]
    figure, rows = _rows(
        len(found), f"knockout - baseline: {found[0].model}, {found[0].config} configuration"
    )
    for one, row in zip(found, rows, strict=True):
        row.suptitle(one.task, fontsize=11)
        panels = np.ravel(row.subplots(1, len(FIELDS)))
        if (difference := change(one)) is not None:
            plots.differences(difference, layers=one.layers, names=NAMES, fields=FIELDS, axes=panels)
    return figure


@mpl.rc_context(plots.STYLE)
def shares(found: Sequence[Decomposed]) -> Figure:
    """A panel for each task: the atoms in percent of the total."""
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(6.8 * columns, 3.2 * rows), layout="constrained")
    panels = np.ravel(np.array(figure.subplots(rows, columns, squeeze=False)))
    for panel in panels[len(found) :]:
        panel.remove()
    for one, panel in zip(found, panels, strict=False):
        plots.shares(one.shown, layers=one.layers, names=NAMES, title=one.task, ax=panel)
    figure.suptitle(f"{found[0].model}, {found[0].config} configuration")
    return figure


@mpl.rc_context(plots.STYLE)
def windows(captured: Sequence[Captured]) -> Figure:
    """A panel for each model: change of the answer's probability by the window's middle, mean ± 2 standard errors."""
    models = list(dict.fromkeys(one.model for one in captured))
    figure = Figure(figsize=(5.2 * len(models) + 1.6, 3.8), layout="constrained")
    grid = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for panel, model in zip(grid, models, strict=True):
        panel.axhline(0, color="0.5", linewidth=1)
        of = [one for one in captured if one.model == model]
        for one, colour in zip(of, (COLOURS * len(of))[: len(of)], strict=True):
            values = _windows(one)
            means = np.array([part.mean() for part in values])
            errors = np.array([2 * part.std() / len(part) ** 0.5 for part in values])
            at = np.arange(len(means))
            panel.plot(at, means, color=colour, label=one.task)
            panel.fill_between(at, means - errors, means + errors, color=colour, alpha=0.2, linewidth=0)
        panel.set(title=model, xlabel="middle layer of the window that is cut")
    grid[0].set_ylabel("change of the answer's probability, %")
    grid[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _windows(captured: Captured) -> list[np.ndarray]:
    """Changes under each window, by its middle layer."""
    found = changes(captured)
    middles = sorted(int(name.split()[1]) for name in found if name.startswith("window "))
    return [found[f"window {middle}"] for middle in middles]


def _rows(count: int, title: str) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(15.5, 3.1 * count + 0.4), layout="constrained")
    figure.suptitle(title)
    return figure, np.ravel(np.array(figure.subfigures(count, 1, hspace=0.03)))


def _save(folder: Path, name: str, figure: Figure) -> None:
    figure.savefig(folder / f"{name}.png", dpi=110)

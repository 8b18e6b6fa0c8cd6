"""Figures of section fit: R² by layer, and trajectories."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from experiments.run.figures import NamedFigure, draw_band, seeds_label, series_style
from experiments.stability.figures import panels
from experiments.stability.measurements.trajectory_fit import (
    MODES,
    NETWORK,
    Explained,
    FitResult,
)
from experiments.stability.trajectories.linear_maps import (
    DIFFUSION,
    IDENTITY,
    LINEAR,
    LINEAR_PER_LAYER,
    MEAN,
)
from experiments.stability.trajectories.shared_simulator import PARALLEL_PDE, PDE, ROLLED_PDE

SERIES = (PDE, PARALLEL_PDE, ROLLED_PDE, LINEAR_PER_LAYER, LINEAR, DIFFUSION, IDENTITY, MEAN, NETWORK)
QUANTITIES = (
    ("r2_by_layer", 0, "R² of the states"),
    ("increment_r2_by_layer", 0, "R² of the increments"),
    ("r2_by_layer", 1, "R² of the states"),
)
LOWEST = -0.5  # smallest R² of the axes


def draw_fit(result: FitResult) -> Iterator[NamedFigure]:
    """Draw R² by layer and trajectories, of the small Transformers and of SmolLM2 if it was fitted."""
    about = {"fit": ("trained Transformers, recall task (synthetic)", result.task)}
    if result.language is not None:
        title = f"SmolLM2 on {result.language.components} principal components"
        about["fit_smollm2"] = (title, result.language.explained)
    for name, (title, explained) in about.items():
        yield name, _draw_r2(explained, title)
        yield f"{name}_trajectories", _draw_trajectories(explained, title)


def _draw_r2(explained: Explained, title: str) -> Figure:
    figure, axes = panels(len(QUANTITIES), columns=3, size=3.6)
    layers = np.arange(1, explained.r2_by_layer.shape[-1] + 1)
    names = [name for name in SERIES if name in explained.models]
    for axis, (quantity, mode, label) in zip(axes, QUANTITIES, strict=True):
        for index, name in enumerate(names):
            values = explained.at(quantity, name, mode)
            values = np.where(np.isfinite(values), np.maximum(values, 10 * LOWEST), np.nan)
            draw_band(axis, layers, values, singles=False, **series_style(index))
        axis.axhline(0, color="#888888", linewidth=0.6)
        axis.set(title=f"{label}, {MODES[mode]}", xlabel="layer", ylim=(LOWEST, 1.05))
    lines = [axes[0].lines[i] for i in range(len(names))]
    figure.legend(lines, names, loc="outside lower center", ncols=3)
    figure.suptitle(f"{title}; held-out rows; {seeds_label(explained.seeds)}")
    return figure


def _draw_trajectories(explained: Explained, title: str) -> Figure:
    figure, axes = panels(2, columns=2, size=3.8)
    states = np.arange(explained.norms.shape[-1])
    for index, (label, norms) in enumerate(zip(("network", ROLLED_PDE), explained.norms, strict=True)):
        norms = np.where(np.isfinite(norms), norms, np.nan)
        draw_band(axes[0], states, norms, singles=False, label=label, **series_style(index))
    axes[0].set(title="root mean square of the state", xlabel="layer", ylim=(0, None))
    axes[0].legend(frameon=False)
    for token in range(explained.plane.shape[1]):
        color = series_style(token)["color"]
        for points, line in zip(explained.plane[:, token], ("-", "--"), strict=True):
            points = np.where(np.isfinite(points), points, np.nan)
            axes[1].plot(*points.T, line, color=color, marker=".", markersize=4, linewidth=1)
        axes[1].plot(*explained.plane[0, token, 0], "o", color=color, markersize=6)
    axes[1].set(title="tokens on two principal components", xlabel="first", ylabel="second")
    lines = "solid lines: the network; dashed: the PDE rolled out; dots: the input"
    figure.suptitle(f"{title}\nright: {len(explained.plane[0])} tokens, {lines}")
    return figure

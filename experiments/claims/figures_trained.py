"""Figures of the sections with training: gradients, landscape, artifact."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from experiments.claims.figures import panels
from experiments.claims.measurements import published_perplexity
from experiments.claims.measurements.gradients import GradientsResult
from experiments.claims.measurements.landscape import LandscapeResult
from experiments.claims.measurements.padding_artifact import ArtifactResult
from experiments.run.figures import COLORS


def draw_gradients(result: GradientsResult) -> Figure:
    """Draw the gradient norm by layer at the start, and norm and loss by step. Bands are the range over seeds."""
    figure, (layers, norms, losses) = panels(3)
    depth, steps = (np.arange(1, x.shape[-1] + 1) for x in (result.layers, result.norms))
    for i, name in enumerate(result.variants):
        _band(layers, depth, result.layers[i], COLORS[i], label=name, marker="o")
        _band(norms, steps, _smooth(result.norms[i]), COLORS[i])
        _band(losses, steps, _smooth(result.losses[i]), COLORS[i])
    layers.set(title="at the start", xlabel="encoder layer", ylabel="norm of the gradient", ylim=(0, None))
    layers.set_xticks(depth)
    norms.set(title="in training, all weights", xlabel="step", ylabel="norm of the gradient", ylim=(0, None))
    losses.set(title="training loss (synthetic recall)", xlabel="step", ylabel="nats", ylim=(0, None))
    layers.legend(loc="lower left")
    return figure


def _band(panel: Any, x: Any, values: Float[np.ndarray, "n x"], color: Any, **line: Any) -> None:
    """Draw mean and range over the first axis."""
    panel.plot(x, values.mean(0), color=color, **line)
    panel.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.2, linewidth=0)


def _smooth(values: Float[np.ndarray, "seed step"], window: int = 10) -> Float[np.ndarray, "seed step"]:
    """Return the running mean over the last `window` steps; fewer at the start."""
    total = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    steps = np.arange(1, values.shape[1] + 1)
    first = np.maximum(steps - window, 0)
    return (total[:, steps] - total[:, first]) / (steps - first)


def draw_landscape(result: LandscapeResult) -> Figure:
    """Draw two-dimensional slices, one-dimensional slices, and top eigenvalues."""
    figure = Figure(figsize=(4 * len(result.variants), 7), layout="constrained")
    above, below = np.ravel(np.array(figure.subfigures(2, 1, height_ratios=(1, 0.85)), object))
    planes = above.subplots(1, len(result.variants), squeeze=False, sharey=True)[0]
    levels = np.linspace(result.plane.min(), np.quantile(result.plane, 0.95), 15)
    for panel, name, plane in zip(planes, result.variants, result.plane, strict=True):
        grid = (result.offsets, result.offsets, plane)
        image = panel.contourf(*grid, levels=levels, cmap="viridis", extend="max")
        panel.contour(*grid, levels=levels[::2], colors="w", linewidths=0.4, alpha=0.6)
        panel.plot(0, 0, "w+")
        panel.set(title=name, xlabel="first direction (filter norms)", aspect="equal")
        panel.locator_params(nbins=5)
        if panel is planes[-1]:
            above.colorbar(image, ax=planes, label="loss (nats)", format="%.1f")
    planes[0].set_ylabel("second direction (filter norms)")
    slices, eigenvalues = below.subplots(1, 2)
    for i, name in enumerate(result.variants):
        curves = result.slices[i].reshape(-1, len(result.offsets))
        _band(slices, result.offsets, curves, COLORS[i], label=name)
        for time in (0, 1):  # at the start, after training
            x = np.full(len(result.seeds), time + 0.12 * (i - 1))
            eigenvalues.plot(x, result.largest[i, :, time], "o", color=COLORS[i], alpha=0.8)
    title = "along single directions: mean and range over seeds and directions"
    slices.set(title=title, xlabel="offset (filter norms)", ylabel="loss (nats)")
    slices.legend()
    eigenvalues.set(title="top eigenvalue of the Hessian, a dot per seed", ylabel="nats", ylim=(0, None))
    eigenvalues.set_xticks([0, 1], ["at the start", "after training"])
    eigenvalues.set_xlim(-0.5, 1.5)
    return figure


def draw_artifact(result: ArtifactResult) -> Figure:
    """Draw perplexity against length by model and path, nats by kind of target, and the published perplexities."""
    figure, (lengths, kinds, paper) = panels(3)
    _perplexities(lengths, result)
    middle = len(result.lengths) // 2
    bars = (("baseline, 0 at PAD", 0, 1, 0), ("the same, PAD kept", 0, 0, 9), ("PDE, PAD kept", 1, 0, 1))
    for x, values in enumerate((result.pad, result.real)):
        for i, (name, model, path, color) in enumerate(bars):
            height = values[model, path, middle].mean()
            bar = kinds.bar(x + 0.27 * (i - 1), height, 0.25, color=COLORS[color], label=name)
            label_type = "edge" if height < 1 else "center"
            kinds.bar_label(bar, fmt="%.2f", fontsize=7, label_type=label_type)
    kinds.axhline(result.uniform, color="0.5", linestyle="--", linewidth=1)
    kinds.annotate("ln V", (1.45, result.uniform), va="bottom", ha="right", color="0.4", fontsize=8)
    kinds.set_xticks([0, 1], ["PAD targets", "real targets"])
    title = f"cross-entropy by target, L = {result.lengths[middle]}"
    kinds.set(title=title, ylabel="nats", ylim=(0, 1.4 * result.uniform))
    handles, labels = kinds.get_legend_handles_labels()
    kinds.legend(handles[:3], labels[:3], loc="upper center", ncols=3, columnspacing=0.8, fontsize=7)
    _published(paper, result.published)
    return figure


def _perplexities(panel: Any, result: ArtifactResult) -> None:
    series = (
        ("baseline, fast path (0 at PAD)", (0, 1), COLORS[0], "o-", 4.0),
        ("PDE, its weights, 0 at PAD", (1, 1), COLORS[1], "s--", 1.2),
        ("baseline, same weights, PAD kept", (0, 0), COLORS[9], "o-", 4.0),
        ("PDE, PAD kept", (1, 0), COLORS[1], "s-", 1.2),
    )
    for name, (model, path), color, mark, width in series:
        values = np.exp(result.counted[model, path])
        panel.loglog(result.lengths, values.mean(-1), mark, color=color, linewidth=width, label=name)
    panel.set(title="synthetic text, PAD counted", xlabel="padded to L tokens", ylabel="perplexity")
    panel.set_xticks(result.lengths, [str(x) for x in result.lengths])
    panel.set_xticks([], minor=True)
    panel.legend(loc="center right")


def _published(panel: Any, paper: published_perplexity.PublishedResult) -> None:
    line = paper.nats_per_line.mean()
    panel.loglog(
        published_perplexity.LENGTHS,
        published_perplexity.STANDARD,
        "o",
        color=COLORS[0],
        label="published, standard",
    )
    panel.loglog(
        published_perplexity.LENGTHS, paper.predicted, "--", color=COLORS[0], label="if a PAD costs ln V"
    )
    panel.loglog(
        published_perplexity.LENGTHS, published_perplexity.PDE, "s", color=COLORS[1], label="published, PDE"
    )
    label = f"exp({line:.0f} nats / L): PAD is free"
    panel.loglog(
        published_perplexity.LENGTHS,
        np.exp(line / published_perplexity.LENGTHS),
        "--",
        color=COLORS[1],
        label=label,
    )
    panel.set(title="the paper's Figure 11", xlabel="padded to L tokens", ylabel="perplexity")
    panel.set_xticks(published_perplexity.LENGTHS, [str(x) for x in published_perplexity.LENGTHS])
    panel.set_xticks([], minor=True)
    panel.legend(loc="center right")

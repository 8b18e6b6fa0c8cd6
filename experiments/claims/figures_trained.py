"""Figures of the sections with training: gradients, landscape, artifact."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.claims.figures import panels
from experiments.claims.measurements import published_perplexity
from experiments.claims.measurements.gradients import GradientsResult
from experiments.claims.measurements.landscape import LandscapeResult
from experiments.claims.measurements.padding_artifact import ArtifactResult
from experiments.run.figures import COLORS, draw_band, seeds_label, series_style, smooth

WINDOW = 11  # steps of the centered mean


def draw_gradients(result: GradientsResult) -> Figure:
    """Draw the gradient norm by layer at the start, and norm and loss by step. Bands are the range over seeds."""
    figure, (layers, norms, losses) = panels(3)
    depth, steps = (np.arange(1, x.shape[-1] + 1) for x in (result.layers, result.norms))
    for i, name in enumerate(result.variants):
        draw_band(layers, depth, result.layers[i], label=name, marker="o", **series_style(i))
        draw_band(norms, steps, smooth(result.norms[i], WINDOW), **series_style(i))
        draw_band(losses, steps, smooth(result.losses[i], WINDOW), **series_style(i))
    smoothing = f"centered mean of {WINDOW} steps"
    layers.set(title="at the start", xlabel="encoder layer", ylabel="norm of the gradient", ylim=(0, None))
    layers.set_xticks(depth)
    norms.set(title=f"all weights, {smoothing}", xlabel="step", ylabel="norm of the gradient")
    norms.set(ylim=(0, None))
    losses.set(title=f"training loss, {smoothing}", xlabel="step", ylabel="loss (nats)", ylim=(0, None))
    figure.legend(loc="outside lower center", ncols=len(result.variants))
    figure.suptitle(f"synthetic recall; {seeds_label(result.seeds, singles=True)}")
    return figure


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
        draw_band(slices, result.offsets, curves, singles=False, label=name, **series_style(i))
        for time in (0, 1):  # at the start, after training
            x = np.full(len(result.seeds), time + 0.12 * (i - 1))
            eigenvalues.plot(x, result.largest[i, :, time], "o", color=COLORS[i], alpha=0.6)
            ends, mean = (x[0] - 0.04, x[0] + 0.04), result.largest[i, :, time].mean()
            eigenvalues.plot(ends, (mean, mean), color=COLORS[i])
    figure.suptitle(
        f"synthetic recall; seeds {' '.join(map(str, result.seeds))}; planes: seed {result.seeds[0]}"
    )
    title = "along single directions: mean and range over seeds and directions"
    slices.set(title=title, xlabel="offset (filter norms)", ylabel="loss (nats)")
    slices.legend()
    eigenvalues.set(title="top eigenvalue of the Hessian, a dot per seed, line: mean")
    eigenvalues.set(ylabel="curvature (nats)", ylim=(0, None))
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
            by_seed = values[model, path, middle]
            height = by_seed.mean()
            bar = kinds.bar(x + 0.27 * (i - 1), height, 0.25, color=COLORS[color], label=name)
            _whisker(kinds, x + 0.27 * (i - 1), by_seed)
            label_type = "edge" if height < 1 else "center"
            kinds.bar_label(
                bar, fmt="%.2f", fontsize=7, label_type=label_type, padding=5 if height < 1 else 0
            )
    kinds.axhline(result.uniform, color="0.5", linestyle="--", linewidth=1)
    kinds.annotate("ln V", (1.45, result.uniform), va="bottom", ha="right", color="0.4", fontsize=8)
    kinds.set_xticks([0, 1], ["PAD targets", "real targets"])
    title = f"cross-entropy by target, L = {result.lengths[middle]}"
    kinds.set(title=title, ylabel="nats", ylim=(0, 1.4 * result.uniform))
    handles, labels = kinds.get_legend_handles_labels()
    kinds.legend(handles[:3], labels[:3], loc="upper center", ncols=3, columnspacing=0.8, fontsize=7)
    _published(paper, result.published)
    figure.suptitle(f"generated text; {seeds_label(result.seeds)}")
    return figure


def _whisker(panel: Any, x: float, values: np.ndarray) -> None:
    """Draw the range over seeds at the end of a bar."""
    if len(values) > 1:
        panel.plot((x, x), (values.min(), values.max()), color="k", linewidth=1)


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
        if values.shape[-1] > 1:
            panel.fill_between(
                result.lengths, values.min(-1), values.max(-1), color=color, alpha=0.2, linewidth=0
            )
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

"""Figures of a run: learning curves with baseline accuracies, and learned stencils.

Legend: D channels, L layers, K taps.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from experiments import run
from experiments.lra import learned_stencils
from experiments.lra.config import Config
from experiments.run.figures import COLORS, STYLE, save


def draw_curves(folder: run.Run, results: Sequence[run.Result], baselines: dict[str, float]) -> Path:
    """Write `curves.png`: training loss and validation accuracy for every variant and seed.

    Each horizontal line is the accuracy of a predictor without a model.
    """
    colors = {v: COLORS[i % 10] for i, v in enumerate(dict.fromkeys(r.variant for r in results))}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4), layout="constrained")
        loss, accuracy = figure.subplots(1, 2)
        labeled: set[str] = set()
        for result in results:
            records = folder.records(result.variant, result.seed)
            label = None if result.variant in labeled else result.variant
            labeled.add(result.variant)
            _draw_curve(loss, accuracy, records, result, label=label, color=colors[result.variant])
        for baseline, value in baselines.items():
            accuracy.axhline(100 * value, color="0.55", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
            name = f" {baseline.replace('_', ' ')}\n {100 * value:.1f}"
            end = (1, 100 * value)
            accuracy.annotate(
                name, end, xycoords=("axes fraction", "data"), va="center", color="0.4", fontsize=8
            )
        loss.set(title="training loss (nats)", xlabel="step", xlim=(0, None))
        accuracy.set(
            title="validation accuracy (%), diamond: test after the last step",
            xlabel="step",
            ylim=(0, None),
            xlim=(0, None),
        )
        loss.legend(*accuracy.get_legend_handles_labels(), frameon=False, loc="upper right")
        return save(figure, folder.folder, "curves")


def _draw_curve(
    loss: Any,
    accuracy: Any,
    records: list[dict[str, Any]],
    result: run.Result,
    *,
    label: str | None,
    color: Any,
) -> None:
    steps, losses = [r["step"] for r in records], [r["loss"] for r in records]
    loss.plot(steps, losses, color=color, alpha=0.2, linewidth=0.8)
    loss.plot(steps, _smooth(losses), color=color, linewidth=1.5)
    evaluations = [(r["step"], 100 * r["val_accuracy"]) for r in records if "val_accuracy" in r]
    accuracy.plot(*zip(*evaluations, strict=True), color=color, linewidth=1.5, marker=".", label=label)
    accuracy.plot(
        result.steps, 100 * result.test_accuracy, marker="D", color=color, markersize=5, clip_on=False
    )


def _smooth(values: Sequence[float]) -> Float[np.ndarray, " n"]:
    """Return the exponential moving average over about a twentieth of the values, without its initial bias."""
    decay = 1 - 1 / max(len(values) / 20, 1)
    total, weight, means = 0.0, 0.0, []
    for value in values:
        total, weight = decay * total + value, decay * weight + 1
        means.append(total / weight)
    return np.array(means)


def draw_stencils(folder: run.Run, results: Sequence[run.Result], config: Config) -> Path | None:
    """Write `stencils.png`: one panel per place and layer; return None without a diffusion layer.

    A panel shows one curve per neighbor, over the channels sorted by weight. If the stencil is symmetric, both sides
    share a curve. A dashed line is the initial weight. The weights are those of the best validation accuracy.
    """
    stencils = [
        (r, place, t)
        for r in results
        for place, t in learned_stencils.load(folder, r.variant, r.seed).items()
    ]
    if not stencils:
        return None
    rows = list(dict.fromkeys((r.variant, place) for r, place, _ in stencils))
    columns = max(t.shape[0] for _, _, t in stencils)
    initial = learned_stencils.of_layer(config.stencil.build(config.model.width))[0]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(3.2 * columns, 5.5), 2.8 * len(rows) + 0.4), layout="constrained")
        axes = figure.subplots(len(rows), columns, squeeze=False, sharey=True)
        for ax in axes.flat:
            ax.set_visible(False)
        for result, place, learned in stencils:
            for layer, channels in enumerate(learned):
                ax = axes[rows.index((result.variant, place)), layer]
                title = place if len(learned) == 1 else f"{place}, layer {layer + 1}"
                _draw_stencil(ax, channels, initial, title, first=result.seed == results[0].seed)
        for ax in axes[:, 0]:
            ax.set_ylabel("weight of a neighbor")
        entries = dict(
            zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True)
        )  # one entry per label
        figure.legend(entries.values(), entries.keys(), frameon=False, loc="outside right upper")
        figure.suptitle(f"Learned stencils ({config.stencil.kind})", fontsize=11)
        return save(figure, folder.folder, "stencils")


def _draw_stencil(
    ax: Any,
    channels: Float[np.ndarray, "D K"],
    initial: Float[np.ndarray, "D K"],
    title: str,
    *,
    first: bool,
) -> None:
    ax.set_visible(True)
    radius = channels.shape[1] // 2
    symmetric = np.allclose(channels, channels[:, ::-1])
    offsets = range(1, radius + 1) if symmetric else [k for k in range(-radius, radius + 1) if k]
    nonzero = [k for k in offsets if np.any(channels[:, radius + k]) or np.any(initial[:, radius + k])]
    for i, k in enumerate(nonzero):
        label = (f"tokens j ± {k}" if symmetric else f"token j {k:+d}") if first else None
        weights = np.sort(channels[:, radius + k])
        ax.plot(
            weights, color=COLORS[i % 10], marker="." if len(weights) > 1 else "D", linewidth=1, label=label
        )
        start = float(initial[:, radius + k].mean())
        dashed = f"initial {start:.3f}" if first else None
        ax.axhline(start, color=COLORS[i % 10], linestyle="--", linewidth=1, alpha=0.7, label=dashed)
    ax.set(title=title, xlabel="channels, sorted" if len(channels) > 1 else "all channels")

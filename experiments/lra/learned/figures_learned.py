"""Figures of what a run has learned: stencils of the diffusion layers, coefficients of the evolved attention.

Legend: D channels, L layers, K taps, N heads, n steps.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import run
from experiments.lra.config import Config
from experiments.lra.learned import learned_coefficients, learned_stencils
from experiments.run.figures import COLORS, STYLE, draw_band, save, seeds_label, series_style


def draw_stencils(folder: run.Run, results: Sequence[run.Result], config: Config, title: str) -> Path | None:
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
        figure = Figure(figsize=(max(3.2 * columns, 5.5), 2.8 * len(rows) + 0.9), layout="constrained")
        axes = figure.subplots(len(rows), columns, squeeze=False, sharey=True)
        for ax in axes.flat:
            ax.set_visible(False)
        for row, (variant, place) in enumerate(rows):
            learned = [t for r, p, t in stencils if (r.variant, p) == (variant, place)]
            for layer in range(learned[0].shape[0]):
                panel_title = place if len(learned[0]) == 1 else f"{place}, layer {layer + 1}"
                _draw_stencil(axes[row, layer], np.stack([t[layer] for t in learned]), initial, panel_title)
        for ax in axes[:, 0]:
            ax.set_ylabel("weight of a neighbor (share of 1)")
        _add_legend(figure, axes[0, 0], [result.seed for result, _, _ in stencils])
        figure.suptitle(f"Learned stencils ({config.stencil.kind}), best on validation", fontsize=11)
        return save(figure, folder.folder, "stencils", title=title)


def _draw_stencil(
    ax: Any, channels: Float[np.ndarray, "seed D K"], initial: Float[np.ndarray, "D K"], title: str
) -> None:
    ax.set_visible(True)
    radius = channels.shape[-1] // 2
    symmetric = np.allclose(channels, channels[..., ::-1])
    offsets = range(1, radius + 1) if symmetric else [k for k in range(-radius, radius + 1) if k]
    nonzero = [k for k in offsets if np.any(channels[..., radius + k]) or np.any(initial[:, radius + k])]
    for i, k in enumerate(nonzero):
        label = f"tokens j ± {k}" if symmetric else f"token j {k:+d}"
        weights = np.sort(channels[..., radius + k], axis=1)
        positions = np.arange(weights.shape[1])
        marker = "." if weights.shape[1] > 1 else "D"
        draw_band(ax, positions, weights, label=label, marker=marker, linewidth=1, **series_style(i))
        start = float(initial[:, radius + k].mean())
        style: dict[str, Any] = {
            "color": COLORS[i % len(COLORS)],
            "linestyle": "--",
            "linewidth": 1,
            "alpha": 0.7,
        }
        ax.axhline(start, label=f"initial {start:.3f}", **style)
    ax.set(title=title, xlabel="channels, sorted" if channels.shape[1] > 1 else "all channels")


def draw_coefficients(
    folder: run.Run, results: Sequence[run.Result], config: Config, title: str
) -> Path | None:
    """Write `coefficients.png`: the coefficients of the evolved attention by layer, step and head.

    Return None without an evolved attention. The dashed line is the initial value. The coefficients are those of the
    weights with the best validation accuracy.
    """
    loaded = [
        (r, values) for r in results if (values := learned_coefficients.load(folder, r.variant, r.seed))
    ]
    if not loaded:
        return None
    variants = list(dict.fromkeys(r.variant for r, _ in loaded))
    names = list(dict.fromkeys(name for _, values in loaded for name in values))
    initial = config.attention.initial_pde().coefficients()
    with mpl.rc_context(STYLE):
        size = (max(4.6 * len(names), 6), 3 * len(variants) + 1.2)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(variants), len(names), squeeze=False)
        for row, variant in zip(axes, variants, strict=True):
            for panel, name in zip(row, names, strict=True):
                arrays = [
                    learned_coefficients.by_layer(v[name])
                    for r, v in loaded
                    if r.variant == variant and name in v
                ]
                _draw_coefficient(panel, np.stack(arrays), float(np.mean(initial[name])))
                unit = learned_coefficients.unit_of(config.attention.kind, name)
                panel.set(title=f"{variant}, {name} began at {float(np.mean(initial[name])):g}")
                panel.set_ylabel(f"{name} ({unit})")
        _add_legend(figure, axes[0, 0], [result.seed for result, _ in loaded])
        figure.suptitle("Learned coefficients of the evolved attention, best on validation", fontsize=11)
        return save(figure, folder.folder, "coefficients", title=title)


def _draw_coefficient(panel: Any, values: Float[np.ndarray, "seed L n N"], initial: float) -> None:
    """Draw one point per head at every layer and step: the mean over seeds, with their range as a bar."""
    seeds, layers, steps, heads = values.shape
    places = np.arange(layers * steps)
    for head in range(heads):
        points = values[..., head].reshape(seeds, -1)
        x = places + 0.6 * ((head + 0.5) / heads - 0.5)
        mean = points.mean(axis=0)
        ends = np.stack([mean - points.min(axis=0), points.max(axis=0) - mean])
        style: dict[str, Any] = {
            "fmt": "o",
            "markersize": 4,
            "capsize": 2,
            "color": COLORS[head % len(COLORS)],
        }
        label = f"head {head + 1}" if heads > 1 else "all heads"
        panel.errorbar(x, mean, yerr=ends if seeds > 1 else None, label=label, **style)
    panel.axhline(initial, color="0.4", linestyle="--", linewidth=1, label="initial value")
    labels = [f"{i // steps + 1}.{i % steps + 1}" if steps > 1 else str(i + 1) for i in places]
    panel.set_xticks(places, labels)
    panel.set_xlabel("layer.step" if steps > 1 else "layer" if layers > 1 else "all layers")


def _add_legend(figure: Figure, panel: Axes, seeds: Sequence[int]) -> None:
    """Draw the legend of a panel below the figure, with one entry per label."""
    entries = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(
        entries.values(),
        entries.keys(),
        frameon=False,
        loc="outside lower center",
        ncols=4,
        title=seeds_label(list(dict.fromkeys(seeds))),
    )

"""Figures of a task: differences by place and layer, learned smoothing by depth, gain spectra, measures at the sites.

D channels, K taps, L blocks, W frequencies
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.lra.learned.learned_stencils import Taps
from experiments.placement.layer_kinds import ALL_PLACES, BOUND, DIFFUSIONS, KINDS, weight_sum
from experiments.placement.report import Line, smoothing
from experiments.placement.variant_families import Variant
from experiments.run.figures import STYLE, NamedFigure, series_style
from pdeformer import diagnostics

FREQUENCIES = np.linspace(0, np.pi, 65)
"""Radians per token."""
Stencils = Mapping[tuple[Variant, int], Taps]
"""(variant, seed) -> taps of its layer."""
Sites = Mapping[tuple[str, int], Mapping[str, Sequence[Mapping[str, Any]]]]
"""(variant, seed) -> {weights: measures at every site}."""


def figures_of_task(lines: Sequence[Line], stencils: Stencils, sites: Sites) -> Iterator[NamedFigure]:
    """Yield the figures of a task, one after another."""
    with mpl.rc_context(STYLE):
        yield "differences", draw_differences(lines)
        learned = {key: taps for key, taps in stencils.items() if key[0].kind not in ("heat", "canon", "")}
        if learned:
            yield "smoothing", draw_smoothing(learned)
        if stencils:
            yield "spectra", draw_spectra(stencils)
        if any(sites.values()):
            yield "sites", draw_sites(sites)


def draw_differences(lines: Sequence[Line]) -> Figure:
    """Draw the differences from the baseline as a map of places and layers; a dot marks an interval without 0."""
    variants = [line for line in lines if line.kind]
    places = [place for place in ALL_PLACES if any(line.place == place for line in variants)]
    columns = list(dict.fromkeys((line.kind, line.alpha) for line in variants))
    grid = np.full((len(places), len(columns)), np.nan)
    marks = np.zeros(grid.shape, int)
    for line in variants:
        index = places.index(line.place), columns.index((line.kind, line.alpha))
        grid[index], marks[index] = 100 * line.best_difference.value, line.best_difference.sign
    figure = Figure(
        figsize=(2.6 + 0.85 * max(len(columns), 3), 1.6 + 0.42 * len(places)), layout="constrained"
    )
    ax = figure.subplots()
    limit = max(float(np.nanmax(np.abs(grid), initial=0)), 1.0)
    image = ax.imshow(grid, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    labels = {(line.kind, line.alpha): f"{line.kind}\n{smoothing(line)}".strip() for line in variants}
    ax.set_xticks(range(len(columns)), [labels[c] for c in columns], rotation=45, ha="right", fontsize=8)
    ax.set_yticks(range(len(places)), places)
    for (i, j), value in np.ndenumerate(grid):
        if np.isfinite(value):
            style: dict[str, Any] = {"fontweight": "bold"} if marks[i, j] else {}
            color = "white" if abs(value) > 0.6 * limit else "black"
            ax.text(j, i, f"{value:+.1f}", ha="center", va="center", fontsize=8, color=color, **style)
    figure.colorbar(image, ax=ax, label="points")
    text = "test accuracy minus that of the baseline, in points\nbest on validation; bold: the 95 % interval excludes 0"
    figure.suptitle(text, fontsize=9)
    return figure


def draw_smoothing(stencils: Stencils) -> Figure:
    """Draw the learned smoothing of every block: mean over channels and seeds, and the range over channels."""
    kinds = list(dict.fromkeys(variant.kind for variant, _ in stencils))
    figure = Figure(figsize=(max(4.2 * len(kinds), 6), 3.8), layout="constrained")
    axes = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    for ax, kind in zip(axes, kinds, strict=True):
        own = list(dict.fromkeys(variant for variant, _ in stencils if variant.kind == kind))
        for index, variant in enumerate(own):
            taps = np.stack([t[variant.place] for (v, _), t in stencils.items() if v == variant])
            values = np.asarray(weight_sum(taps))  # (seeds, L, D)
            blocks = np.arange(1, values.shape[1] + 1) + 0.04 * (index - len(own) / 2)
            mean = values.mean(axis=(0, 2))
            ends = np.stack([mean - values.min(axis=(0, 2)), values.max(axis=(0, 2)) - mean])
            label = variant.name.removeprefix(f"{kind}").lstrip("@-")
            style = series_style(index)
            ax.errorbar(blocks, mean, yerr=ends, marker="o", markersize=4, capsize=2, label=label, **style)
        ax.axhline(
            float(KINDS[kind].default or 0), color="0.4", linewidth=1, linestyle="--", label="default start"
        )
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if kind in DIFFUSIONS:
            ax.axhline(BOUND, color="0.4", linewidth=1, linestyle=":", label="stability bound")
        ax.set(
            title=kind,
            xlabel="block (1 also stands for the embedding)",
            ylabel="weight of the neighbors of one side",
        )
        ax.legend(frameon=False, fontsize=7)
    figure.suptitle("mean over channels and seeds, bars: range over channels", fontsize=9)
    return figure


def draw_spectra(stencils: Stencils) -> Figure:
    """Draw the gain |G(ω)| of the learned stencils, its mean over channels, blocks and seeds; a panel for each kind."""
    kinds = list(dict.fromkeys(variant.kind for variant, _ in stencils))
    figure = Figure(figsize=(max(3.6 * len(kinds), 6), 3.6), layout="constrained")
    axes = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    for ax, kind in zip(axes, kinds, strict=True):
        for index, variant in enumerate(dict.fromkeys(v for v, _ in stencils if v.kind == kind)):
            gains = [gain_of(taps, variant.place) for (v, _), taps in stencils.items() if v == variant]
            stacked = np.stack(gains).reshape(-1, len(FREQUENCIES))
            label = variant.name.removeprefix(f"{kind}").lstrip("@-")
            style = series_style(index)
            ax.plot(FREQUENCIES / np.pi, stacked.mean(axis=0), label=label, **style)
            low, high = np.quantile(stacked, (0.1, 0.9), axis=0)
            ax.fill_between(FREQUENCIES / np.pi, low, high, color=style["color"], alpha=0.08, linewidth=0)
        ax.axhline(1, color="0.6", linewidth=0.8)
        ax.set(title=kind, xlabel="frequency ω / π", ylim=(0, None))
        ax.legend(frameon=False, fontsize=7)
    axes[0].set_ylabel("gain |G(ω)|")
    figure.suptitle("mean over channels, blocks and seeds, with the range of the middle 80 %", fontsize=9)
    return figure


def gain_of(taps: Taps, place: str) -> np.ndarray:
    """Return the gain (L, D, W) of the stencils of a place."""
    return np.asarray(diagnostics.gain_spectrum(taps[place], FREQUENCIES))


def draw_sites(sites: Sites) -> Figure:
    """Draw the measures at every site of the baseline, before and after training, and of the variants after it."""
    names = (
        ("roughness", "roughness ρ(u)"),
        ("energy", "Dirichlet energy per token"),
        ("commutator", "commutator with attention"),
        ("frozen_commutator", "the same, frozen weights"),
        ("double_mixing", "double-mixing score"),
        ("share_of_bound", "change / perturbation bound"),
    )
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    curves = [
        (f"{v}, initial" if w == "initial" else v, rows)
        for (v, _), own in sites.items()
        for w, rows in own.items()
    ]
    labels = list(dict.fromkeys(label for label, _ in curves))
    for ax, (name, title) in zip(axes, names, strict=True):
        for index, label in enumerate(labels):
            rows = [r for own, r in curves if own == label and any(name in site for site in r)]
            if not rows:
                continue
            points = [site for site in rows[0] if name in site]
            values = [
                [np.nan if site[name] is None else site[name] for site in r if name in site] for r in rows
            ]
            style = series_style(index) | (
                {"linewidth": 2.2} if label.startswith("baseline") else {"linewidth": 0.8}
            )
            ax.plot(range(len(points)), np.mean(values, axis=0), marker=".", label=label, **style)
            ax.set_xticks(range(len(points)), [_short(site) for site in points], rotation=90, fontsize=7)
        ax.set_title(title)
        ax.set_ylim(0, None)
    handles, names_of = axes[0].get_legend_handles_labels()
    figure.legend(handles, names_of, frameon=False, loc="outside lower center", ncols=5, fontsize=7)
    return figure


def _short(site: Mapping[str, Any]) -> str:
    return f"{site['site']} {site['block'] or ''}".strip()

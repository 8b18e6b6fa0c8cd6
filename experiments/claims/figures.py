"""Figures of the sections without training (decay, entropy, instability), and the style of all figures."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from experiments.claims.measurements.decay import DecayResult
from experiments.claims.measurements.entropy import EntropyResult
from experiments.claims.measurements.instability import InstabilityResult
from experiments.run.figures import COLORS, STYLE


def style() -> Any:
    """Return a context manager that sets the style of every figure."""
    return mpl.rc_context({**STYLE, "legend.frameon": False, "legend.fontsize": 8})


def panels(count: int, *, width: float = 4.4, height: float = 3.6) -> tuple[Figure, Sequence[Any]]:
    """Return a figure with `count` panels side by side; sizes are those of one panel, in inches."""
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, figure.subplots(1, count)


def draw_decay(result: DecayResult) -> Figure:
    """Draw rows against distance, their log-log slope, and peaks against steps."""
    figure, (rows, slopes, peaks) = panels(3)
    distance = np.arange(1, result.rows.shape[1])
    blues = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(result.rows)))
    for n, color, row, slope in zip((0, *result.steps), blues, result.rows, result.log_log, strict=True):
        rows.semilogy(distance, row[1:], color=color, label=f"n = {n}")
        slopes.plot(distance, slope[1:], color=color)
    rate = result.rates[-1]
    slopes.plot(distance, -rate * distance, "k:", label=f"-γr, γ = {rate}")
    slopes.axhline(-2, color="0.6", linestyle="--", linewidth=1, label="a power law r⁻²")
    last = min(len(distance), round(2 * result.steps[-1] * rate))
    rows.set(
        title=f"a row e^(-γr) after n steps, γ = {rate}",
        xlabel="distance r (tokens)",
        ylabel="attention weight",
        xlim=(0, last),
        ylim=(row[last - 1] / 10, 3),
    )
    slopes.set(
        title="d ln A / d ln r: a power law would be flat",
        xlabel="distance r (tokens)",
        ylabel="log-log slope",
    )
    slopes.set(xlim=(0, last), ylim=(-rate * last, 5))
    for values, name, color in (
        (result.delta_peak, "delta", COLORS[0]),
        (result.row_peak, f"row e^(-{rate} r)", COLORS[1]),
    ):
        peaks.loglog(result.peaks, values, "o-", color=color, label=name)
    steps = np.array(result.peaks, float)
    peaks.loglog(steps, result.delta_peak[-1] * (steps / steps[-1]) ** -0.5, "k:", label="slope -½", zorder=0)
    peaks.set(title="peak against pseudo-time", xlabel="steps n", ylabel="largest weight")
    for panel in (rows, slopes, peaks):
        panel.legend()
    return figure


def draw_entropy(result: EntropyResult) -> Figure:
    """Draw the entropy of rows against pseudo-time."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    steps = np.array(result.steps, float)
    for i, (name, bits) in enumerate(result.bits.items()):
        panel.plot(steps, bits, "o-", color=COLORS[i], label=name)
    panel.axhline(result.uniform, color="0.5", linestyle="--", linewidth=1, label="uniform row, log₂ S")
    panel.axhline(
        result.advected, color=COLORS[1], linestyle=":", linewidth=1, label="stationary row of advection"
    )
    panel.set_xscale("symlog", linthresh=1)
    panel.set(
        title="entropy of attention rows",
        xlabel="steps of pseudo-time (official coefficients)",
        ylabel="bits",
    )
    panel.set(xlim=(0, None), ylim=(0, None))
    panel.legend(loc="lower right")
    return figure


def draw_instability(result: InstabilityResult) -> Figure:
    """Draw the map of predicted gains per step with the measurements as dots, and the gains at the official α."""
    figure, (map_, profiles) = panels(2, width=5.4, height=4)
    omega, alpha = np.linspace(0, np.pi, 200), np.linspace(0, 0.5, 120)
    surface = np.abs(1 + alpha[:, None] * (1 - np.exp(-1j * omega)) ** 2)
    # limits that are symmetric about 1 in the logarithm, so that white is a gain of 1
    color_map: dict[str, Any] = {"cmap": "RdBu_r", "norm": LogNorm(1 / surface.max(), surface.max())}
    image = map_.pcolormesh(omega / np.pi, alpha, surface, shading="gouraud", rasterized=True, **color_map)
    map_.contour(omega / np.pi, alpha, surface, levels=[1.0 + 1e-6], colors="k", linewidths=1)
    x, y = np.meshgrid(result.waves / np.pi, result.alphas)
    map_.scatter(x, y, c=result.measured, s=28, edgecolors="k", linewidths=0.4, clip_on=False, **color_map)
    map_.set(
        title="official causal step: |G|, and measured (dots)",
        xlabel="frequency ω (π per token)",
        ylabel="diffusivity α (tokens² per step)",
    )
    bar = figure.colorbar(image, ax=map_, label="gain per step (right of the line > 1)")
    bar.set_ticks([0.4, 0.6, 0.8, 1, 1.5, 2, 3], labels=["0.4", "0.6", "0.8", "1", "1.5", "2", "3"])
    bar.minorticks_off()
    for i, (name, gains) in enumerate(result.profiles.items()):
        frequency = np.linspace(0, 1, len(gains))
        profiles.semilogy(frequency, np.maximum(gains, 1e-4), color=COLORS[i], label=name)
    profiles.axhline(1, color="0.5", linestyle="--", linewidth=1)
    profiles.set(
        title=f"gain in {max(result.steps)} steps at α = .1",
        xlabel="frequency ω (π per token)",
        ylabel="gain of amplitude",
        ylim=(1e-2, None),
    )
    profiles.legend()
    return figure

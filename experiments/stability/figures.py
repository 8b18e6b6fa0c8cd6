"""Figures of the sections that train nothing: initialization and horizon."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.run.figures import NamedFigure, draw_band, seeds_label, series_style
from experiments.stability.measurements import horizon
from experiments.stability.measurements.horizon import HorizonResult
from experiments.stability.measurements.initialization import (
    EXPLODED,
    NORMS,
    ORDERS,
    RESIDUALS,
    InitializationResult,
)

PANELS = {
    "norm": ("root mean square of the state", "log"),
    "token_similarity": ("token similarity", "linear"),
    "effective_rank": ("effective rank", "linear"),
    "cosine_to_input": ("cosine to the input", "linear"),
    "cka_to_reference": ("CKA to the standard network", "linear"),
    "dirichlet_energy": ("Dirichlet energy", "log"),
    "attention_entropy": ("attention entropy (nats)", "linear"),
    "growth": ("growth of a perturbation", "log"),
}
"""Statistic -> label and scale of its panel."""


def panels(count: int, columns: int = 4, *, size: float = 2.9) -> tuple[Figure, list[Any]]:
    """Return a figure with `count` panels."""
    rows = -(-count // columns)
    figure = Figure(figsize=(size * columns * 1.15, size * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[count:]:
        axis.remove()
    return figure, list(axes[:count])


def draw_initialization(result: InitializationResult) -> Iterator[NamedFigure]:
    """Draw the statistics by layer for the smallest gain and for the largest, orders in time, and the map."""
    for name, gain in (("layers", result.gains[0]), ("layers_large_gain", result.gains[-1])):
        yield f"initialization_{name}", _draw_layers(result, gain)
    yield "initialization_orders", _draw_orders(result)
    yield "initialization_map", _draw_map(result)


def _curve(result: InitializationResult, name: str, setting: dict[str, Any]) -> np.ndarray:
    """Return a statistic by seed and layer; values that are not finite or have no logarithm leave gaps."""
    depth = result.growth.shape[-1]
    values = np.stack([result.values(name, layer, **setting) for layer in range(1, depth + 1)], axis=-1)
    if name == "growth":
        values = np.exp(np.minimum(values, 80.0))
    return np.where(values > 0, values, np.nan) if PANELS[name][1] == "log" else values


def _draw_curves(
    figure: Figure, axes: list[Any], result: InitializationResult, settings: dict[str, Any]
) -> None:
    layers = np.arange(1, result.growth.shape[-1] + 1)
    for axis, (name, (label, scale)) in zip(axes, PANELS.items(), strict=True):
        for index, setting in enumerate(settings.values()):
            draw_band(axis, layers, _curve(result, name, setting), singles=False, **series_style(index))
        axis.set(title=label, xlabel="layer", yscale=scale)
    lines = [axes[0].lines[i] for i in range(len(settings))]
    figure.legend(lines, list(settings), loc="outside lower center", ncols=min(len(settings), 6))


def _draw_layers(result: InitializationResult, gain: float) -> Figure:
    figure, axes = panels(len(PANELS))
    settings = {
        f"norm {norm}, residual {'on' if residual else 'off'}": dict(norm=norm, residual=residual, gain=gain)
        for norm in NORMS
        for residual in RESIDUALS
    }
    _draw_curves(figure, axes, result, settings)
    figure.suptitle(f"random weights of gain {gain:.3g}, D = 0; {seeds_label(result.seeds)}")
    return figure


def _draw_orders(result: InitializationResult) -> Figure:
    figure, axes = panels(len(PANELS))
    settings = {
        f"order {order} in time, D = {result.diffusivities[i]:g}": dict(
            norm="pre", order=order, diffusivity=i
        )
        for order in ORDERS
        for i in sorted({0, len(result.diffusivities) - 1})
    }
    _draw_curves(figure, axes, result, settings)
    figure.suptitle(
        f"pre-LN with residual connection, gain {result.gains[0]:.3g}; {seeds_label(result.seeds)}"
    )
    return figure


def _draw_map(result: InitializationResult) -> Figure:
    """Draw the growth of the norm over gain and depth, for every norm and residual; hatched: not finite."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    axes = figure.subplots(len(RESIDUALS), len(NORMS), sharex=True, sharey=True, squeeze=False)
    limit = np.log10(EXPLODED)
    image = None
    for row, residual in enumerate(RESIDUALS):
        for column, norm in enumerate(NORMS):
            axis = axes[row, column]
            values = np.array(
                [
                    [
                        np.log10(
                            np.median(result.norm_growth(depth, norm=norm, residual=residual, gain=gain))
                        )
                        for depth in result.depths
                    ]
                    for gain in result.gains
                ]
            )
            clipped = np.clip(values, -limit, limit)
            image = axis.imshow(
                clipped, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", origin="lower"
            )
            for (i, j), value in np.ndenumerate(values):
                text = "not finite" if not np.isfinite(value) else f"{np.round(value, 1) + 0.0:+.1f}"
                color = "white" if abs(clipped[i, j]) > 0.7 * limit else "black"
                axis.text(j, i, text, ha="center", va="center", fontsize=7, color=color)
            axis.set(title=f"norm {norm}, residual {'on' if residual else 'off'}")
            axis.set_xticks(range(len(result.depths)), list(map(str, result.depths)))
            axis.set_yticks(range(len(result.gains)), [f"{gain:.3g}" for gain in result.gains])
            if row == len(RESIDUALS) - 1:
                axis.set_xlabel("layers")
            if column == 0:
                axis.set_ylabel("gain")
    assert image is not None
    figure.colorbar(image, ax=axes, label="log10 of the growth of the norm", extend="both")
    figure.suptitle(f"median of {len(result.seeds)} seeds")
    return figure


def draw_horizon(result: HorizonResult) -> Iterator[NamedFigure]:
    """Draw growth, Lyapunov exponent and roughness by scheme."""
    figure, axes = panels(3, columns=3, size=3.4)
    schemes = np.arange(len(result.schemes))
    last, rough = len(result.gains) - 1, len(result.diffusivities) - 1
    quantities = (
        ("log10_growth", f"log10 growth of the norm, gain {result.gains[-1]:.3g}", dict(gain=last)),
        ("exponent", f"Lyapunov exponent per layer, gain {result.gains[0]:.3g}", dict(gain=0)),
        ("roughness", f"roughness, D = {result.diffusivities[-1]:g}", dict(gain=0, diffusivity=rough)),
    )
    for axis, (name, title, setting) in zip(axes, quantities, strict=True):
        for index, norm in enumerate(horizon.NORMS):
            values = np.stack([result.at(name, scheme, norm=norm, **setting) for scheme in result.schemes])
            values = np.where(np.isfinite(values), values, np.nan)
            style = series_style(index)
            for seed in values.T:
                axis.plot(schemes + 0.15 * (index - 0.5), seed, "o", color=style["color"], alpha=0.6, ms=4)
            axis.plot([], [], "o", color=style["color"], label=f"norm {norm}")
        axis.set(title=title)
        axis.set_xticks(schemes, result.schemes, rotation=40, ha="right", fontsize=7)
    axes[0].legend(frameon=False)
    figure.suptitle(f"{result.layers} units of time; one point per seed; gaps are states that are not finite")
    yield "horizon", figure

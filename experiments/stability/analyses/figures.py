"""Figures of the five analyses."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.run.figures import NamedFigure, draw_band, seeds_label, series_style
from experiments.stability.analyses.analysis_section import AnalysesResult
from experiments.stability.analyses.corners import NORMS, RESIDUALS, STAGES
from experiments.stability.figures import panels

CORNERS = [(norm, residual) for norm in NORMS for residual in RESIDUALS]


def draw_section(result: AnalysesResult) -> Iterator[NamedFigure]:
    """Draw one figure for each analysis."""
    flow, attention, growth = result.information, result.attention, result.perturbations
    classes = 1 / flow.classes
    yield (
        "analyses_information",
        _by_layer(
            result,
            {
                "probe for the own token": (flow.token_accuracy, 0, classes),
                "probe for the label": (flow.label_accuracy, 0, classes),
                "Gaussian bits about the own input": (flow.token_bits, 0, None),
            },
        ),
    )
    yield (
        "analyses_attention",
        _by_layer(
            result,
            {
                "cosine of consecutive layers": (attention.consecutive, 1, 0.98),
                "cosine to the uniform row": (attention.uniform, 1, 0.98),
                "cosine with keys in random order": (attention.permuted, 1, None),
                "entropy of the rows (nats)": (attention.entropy, 1, np.log(attention.keys)),
            },
        ),
    )
    yield "analyses_bottleneck", _bottleneck(result)
    yield (
        "analyses_gradients",
        _by_layer(result, {"gradient norm": (result.gradients.norms, 1, None)}, scale="log"),
    )
    panels_of_growth = {"log10 growth, tangent": (growth.tangent, 1, None)} | {
        f"log10 growth, ε = {size:g}": (growth.finite[..., i, :], 1, None)
        for i, size in enumerate(growth.sizes)
    }
    yield "analyses_perturbations", _by_layer(result, panels_of_growth)


def _by_layer(result: AnalysesResult, quantities: dict[str, Any], *, scale: str = "linear") -> Figure:
    """Draw quantities by layer, one row of panels at random weights and one after training, one line a corner."""
    figure, axes = panels(2 * len(quantities), columns=len(quantities))
    for stage, name in enumerate(STAGES):
        for column, (title, (values, first, level)) in enumerate(quantities.items()):
            axis = axes[stage * len(quantities) + column]
            layers = np.arange(first, first + values.shape[-1])
            for index, (norm, residual) in enumerate(CORNERS):
                curve = values[NORMS.index(norm), stage, RESIDUALS.index(residual)]
                curve = np.where(np.isfinite(curve) & ((curve > 0) | (scale == "linear")), curve, np.nan)
                draw_band(axis, layers, curve, singles=False, **series_style(index))
            if level is not None:
                axis.axhline(level, color="gray", linewidth=0.8, linestyle=":")
            axis.set(title=f"{title}\n{name}", xlabel="layer", yscale=scale)
    _legend(figure, axes[0])
    figure.suptitle(seeds_label(result.seeds))
    return figure


def _legend(figure: Figure, axis: Any) -> None:
    names = [f"norm {norm}, residual {'on' if residual else 'off'}" for norm, residual in CORNERS]
    figure.legend(axis.lines[: len(names)], names, loc="outside lower center", ncols=len(names))


def _bottleneck(result: AnalysesResult) -> Figure:
    """Draw the information plane of the standard network, and I(X;T) of the last layer over the steps."""
    plane = result.bottleneck
    count = len(plane.estimators)
    figure, axes = panels(2 * count, columns=count, size=3.2)
    standard = (NORMS.index("pre"), slice(None), RESIDUALS.index(1.0))
    for index, name in enumerate(plane.estimators):
        x, y = (bits[(index, *standard)].mean(axis=1) for bits in (plane.input_bits, plane.label_bits))
        for layer in range(x.shape[-1]):
            axes[index].plot(
                x[:, layer], y[:, layer], marker="o", ms=3, label=f"{layer}", **series_style(layer)
            )
        axes[index].set(title=f"standard network, {name}", xlabel="I(X;T) (bits)", ylabel="I(T;Y) (bits)")
        axis = axes[count + index]
        for number, (norm, residual) in enumerate(CORNERS):
            bits = plane.input_bits[index, NORMS.index(norm), :, RESIDUALS.index(residual), :, -1]
            draw_band(axis, np.asarray(plane.steps), bits.T, singles=False, **series_style(number))
        axis.set(title=f"last layer, {name}", xlabel="step", ylabel="I(X;T) (bits)", xscale="symlog")
    axes[0].legend(title="layer", fontsize=7, frameon=False)
    _legend(figure, axes[count])
    figure.suptitle(f"{seeds_label(result.seeds)}; points of the plane are means over seeds")
    return figure

"""Analysis 4, gradient flow: the norm of the gradient by layer, at random weights and after training.

The gradient of the mean cross-entropy of a batch with respect to all weights of a layer, in its Frobenius norm, before
clipping. Its values are those of the first update, at random weights, and of the last one.

    L layers, S seeds
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.run.report.claim_lines import Line, by_sign, interval, power_of_ten
from experiments.run.report.paired import mean_difference
from experiments.stability.analyses.corners import NORMS, RESIDUALS, STAGES, Networks


@dataclass(frozen=True)
class GradientFlow:
    """Norms by layer. Axes: norm, stage (random weights, trained), residual, seed, layer."""

    norms: Float[np.ndarray, "2 2 2 s l"]
    """Norm of the gradient with respect to the weights of the layer; NaN where it is not finite."""
    accuracy: Float[np.ndarray, "2 2 2 s"]
    """Accuracy on the test rows of the information measures."""

    def at(self, *, norm: str, stage: int, residual: float) -> Float[np.ndarray, "s l"]:
        """Return the norms of one corner, by seed and layer."""
        return self.norms[NORMS.index(norm), stage, RESIDUALS.index(residual)]

    def ratio(self, **corner) -> Float[np.ndarray, " s"]:
        """Return the norm of the first layer over that of the last, by seed; NaN if one is 0 or not finite."""
        norms = self.at(**corner)
        valid = np.all(np.isfinite(norms) & (norms > 0), axis=1)
        return np.where(valid, norms[:, 0] / np.where(valid, norms[:, -1], 1), np.nan)


def measure(networks: Networks) -> GradientFlow:
    """Read the gradients of the first and of the last update of every network."""
    return GradientFlow(networks.gradients, networks.states.accuracy[:, [0, -1]])


def verdict(result: GradientFlow) -> list[Line]:
    """Judge how the gradient reaches the first layer in the four corners."""
    lines = [_vanishing(result, stage, norm) for stage in range(len(STAGES)) for norm in reversed(NORMS)]
    return [*lines, _training(result)]


def _vanishing(result: GradientFlow, stage: int, norm: str) -> Line:
    ratios = {r: result.ratio(norm=norm, stage=stage, residual=r) for r in RESIDUALS}
    difference = mean_difference(np.log10(ratios[1.0]) - np.log10(ratios[0.0]))
    first = [power_of_ten(_positive(result.at(norm=norm, stage=stage, residual=r)[:, 0])) for r in RESIDUALS]
    return Line(
        f"without residual connection the gradient vanishes on its way to the first layer ({STAGES[stage]}, norm "
        f"{norm})",
        f"norm of the first layer over that of the last: with it {power_of_ten(ratios[1.0])}, without "
        f"{power_of_ten(ratios[0.0])}, log10 of their ratio {difference.format(digits=2)}; first layer {first[0]} and "
        f"{first[1]}",
        by_sign(difference, "supported here", "the opposite here")
        if np.isfinite(difference.value)
        else "gradients are 0 or not finite",
    )


def _positive(values: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
    """Return NaN in place of 0, which has no logarithm."""
    return np.where(values > 0, values, np.nan)


def _training(result: GradientFlow) -> Line:
    parts = [
        f"norm {norm}, residual {'on' if residual else 'off'} {interval(result.accuracy[NORMS.index(norm), 1, i])}"
        for norm in reversed(NORMS)
        for i, residual in enumerate(RESIDUALS)
    ]
    on, off = result.accuracy[:, 1, 0].mean(0), result.accuracy[:, 1, 1].mean(0)
    difference = mean_difference(on - off)
    return Line(
        "only the networks with residual connection learn",
        f"test accuracy after training: {'; '.join(parts)}; difference over norms {difference.format(digits=3)}",
        by_sign(difference, "supported here", "the opposite here"),
    )

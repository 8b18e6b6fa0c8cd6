"""Analysis 2, attention: are the distributions of consecutive layers alike, and more alike than trivial ones?

The first version of the paper reports a cosine above 0.98 between attention distributions. The cosine of two rows of
weights is high whenever both are near uniform, so it is compared with three baselines:

- the uniform row beside the row of a layer;
- the row of the next layer with its keys in random order, which has its entropy and nothing else of it;
- two unrelated rows, each uniform on the simplex, whose cosine is 1/2 on average over many keys.

    B batch, T tokens, N heads, L layers, S seeds
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.run.report.claim_lines import Line, by_sign, interval
from experiments.run.report.paired import mean_difference
from experiments.stability.analyses.corners import NORMS, RESIDUALS, STAGES, Networks

CLAIMED = 0.98
"""Cosine of the paper."""


@dataclass(frozen=True)
class AttentionRows:
    """Means over rows, heads and queries. Axes: norm, stage (random weights, trained), residual, seed, layer."""

    keys: int
    """Keys of a row."""
    entropy: Float[np.ndarray, "2 2 2 s l"]
    """Entropy of the rows, nats, at most log of `keys`; NaN where the state is not finite."""
    consecutive: Float[np.ndarray, "2 2 2 s m"]
    """Cosine of the rows of layers l and l + 1, of the same head and query."""
    uniform: Float[np.ndarray, "2 2 2 s l"]
    """Cosine of a row and the uniform row."""
    permuted: Float[np.ndarray, "2 2 2 s m"]
    """Cosine of a row of layer l and one of layer l + 1 with its keys in random order."""
    unrelated: Float[np.ndarray, "2 2 2 s"]
    """Cosine of two rows that are uniform on the simplex."""

    def at(
        self, name: str, *, norm: str = "pre", stage: int = 1, residual: float = 1.0
    ) -> Float[np.ndarray, "s ..."]:
        """Return a measure of one corner, by seed and layer."""
        return getattr(self, name)[NORMS.index(norm), stage, RESIDUALS.index(residual)]


def measure(networks: Networks) -> AttentionRows:
    """Compare the rows of the first and the last snapshot of every network."""
    weights = np.asarray(networks.states.attention[:, [0, -1]], np.float64)
    rng = np.random.default_rng(0)
    following = weights[..., 1:, :, :, :, :]
    order = rng.random(following.shape).argsort(-1)
    permuted = np.take_along_axis(following, order, axis=-1)
    unrelated = rng.exponential(size=(2, *weights[..., 0, :, :, :, :].shape))
    with np.errstate(invalid="ignore"):
        entropy = -np.sum(weights * np.log(np.where(weights > 0, weights, 1)), axis=-1)
    return AttentionRows(
        networks.size.tokens,
        _mean(entropy),
        _mean(cosine_of_rows(weights[..., :-1, :, :, :, :], following)),
        _mean(cosine_of_rows(weights, np.ones_like(weights))),
        _mean(cosine_of_rows(weights[..., :-1, :, :, :, :], permuted)),
        _mean(cosine_of_rows(*unrelated)),
    )


def cosine_of_rows(a: Float[np.ndarray, "*r s"], b: Float[np.ndarray, "*r s"]) -> Float[np.ndarray, "*r"]:
    """Return the cosine of each pair of rows."""
    return np.sum(a * b, axis=-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


def _mean(values: Float[np.ndarray, "*l b n t"]) -> Float[np.ndarray, "*l"]:
    """Return the mean over rows, heads and queries."""
    return values.mean(axis=(-3, -2, -1))


def verdict(result: AttentionRows) -> list[Line]:
    """Judge the claim at both stages, and whether the cosine says more than uniform rows do."""
    lines = [_cosine(result, stage, residual) for stage in range(len(STAGES)) for residual in RESIDUALS]
    return [*lines, *(_against_uniform(result, stage) for stage in range(len(STAGES))), _entropy(result)]


def _cosine(result: AttentionRows, stage: int, residual: float) -> Line:
    names = ("consecutive", "uniform", "permuted", "unrelated")
    values = {
        name: result.at(name, stage=stage, residual=residual).reshape(result.unrelated.shape[-1], -1).mean(1)
        for name in names
    }
    cosine = mean_difference(values["consecutive"])
    known = f"{interval(values['uniform'])}; with keys in random order {interval(values['permuted'])}"
    return Line(
        f"attention of consecutive layers has a cosine above {CLAIMED} ({STAGES[stage]}, pre-LN, residual "
        f"{'on' if residual else 'off'})",
        f"cosine {interval(values['consecutive'])}; uniform row beside a layer {known}; unrelated rows "
        f"{interval(values['unrelated'])}",
        _above_claim(cosine.low, cosine.high),
    )


def _above_claim(low: float, high: float) -> str:
    if np.isnan(low):
        return "one seed cannot tell"
    return (
        "supported here" if low > CLAIMED else "the opposite here" if high < CLAIMED else "too close to tell"
    )


def _against_uniform(result: AttentionRows, stage: int) -> Line:
    consecutive, uniform = (result.at(name, stage=stage) for name in ("consecutive", "uniform"))
    difference = mean_difference(
        np.round(consecutive.mean(1) - uniform.mean(1), 9)
    )  # without rounding errors
    return Line(
        f"the next layer predicts a row better than the uniform row does ({STAGES[stage]}, pre-LN, residual on)",
        f"difference of the cosines {difference.format(digits=3)}",
        by_sign(difference, "supported here", "the opposite here"),
    )


def _entropy(result: AttentionRows) -> Line:
    before, after = (result.at("entropy", stage=stage).mean(1) for stage in range(len(STAGES)))
    difference = mean_difference(after - before)
    return Line(
        "training sharpens the attention (pre-LN, residual on)",
        f"entropy over layers {interval(before)} nats at random weights, {interval(after)} after training, difference "
        f"{difference.format(digits=3)}; uniform rows {np.log(result.keys):.3g}",
        by_sign(difference, "the opposite here", "supported here"),
    )

"""Differences between two models on the same test examples, with intervals.

    S seeds, n examples, x_si = right(variant) - right(baseline) of example i with seed s, in {-1, 0, 1}, or in [-1, 1]
    if an example has several labels and `right` is the share of them

The difference is the mean of x. Its interval for one seed covers the choice of the test examples: the interval of
Agresti & Min for matched pairs, that is Wald's after 1/2 is added to each of the four counts of pairs. For shares it is
the normal interval of the mean of x.

With several seeds it covers the choice of seeds and of test examples. In the crossed model x_si = mean + seed s +
example i + rest, with mean squares MS of a two-way table, the half-width is

    h² = max(t² · MS_seeds, z² · MS_rest) / (S n) + z² · max(MS_examples - MS_rest, 0) / (S n),

with Student's t of S - 1 degrees of freedom. The first term is the t interval over seeds, which the second one widens
by the sampling of the examples (method of variance estimates recovery). E MS_seeds ≥ E MS_rest, so that seeds which
agree by chance do not make the interval narrower than that.

[Agresti & Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine 24,
2005. Zou & Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008]
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

LEVEL = 0.95
ROUNDING = 1e-6
"""Shares are float32: a smaller difference is none."""


class Difference(NamedTuple):
    """A difference with its interval; the ends are NaN if there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def sign(self) -> int:
        """1 or -1 if the interval is above or below 0, and 0 if it contains 0 or is missing."""
        return int(self.low > 0) - int(self.high < 0)

    def format(self, scale: float = 1.0, digits: int = 1) -> str:
        """Return "+0.8 [-0.4, +2.0]", or "+0.8 [-]" without an interval; all numbers are multiplied by `scale`."""
        value, low, high = (f"{scale * number:+.{digits}f}" for number in self)
        return f"{value} [-]" if math.isnan(self.low) else f"{value} [{low}, {high}]"


def compare_hits(
    variant: Sequence[Bool[np.ndarray, " n"] | Float[np.ndarray, " n"]],
    baseline: Sequence[Bool[np.ndarray, " n"] | Float[np.ndarray, " n"]],
    level: float = LEVEL,
) -> Difference:
    """Return the difference of two accuracies on the same examples.

    Args:
        variant: for every seed, which examples are right, or the share of the labels of each example that is.
        baseline: the same for the baseline, with the same seeds in the same order.
        level: level of the interval.

    Raises:
        ValueError: the two have other seeds or examples.
    """
    value, low, high = compare_scores(variant, baseline, level)
    return Difference(value, max(low, -1.0), min(high, 1.0))


def compare_scores(
    variant: Sequence[Float[np.ndarray, " n"]],
    baseline: Sequence[Float[np.ndarray, " n"]],
    level: float = LEVEL,
) -> Difference:
    """Return the mean difference of scores of any size on the same examples, such as nats per token of test blocks.

    Args:
        variant: for every seed, the score of each example.
        baseline: the same for the baseline, with the same seeds in the same order.
        level: level of the interval.

    Raises:
        ValueError: the two have other seeds or examples.
    """
    a, b = (np.array(scores, dtype=float) for scores in (variant, baseline))
    if a.shape != b.shape or a.ndim != 2 or not a.size:
        raise ValueError(
            f"a paired difference needs the same seeds and examples, got arrays {a.shape} and {b.shape}; "
            f"evaluate both models on the same test split."
        )
    x = a - b
    half = _half_of_one_seed if len(x) == 1 else _half_of_seeds
    value = float(x.mean())
    center, width = half(x, level)
    return Difference(value, center - width, center + width)


def _half_of_one_seed(x: Float[np.ndarray, "1 n"], level: float) -> tuple[float, float]:
    """Return center and half-width of the interval of Agresti & Min, or of the mean of shares."""
    if not np.isin(x, (-1, 0, 1)).all():
        deviation = x.std(ddof=1) if x.size > 1 else math.inf
        return float(x.mean()), float(stats.norm.ppf((1 + level) / 2)) * deviation / math.sqrt(x.size)
    n, wins, losses = x.size + 2, float((x > 0).sum()) + 0.5, float((x < 0).sum()) + 0.5
    variance = (wins + losses - (wins - losses) ** 2 / n) / n**2
    return (wins - losses) / n, float(stats.norm.ppf((1 + level) / 2)) * math.sqrt(variance)


def _half_of_seeds(x: Float[np.ndarray, "S n"], level: float) -> tuple[float, float]:
    """Return mean and half-width over seeds and examples."""
    seeds, n = x.shape
    rows, columns, mean = x.mean(axis=1), x.mean(axis=0), x.mean()
    rest = x - rows[:, None] - columns + mean
    ms_seeds, ms_examples = n * rows.var(ddof=1), seeds * columns.var(ddof=1) if n > 1 else 0.0
    ms_rest = (rest**2).sum() / max((seeds - 1) * (n - 1), 1)
    t, z = (float(d.ppf((1 + level) / 2)) for d in (stats.t(seeds - 1), stats.norm))
    squares = max(t**2 * ms_seeds, z**2 * ms_rest) + z**2 * max(ms_examples - ms_rest, 0.0)
    return float(mean), math.sqrt(squares / (seeds * n))


def sign_test(
    variant: Sequence[Bool[np.ndarray, " n"] | Float[np.ndarray, " n"]],
    baseline: Sequence[Bool[np.ndarray, " n"] | Float[np.ndarray, " n"]],
) -> float:
    """Return the two-sided p value of the exact sign test over test examples.

    The sign of an example is that of Σ_s right(variant) - right(baseline) over the seeds s. Under the hypothesis that
    both signs are equally likely, the number of positive signs is binomial with probability 1/2; examples without a
    difference do not count. The test holds for these seeds: it says nothing of other ones.

    Args:
        variant: for every seed, which examples are right, or the share of the labels of each example that is.
        baseline: the same for the baseline, with the same seeds in the same order.
    """
    difference = np.sum(np.array(variant, float) - np.array(baseline, float), axis=0)
    positive, negative = int(np.sum(difference > ROUNDING)), int(np.sum(difference < -ROUNDING))
    return float(stats.binomtest(positive, positive + negative).pvalue) if positive + negative else 1.0


def mean_difference(values: Sequence[float] | Float[np.ndarray, " n"], level: float = LEVEL) -> Difference:
    """Return the mean of paired differences with Student's t interval, which covers the choice of the pairs.

    One value has no interval.
    """
    values = np.asarray(values, dtype=float)
    value = float(values.mean())
    if values.size < 2:
        return Difference(value)
    half = float(stats.t(values.size - 1).ppf((1 + level) / 2)) * values.std(ddof=1) / math.sqrt(values.size)
    return Difference(value, value - float(half), value + float(half))


def mean_ratio(ratios: Sequence[float] | Float[np.ndarray, " n"], level: float = LEVEL) -> Difference:
    """Return the geometric mean of paired positive ratios, with the t interval of their logarithms."""
    logs = mean_difference(np.log(np.asarray(ratios, dtype=float)), level)
    return Difference(*(math.exp(number) for number in logs))

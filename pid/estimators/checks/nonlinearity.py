"""Flags about dependence that a Gaussian model cannot see.

n samples, m coordinates of the target, d coordinates of a source; information in bits
"""

import math
from typing import NamedTuple

import numpy as np

from pid.estimators.checks.independence import (
    MAX_PAIRS,
    MAX_SAMPLES,
    NO_NEIGHBORS,
    gaussianize_radius,
    interaction_test,
    linear_residual,
    neighbor_test,
    pair_test,
    reduced_sources,
    reduced_target,
    widths_of,
)
from pid.estimators.checks.neighbors import NeighborInformation, neighbor_information
from pid.features.normal_scores import normal_scores
from pid.interface.flags import Flag

MIN_SAMPLES = 50
"""Fewer samples are not tested."""
LEVEL = 2e-5
"""Nominal probability of a false flag: so small that errors of its law, at few samples, do not matter."""
SHARED_SCALE = 3.0
"""Standard errors by which squares of residual and source correlate, above which a shared scale is considered."""
ELLIPTICAL_SHARE = 0.1
"""Part of the evidence, in log p, that a shared scale may leave unexplained."""
SMALL_GAIN = (0.02, 0.05)
"""Information beyond the Gaussian one that is not worth a doubt: bits, and share of the Gaussian information."""
LARGE_GAIN = (0.1, 0.25)
"""Information beyond the Gaussian one that makes it useless: bits, and share of the Gaussian information."""
SAME_GAIN = 0.8
"""Part of the largest gain above which a single source is named instead of both."""
REMEDY = (
    "use gaussianize='flow', pid.discrete on binned values, or features that the target depends on linearly"
)


class NonlinearityTest(NamedTuple):
    """Result of the tests of a Gaussian copula of target and sources."""

    p_value: float
    """Probability of a statistic as extreme under a Gaussian copula, corrected for the number of tests."""

    largest: float
    """Largest correlation of a function of the target's residual with one of the sources, in standard errors."""

    shared_scale: bool
    """Whether a scale that all coordinates share explains the deviation, as in a multivariate t distribution."""


def check_gaussian_copula(
    target: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    effective_size: float | int | None = None,
    are_scores: bool = False,
) -> NonlinearityTest:
    """Test whether target and sources depend on each other as a Gaussian copula would.

    The residual of the normal scores of the target, after their linear prediction, must be independent of the
    sources. Tested are cosines of every pair of coordinates, squares and products of coordinates, and, if samples are
    independent and the sources have few coordinates, whether residuals of neighbors are alike.

    Args:
        target: samples (n, m); only the ranks of each column count.
        x: samples (n, d_x) of the first source.
        y: samples (n, d_y) of the second source.
        effective_size: number of independent samples that weigh as much, at most n; None for n.
        are_scores: whether the columns are normal scores already.

    Returns:
        NonlinearityTest, of at most 2000 evenly spaced samples. Variables with more than 12 columns are reduced to 12
        principal components in the tests of products.

    Example:
        >>> import numpy as np
        >>> x, y, noise = np.random.default_rng(0).normal(size=(3, 900, 1))
        >>> check_gaussian_copula(x + y + noise, np.exp(x), y).p_value > 0.01
        True
        >>> check_gaussian_copula(x * y + noise, x, y).p_value < 1e-6
        True
    """
    n = len(target)
    thinned = np.linspace(0, n - 1, min(n, MAX_SAMPLES)).astype(int)
    scores = [
        v
        if are_scores and v is not target and len(thinned) == n
        else normal_scores(np.asarray(v)[thinned], break_ties=v is target)
        for v in (target, x, y)
    ]
    sources, few = np.hstack(scores[1:]), reduced_sources(scores[1:])
    inflation = max(1.0, len(thinned) / (effective_size or n))
    pairs = pair_test(scores[0][:, : max(1, MAX_PAIRS // sources.shape[1])], sources, inflation=inflation)
    rest, ratio = linear_residual(reduced_target(scores[0]), few)
    interactions = interaction_test(rest, ratio, few, inflation=inflation)
    near = neighbor_test(rest, ratio, few, widths_of(scores[1:])) if inflation == 1 else NO_NEIGHBORS
    p_value = min(1.0, 3 * float(min(pairs.p_value, interactions.p_value, near.p_value)))
    shared = p_value < LEVEL and interactions.squares >= SHARED_SCALE
    if shared:  # an elliptical law is Gaussian once all rows have Gaussian lengths
        rest, few = gaussianize_radius(rest, few)
        left = min(
            pair_test(rest, few, inflation=inflation).p_value,
            interaction_test(rest, ratio, few, inflation=inflation).p_value,
        )
        shared = left > min(LEVEL, max(p_value, 1e-300) ** ELLIPTICAL_SHARE)
    largest = max(pairs.largest, interactions.largest, near.largest)
    return NonlinearityTest(p_value, largest, bool(shared))


def nonlinearity_flags(
    target: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    mi: tuple[float, float, float],
    effective_size: float | int | None = None,
    test: NonlinearityTest | None = None,
) -> list[Flag]:
    """Return flags about dependence that the Gaussian information does not contain.

    Args:
        target: samples (n, m), as the Gaussian model reads them; monotone maps of a column change nothing.
        x: samples (n, d_x) of the first source.
        y: samples (n, d_y) of the second source.
        mi: Gaussian I(M;X), I(M;Y), I(M;X,Y) in bits.
        effective_size: number of independent samples that weigh as much, at most n; None for n.
        test: result of `check_gaussian_copula` for these arguments, if it is there already.

    Returns:
        No flag for a Gaussian copula, except in about one data set of 1000. "heavy tails" (a doubt) where a scale that
        all coordinates share explains the deviation. Else "nonlinear dependence": "unusable" where nearest neighbors
        find much more than the Gaussian model, a doubt where they find more, a note where they find hardly more.

    Example:
        >>> import numpy as np
        >>> x, y, noise = np.random.default_rng(0).normal(size=(3, 900, 1))
        >>> nonlinearity_flags(x + y + noise, x, y, mi=(0.29, 0.29, 0.79))
        []
        >>> [flag] = nonlinearity_flags(x**2 + 0.3 * noise, x, y, mi=(0.0, 0.0, 0.0))
        >>> flag.weight, flag.kind
        ('unusable', 'nonlinear dependence')
    """
    if len(target) < MIN_SAMPLES:
        return []
    test = test or check_gaussian_copula(target, x, y, effective_size=effective_size)
    if test.p_value >= LEVEL:
        return []
    if test.shared_scale:
        return [_flag_of_heavy_tails(test)]
    neighbors = neighbor_information(target, x, y, mi=mi)
    return [_flag_of_nonlinearity(test, neighbors, mi)]


def _flag_of_heavy_tails(test: NonlinearityTest) -> Flag:
    return Flag(
        f"samples that are far out in one coordinate are so in all ({test.largest:.0f} standard errors): heavy tails "
        f"with a common scale, which carries information that a Gaussian model does not count and makes intervals too "
        f"narrow; use paired draws, Bootstrap(kind='paired'), or divide each sample by its scale.",
        "doubt",
        "heavy tails",
    )


def _flag_of_nonlinearity(
    test: NonlinearityTest, neighbors: NeighborInformation, mi: tuple[float, float, float]
) -> Flag:
    gains = [
        after - before if math.isfinite(before) else 0.0 for before, after in zip(mi, neighbors, strict=True)
    ]
    worst = next(i for i in range(3) if gains[i] >= SAME_GAIN * max(gains))
    gain, before = gains[worst], mi[worst]
    name = ("x", "y", "x and y together")[worst]
    sentence = (
        f"the target depends on {name} in a way that a Gaussian model cannot see ({test.largest:.0f} standard errors): "
        f"Gaussian {before:.2f} bits, nearest neighbors {neighbors[worst]:.2f} bits"
    )
    if gain >= LARGE_GAIN[0] and gain >= LARGE_GAIN[1] * before:
        return Flag(f"{sentence}; {REMEDY}.", "unusable", "nonlinear dependence")
    if gain >= SMALL_GAIN[0] and gain >= SMALL_GAIN[1] * before:
        return Flag(f"{sentence}; {REMEDY}.", "doubt", "nonlinear dependence")
    return Flag(f"{sentence}: hardly more.", "note", "nonlinear dependence")

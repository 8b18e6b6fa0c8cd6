"""Intervals of corrected values from their sampling distribution, and the null.

L layers, B draws; arrays hold the fields of a PID along their last axis, in bits
"""

import math
from statistics import NormalDist

import jax
import numpy as np

from pid.estimators import bootstrap
from pid.estimators.bias_correction import Corrected
from pid.estimators.config import BiasCorrection, Bootstrap, Shuffle
from pid.estimators.covariance_fit import CovarianceFit
from pid.estimators.results import Interval, pid_from_array, pid_to_array
from pid.measures import PID

ATOMS = np.array([PID._fields.index(name) for name in (*PID._fields[:4], "union")])


def basic_interval(value: np.ndarray, draws: np.ndarray, center: np.ndarray, level: float) -> Interval:
    """Compute [θ̂ - (q_hi - center), θ̂ - (q_lo - center)], q the quantiles of the draws along axis 0."""
    with np.errstate(invalid="ignore"):  # intervals of infinite information are NaN
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return Interval(pid_from_array(value - (high - center)), pid_from_array(value - (low - center)))


def interval_of(fit: CovarianceFit, corrected: Corrected, ci: Bootstrap | None) -> Interval | None:
    """Compute basic intervals, or normal ones for atoms with a normal approximation.

    Parametric ones are widened by the square root of the inflation. All are clipped at 0 and contain their value.
    """
    distribution = corrected.distribution
    if ci is None or distribution is None:
        return None
    low, high = map(
        pid_to_array, basic_interval(corrected.values, distribution.draws, distribution.center, ci.level)
    )
    if ci.kind == "parametric":
        scale = np.sqrt(fit.features.inflation)[:, None]
        low, high = (corrected.values + scale * (end - corrected.values) for end in (low, high))
    if (atoms := distribution.atoms) is not None:
        half = (
            NormalDist().inv_cdf((1 + ci.level) / 2)
            * atoms.deviation
            * np.sqrt(fit.features.inflation)[:, None]
        )
        index = np.ix_(atoms.layers, ATOMS)
        low[index] = (atoms.center - half)[atoms.layers]
        high[index] = (atoms.center + half)[atoms.layers]
    low, high = np.minimum(low, corrected.values), np.maximum(high, corrected.values)
    return Interval(*(pid_from_array(np.maximum(end, 0)) for end in (low, high)))


def null_interval(
    fit: CovarianceFit, correction: BiasCorrection, null: Shuffle | None, key: jax.Array
) -> Interval | None:
    """Compute order statistics of the corrected values with the target shuffled against both sources."""
    if null is None:
        return None
    values = correction.correct_values(fit, bootstrap.draw_shuffled(fit, key, null.draws))
    low, high = order_statistics(values, null.level)
    return Interval(pid_from_array(low), pid_from_array(high))


def order_statistics(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the k-th smallest and the k-th largest of B values along axis 0, k = ⌊(B + 1)(1 - level)/2⌋, at least 1.

    One further value of the same distribution is above the k-th largest with probability k / (B + 1), whatever the
    distribution, and below the k-th smallest with the same probability.
    """
    ordered = np.sort(values, axis=0)
    k = max(1, math.floor((len(values) + 1) * (1 - level) / 2 + 1e-9))
    return ordered[k - 1], ordered[len(values) - k]

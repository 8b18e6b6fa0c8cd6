"""Check of the number of samples: bias, infinite information, information that is lost in its bias.

What "wishart" and "bootstrap" leave of the bias of the atoms is measured by "thinned", which removes it.

m, x, y coordinates, n samples; information in bits
"""

import math

import jax
import numpy as np

from pid.estimators import wishart_thinning
from pid.estimators.bias_correction import (
    ParametricBootstrap,
    Uncorrected,
    Wishart,
    replace_unique,
    thinning_applies,
)
from pid.estimators.config import BiasCorrection
from pid.estimators.covariance_fit import CovarianceFit
from pid.estimators.results import Interval, pid_from_array, pid_to_array
from pid.interface.flags import Flag
from pid.measures import PID

MIN_BIAS = 0.1
"""A bias of the joint information above this, in bits, is worth a warning."""
SMALL_BIAS = 0.02
"""A bias above half the width of the interval by less than this, in bits, is not worth a warning."""
LARGE_SHARE = 0.5
"""A bias above this share of the corrected joint information makes the atoms doubtful."""

LARGE_LOSS = 0.5
"""A loss of rank scores above this, in bits, is too large to be corrected well."""


def warnings_for(
    fit: CovarianceFit, correction: BiasCorrection, values: np.ndarray, plugin: np.ndarray, layer: int
) -> tuple[Flag, ...]:
    """Return the flags of one layer, given its corrected and uncorrected PID, both (F,)."""
    return (
        *_infinite(plugin),
        *_few_samples(fit, correction, values, layer),
        *_lost_by_scores(float(fit.bias[layer, 2]), values),
        *(Flag(text, "doubt", "correction not possible") for text in correction.limitations(fit)),
        *_lost(correction, values, plugin),
    )


def _infinite(plugin: np.ndarray) -> list[Flag]:
    pid = pid_from_array(plugin)
    names = {"x": pid.mi_x, "y": pid.mi_y, "x and y together": pid.mi_joint}
    infinite = [name for name, information in names.items() if math.isinf(information)]
    if not infinite:
        return []
    text = (
        f"the target, or a part of it, is a function of {infinite[0]}: the information is infinite and was not "
        f"corrected; remove what a source copies from the target, or add noise."
    )
    return [Flag(text, "unusable", "infinite information")]


def _few_samples(
    fit: CovarianceFit, correction: BiasCorrection, values: np.ndarray, layer: int
) -> list[Flag]:
    m, x, y = (int(count) for count in fit.features.counts[layer])
    bias, joint = float(fit.bias[layer, 2]), pid_from_array(values).mi_joint
    size = f"n={fit.n} for {m}, {x} and {y} dimensions"
    if fit.shrinkage is not None:
        text = f"shrinkage lowers all information by an amount that was not corrected ({size})."
        return [Flag(text, "doubt", "shrinkage")]
    if isinstance(correction, Uncorrected):
        needed = math.ceil(m * (x + y) / (2 * math.log(2) * MIN_BIAS))
        if bias <= MIN_BIAS:
            return []
        text = (
            f"not corrected, and the joint information is too high by {bias:.2f} bits at {size}; use "
            f"debias='thinned', fewer dimensions, or about {needed} samples."
        )
        return [Flag(text, "unusable" if bias > LARGE_SHARE * joint else "doubt", "uncorrected bias")]
    if bias <= max(LARGE_SHARE * joint, MIN_BIAS):
        return []
    text = (
        f"a bias of {bias:.2f} bits was taken from the joint information, which leaves {joint:.2f} ({size}); the atoms "
        f"are doubtful."
    )
    return [Flag(text, "doubt", "large bias")]


def _lost_by_scores(bias: float, values: np.ndarray) -> list[Flag]:
    """Return a flag if the information is so high that the errors of rank scores hide a part of it."""
    if bias >= -LARGE_LOSS:
        return []
    text = (
        f"normal scores lose about {-bias:.1f} bits of so high an information, which were added to the "
        f"{pid_from_array(values).mi_joint:.1f} bits; the loss may be larger. If the features are Gaussian as they "
        f"are, use gaussianize='none', else more samples."
    )
    return [Flag(text, "doubt", "high information")]


def _lost(correction: BiasCorrection, values: np.ndarray, plugin: np.ndarray) -> list[Flag]:
    if isinstance(correction, Uncorrected):
        return []
    after, before = pid_from_array(values), pid_from_array(plugin)
    lost = [name for name in ("mi_x", "mi_y") if getattr(after, name) == 0 < getattr(before, name)]
    if not lost:
        return []
    return [Flag(f"{' and '.join(lost)} is not above its bias and was set to 0.", "note", "no information")]


def known_bias_flags(
    fit: CovarianceFit,
    correction: BiasCorrection,
    values: np.ndarray,
    plugin: np.ndarray,
    interval: Interval | None,
    key: jax.Array,
) -> list[list[Flag]]:
    """Return flags of every layer about an atom whose known bias is larger than half the width of its interval.

    Args:
        fit: covariances of all layers.
        correction: method of the estimate; only "wishart" and "bootstrap" leave a bias of the atoms that is known.
        values: corrected fields of the PID, (L, F).
        plugin: uncorrected fields, (L, F).
        interval: interval of the values; None for none, and then no flags.
        key: key of the splits.
    """
    flags: list[list[Flag]] = [[] for _ in values]
    leaves_bias = isinstance(correction, Wishart | ParametricBootstrap) and thinning_applies(fit)
    if interval is None or not leaves_bias:
        return flags
    unbiased = replace_unique(plugin, fit.bias, wishart_thinning.estimate_half_unique(fit, key))
    for layer in np.flatnonzero(np.isfinite(plugin).all(axis=-1)):
        value, right = pid_from_array(values[layer]), pid_from_array(unbiased[layer])
        ends = [pid_from_array(np.asarray(pid_to_array(end))[layer]) for end in (interval.low, interval.high)]
        excess = {
            name: abs(getattr(value, name) - getattr(right, name))
            - (getattr(ends[1], name) - getattr(ends[0], name)) / 2
            for name in PID._fields[:4]
        }
        worst = max(excess, key=lambda name: excess[name])
        if not excess[worst] > SMALL_BIAS:
            continue
        half = (getattr(ends[1], worst) - getattr(ends[0], worst)) / 2
        text = (
            f"{worst} has a known bias of {getattr(value, worst) - getattr(right, worst):+.2f} bits, larger than half "
            f"the width of its interval, {half:.2f}: directions of unique information are selected and measured on the "
            f"same samples; use debias='thinned'."
        )
        flags[layer].append(Flag(text, "doubt", "known bias"))
    return flags

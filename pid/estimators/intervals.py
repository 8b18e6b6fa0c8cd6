"""The corrected values of every layer, their draws and intervals, and the null.

L layers, B draws; arrays of values hold the fields of a PID along their last axis, in bits
"""

from statistics import NormalDist
from typing import NamedTuple

import jax
import numpy as np

from pid.estimators import bias_correction, bootstrap, wishart_thinning
from pid.estimators.comparison import basic_interval
from pid.estimators.config import Bootstrap
from pid.estimators.covariance_fit import Observed
from pid.estimators.results import Interval, pid_from_array, pid_to_array
from pid.measures import PID

INFORMATION = [PID._fields.index(name) for name in ("mi_x", "mi_y", "mi_joint")]
ATOMS = [PID._fields.index(name) for name in (*PID._fields[:4], "union")]


class Measured(NamedTuple):
    """What is reported of all layers."""

    value: np.ndarray  # (L, fields)
    draws: np.ndarray | None  # corrected, (B, L, fields)
    interval: Interval | None


def measure(seen: Observed, plugin: np.ndarray, key: jax.Array) -> Measured:
    """Take the bias away as `debias` says, and draw around the result as `ci` says."""
    config, ci = seen.config, seen.config["ci"]
    if config["debias"] == "bootstrap":
        drawn = _parametric(seen, key, Bootstrap().draws if ci is None else ci.draws)
        value = bias_correction.by_draws(plugin, drawn, config["measure"])
        if ci is None:
            return Measured(value, None, None)
        draws = drawn if ci.kind == "parametric" else _paired(seen, key, ci.draws)
        return Measured(value, draws, _around(value, draws, draws.mean(axis=0), ci.level))
    unique = _unique(seen, key) if seen.thinned else None
    value = _corrected(seen, plugin, unique)
    if ci is None:
        return Measured(value, None, None)
    if ci.kind == "paired":
        draws = _corrected(seen, _paired(seen, key, ci.draws))
        return Measured(value, draws, _around(value, draws, draws.mean(axis=0), ci.level))
    drawn = _parametric(seen, key, ci.draws)
    if unique is None:
        draws = _corrected(seen, drawn)
        centre = draws.mean(axis=0) if config["debias"] == "none" else plugin
        return Measured(value, draws, _around(value, draws, centre, ci.level))
    return _thinned(seen, plugin, value, unique, drawn, key)


def null(seen: Observed, key: jax.Array) -> Interval | None:
    """Quantiles of the corrected values with the target shuffled."""
    chosen = seen.config["null"]
    if chosen is None:
        return None
    arrays = (seen.found.values, seen.covs, seen.found.mask)
    values = _corrected(seen, bootstrap.in_bits(bootstrap.shuffled, seen.plan, *arrays, key, chosen.draws))
    low, high = np.quantile(values, [(1 - chosen.level) / 2, (1 + chosen.level) / 2], axis=0)
    return Interval(pid_from_array(low), pid_from_array(high))


def _corrected(seen: Observed, values: np.ndarray, unique: np.ndarray | None = None) -> np.ndarray:
    if seen.config["debias"] == "none":
        return values
    if unique is not None:
        return bias_correction.by_thinning(values, seen.bias, unique)
    return bias_correction.wishart(values, seen.bias, seen.config["measure"])


def _parametric(seen: Observed, key: jax.Array, draws: int) -> np.ndarray:
    return bootstrap.in_bits(bootstrap.parametric, seen.plan, seen.covs, seen.found.mask, key, draws)


def _paired(seen: Observed, key: jax.Array, draws: int) -> np.ndarray:
    return bootstrap.in_bits(bootstrap.paired, seen.plan, seen.found.values, seen.found.mask, key, draws)


def _unique(seen: Observed, key: jax.Array) -> np.ndarray:
    arrays = (seen.covs, seen.found.mask, seen.found.counts)
    return bootstrap.in_bits(wishart_thinning.of_estimate, seen.plan, *arrays, jax.random.fold_in(key, 1))


def _around(value: np.ndarray, draws: np.ndarray, centre: np.ndarray, level: float) -> Interval:
    """A basic interval that ends at 0.

    Parametric draws have a truth, the plug-in; their corrected values centred on it also make up for the bias that is
    left. Others are centred on their own mean.
    """
    return _not_negative(basic_interval(value, draws, centre, level))


def _not_negative(ends: Interval) -> Interval:
    low, high = (pid_from_array(np.maximum(pid_to_array(end), 0)) for end in ends)
    return Interval(low, high)


def _thinned(
    seen: Observed,
    plugin: np.ndarray,
    value: np.ndarray,
    unique: np.ndarray,
    drawn: np.ndarray,
    key: jax.Array,
) -> Measured:
    """Basic intervals of the mutual informations; normal ones of the atoms, from the spread of thinned draws."""
    arrays = (seen.covs, seen.found.mask, seen.found.counts)
    ci, count = seen.config["ci"], len(drawn)
    level = Bootstrap().level if ci is None else ci.level
    thinned = bootstrap.in_bits(wishart_thinning.of_draws, seen.plan, *arrays, key, count)
    both = np.stack([thinned[..., :2].mean(axis=-1), thinned[..., 2]], axis=-1)
    draws = _corrected(seen, drawn, both)
    ends = _around(value, _corrected(seen, drawn), plugin, level)
    low, high = (pid_to_array(end) for end in ends)
    reach = NormalDist().inv_cdf((1 + level) / 2)
    for layer, half in enumerate(np.minimum(unique[:, 0], unique[:, 1])):
        if not np.isfinite(plugin[layer]).all():
            continue  # infinite information is not corrected
        centre = wishart_thinning.atoms(plugin[layer, INFORMATION] - seen.bias[layer], half)
        sd = wishart_thinning.spread(drawn[:, layer, INFORMATION], thinned[:, layer])
        low[layer, ATOMS], high[layer, ATOMS] = centre - reach * sd, centre + reach * sd
    return Measured(value, draws, _not_negative(Interval(pid_from_array(low), pid_from_array(high))))

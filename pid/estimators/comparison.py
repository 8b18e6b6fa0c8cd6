"""Estimates held against each other: paired differences, likeness of trajectories, one number for all layers."""

from typing import Literal, NamedTuple, get_args

import numpy as np

from pid.estimators.results import Estimate, Interval, pid_from_array, pid_to_array
from pid.measures import PID

How = Literal["final", "mean_layers", "sum_layers"]


class Comparison(NamedTuple):
    """other - base, field by field."""

    difference: PID
    ci: Interval


def compare(base: Estimate, other: Estimate) -> Comparison:
    """Paired intervals of the differences other - base, as between a knockout and the model as it is.

    Both sides drew the same samples, so that what their draws share cancels:
    [Δ - q_hi, Δ - q_lo] with q the quantiles of Δ* - mean Δ*, at the level of the draws.

    Raises:
        ValueError: draws that are missing or not paired; another key, n, level, number of draws or of layers.
    """
    for name, side in (("base", base), ("other", other)):
        kind = None if side.resampling is None else side.resampling.kind
        if kind != "paired" or side.draws is None:
            raise ValueError(
                f"compare needs draws of kind 'paired', got {kind!r} for {name}; estimate both with "
                f"ci=Bootstrap(kind='paired') and one key."
            )
    assert base.draws is not None
    assert other.draws is not None
    assert base.resampling is not None
    differing = [
        f"{name} {a!r} and {b!r}"
        for name, a, b in (
            ("n", base.n, other.n),
            ("layers", np.shape(base.pid.union), np.shape(other.pid.union)),
            ("resampling", base.resampling, other.resampling),
        )
        if a != b
    ]
    if differing:
        raise ValueError(
            f"compare needs the same resamples on both sides, got {'; '.join(differing)}; estimate both from the "
            f"same samples with one key and one ci."
        )
    difference = pid_to_array(other.pid) - pid_to_array(base.pid)
    draws = pid_to_array(other.draws) - pid_to_array(base.draws)
    return Comparison(
        pid_from_array(difference),
        basic_interval(difference, draws, draws.mean(axis=0), base.resampling.level),
    )


def basic_interval(value: np.ndarray, draws: np.ndarray, centre: np.ndarray, level: float) -> Interval:
    """[θ̂ - (q_hi - centre), θ̂ - (q_lo - centre)], q the quantiles of the draws along axis 0."""
    with np.errstate(invalid="ignore"):  # infinite information has no interval: NaN
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return Interval(pid_from_array(value - (high - centre)), pid_from_array(value - (low - centre)))


def trajectory_correlation(a: Estimate | PID, b: Estimate | PID) -> PID:
    """Pearson's r over layers of every field of two layer-wise decompositions; NaN where one does not vary.

    Raises:
        ValueError: fewer than three layers, or different numbers of them.
    """
    left, right = (pid_to_array(side.pid if isinstance(side, Estimate) else side) for side in (a, b))
    if left.ndim != 2 or left.shape != right.shape or len(left) < 3:
        raise ValueError(
            f"a correlation of trajectories needs at least three layers and as many on both sides, got fields of "
            f"shape {left.shape[:-1]} and {right.shape[:-1]}."
        )
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    scale = np.sqrt((left**2).sum(axis=0) * (right**2).sum(axis=0))
    varies = scale > 0
    return pid_from_array(np.where(varies, (left * right).sum(axis=0) / np.where(varies, scale, 1), np.nan))


def aggregate(layers: Estimate | PID, how: How | str) -> PID:
    """One PID for all layers: that of the last, the mean, or the sum. They differ; say which one is shown.

    Raises:
        ValueError: an unknown way, or no axis of layers.
    """
    values = pid_to_array(layers.pid if isinstance(layers, Estimate) else layers)
    if how not in get_args(How):
        raise ValueError(f"how must be one of {', '.join(get_args(How))}, got {how!r}.")
    if values.ndim < 2:
        raise ValueError("aggregate needs fields with an axis of layers, got a single PID; use `layerwise`.")
    return pid_from_array(
        {"final": values[-1], "mean_layers": values.mean(0), "sum_layers": values.sum(0)}[how]
    )

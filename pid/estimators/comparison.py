"""Comparisons of estimates: paired differences, correlation of trajectories, one number for all layers."""

from typing import Literal, NamedTuple, get_args

import numpy as np

from pid.estimators.intervals import basic_interval
from pid.estimators.results import Estimate, Interval, pid_from_array, pid_to_array
from pid.measures import PID

Aggregation = Literal["final", "mean_layers", "sum_layers"]


class Comparison(NamedTuple):
    """Paired differences of two estimates, other - base, in bits.

    Example:
        >>> import pid
        >>> pid.Comparison._fields
        ('difference', 'ci')
    """

    difference: PID
    """other - base, field by field."""

    ci: Interval
    """Paired intervals of the differences, at the level of the draws."""


def compare(base: Estimate, other: Estimate) -> Comparison:
    """Compute paired intervals of the differences other - base, such as a knockout minus the intact model.

    Both estimates resample the same samples, so that the common noise of their draws cancels:
    [Δ - q_hi, Δ - q_lo] with q the quantiles of Δ* - mean Δ*, at the level of the draws.

    Args:
        base: an estimate with paired draws, `ci=Bootstrap(kind="paired")`.
        other: an estimate with the same n, key, ci, choices and number of layers.

    Returns:
        Comparison, in bits, with fields shaped as in the estimates.

    Raises:
        ValueError: draws that are missing or not paired; another key, n, level, number of draws or of layers; another
            measure, reduction, bias correction or other choice.

    Example:
        >>> import jax, numpy as np
        >>> import pid
        >>> target, x, y = np.random.default_rng(0).normal(size=(3, 64, 2))
        >>> options = dict(measure="mmi", key=jax.random.key(0), ci=pid.Bootstrap(8, kind="paired"), null=None)
        >>> base, other = (pid.estimate(target, x, z, **options) for z in (y, y + target))
        >>> bool(pid.compare(base, other).difference.mi_y > 0.5)
        True
    """
    for name, estimate in (("base", base), ("other", other)):
        kind = None if estimate.resampling is None else estimate.resampling.kind
        if kind != "paired" or estimate.draws is None:
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
    _check_choices(base, other)
    difference = pid_to_array(other.pid) - pid_to_array(base.pid)
    draws = pid_to_array(other.draws) - pid_to_array(base.draws)
    return Comparison(
        pid_from_array(difference),
        basic_interval(difference, draws, draws.mean(axis=0), base.resampling.level),
    )


def _check_choices(base: Estimate, other: Estimate) -> None:
    """Raise ValueError if two estimates differ by more than their samples."""
    if not base.choices or not other.choices:
        return  # a file of an earlier version does not say
    ours, theirs = dict(base.choices), dict(other.choices)
    differing = [
        f"{name} {ours.get(name)} and {theirs.get(name)}"
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]
    if (
        base.layer_names is not None
        and other.layer_names is not None
        and base.layer_names != other.layer_names
    ):
        differing.append(f"layers {', '.join(base.layer_names)} and {', '.join(other.layer_names)}")
    if differing:
        raise ValueError(
            f"compare needs estimates that were made alike, got {'; '.join(differing)}; estimate both with the same "
            f"choices, so that only the samples differ."
        )


def trajectory_correlation(a: Estimate | PID, b: Estimate | PID) -> PID:
    """Compute Pearson's r over layers for every field of two layer-wise decompositions.

    Args:
        a: a decomposition with at least three layers.
        b: a decomposition with as many layers.

    Returns:
        PID whose fields are correlations of shape `()`, between -1 and 1; NaN where a field does not vary.

    Raises:
        ValueError: fewer than three layers, or different numbers of them.

    Example:
        >>> import numpy as np
        >>> import pid
        >>> rising = pid.PID(*np.arange(24.0).reshape(8, 3))
        >>> round(float(pid.trajectory_correlation(rising, rising).synergy), 3)
        1.0
    """
    left, right = (pid_to_array(pid.pid if isinstance(pid, Estimate) else pid) for pid in (a, b))
    if left.ndim != 2 or left.shape != right.shape or len(left) < 3:
        raise ValueError(
            f"a correlation of trajectories needs at least three layers and as many on both sides, got fields of "
            f"shape {left.shape[:-1]} and {right.shape[:-1]}."
        )
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    scale = np.sqrt((left**2).sum(axis=0) * (right**2).sum(axis=0))
    varies = scale > 0
    return pid_from_array(np.where(varies, (left * right).sum(axis=0) / np.where(varies, scale, 1), np.nan))


def aggregate(layers: Estimate | PID, how: Aggregation | str) -> PID:
    """Reduce all layers to one PID: that of the last layer, the mean, or the sum.

    The three differ; state which one a figure or table shows.

    Args:
        layers: a layer-wise estimate or decomposition, fields of shape `(L, ...)`.
        how: "final", "mean_layers" or "sum_layers".

    Returns:
        PID with fields of shape `(...)`.

    Raises:
        ValueError: an unknown `how`, or no axis of layers.

    Example:
        >>> import numpy as np
        >>> import pid
        >>> layers = pid.PID(*np.arange(24.0).reshape(8, 3))
        >>> float(pid.aggregate(layers, "sum_layers").redundancy)
        3.0
    """
    values = pid_to_array(layers.pid if isinstance(layers, Estimate) else layers)
    if how not in get_args(Aggregation):
        raise ValueError(f"how must be one of {', '.join(get_args(Aggregation))}, got {how!r}.")
    if values.ndim < 2:
        raise ValueError("aggregate needs fields with an axis of layers, got a single PID; use `layerwise`.")
    return pid_from_array(
        {"final": values[-1], "mean_layers": values.mean(0), "sum_layers": values.sum(0)}[how]
    )

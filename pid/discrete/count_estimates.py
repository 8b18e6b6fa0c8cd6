"""Decomposition of counted samples: bias correction, bootstrap intervals, a shuffled null, and flags.

n samples, K different combinations, B draws
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np
from jaxtyping import Float, Int

from pid.discrete.symbol_counts import check_counts, count_table
from pid.discrete.table_decomposition import check_measure, decompose_checked, pid_from_union
from pid.interface import Flag
from pid.interface.ranges import MAX_INT
from pid.interface.scalars import random_key
from pid.measures import PID, Interval

BiasMethod = Literal["miller_madow", "shuffle", "none"]
LARGE_SHARE = 0.5
"""A correction above this share of the corrected joint information makes the atoms doubtful."""
FEW_PER_CELL = 1.0
"""Fewer samples than this for each combination of a target and a pair (x, y) that occurs are too few."""
MIN_BIAS = 0.1
"""An uncorrected bias of the joint information above this, in bits, is worth a doubt."""


class DiscreteEstimate(NamedTuple):
    """A partial information decomposition estimated from counted samples, in bits.

    Example:
        >>> import jax
        >>> from pid import discrete
        >>> result = discrete.from_counts([[[25, 0], [0, 25]], [[0, 25], [25, 0]]], key=jax.random.key(0))
        >>> result.n, round(float(result.plugin.synergy), 6)
        (100, 1.0)
    """

    pid: PID
    """The decomposition, with its bias corrected."""

    plugin: PID
    """The decomposition of the observed frequencies, without correction."""

    ci: Interval | None
    """Bootstrap intervals around the corrected values; None for draws=0."""

    null: Interval | None
    """Quantiles of the corrected values with the target shuffled against both sources; None for shuffles=0."""

    n: int
    """Number of samples."""

    flags: tuple[Flag, ...]
    """What is doubtful, in plain sentences."""


@dataclass(frozen=True)
class _Draws:
    """Decompositions of resampled tables, in nats, and the tables' own information corrections."""

    values: Float[np.ndarray, "B F"]
    bias: Float[np.ndarray, "B 3"]


def from_counts(
    counts: Any,
    *,
    measure: str = "broja",
    debias: BiasMethod | str = "miller_madow",
    draws: int = 200,
    shuffles: int = 100,
    level: float = 0.9,
    key: Any,
) -> DiscreteEstimate:
    """Estimate the decomposition from a table of counts, with bias correction, intervals and a null.

    The plug-in information of n samples is too high on average, by (K_tz - K_t - K_z + 1) / 2n nats where K counts the
    values that occur.

        miller_madow  subtracts this from the three informations; the union is corrected by the mean of the bootstrap
                      draws minus the plug-in, which agrees with it to order 1/n for an information
        shuffle       subtracts the mean of the informations and of the union with the target shuffled: too much where
                      the sources determine the target
        none          subtracts nothing

    The corrected atoms are nonnegative and add up, those of "ccs" may be negative. Intervals are symmetric basic
    intervals θ̂ ± d from multinomial draws θ* with median c, d the quantile of |θ* - c|: near a zero atom the draws are
    skewed, and one-sided quantiles cover less. Negative ends then become 0. A value is always inside its own interval.
    Renumbering the values of a variable changes nothing, not even the draws.

    Args:
        counts: `(T, X, Y)` whole numbers ≥ 0, axes in the order target, x, y; `count_table(...).counts`.
        measure: "broja", "i_min", "mmi" or "ccs"; see `decompose`.
        debias: "miller_madow", "shuffle" or "none".
        draws: bootstrap draws, 0 for no intervals, else 20 or more. 200 are usual.
        shuffles: draws of the null, 0 for none, else 20 or more.
        level: level of intervals and null, between 0 and 1.
        key: random key, `jax.random.key(0)`, or an integer seed.

    Returns:
        DiscreteEstimate with fields of shape `()`, in bits.

    Raises:
        ValueError: counts that are no table of whole numbers ≥ 0; unknown choices; draws or shuffles out of range.

    Example:
        >>> import jax
        >>> from pid import discrete
        >>> result = discrete.from_counts([[[90, 10], [0, 0]], [[0, 0], [10, 90]]], key=jax.random.key(0))  # t = x
        >>> bool(0.97 < result.pid.mi_x < 1.03), bool(result.ci.low.mi_x <= result.pid.mi_x <= result.ci.high.mi_x)
        (True, True)

    Reference:
        Miller, "Note on the bias of information estimates", 1955. Panzeri, Senatore, Montemurro & Petersen, "Correcting
        for the sampling bias problem in spike train information measures", J. Neurophysiology 98, 2007. Davison &
        Hinkley, "Bootstrap Methods and their Application", 1997.
    """
    table = check_counts(counts)
    check_measure(measure)
    _check_choices(debias, draws, shuffles, level)
    n = int(table.sum())
    rng = _generator(key)
    resampled = rng.multinomial(
        n, (table / n).ravel(), size=draws or (100 if debias == "miller_madow" else 0)
    )
    shuffled = shuffle_target(table, shuffles or (100 if debias == "shuffle" else 0), rng)
    tables = np.concatenate([table[None], resampled.reshape(-1, *table.shape), shuffled])
    values = np.stack(decompose_checked(tables / n, measure), -1)
    plugin, boot, null = values[0], values[1 : 1 + len(resampled)], values[1 + len(resampled) :]
    bias = _bias(tables, plugin, boot, null, debias)
    corrected = _subtract(values, bias, measure)
    value, closed = _close(corrected[:1], measure)[0], _close(corrected[1 + len(resampled) :], measure)
    floor = -np.inf if measure == "ccs" else 0.0
    ci = _symmetric_interval(value, corrected[: 1 + len(resampled)], level, floor) if draws else None
    bits = 1 / math.log(2)
    edges = ((1 - level) / 2, (1 + level) / 2)
    null_ends = np.quantile(closed, edges, axis=0) if shuffles else None
    return DiscreteEstimate(
        _to_pid(value * bits),
        _to_pid(plugin * bits),
        None if ci is None else Interval(*(_to_pid(end * bits) for end in ci)),
        None if null_ends is None else Interval(*(_to_pid(end * bits) for end in null_ends)),
        n,
        tuple(sample_flags(table, plugin * bits, value * bits, debias)),
    )


def estimate(target: Any, x: Any, y: Any, *, key: Any, **options: Any) -> DiscreteEstimate:
    """Estimate the decomposition from labels of the target and of both sources.

    Args:
        target: `(n,)` labels of any hashable kind, or rows `(n, d)` that count as one joint label each. Continuous
            variables are binned first, by `bin_equal_counts`.
        x: labels of the first source, likewise.
        y: labels of the second source, likewise.
        key: random key, `jax.random.key(0)`, or an integer seed.
        **options: the keywords of `from_counts`: measure, debias, draws, shuffles, level.

    Returns:
        DiscreteEstimate with fields of shape `()`, in bits. It does not depend on the names of the labels.

    Raises:
        ValueError: the cases of `count_table` and of `from_counts`.

    Example:
        >>> import jax, numpy as np
        >>> from pid import discrete
        >>> x, y = np.random.default_rng(0).integers(0, 2, size=(2, 400))
        >>> result = discrete.estimate(np.where(x == y, "same", "different"), x, y, key=jax.random.key(0))
        >>> bool(result.pid.synergy > 0.97), bool(result.pid.redundancy < 0.02)
        (True, True)
    """
    return from_counts(count_table(target, x, y).counts, key=key, **options)


def _generator(key: Any) -> np.random.Generator:
    """Return NumPy's generator for a random key of JAX or an integer seed."""
    words = np.asarray(jax.random.key_data(random_key(key))).ravel()
    return np.random.default_rng([int(word) for word in words])


def shuffle_target(
    table: Int[np.ndarray, "T X Y"], draws: int, rng: np.random.Generator
) -> Int[np.ndarray, "B T X Y"]:
    """Draw tables with the target's values permuted among the samples: hypergeometric, with both margins."""
    per_target, pairs = table.sum((1, 2)), table.sum(0).ravel()
    shuffled = np.empty((draws, len(per_target), len(pairs)), np.int64)
    for draw in range(draws):
        left = pairs.copy()
        for t, size in enumerate(per_target):
            shuffled[draw, t] = rng.multivariate_hypergeometric(left, size, method="marginals")
            left -= shuffled[draw, t]
    return shuffled.reshape(draws, *table.shape)


def information_bias(tables: Int[np.ndarray, "B T X Y"]) -> Float[np.ndarray, "B 3"]:
    """Compute the bias of I(T;X), I(T;Y), I(T;X,Y) by Miller and Madow, in nats: (K_tz - K_t - K_z + 1) / 2n."""
    n = tables.sum((1, 2, 3))
    target = _occurring(tables.sum((2, 3)), 1)
    x = _occurring(tables.sum(3), 2) - _occurring(tables.sum((1, 3)), 1)
    y = _occurring(tables.sum(2), 2) - _occurring(tables.sum((1, 2)), 1)
    joint = _occurring(tables, 3) - _occurring(tables.sum(1), 2)
    return (np.stack([x, y, joint], -1) - target[:, None] + 1) / (2 * n[:, None])


def _occurring(tables: np.ndarray, axes: int) -> np.ndarray:
    return np.count_nonzero(tables, axis=tuple(range(-axes, 0)))


def _bias(
    tables: np.ndarray, plugin: np.ndarray, boot: np.ndarray, null: np.ndarray, debias: str
) -> Float[np.ndarray, "B 4"]:
    """Return the bias of I_x, I_y, I_xy and of the union for every table, in nats."""
    bias = np.zeros((len(tables), 4))
    if debias == "shuffle":
        bias[:] = null[:, 4:].mean(0)
    if debias == "miller_madow":
        bias[:, :3] = information_bias(tables)
        bias[:, 3] = boot[:, 7].mean() - plugin[7]
    return bias


def _subtract(values: np.ndarray, bias: np.ndarray, measure: str) -> Float[np.ndarray, "B F"]:
    """Subtract the bias; atoms and informations may then be negative."""
    x, y, joint, union = np.moveaxis(values[:, 4:] - bias, -1, 0)
    if measure == "mmi":
        union = np.maximum(x, y)
    return np.stack([x + y - union, union - y, union - x, joint - union, x, y, joint, union], -1)


def _close(corrected: Float[np.ndarray, "B F"], measure: str) -> Float[np.ndarray, "B F"]:
    """Make informations, and atoms except those of CCS, nonnegative; the sums hold."""
    x, y, joint, union = np.moveaxis(corrected[:, 4:], -1, 0)
    x, y = np.maximum(x, 0), np.maximum(y, 0)
    joint = np.maximum(joint, np.maximum(x, y))
    if measure == "ccs":
        return np.stack([x + y - union, union - y, union - x, joint - union, x, y, joint, union], -1)
    return np.stack(pid_from_union(x, y, joint, union), -1)


def _symmetric_interval(
    value: Float[np.ndarray, " F"], corrected: Float[np.ndarray, "B F"], level: float, floor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return θ̂ ± d, d the quantile of |θ* - c| with the median c of the draws, before negative values become 0.

    Args:
        value: the estimate, nonnegative.
        corrected: θ̂ and the draws below it, possibly negative.
        level: level of the interval.
        floor: smallest end for the atoms; that of the informations is 0.
    """
    draws, center = corrected[1:], corrected[0]
    half = np.quantile(np.abs(draws - np.median(draws, axis=0)), level, axis=0)
    floors = np.where(np.arange(len(value)) < 4, floor, 0)
    return np.minimum(np.maximum(center - half, floors), value), np.maximum(center + half, value)


def _to_pid(values: Float[np.ndarray, " F"]) -> PID:
    return PID(*(np.asarray(value) for value in values))


def _check_choices(debias: str, draws: int, shuffles: int, level: float) -> None:
    names = get_args(BiasMethod)
    if debias not in names:
        raise ValueError(
            f"debias must be one of {', '.join(names)}, got {debias!r}; pass debias='miller_madow'."
        )
    for name, number in {"draws": draws, "shuffles": shuffles}.items():
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not whole or not (number == 0 or 20 <= number <= MAX_INT):
            raise ValueError(
                f"{name} must be 0 (none) or a whole number from 20, got {number!r}; 200 is usual."
            )
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}; 0.9 is usual.")


def sample_flags(
    table: Int[np.ndarray, "T X Y"], plugin: np.ndarray, value: np.ndarray, debias: str
) -> list[Flag]:
    """Return flags about too few samples, given a table of counts and its plug-in and corrected fields in bits.

    Example:
        >>> import numpy as np
        >>> from pid.discrete.count_estimates import sample_flags
        >>> sample_flags(np.full((2, 2, 2), 50), np.zeros(8), np.zeros(8), "miller_madow")
        []
    """
    n = int(table.sum())
    targets, pairs = table.shape[0], int(np.count_nonzero(table.sum(0)))
    cells, bias = targets * pairs, float(information_bias(table[None])[0, 2] / math.log(2))
    flags = []
    if n < FEW_PER_CELL * cells:
        flags.append(
            Flag(
                f"{n} samples for {targets} values of the target and {pairs} pairs of values of the sources: most of "
                f"the {cells} combinations do not occur, and no correction can make up for it; merge values, use "
                f"fewer bins, or collect {math.ceil(4 * cells)} samples.",
                "unusable",
                "too few samples for the table",
            )
        )
    elif debias == "none" and bias > MIN_BIAS:
        flags.append(
            Flag(
                f"not corrected, and the joint information is too high by {bias:.2f} bits at n={n} for {cells} "
                f"combinations; use debias='miller_madow', or fewer values.",
                "doubt",
                "bias not corrected",
            )
        )
    elif plugin[6] - value[6] > LARGE_SHARE * value[6] and bias > MIN_BIAS:
        flags.append(
            Flag(
                f"a bias of {plugin[6] - value[6]:.2f} bits was taken from the joint information, which leaves "
                f"{value[6]:.2f} (n={n}, {cells} combinations); the atoms are doubtful; merge values.",
                "doubt",
                "bias of the table",
            )
        )
    lost = [name for name, i in (("mi_x", 4), ("mi_y", 5)) if value[i] == 0 < plugin[i]]
    if lost:
        verb = "is" if len(lost) == 1 else "are"
        flags.append(
            Flag(
                f"{' and '.join(lost)} {verb} not above the bias, and 0 was returned; compare with the null.",
                "note",
                "information not above its bias",
            )
        )
    return flags

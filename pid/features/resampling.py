"""Resampling of samples that depend on each other: blocks, circular shifts, groups; and lagged columns.

A bootstrap draw is a weight for every sample. A draw of the null is an order of the target's samples, which then stand
beside the samples of the sources in their own order.

    n samples, d coordinates, B draws, G groups
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Groups(NamedTuple):
    """Groups of samples: a sample belongs to one group, and groups are independent of each other."""

    label: Int[Array, " n"]
    """Group of every sample, 0 … G-1, in the order of their first samples."""

    position: Int[Array, " n"]
    """Position of every sample in its group: 0, 1, …"""

    members: Int[Array, " n"]
    """Samples group by group, in their own order within a group."""

    first: Int[Array, " g"]
    """Index in `members` of the first sample of every group."""

    size: Int[Array, " g"]
    """Number of samples of every group."""


class Sampling(NamedTuple):
    """How samples depend on each other, as the choices of an estimate say; the default: not at all."""

    block: Any = 1
    """Length of the blocks of the bootstrap; 1 resamples single samples."""

    scale: Any = 1.0
    """Factor of the deviations of bootstrap weights from 1, as short blocks and few groups understate variances."""

    min_shift: Any = None
    """Smallest circular shift of the null; None permutes the samples."""

    groups: Groups | None = None
    """Groups that are resampled and permuted as wholes; None for none."""


INDEPENDENT = Sampling()
"""Samples that do not depend on each other."""


def group_samples(labels: Any, n: int) -> Groups:
    """Index groups by the label of every sample.

    Args:
        labels: one label for each of the n samples, (n,): integers, strings or anything that can be sorted.
        n: number of samples.

    Raises:
        ValueError: labels of another shape, missing labels, or one group only.

    Example:
        >>> from pid.features.resampling import group_samples
        >>> groups = group_samples(["b", "a", "b", "b"], 4)
        >>> groups.label.tolist(), groups.position.tolist(), groups.size.tolist()
        ([0, 1, 0, 0], [0, 0, 1, 2], [3, 1])
    """
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ValueError(
            f"groups must have one label for each sample, shape ({n},), got {labels.shape}; pass "
            f"groups=labels.ravel()."
        )
    missing = labels != labels
    if np.any(missing):
        raise ValueError(
            f"groups must have a label for each sample, got {int(np.sum(missing))} that are missing; drop these "
            f"samples or give them a group of their own."
        )
    try:
        _, start, inverse = np.unique(labels, return_index=True, return_inverse=True)
    except TypeError:
        _, start, inverse = np.unique(labels.astype(str), return_index=True, return_inverse=True)
    label = np.argsort(np.argsort(start))[inverse.reshape(-1)]
    if len(start) < 2:
        raise ValueError(
            "groups must be at least two, got one label for all samples; pass groups=None if samples are independent."
        )
    members = np.argsort(label, kind="stable")
    size = np.bincount(label)
    first = np.cumsum(size) - size
    position = np.empty(n, int)
    position[members] = np.arange(n) - np.repeat(first, size)
    return Groups(*(jnp.asarray(a, jnp.int32) for a in (label, position, members, first, size)))


def bootstrap_weights(
    key: Array, n: int, draws: int, sampling: Sampling = INDEPENDENT
) -> Float[Array, "b n"]:
    """Draw how often each of n samples occurs in a bootstrap resample, for every draw; each sums to n.

    Without groups, circular blocks of `sampling.block` neighbors are drawn with replacement until n samples are there;
    the last block is cut. With groups, G whole groups are drawn with replacement; counts are then scaled to sum to n.
    Deviations from 1 are multiplied by `sampling.scale`. The length of a block and the scale may be traced.

    Example:
        >>> import jax
        >>> from pid.features.resampling import Sampling, bootstrap_weights
        >>> weights = bootstrap_weights(jax.random.key(0), 6, 2, Sampling(block=3))
        >>> weights.sum(axis=1).tolist()
        [6.0, 6.0]

    Reference:
        Politis & Romano, "A circular block-resampling procedure for stationary data", 1992.
        Field & Welsh, "Bootstrapping clustered data", J. R. Stat. Soc. B 2007.
    """
    if sampling.groups is not None:
        count = sampling.groups.size.shape[0]
        drawn = jax.random.randint(key, (draws * count,), 0, count).reshape(draws, count)
        weights = _count(drawn, count)[:, sampling.groups.label].astype(float)
        return _stretch(weights * (n / jnp.sum(weights, axis=1, keepdims=True)), sampling.scale)
    start = jax.random.randint(key, (draws * n,), 0, n).reshape(
        draws, n
    )  # one for each block, and spare ones
    place = jnp.arange(n)
    indices = (start[:, place // sampling.block] + (place % sampling.block)[None]) % n
    return _stretch(_count(indices, n).astype(float), sampling.scale)


def _stretch(weights: Float[Array, "b n"], scale: Any) -> Float[Array, "b n"]:
    return 1 + scale * (weights - 1)


def _count(indices: Int[Array, "b k"], length: int) -> Int[Array, "b n"]:
    return jax.vmap(lambda row: jnp.bincount(row, length=length))(indices)


def null_orders(key: Array, n: int, draws: int, sampling: Sampling = INDEPENDENT) -> Int[Array, "b n"]:
    """Draw orders of the target's samples under the null.

    Three kinds, by `sampling`:

    - default: permutations. Null: pairs (target, sources) are exchangeable and independent.
    - `min_shift`: circular shifts by at least `min_shift` and at most n - `min_shift`. Null: two stationary series,
      each with its own autocorrelation, do not depend on each other beyond that lag.
    - `groups`: the samples of a group meet the target's samples of another, drawn without replacement, in their order
      within the group. Groups of equal size are permuted exactly. A group that meets a smaller one takes its samples
      again from the first. Null: groups are exchangeable, and a group's target does not depend on its sources.

    Example:
        >>> import jax
        >>> from pid.features.resampling import Sampling, group_samples, null_orders
        >>> null_orders(jax.random.key(0), 5, 1, Sampling(min_shift=2)).tolist()
        [[3, 4, 0, 1, 2]]
        >>> pairs = group_samples([0, 0, 1, 1, 2, 2], 6)
        >>> null_orders(jax.random.key(1), 6, 1, Sampling(groups=pairs)).reshape(3, 2).tolist()
        [[2, 3], [4, 5], [0, 1]]

    Reference:
        Quian Quiroga et al., "Performance of different synchronization measures", Phys. Rev. E 2002 (shifts).
        Winkler et al., "Multi-level block permutation", NeuroImage 2015 (groups).
    """
    keys = jax.random.split(key, draws)
    if sampling.groups is not None:
        groups = sampling.groups

        def meet(key: Array) -> Array:
            other = jax.random.permutation(key, groups.size.shape[0])[groups.label]
            return groups.members[groups.first[other] + groups.position % groups.size[other]]

        return jax.vmap(meet)(keys)
    if sampling.min_shift is not None:
        low, high = sampling.min_shift, n - sampling.min_shift + 1
        shift = jax.vmap(lambda k: jax.random.randint(k, (), low, high))(keys)
        return (jnp.arange(n)[None] + shift[:, None]) % n
    return jax.vmap(lambda k: _permutation(k, n))(keys)


def _permutation(key: Array, n: int) -> Int[Array, " n"]:
    """Draw a permutation by one sort of random numbers whose last bits are the indices.

    Sorting without a second array takes a quarter of the time on CPU. Without 64-bit numbers there are too few bits.
    """
    if jax.dtypes.canonicalize_dtype(jnp.uint64) != jnp.uint64:
        return jax.random.permutation(key, n)
    return (jnp.sort(_numbered_bits(key, n)) & _index_mask(n)).astype(int)


def _index_mask(n: int) -> np.uint64:
    """Return the bits that hold an index below n."""
    return np.uint64((1 << max(n - 1, 1).bit_length()) - 1)


def _numbered_bits(key: Array, n: int) -> Array:
    """Draw n random numbers whose last bits are their indices."""
    bits = jax.random.bits(key, (n,), jnp.uint64)
    return (bits & ~_index_mask(n)) | jnp.arange(n, dtype=jnp.uint64)


@partial(jax.jit, static_argnums=(1, 2))
def _numbered_bits_of_draws(keys: Array, n: int, draws: int) -> Array:
    return jax.vmap(jax.vmap(lambda k: _numbered_bits(k, n)))(
        jax.vmap(lambda k: jax.random.split(k, draws))(keys)
    )


def permutations_on_host(keys: Array, n: int, draws: int) -> Int[np.ndarray, "c b n"]:
    """Draw the permutations of `null_orders` for every key, with the sort by NumPy: a tenth of the time of XLA on CPU.

    Needs 64-bit numbers.
    """
    numbers = np.sort(np.asarray(_numbered_bits_of_draws(keys, n, draws)), axis=-1)
    return (numbers & _index_mask(n)).astype(np.int32)


def embed(series: Any, lags: int | Sequence[int]) -> np.ndarray:
    """Place lagged copies of a series side by side: row t holds series[t - lag] for every lag.

    Rows begin at t = max(lags), so that all calls with the same largest lag (and 0 for the present) are aligned.
    Transfer entropy from x to y is a sum of two atoms, with target y_t and sources the past of x and the past of y:
    TE = I(y_t ; x_past | y_past) = U_x + S.

    Args:
        series: n samples in the order of time, (n, d) or (n,).
        lags: lags in samples, at least 0; an integer is one lag.

    Returns:
        Columns (n - max(lags), d · number of lags): all coordinates at the first lag, then at the second, …

    Raises:
        ValueError: a series of another rank, no lag, a lag below 0 or not below n.

    Example:
        >>> import numpy as np
        >>> from pid import embed
        >>> embed(np.arange(5), [0, 2]).tolist()
        [[2, 0], [3, 1], [4, 2]]

        Transfer entropy from x to y, two lags:

        >>> import jax
        >>> import pid
        >>> x, y = np.random.default_rng(0).normal(size=(2, 400, 1))
        >>> y[1:] += x[:-1]
        >>> past = dict(x=pid.embed(x, [1, 2]), y=pid.embed(y, [1, 2]))
        >>> atoms = pid.estimate(pid.embed(y, [0])[2:], **past, key=jax.random.key(0), ci=None, null=None).pid
        >>> transfer_entropy = atoms.unique_x + atoms.synergy
        >>> bool(0.4 < transfer_entropy < 0.6)
        True

    Reference:
        Schreiber, "Measuring information transfer", Phys. Rev. Lett. 2000.
        Williams & Beer, "Generalized measures of information transfer", arXiv 1102.1507.
    """
    series = np.asarray(series)
    lags = [int(lag) for lag in np.atleast_1d(np.asarray(lags))]
    if series.ndim not in (1, 2):
        raise ValueError(
            f"embed needs a series of shape (n, d) or (n,), got {series.shape}; pass one series at a time."
        )
    columns = series.reshape(len(series), -1)
    if not lags or min(lags) < 0 or max(lags) >= len(columns):
        raise ValueError(
            f"lags are at least one number from 0 to n - 1 = {len(columns) - 1}, got {lags}; lags=[1, 2] is the past "
            f"of two samples."
        )
    last = max(lags)
    return np.concatenate([columns[last - lag : len(columns) - lag] for lag in lags], axis=1)

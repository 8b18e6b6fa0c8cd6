"""The band of keys inside one shard of a ring, which a kernel must know when it is compiled.

A shard of L keys that begins d·L tokens before the queries has the bounds low + d·L <= s - t <= high + d·L. All |s - t|
are less than L: a bound beyond them does not apply, and a shard between them has no pair. In step i of p the shard of a
device is i before it, or p - i after it. Few of these distances differ: of causal attention the diagonal, the shards
before it, and those after it, which have no pair; of a window the few shards that an edge of the band crosses.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Band(NamedTuple):
    """The bounds of s - t inside one shard."""

    low: int | None
    """Smallest allowed s - t; None means no bound."""
    high: int | None
    """Largest allowed s - t; None means no bound."""


class Blocks(NamedTuple):
    """The different bands of some steps of a ring."""

    bands: tuple[Band | None, ...]
    """Each band once; None has no pair."""
    index: np.ndarray
    """Which of them holds for the shard d before the queries, at d + p - 1; 0 for those of other steps."""


def shard_band(low: int | None, high: int | None, length: int, distance: int) -> Band | None:
    """Return the band of the shard that begins `distance` shards before the queries; None if it has no pair.

    Args:
        low: smallest allowed s - t in the whole sequence; None means no bound.
        high: the largest one.
        length: tokens L of a shard.
        distance: d, negative for a shard after the queries.

    Example:
        >>> [shard_band(None, 0, 4, distance) for distance in (-1, 0, 1)]
        [None, Band(low=None, high=0), Band(low=None, high=None)]
    """
    low, high = (None if bound is None else bound + distance * length for bound in (low, high))
    if (low is not None and low > length - 1) or (high is not None and high < 1 - length):
        return None
    return Band(
        None if low is None or low <= 1 - length else low,
        None if high is None or high >= length - 1 else high,
    )


def ring_blocks(low: int | None, high: int | None, length: int, size: int, steps: Iterable[int]) -> Blocks:
    """Return the bands of the given steps of a ring of `size` devices.

    Example:
        >>> blocks = ring_blocks(None, 0, 4, 3, steps=(1,))  # the shard before a device, or that 2 after it
        >>> blocks.bands
        (None, Band(low=None, high=None))
        >>> blocks.index.tolist()
        [0, 0, 0, 1, 0]
    """
    distances = sorted({d for step in steps for d in ((step, step - size) if step else (0,))})
    bands = [shard_band(low, high, length, distance) for distance in distances]
    unique = tuple(dict.fromkeys(bands)) or (None,)
    index = np.zeros(2 * size - 1, np.int32)
    for distance, band in zip(distances, bands, strict=True):
        index[distance + size - 1] = unique.index(band)
    return Blocks(unique, index)

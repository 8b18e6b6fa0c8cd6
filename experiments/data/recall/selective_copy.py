"""Selective copy: data tokens at random places among noise, then markers at which the data tokens are due in order.

    N rows, I items (data tokens), T tokens

Ids of a vocabulary of n symbols: 0 padding, which no row has; 1 noise; 2 to n - 1 data; n the marker. [Gu & Dao 2023]
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from experiments.data.arrays.store import NO_LABEL
from experiments.data.recall.mqar import RecallRows

NOISE = 1


class CopyDraws(NamedTuple):
    """All random numbers of some rows, in the order in which they are drawn."""

    places: Float64[np.ndarray, "n p"]
    """Uniform numbers; the data tokens stand where a row has its smallest ones."""
    data: Int64[np.ndarray, "n i"]
    """Ids of the data tokens in their order."""


def data_ids(vocabulary: int) -> range:
    """Return the ids of the data tokens."""
    return range(NOISE + 1, vocabulary)


def draw(rng: np.random.Generator, count: int, *, vocabulary: int, items: int, max_len: int) -> CopyDraws:
    """Draw the random numbers of `count` rows; the arguments are those of `selective_copy_rows`."""
    ids = data_ids(vocabulary)
    return CopyDraws(rng.random((count, max_len - items)), rng.integers(ids.start, ids.stop, (count, items)))


def selective_copy_rows(
    rng: np.random.Generator, count: int, *, vocabulary: int, items: int, max_len: int
) -> RecallRows:
    """Draw rows of selective copy.

    The first T - I tokens are noise, with I data tokens at different uniform places; every data token is uniform, so
    they repeat. The last I tokens are markers, and the label of the i-th marker is the i-th data token.

    Args:
        rng: the generator.
        count: number of rows N.
        vocabulary: number of symbols without padding: noise, data and marker.
        items: number of data tokens I.
        max_len: tokens of a row T.

    Returns:
        The rows, all of T tokens.
    """
    draws = draw(rng, count, vocabulary=vocabulary, items=items, max_len=max_len)
    places = np.sort(np.argsort(draws.places, axis=1, kind="stable")[:, :items], axis=1)
    tokens = np.full((count, max_len), NOISE, np.uint8)
    np.put_along_axis(tokens, places, draws.data.astype(np.uint8), axis=1)
    tokens[:, max_len - items :] = vocabulary
    labels = np.full((count, max_len), NO_LABEL, np.int32)
    labels[:, max_len - items :] = draws.data
    return RecallRows(tokens, labels)

"""MQAR, multi-query associative recall: rows of key-value pairs, then the keys once more at random places.

The label of such a query is the value of its key; no other token has a label. [Arora et al. 2023]

    N rows, I items (pairs), T tokens, S slots for queries, K key symbols, V value symbols

Ids of a vocabulary of n symbols: 0 padding, which no row has; 1 blank; 2 to n//2 keys; n//2 + 1 to n values. These are
the ids of the reference plus 1.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int, Int32, UInt8

from experiments.data.arrays.store import NO_LABEL

BLANK = 1
Filler = Literal["blank", "random"]


class RecallRows(NamedTuple):
    """Rows of tokens, and a label for some of the tokens."""

    tokens: UInt8[np.ndarray, "n t"]
    """Token ids, 1 or more."""
    labels: Int32[np.ndarray, "n t"]
    """The id that belongs to a token, -1 for a token without a label."""


class MqarDraws(NamedTuple):
    """All random numbers of some rows, in the order in which they are drawn."""

    keys: Float64[np.ndarray, "n k"]
    """Uniform numbers; the keys of a row are the symbols with its smallest ones."""
    values: Float64[np.ndarray, "n v"]
    """Uniform numbers; the values of a row are the symbols with its smallest ones."""
    pairs: Float64[np.ndarray, "n p"]
    """Uniform numbers; the pairs of two hops stand in their order. One hop has none."""
    arrivals: Float64[np.ndarray, "n s"]
    """Exponential numbers, divided by the weights of the slots: the item that is drawn i-th gets the i-th arrival."""
    fillers: UInt8[np.ndarray, "n t"]
    """Ids between the queries."""


def key_ids(vocabulary: int) -> range:
    """Return the ids of the keys."""
    return range(BLANK + 1, vocabulary // 2 + 1)


def value_ids(vocabulary: int) -> range:
    """Return the ids of the values."""
    return range(vocabulary // 2 + 1, vocabulary + 1)


def context_length(items: int, hops: int) -> int:
    """Return the number of tokens in front of the queries."""
    return 2 * items * hops


def slot_weights(slots: int, power: float) -> Float64[np.ndarray, " s"]:
    """Return the weights of the slots: slot g = 0, 1, … has (g + 1)^(power - 1), so power 1 is uniform."""
    return np.arange(1.0, slots + 1) ** (power - 1)


def query_slots(arrivals: Float64[np.ndarray, "n s"], items: int) -> Int[np.ndarray, "n i"]:
    """Return the slot of the query of every item.

    The first arrivals of exponential clocks with the weights as rates are draws without replacement with these weights.
    """
    return np.argsort(arrivals, axis=1, kind="stable")[:, :items]


def draw(
    rng: np.random.Generator,
    count: int,
    *,
    vocabulary: int,
    items: int,
    max_len: int,
    hops: int,
    power: float,
    filler: Filler,
) -> MqarDraws:
    """Draw the random numbers of `count` rows; the arguments are those of `mqar_rows`."""
    slots = (max_len - context_length(items, hops)) // 2
    return MqarDraws(
        rng.random((count, len(key_ids(vocabulary)))),
        rng.random((count, len(value_ids(vocabulary)))),
        rng.random((count, hops * items if hops > 1 else 0)),
        rng.standard_exponential((count, slots)) / slot_weights(slots, power),
        rng.integers(BLANK, vocabulary + 1, (count, max_len), np.uint8)
        if filler == "random"
        else np.full((count, max_len), BLANK, np.uint8),
    )


def mqar_rows(
    rng: np.random.Generator,
    count: int,
    *,
    vocabulary: int,
    items: int,
    max_len: int,
    hops: int = 1,
    power: float = 0.01,
    filler: Filler = "blank",
) -> RecallRows:
    """Draw rows of multi-query associative recall.

    A row starts with its pairs `k1 v1 k2 v2 …`, of different keys and different values. What follows has slots of two
    tokens. The key of every item stands once more in a slot, and its label there is the value of the item. Slot g has
    the weight (g + 1)^(power - 1), and the items draw their slots one after another, without replacement. With two hops
    every item has two pairs, `key bridge` and `bridge value`, where a bridge is a key symbol, and all pairs stand in
    random order.

    Args:
        rng: the generator.
        count: number of rows N.
        vocabulary: number of symbols without padding.
        items: number of keys that are asked for, I.
        max_len: tokens of a row T.
        hops: pairs from a key to its value, 1 or 2.
        power: exponent of the power law of the slots; 1 is uniform.
        filler: other tokens after the pairs: the blank symbol, or any symbol at random.

    Returns:
        The rows, all of T tokens.
    """
    draws = draw(
        rng, count, vocabulary=vocabulary, items=items, max_len=max_len, hops=hops, power=power, filler=filler
    )
    start = context_length(items, hops)
    keys = key_ids(vocabulary).start + np.argsort(draws.keys, axis=1, kind="stable")[:, : items * hops]
    values = value_ids(vocabulary).start + np.argsort(draws.values, axis=1, kind="stable")[:, :items]
    answers = np.concatenate([keys[:, items:], values], axis=1)  # of the keys and then of the bridges
    pairs = np.stack([keys, answers], axis=2)
    if hops > 1:
        order = np.argsort(draws.pairs, axis=1, kind="stable")
        pairs = np.take_along_axis(pairs, order[:, :, None], axis=1)
    tokens = draws.fillers.copy()
    tokens[:, :start] = pairs.reshape(count, start)
    places = start + 2 * query_slots(draws.arrivals, items)
    np.put_along_axis(tokens, places, keys[:, :items].astype(np.uint8), axis=1)
    labels = np.full((count, max_len), NO_LABEL, np.int32)
    np.put_along_axis(labels, places, values.astype(np.int32), axis=1)
    return RecallRows(tokens, labels)


def position_accuracy(
    rng: np.random.Generator, count: int, *, items: int, max_len: int, hops: int, power: float
) -> float:
    """Return the accuracy of a predictor that reads only where a query stands, and not which key it is.

    It answers with the value of the item that most often has its query there. The items of one hop draw their slots in
    the order of their pairs, so early pairs have early queries. Two hops have their pairs in random order.

    Args:
        rng: the generator.
        count: number of rows to which it is fitted, and of others on which it is measured.
        items: number of items I.
        max_len: tokens of a row T.
        hops: pairs from a key to its value.
        power: exponent of the power law of the slots.

    Returns:
        The accuracy, at least 1/I up to the error of sampling.
    """
    if hops > 1:
        return 1 / items
    slots = (max_len - context_length(items, hops)) // 2
    arrivals = rng.standard_exponential((2 * count, slots)) / slot_weights(slots, power)
    fitted, others = np.split(query_slots(arrivals, items), 2)
    frequencies = np.zeros((items, slots))
    np.add.at(frequencies, (np.arange(items)[None], fitted), 1)
    return float(np.mean(frequencies.argmax(axis=0)[others] == np.arange(items)))

"""What an n-gram model pays: the number that a network must beat before its differences mean anything.

Interpolated by Witten & Bell: with n(c, x) counts of the id x after the context c of k ids, n(c) their sum and d(c) the
number of different ids after c,

    p_k(x | c) = (n(c, x) + d(c) p_{k-1}(x | c′)) / (n(c) + d(c)),        p_{-1}(x) = 1/V,

where c′ is c without its first id. It is fitted to the training text and measured on the test text.
[Witten & Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37, 1991]

    N ids of the training text, M ids of the test text, V ids of the vocabulary
"""

import math

import numpy as np
from jaxtyping import Float64, Int, Integer

from experiments.data.arrays import Split

LARGEST = 5_000_000
"""Training ids that are counted; more would need more memory than a model of this size is worth."""


def stream_of(split: Split, blocks: int | None = None) -> Integer[np.ndarray, " n"]:
    """Return the ids of a split in a row, each once.

    Args:
        split: blocks of T + 1 ids, whose neighbors share one.
        blocks: the first blocks alone; None is all.
    """
    tokens = split.tokens[:blocks]
    return np.concatenate([tokens[:1, 0], tokens[:, 1:].ravel()])


def ngram_nats(
    train: Integer[np.ndarray, " n"], test: Integer[np.ndarray, " m"], vocabulary: int, order: int
) -> list[float]:
    """Return the mean nats per id of the test text, its first one left out, for 1-grams, 2-grams, … n-grams.

    Args:
        train: ids of the training text, of which the first 5 million are counted.
        test: ids of the test text.
        vocabulary: number of ids V.
        order: n of the largest model.

    Example:
        >>> import math
        >>> import numpy as np
        >>> from experiments.data.language_modeling import ngram_nats
        >>> text = np.arange(2000) % 4
        >>> unigram, bigram = ngram_nats(text, text, vocabulary=4, order=2)
        >>> abs(unigram - math.log(4)) < 1e-6, bigram < 0.01
        (True, True)
    """
    ids = np.concatenate([train[:LARGEST], test]).astype(np.int64)
    count = min(len(train), LARGEST)
    contexts = np.zeros(len(ids), np.int64)  # number of the context before each id; -1 where it is too short
    probability = np.full(len(test) - 1, 1 / vocabulary)
    nats = []
    for k in range(order):
        if k:
            contexts = _longer(contexts, ids, k, vocabulary)
        probability = _interpolate(contexts, ids, count, probability, vocabulary)
        nats.append(-float(np.log(probability).mean()))
    return nats


def _longer(
    contexts: Int[np.ndarray, " n"], ids: Int[np.ndarray, " n"], k: int, vocabulary: int
) -> np.ndarray:
    """Number the contexts of k ids: that of k - 1 ids before the last one, and the last one."""
    pairs = np.full(len(ids), -1, np.int64)
    pairs[k:] = contexts[k - 1 : -1] * vocabulary + ids[k - 1 : -1]
    numbers = np.full(len(ids), -1, np.int64)
    numbers[k:] = np.unique(pairs[k:], return_inverse=True)[1]
    return numbers


def _interpolate(
    contexts: Int[np.ndarray, " n"],
    ids: Int[np.ndarray, " n"],
    count: int,
    lower: Float64[np.ndarray, " m1"],
    vocabulary: int,
) -> Float64[np.ndarray, " m1"]:
    """Return the probabilities of the test ids, given those with contexts that are one id shorter."""
    pairs = contexts * vocabulary + ids
    is_fitted = contexts[:count] >= 0
    kinds, totals = np.unique(pairs[:count][is_fitted], return_counts=True)
    sizes = int(contexts.max()) + 1
    total = np.bincount(kinds // vocabulary, weights=totals, minlength=sizes)
    different = np.bincount(kinds // vocabulary, minlength=sizes)
    test_contexts, test_pairs = contexts[count + 1 :], pairs[count + 1 :]
    places = np.minimum(np.searchsorted(kinds, test_pairs), len(kinds) - 1)
    hits = np.where(kinds[places] == test_pairs, totals[places], 0)
    is_known = (test_contexts >= 0) & (total[test_contexts] > 0)
    n, d = total[test_contexts], different[test_contexts]
    return np.where(is_known, (hits + d * lower) / np.maximum(n + d, 1), lower)


def bits_per_byte(nats: float, text_bytes: int) -> float:
    """Return nats of a text divided by its bytes, in bits."""
    return nats / text_bytes / math.log(2)

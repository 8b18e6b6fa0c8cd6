"""The accuracy of comparing the words of two texts, to print beside an accuracy of a model.

n pairs
"""

import math
from collections import Counter

import numpy as np
from jaxtyping import Float64

from experiments.data.arrays import Split

Words = frozenset[bytes]


def word_accuracy(train: Split, test: Split) -> float:
    """Return the test accuracy of a threshold on the similarity of two texts.

    The similarity is the cosine of two vectors with the entry log(N / N_w) for every word w of a text, where N_w of
    the N training texts have the word (1 if none). A word is what stands between white space, in lower case. The
    threshold is the best one on the training pairs.

    Args:
        train: pairs that choose the threshold and count the words.
        test: pairs to classify.
    """
    pairs = _words(train)
    counts = Counter(word for pair in pairs for text in pair for word in text)
    weights = {word: math.log(2 * len(pairs) / count) ** 2 for word, count in counts.items()}
    rare = math.log(2 * len(pairs)) ** 2
    scores = _similarities(pairs, weights, rare)
    order = np.argsort(scores, kind="stable")
    gains = np.where(train.labels[order] == 0, 1, -1)
    # If the pairs from place i on are called related, correct[i] of them are right.
    correct = np.r_[0, np.cumsum(gains)] + np.sum(train.labels)
    # Between two equal scores no threshold can stand.
    is_place = np.r_[True, np.diff(scores[order]) > 0, True]
    best = int(np.argmax(np.where(is_place, correct, -1)))
    threshold = np.r_[scores[order], np.inf][best]
    return float(np.mean((_similarities(_words(test), weights, rare) >= threshold) == test.labels))


def _words(split: Split) -> list[tuple[Words, Words]]:
    """Return the words of both texts of every pair."""
    return [
        (frozenset(bytes(one[: n[0]]).lower().split()), frozenset(bytes(other[: n[1]]).lower().split()))
        for (one, other), n in zip(split.tokens, split.lengths, strict=True)
    ]


def _similarities(
    pairs: list[tuple[Words, Words]], weights: dict[bytes, float], rare: float
) -> Float64[np.ndarray, " n"]:
    """Return the cosines, with squared weights of the words; 0 if a text has no words."""

    def square(words: Words) -> float:
        return math.fsum(
            weights.get(word, rare) for word in words
        )  # its rounding does not depend on the order

    norms = [math.sqrt(square(one) * square(other)) for one, other in pairs]
    return np.array(
        [square(one & other) / norm if norm else 0.0 for (one, other), norm in zip(pairs, norms, strict=True)]
    )

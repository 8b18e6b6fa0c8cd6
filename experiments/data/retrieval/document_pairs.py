"""Pairs of documents of the same class, or of different classes.

n documents, P pairs
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int


class Pairs(NamedTuple):
    """Pairs of documents, by their indices."""

    first: Int[np.ndarray, " P"]
    """First document."""
    second: Int[np.ndarray, " P"]
    """Second document, another one."""
    same: Bool[np.ndarray, " P"]
    """Whether the two are of one class."""


def draw_pairs(labels: Int[np.ndarray, " n"], count: int, *, seed: int) -> Pairs:
    """Draw different pairs, in turn of one class and of two, so that the labels of any first rows are balanced.

    The first document is uniform among all. The second is uniform among the other documents of its class, or among
    the documents of other classes. A pair that was drawn before, in any order, is drawn again.

    Args:
        labels: class of every document.
        count: number of pairs.
        seed: seed of the draws, 0 or more.

    Raises:
        ValueError: there are not twice as many pairs of either kind.
    """
    n = len(labels)
    _, sizes = np.unique(labels, return_counts=True)
    one_class = int((sizes * (sizes - 1) // 2).sum())
    available = min(one_class, n * (n - 1) // 2 - one_class)
    if count > available:
        raise ValueError(
            f"pairs are drawn without repetition from at most {available:,} of one kind, got count={count:,}; lower "
            "the sizes."
        )
    rng = np.random.Generator(np.random.Philox(key=seed))
    others = {bool(same): _candidates(labels, same=same) for same in (True, False)}
    drawn: dict[tuple[int, int], tuple[int, int]] = {}
    while len(drawn) < count:
        first = int(rng.integers(n))
        candidates = others[len(drawn) % 2 == 0][int(labels[first])]
        if not len(candidates):
            continue
        second = int(candidates[rng.integers(len(candidates))])
        if second != first:
            drawn.setdefault((min(first, second), max(first, second)), (first, second))
    pairs = np.array(list(drawn.values()), np.int64).reshape(-1, 2)
    return Pairs(pairs[:, 0], pairs[:, 1], labels[pairs[:, 0]] == labels[pairs[:, 1]])


def _candidates(labels: Int[np.ndarray, " n"], *, same: bool) -> dict[int, Int[np.ndarray, " m"]]:
    """Return for each class the documents in it, or those outside."""
    return {int(label): np.flatnonzero((labels == label) == same) for label in np.unique(labels)}

"""The ladder: what predictors reach that look at the top of a ListOps tree only.

A model at `root_operator` has learned to read the first token, and a model at `depth_one` to look one level
below it. Neither has evaluated a nested list, so these are the numbers an accuracy is to be read against.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int, UInt8

from experiments.data.arrays import Split
from experiments.data.listops.grammar import CLASSES, CLOSE, DIGITS, ID, MAX_ARGUMENTS, OPERATORS, VOCABULARY

MIN, MAX, MED, SM = range(len(OPERATORS))
ROWS_AT_ONCE = 1024


class Top(NamedTuple):
    """The first level of each tree. `digits[i, v]` counts the digits v directly under the root of tree i."""

    root: Int[np.ndarray, " n"]
    """Id of the first token."""
    digits: Int[np.ndarray, "n 10"]
    operators: Int[np.ndarray, "n 4"]


def ladder(train: Split, test: Split) -> dict[str, float]:
    """Accuracy on `test`, as a fraction, of three predictors fitted on `train`.

    `majority`: the most frequent label.
    `root_operator`: the most frequent label given the first token.
    `depth_one`: the most probable label given the root operator, the digits directly under it and the
    operators directly under it, if the value of a sub-expression with operator o is distributed like the
    labels of the training sequences with root o, independently of the others. The minimum, the maximum and
    the sum modulo 10 are exact under that model; the median of an even number of arguments is given the
    mean of the distributions of its two middle ones.
    """
    by_root = label_frequencies(train)
    top = read_top(test.tokens)
    root = by_root[top.root].argmax(1)
    predictions = {
        "majority": np.bincount(train.labels, minlength=CLASSES).argmax(),
        "root_operator": root,
        "depth_one": np.where(top.operators.sum(1) + top.digits.sum(1) > 0, depth_one(top, by_root), root),
    }
    return {name: float(np.mean(prediction == test.labels)) for name, prediction in predictions.items()}


def label_frequencies(split: Split) -> Float64[np.ndarray, "ids 10"]:
    """P(label | first token), with one sequence's worth of the overall frequencies for each first token."""
    counts = np.zeros((len(VOCABULARY), CLASSES))
    counts[:] = np.bincount(split.labels, minlength=CLASSES) / len(split.labels)
    np.add.at(counts, (split.tokens[:, 0], split.labels), 1)
    return counts / counts.sum(1, keepdims=True)


def read_top(tokens: UInt8[np.ndarray, "n T"]) -> Top:
    parts = [_read_top(tokens[i : i + ROWS_AT_ONCE]) for i in range(0, len(tokens), ROWS_AT_ONCE)]
    return Top(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _read_top(tokens: UInt8[np.ndarray, "n T"]) -> Top:
    opens = np.isin(tokens, [ID[operator] for operator in OPERATORS])
    depth = np.cumsum(opens.astype(np.int16) - (tokens == ID[CLOSE]), axis=1, dtype=np.int16)
    digits = [((tokens == ID[digit]) & (depth == 1)).sum(1) for digit in DIGITS]
    operators = [((tokens == ID[operator]) & (depth == 2)).sum(1) for operator in OPERATORS]
    return Top(tokens[:, 0].astype(int), np.stack(digits, 1), np.stack(operators, 1))


def depth_one(top: Top, by_root: Float64[np.ndarray, "ids 10"]) -> Int[np.ndarray, " n"]:
    """The most probable label under the model of `ladder`."""
    values = by_root[[ID[operator] for operator in OPERATORS]]
    arguments = top.digits.sum(1) + top.operators.sum(1)
    probability = np.zeros((len(top.root), CLASSES))
    for operator in (MIN, MAX, MED, SM):
        here = top.root == ID[OPERATORS[operator]]
        part, n = Top(*(field[here] for field in top)), arguments[here]
        if operator == SM:
            probability[here] = _sum(part, values)
        elif operator == MED:
            probability[here] = (_ranked(part, values, (n + 1) // 2) + _ranked(part, values, n // 2 + 1)) / 2
        else:
            probability[here] = _ranked(part, values, np.ones_like(n) if operator == MIN else n)
    return probability.argmax(1)


def _ranked(top: Top, values: Float64[np.ndarray, "4 10"], rank: Int[np.ndarray, " n"]) -> np.ndarray:
    """P(the rank-th smallest argument = v), shape (n, 10): at most v if at least `rank` arguments are."""
    at_most = np.empty((len(rank), CLASSES))
    for v in range(CLASSES):
        below = np.zeros((len(rank), MAX_ARGUMENTS + 1))  # P(number of sub-expressions with a value <= v)
        below[:, 0] = 1
        for operator in range(len(OPERATORS)):
            for k in range(MAX_ARGUMENTS):
                p = np.where(top.operators[:, operator] > k, values[operator, : v + 1].sum(), 0.0)[:, None]
                below = below * (1 - p) + np.pad(below[:, :-1], ((0, 0), (1, 0))) * p
        missing = rank - top.digits[:, : v + 1].sum(1)
        at_most[:, v] = (below * (np.arange(MAX_ARGUMENTS + 1) >= missing[:, None])).sum(1)
    return np.diff(at_most, axis=1, prepend=0.0)


def _sum(top: Top, values: Float64[np.ndarray, "4 10"]) -> np.ndarray:
    """P(sum of the arguments modulo 10 = v), shape (n, 10): on a ring, Fourier transforms multiply."""
    transform = np.prod(np.fft.fft(values)[None] ** top.operators[:, :, None], axis=1)
    digits = top.digits @ np.arange(CLASSES)
    shift = np.exp(-2j * np.pi * np.outer(digits % CLASSES, np.arange(CLASSES)) / CLASSES)
    return np.fft.ifft(transform * shift).real

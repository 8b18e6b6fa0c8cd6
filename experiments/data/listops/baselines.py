"""Baselines: accuracies of predictors that use only the top levels of a ListOps tree.

The predictor `root_operator` uses only the first token. The predictor `depth_one` also uses the level below it.
Neither evaluates a nested list, so the accuracy of a model must be compared with theirs.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int, UInt8

from experiments.data.arrays import Split
from experiments.data.listops.grammar import CLASSES, CLOSE, DIGITS, ID, MAX_ARGUMENTS, OPERATORS, VOCABULARY

MIN, MAX, MED, SM = range(len(OPERATORS))
ROWS_AT_ONCE = 1024


class Top(NamedTuple):
    """The first level of n trees."""

    root: Int[np.ndarray, " n"]
    """Id of the first token."""
    digits: Int[np.ndarray, "n 10"]
    """`digits[i, v]` counts the digits v directly under the root of tree i."""
    operators: Int[np.ndarray, "n 4"]
    """`operators[i, o]` counts the sub-expressions with operator o directly under the root of tree i."""


def baseline_accuracies(train: Split, test: Split) -> dict[str, float]:
    """Return the accuracy on `test`, as a fraction, of three predictors fitted on `train`.

    - `majority`: the most frequent label.
    - `root_operator`: the most frequent label given the first token.
    - `depth_one`: the most probable label given the root operator, and the digits and operators directly under it.

    `depth_one` assumes that the value of a sub-expression with operator o is distributed like the labels of the
    training sequences with root o, independently of other sub-expressions. Minimum, maximum and sum modulo 10 are
    exact under that model. For the median of an even number of arguments it takes the mean of the distributions of
    the two middle arguments.
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
    """Return P(label | first token), smoothed: the overall frequencies count as one sequence per first token."""
    counts = np.zeros((len(VOCABULARY), CLASSES))
    counts[:] = np.bincount(split.labels, minlength=CLASSES) / len(split.labels)
    np.add.at(counts, (split.tokens[:, 0], split.labels), 1)
    return counts / counts.sum(1, keepdims=True)


def read_top(tokens: UInt8[np.ndarray, "n T"]) -> Top:
    """Return the first level of every tree, computed for `ROWS_AT_ONCE` rows at a time."""
    blocks = [_read_top(tokens[i : i + ROWS_AT_ONCE]) for i in range(0, len(tokens), ROWS_AT_ONCE)]
    return Top(*(np.concatenate(field) for field in zip(*blocks, strict=True)))


def _read_top(tokens: UInt8[np.ndarray, "n T"]) -> Top:
    is_operator = np.isin(tokens, [ID[operator] for operator in OPERATORS])
    depth = np.cumsum(is_operator.astype(np.int16) - (tokens == ID[CLOSE]), axis=1, dtype=np.int16)
    digits = [((tokens == ID[digit]) & (depth == 1)).sum(1) for digit in DIGITS]
    operators = [((tokens == ID[operator]) & (depth == 2)).sum(1) for operator in OPERATORS]
    return Top(tokens[:, 0].astype(int), np.stack(digits, 1), np.stack(operators, 1))


def depth_one(top: Top, by_root: Float64[np.ndarray, "ids 10"]) -> Int[np.ndarray, " n"]:
    """Return the most probable label of every tree, under the model of `baseline_accuracies`."""
    values = by_root[[ID[operator] for operator in OPERATORS]]
    arguments = top.digits.sum(1) + top.operators.sum(1)
    probability = np.zeros((len(top.root), CLASSES))
    for operator in (MIN, MAX, MED, SM):
        rows = top.root == ID[OPERATORS[operator]]
        trees, n = Top(*(field[rows] for field in top)), arguments[rows]
        if operator == SM:
            probability[rows] = _sum(trees, values)
        elif operator == MED:
            lower = _order_statistic(trees, values, (n + 1) // 2)
            probability[rows] = (lower + _order_statistic(trees, values, n // 2 + 1)) / 2
        else:
            probability[rows] = _order_statistic(trees, values, np.ones_like(n) if operator == MIN else n)
    return probability.argmax(1)


def _order_statistic(
    top: Top, values: Float64[np.ndarray, "4 10"], rank: Int[np.ndarray, " n"]
) -> np.ndarray:
    """Return P(the rank-th smallest argument = v), shape (n, 10); it is at most v if `rank` arguments are."""
    at_most = np.empty((len(rank), CLASSES))
    for v in range(CLASSES):
        count = np.zeros((len(rank), MAX_ARGUMENTS + 1))  # P(number of sub-expressions with a value <= v)
        count[:, 0] = 1
        for operator in range(len(OPERATORS)):
            for k in range(MAX_ARGUMENTS):
                p = np.where(top.operators[:, operator] > k, values[operator, : v + 1].sum(), 0.0)[:, None]
                count = count * (1 - p) + np.pad(count[:, :-1], ((0, 0), (1, 0))) * p
        missing = rank - top.digits[:, : v + 1].sum(1)
        at_most[:, v] = (count * (np.arange(MAX_ARGUMENTS + 1) >= missing[:, None])).sum(1)
    return np.diff(at_most, axis=1, prepend=0.0)


def _sum(top: Top, values: Float64[np.ndarray, "4 10"]) -> np.ndarray:
    """Return P(sum of the arguments modulo 10 = v), shape (n, 10), as a product of discrete Fourier transforms."""
    transform = np.prod(np.fft.fft(values)[None] ** top.operators[:, :, None], axis=1)
    digits = top.digits @ np.arange(CLASSES)
    shift = np.exp(-2j * np.pi * np.outer(digits % CLASSES, np.arange(CLASSES)) / CLASSES)
    return np.fft.ifft(transform * shift).real

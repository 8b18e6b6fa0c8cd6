"""Nesting depth of ListOps sequences, and sequences of one exact depth.

The depth of a sequence is the largest number of lists that are open at once: 0 for a digit, 1 for `[MAX 2 9 ]`, 2 for
`[MAX 2 [MIN 4 7 ] ]`. Sequences of the benchmark have at most ten levels, the last one of digits, so their depth is at
most 9; a ladder may go one step beyond. At the lengths of the benchmark, 501 to 1999 tokens, practically every sequence
has depth 9 (22,000 of 22,000), so accuracy by depth needs a ladder, or short sequences.

A sequence of depth d is drawn as the benchmark draws it (a node is an operator with probability 1/4, with 2 to 10
arguments) without its limit of ten levels, given that the depth is d and the length is within bounds. The draw is
exact: tables hold the probability of every depth and length, so nothing is rejected.

    L largest length, d depth, m number of neighboring nodes
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, UInt8

from experiments.data.arrays import Split
from experiments.data.listops.generator import OPERATOR_PROBABILITY
from experiments.data.listops.grammar import (
    CLASSES,
    CLOSE,
    DIGITS,
    ID,
    MAX_ARGUMENTS,
    OPERATORS,
    VOCABULARY,
    Tokens,
    encode,
    evaluate,
)

MIN_ARGUMENTS = 2
ARGUMENTS = range(MIN_ARGUMENTS, MAX_ARGUMENTS + 1)
MAX_LADDER_DEPTH = 10
"""Deepest test set: one more than the sequences of the benchmark have."""
ROWS_AT_ONCE = 1024
Row = Float64[np.ndarray, " l"]
"""Entry l: a probability of length l."""


class RowTable(NamedTuple):
    """Probabilities of neighboring nodes by depth, number of nodes and length."""

    at_most: list[list[Row]]
    """`at_most[d][m][l]`: m nodes have depths of at most d and l tokens together."""
    exact: list[list[Row]]
    """`exact[d][m][l]`: so do they, and one of them at least has depth d."""


class DepthAccuracy(NamedTuple):
    """Accuracy on the sequences of one depth."""

    accuracy: float
    """Share of right answers."""
    examples: int
    """Number of sequences."""


def depths(tokens: UInt8[np.ndarray, "n T"]) -> Int[np.ndarray, " n"]:
    """Return the depth of every sequence, 0 for a digit.

    Args:
        tokens: ids of the tokens, 0 after the last.

    Returns:
        The depths.

    Example:
        >>> int(depths(encode("[MAX 2 [MIN 4 7 ] ]".split())[None])[0])
        2
    """
    blocks = [tokens[start : start + ROWS_AT_ONCE] for start in range(0, len(tokens), ROWS_AT_ONCE)]
    return np.concatenate([_depths(block) for block in blocks]) if blocks else np.zeros(0, int)


def _depths(tokens: UInt8[np.ndarray, "n T"]) -> Int[np.ndarray, " n"]:
    is_open = np.isin(tokens, [ID[operator] for operator in OPERATORS])
    lists = np.cumsum(is_open.astype(np.int16) - (tokens == ID[CLOSE]), axis=1, dtype=np.int16)
    return lists.max(axis=1).astype(int)


def accuracy_by_depth(
    tokens: UInt8[np.ndarray, "n T"], hits: Bool[np.ndarray, " n"]
) -> dict[int, DepthAccuracy]:
    """Return the accuracy on the sequences of every depth, the smallest depth first.

    Args:
        tokens: ids of the tokens, 0 after the last.
        hits: whether the answer to a sequence is right.

    Returns:
        Depth -> accuracy and number of sequences.
    """
    by_sequence = depths(tokens)
    groups = {int(depth): hits[by_sequence == depth] for depth in np.unique(by_sequence)}
    return {depth: DepthAccuracy(float(np.mean(group)), len(group)) for depth, group in groups.items()}


@functools.cache
def probability_table(depth: int, max_length: int) -> RowTable:
    """Return the probabilities of up to ten neighboring nodes of depths up to `depth`, for lengths below `max_length`.

    Args:
        depth: largest depth.
        max_length: number of entries of a row.

    Returns:
        The table.
    """
    none, digit = np.zeros((2, max_length))
    none[0], digit[1] = 1.0, 1 - OPERATOR_PROBABILITY
    zero = np.zeros(max_length)
    table = RowTable([], [])
    for level in range(depth + 1):
        inner = table.exact[level - 1] if level else None
        node = digit if inner is None else _list_lengths(inner)
        less = zero if inner is None else table.at_most[level - 1][1]
        exact, at_most = [zero], [none]
        for number in range(MAX_ARGUMENTS):
            # either the first node has this depth, or it has less and one of the others has it
            exact.append(_convolve(node, at_most[number]) + _convolve(less, exact[number]))
            at_most.append(_convolve(node + less, at_most[number]))
        table.exact.append(exact)
        table.at_most.append(at_most)
    return table


def _convolve(a: Row, b: Row) -> Row:
    return np.convolve(a, b)[: len(a)]


def _list_lengths(arguments: list[Row]) -> Row:
    """Return the probabilities of the lengths of a list, given those of its arguments by their number."""
    inside = np.sum([arguments[number] for number in ARGUMENTS], axis=0)
    inside *= OPERATOR_PROBABILITY / len(ARGUMENTS)
    return np.concatenate([np.zeros(2), inside[:-2]])  # the operator and its bracket


class _Sampler:
    """Draws nodes from a table; the tokens of a node are written to `tokens`."""

    def __init__(self, table: RowTable, rng: np.random.Generator):
        self.tokens: list[str] = []
        self._table, self._rng = table, rng

    def choose(self, weights: Row) -> int:
        total = np.cumsum(weights)
        return int(np.searchsorted(total, self._rng.random() * total[-1], side="right"))

    def node(self, depth: int, length: int, *, is_exact: bool) -> None:
        """Draw a node of this length whose depth is `depth`, or at most `depth`."""
        if length == 1:
            self.tokens.append(DIGITS[self._rng.integers(len(DIGITS))])
            return
        rows = (self._table.exact if is_exact else self._table.at_most)[depth - 1]
        number = ARGUMENTS[self.choose(np.array([rows[number][length - 2] for number in ARGUMENTS]))]
        self.tokens.append(OPERATORS[self._rng.integers(len(OPERATORS))])
        self.arguments(depth - 1, number, length - 2, is_exact=is_exact)
        self.tokens.append(CLOSE)

    def arguments(self, depth: int, number: int, length: int, *, is_exact: bool) -> None:
        """Draw neighboring nodes of this length together; if `is_exact`, one of them at least has depth `depth`."""
        exact, at_most = self._table.exact[depth], self._table.at_most[depth]
        less = self._table.at_most[depth - 1][1] if depth else np.zeros_like(at_most[1])
        for others in reversed(range(number)):
            rest = slice(length, None, -1)  # entry l: the other nodes have length - l tokens
            if is_exact:
                has_depth = exact[1][: length + 1] * at_most[others][rest]
                has_less = less[: length + 1] * exact[others][rest]
                choice = self.choose(np.concatenate([has_depth, has_less]))
                own, first_is_exact = choice % (length + 1), choice <= length
            else:
                own, first_is_exact = self.choose(at_most[1][: length + 1] * at_most[others][rest]), False
            shallower = is_exact and not first_is_exact
            self.node(depth - shallower, own, is_exact=first_is_exact)
            is_exact, length = shallower, length - own


def generate_depth(
    count: int, *, depth: int, seed: int, min_length: int = 0, max_length: int = 512
) -> list[tuple[Tokens, int]]:
    """Generate sequences of one exact depth, repetitions included.

    Args:
        count: number of sequences.
        depth: their depth, 1 to 10.
        seed: seed of the generator; a larger count continues the same sequences.
        min_length: sequences have more tokens than this.
        max_length: sequences have fewer tokens than this.

    Returns:
        Pairs (tokens, label).

    Raises:
        ValueError: the depth is out of range, or no sequence of this depth has such a length.

    Example:
        >>> [(tokens, label)] = generate_depth(1, depth=3, seed=0, max_length=40)
        >>> evaluate(tokens) == label, int(depths(encode(tokens)[None])[0])
        (True, 3)
    """
    if not 1 <= depth <= MAX_LADDER_DEPTH:
        raise ValueError(f"a depth is 1 to {MAX_LADDER_DEPTH}, got depth={depth}; change it.")
    weights = probability_table(depth, max(max_length, 3)).exact[depth][1].copy()
    weights[: max(min_length + 1, 0)] = 0
    if not weights.any():
        raise ValueError(
            f"a sequence of depth {depth} has {3 * depth + 1} tokens or more and must fit min_length < length < "
            f"max_length, got min_length={min_length}, max_length={max_length}; lower min_length or raise max_length."
        )
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, depth))))
    sampler, pairs = _Sampler(probability_table(depth, max_length), rng), []
    for _ in range(count):
        sampler.tokens.clear()
        sampler.node(depth, sampler.choose(weights), is_exact=True)
        pairs.append((tuple(sampler.tokens), evaluate(sampler.tokens)))
    return pairs


def depth_test_sets(
    count: int, *, seed: int, min_length: int = 0, max_length: int = 512, levels: range = range(1, 11)
) -> Mapping[int, Split]:
    """Generate a test set for every depth.

    Args:
        count: number of sequences of each depth.
        seed: seed of the generator.
        min_length: sequences have more tokens than this.
        max_length: sequences have fewer tokens than this.
        levels: the depths.

    Returns:
        Depth -> sequences in rows of max_length - 1 tokens.
    """
    return {
        depth: _split(
            generate_depth(count, depth=depth, seed=seed, min_length=min_length, max_length=max_length),
            max_length - 1,
        )
        for depth in levels
    }


def _split(pairs: list[tuple[Tokens, int]], max_len: int) -> Split:
    tokens = np.zeros((len(pairs), max_len), np.uint8)
    for row, (sequence, _) in enumerate(pairs):
        tokens[row, : len(sequence)] = encode(sequence)
    lengths, labels = (
        np.array([len(sequence) for sequence, _ in pairs], np.int32),
        np.array([label for _, label in pairs], np.int32),
    )
    return Split(tokens, lengths, labels, VOCABULARY, CLASSES)

"""Random ListOps trees, draw for draw those of the reference generator [Tay et al. 2021]."""

import itertools
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from experiments.data.listops.grammar import (
    CLOSE,
    DIGITS,
    MAX_ARGUMENTS,
    MAX_DEPTH,
    OPERATORS,
    Tokens,
    encode,
)

OPERATOR_PROBABILITY = 0.25


def _median(values: list[int]) -> int:
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


_VALUE: tuple[Callable[[list[int]], int], ...] = (min, max, _median, lambda values: sum(values) % 10)


class _Tree:
    """One random tree at a time: `draw` leaves its tokens in `tokens` and returns its value.

    The order of the draws is the contract. A node above the last level is a digit if random() > 1/4; at
    the last level it always is, without that draw. A digit is choice(range(10)). An operator node is
    randint(2, 10) arguments, then the arguments in turn, then the choice of the operator. `choice` and
    `randint` draw a few bits until they are in range, which is written out here because it is faster.

    A tree that has reached `max_length` tokens is hopeless: the rest of it is drawn, for the sake of the
    trees after it, but not built.
    """

    def __init__(self, rng: random.Random, max_length: int):
        self.tokens: list[str] = []
        self._uniform, self._bits, self._max_length = rng.random, rng.getrandbits, max_length

    def draw(self) -> int:
        self.tokens.clear()
        return self._digit() if self._uniform() > OPERATOR_PROBABILITY else self._operation(1)

    def _digit(self) -> int:
        digit = self._bits(4)
        while digit > 9:
            digit = self._bits(4)
        self.tokens.append(DIGITS[digit])
        return digit

    def _arguments(self) -> range:
        number = self._bits(4)
        while number > MAX_ARGUMENTS - 2:
            number = self._bits(4)
        return range(number + 2)

    def _operation(self, depth: int) -> int:
        if len(self.tokens) >= self._max_length:
            self._pass_over(depth)
            return 0
        uniform, digit, last, at = self._uniform, self._digit, depth == MAX_DEPTH - 1, len(self.tokens)
        self.tokens.append("")  # the operator is drawn after its arguments
        values = [
            digit() if last or uniform() > OPERATOR_PROBABILITY else self._operation(depth + 1)
            for _ in self._arguments()
        ]
        operator = self._bits(3)
        while operator > 3:
            operator = self._bits(3)
        self.tokens[at] = OPERATORS[operator]
        self.tokens.append(CLOSE)
        return _VALUE[operator](values)

    def _pass_over(self, depth: int) -> None:
        """Make every draw of an operator node and build nothing."""
        uniform, bits, last = self._uniform, self._bits, depth == MAX_DEPTH - 1
        for _ in self._arguments():
            if last or uniform() > OPERATOR_PROBABILITY:
                while bits(4) > 9:
                    pass
            else:
                self._pass_over(depth + 1)
        while bits(3) > 3:
            pass


def _stream(*, seed: int, min_length: int, max_length: int) -> Iterator[tuple[Tokens, int]]:
    tree = _Tree(random.Random(seed), max_length)
    while True:
        label = tree.draw()
        if min_length < len(tree.tokens) < max_length:
            yield tuple(tree.tokens), label


def check_lengths(min_length: int, max_length: int) -> None:
    """Raise ValueError if no sequence has min_length < length < max_length."""
    if not any(length == 1 or length >= 4 for length in range(min_length + 1, max_length)):
        raise ValueError(
            "a ListOps sequence has 1 token or at least 4 and must fit min_length < length < max_length, "
            f"got min_length={min_length}, max_length={max_length}; lower min_length or raise max_length."
        )


def generate(
    count: int, *, seed: int, min_length: int = 500, max_length: int = 2000
) -> Iterator[tuple[Tokens, int]]:
    """Yield `count` pairs (tokens, label) with min_length < number of tokens < max_length.

    They are the accepted trees of the stream `random.Random(seed)`, in order, repetitions included. The
    root is drawn like every other node, so at the default lengths 92 % of the trees are rejected.
    Raises ValueError if no sequence has an admitted length.
    """
    check_lengths(min_length, max_length)
    return itertools.islice(_stream(seed=seed, min_length=min_length, max_length=max_length), count)


class Row(NamedTuple):
    """A sequence in a tenth of the memory that its tokens take."""

    ids: bytes
    label: int


def distinct(count: int, *, seed: int, min_length: int = 500, max_length: int = 2000) -> list[Row]:
    """`count` pairwise different sequences of the stream, in an order drawn anew from the seed.

    A repeated sequence is passed over, so splits cut from the list share none. Likely sequences come
    early in the stream; without the new order the last split would hold the unlikely ones.
    Raises ValueError if the admitted lengths hold too few different sequences.
    """
    drawn = 20 * count + 1000
    new = _unseen(generate(drawn, seed=seed, min_length=min_length, max_length=max_length))
    console = Console(stderr=True)
    rows = list(track(itertools.islice(new, count), "Generating ListOps", count, console=console))
    if len(rows) < count:
        raise ValueError(
            f"splits must not share a sequence, so {count} different ones of {min_length + 1} to "
            f"{max_length - 1} tokens are needed, got {len(rows)} among {drawn}; lower the split sizes or "
            "widen the lengths."
        )
    order = np.random.Generator(np.random.Philox(seed)).permutation(count)
    return [rows[i] for i in order]


def _unseen(pairs: Iterator[tuple[Tokens, int]]) -> Iterator[Row]:
    seen: set[bytes] = set()
    for tokens, label in pairs:
        ids = encode(tokens).tobytes()
        if ids not in seen:
            seen.add(ids)
            yield Row(ids, label)

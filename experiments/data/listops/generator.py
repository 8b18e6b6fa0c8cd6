"""Random ListOps trees, with the same random draws as the reference generator [Tay et al. 2021]."""

import itertools
import random
from collections.abc import Callable, Iterator

from experiments.data.listops.grammar import (
    CLOSE,
    DIGITS,
    MAX_ARGUMENTS,
    MAX_DEPTH,
    OPERATORS,
    Tokens,
)

OPERATOR_PROBABILITY = 0.25


def _median(values: list[int]) -> int:
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


_VALUE: tuple[Callable[[list[int]], int], ...] = (min, max, _median, lambda values: sum(values) % 10)


class _Tree:
    """One random tree at a time: `draw` writes its tokens to `tokens` and returns its value.

    The order of the draws is that of the reference generator. A node above the last level is a digit if
    random() > 1/4; a node at the last level is always a digit, without that draw. A digit is choice(range(10)). An
    operator node draws the number of its arguments, randint(2, 10), then the arguments in turn, then the operator.
    `choice` and `randint` draw a few bits until they are in range; this class contains that loop, which is faster
    than the calls.

    A tree that has reached `max_length` tokens will be rejected. The class makes the remaining draws, because later
    trees depend on them, but does not build the tree.
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
            self._skip(depth)
            return 0
        uniform, digit, last, position = self._uniform, self._digit, depth == MAX_DEPTH - 1, len(self.tokens)
        self.tokens.append("")  # the operator is drawn after its arguments
        values = [
            digit() if last or uniform() > OPERATOR_PROBABILITY else self._operation(depth + 1)
            for _ in self._arguments()
        ]
        operator = self._bits(3)
        while operator > 3:
            operator = self._bits(3)
        self.tokens[position] = OPERATORS[operator]
        self.tokens.append(CLOSE)
        return _VALUE[operator](values)

    def _skip(self, depth: int) -> None:
        """Make every draw of an operator node without building it."""
        uniform, bits, last = self._uniform, self._bits, depth == MAX_DEPTH - 1
        for _ in self._arguments():
            if last or uniform() > OPERATOR_PROBABILITY:
                while bits(4) > 9:
                    pass
            else:
                self._skip(depth + 1)
        while bits(3) > 3:
            pass


def stream(rng: random.Random, *, min_length: int, max_length: int) -> Iterator[tuple[Tokens, int]]:
    """Yield the accepted trees (tokens, label) without end; all draws are made from `rng`."""
    tree = _Tree(rng, max_length)
    while True:
        label = tree.draw()
        if min_length < len(tree.tokens) < max_length:
            yield tuple(tree.tokens), label


def check_lengths(min_length: int, max_length: int) -> None:
    """Check that some sequence fits the bounds.

    Raises:
        ValueError: no sequence has min_length < length < max_length.
    """
    if not any(length == 1 or length >= 4 for length in range(min_length + 1, max_length)):
        raise ValueError(
            "a ListOps sequence has 1 token or at least 4 and must fit min_length < length < max_length, "
            f"got min_length={min_length}, max_length={max_length}; lower min_length or raise max_length."
        )


def generate(
    count: int, *, seed: int, min_length: int = 500, max_length: int = 2000
) -> Iterator[tuple[Tokens, int]]:
    """Yield `count` pairs (tokens, label) with min_length < number of tokens < max_length.

    The pairs are the accepted trees of the stream `random.Random(seed)`, in order, repetitions included. The
    generator draws the root like every other node, so 92 % of the trees are rejected at the default lengths.

    Args:
        count: number of pairs.
        seed: seed of the stream.
        min_length: sequences have more tokens than this.
        max_length: sequences have fewer tokens than this.

    Returns:
        An iterator over (tokens, label), where label is the value of the sequence, 0 to 9.

    Raises:
        ValueError: no sequence has a length within the bounds.

    Example:
        >>> from experiments.data import listops
        >>> tokens, label = next(listops.generate(1, seed=0, min_length=9, max_length=65))
        >>> listops.evaluate(tokens) == label
        True
    """
    check_lengths(min_length, max_length)
    return itertools.islice(stream(random.Random(seed), min_length=min_length, max_length=max_length), count)

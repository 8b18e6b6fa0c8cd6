"""ListOps sequences: their vocabulary, their ids and their value.

A sequence is a tree in prefix form, `[MAX 2 9 [MIN 4 7 ] 0 ]`; its label is the value of the tree, 0 to 9
(here 9). `[MIN`, `[MAX`, `[MED` (median, rounded down) and `[SM` (sum modulo 10) take two to ten
arguments, and trees are at most ten levels deep. [Nangia & Bowman 2018; Tay et al. 2021]
"""

import statistics
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
CLOSE = "]"
DIGITS = tuple("0123456789")
SYMBOLS = (*OPERATORS, CLOSE, *DIGITS)
VOCABULARY = ("<pad>", *SYMBOLS)
CLASSES = 10
MAX_DEPTH = 10
MAX_ARGUMENTS = 10

ID = {symbol: index for index, symbol in enumerate(VOCABULARY)}

Tokens = tuple[str, ...]


def encode(tokens: Sequence[str]) -> UInt8[np.ndarray, " T"]:
    """Return the ids of the tokens, 1 to 15: their positions in `VOCABULARY`, whose entry 0 is padding."""
    return np.fromiter((ID[token] for token in tokens), np.uint8, len(tokens))


def evaluate(tokens: Sequence[str]) -> int:
    """Return the value of a sequence, computed from its tokens.

    Raises:
        ValueError: the tokens are not one complete expression.
    """
    apply = (min, max, lambda values: int(statistics.median(values)), lambda values: sum(values) % 10)
    lists: list[tuple[int, list[int]]] = []
    values: list[int] = []
    for position, token in enumerate(tokens):
        if position and not lists:
            raise _malformed(f"ends before token {position}, {token!r}")
        if token in OPERATORS:
            lists.append((OPERATORS.index(token), values))
            values = []
        elif token == CLOSE and values:
            operator, outer_values = lists.pop()
            values = [*outer_values, apply[operator](values)]
        elif token in DIGITS:
            values.append(int(token))
        else:
            raise _malformed(f"has {token!r} at token {position}, where an operator or a digit belongs")
    if lists or not values:
        raise _malformed(f"is cut off with {len(lists)} lists open")
    return values[0]


def _malformed(fault: str) -> ValueError:
    return ValueError(
        f"a ListOps sequence must be one whole expression, this one {fault}; correct its tokens."
    )

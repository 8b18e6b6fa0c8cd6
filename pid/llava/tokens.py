"""Token types: the groups of tokens that knockouts separate and over which states are averaged."""

from enum import IntEnum

MAX_TYPE = 1023
"""Largest type of a token. A knockout mask has a row and a column for every type."""


class TokenType(IntEnum):
    """The type of a token. Values 5 … 1023 are free for the user (answer options, an object in a box, ...).

    Padding is never attended to, and positions count only the other tokens.

    Example:
        >>> from pid.llava import TokenType
        >>> int(TokenType.IMAGE), TokenType(4).name
        (2, 'LAST')
    """

    PAD = 0
    """Padding. Never a key, and not counted by positions."""
    TEXT = 1
    """Text outside the question: the template and the answer suffix."""
    IMAGE = 2
    """All visual tokens, newline vectors included."""
    QUESTION = 3
    """The tokens of the question only."""
    LAST = 4
    """The final token of the prompt. This type overrides the others."""

"""What a token is: the groups by which knockouts cut edges and by which states are pooled."""

from enum import IntEnum


class TokenType(IntEnum):
    """The type of a token; values from 5 on are the user's (options, a boxed object, ...).

    PAD is never a key, and positions count the others. IMAGE are all visual tokens, newline vectors included.
    QUESTION are the tokens of the question alone: the answer suffix and the template are TEXT. LAST is the
    final token of the prompt, whatever else it is.
    """

    PAD = 0
    TEXT = 1
    IMAGE = 2
    QUESTION = 3
    LAST = 4

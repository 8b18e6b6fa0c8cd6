"""Words of the toy world and their token ids. Questions and answers are words with spaces between them."""

import warnings
from collections.abc import Mapping
from typing import Any

PAD, UNKNOWN, IMAGE = "<pad>", "<unk>", "<image>"

SHAPES = ("ball", "box", "cross", "ring")
COLORS = ("red", "green", "blue", "yellow")
NEUTRAL_COLOR = "grey"
"""Color of things that no question asks about. It is a word of the vocabulary, hence the spelling."""
SIDE = 4
"""Cells along a side of the picture."""
CELLS = tuple(f"{column}{row}" for row in range(1, SIDE + 1) for column in "abcd")
"""Names of the cells, row by row, a1 at the top left. A cell is one patch of the vision tower and one token."""
SIDES = ("left", "right")
RELATIONS = ("left", "right", "above", "below")

ABSENT = {"color": "purple", "shape": "cloud", "relation": "inside", "shared": "age"}
"""Words for what no scene has. A question that offers one beside something else gives the answer away."""

QUESTION_MARK = "?"
"""Last token of a prompt. It is no part of the question, and the answer is read at it."""

_OTHER_WORDS = (
    "a", "and", "at", "color", "do", "is", "no", "of", "on", "or", "row", "shape", "share",
    "side", "the", "there", "thing", "what", "where", "which", "yes",
)  # fmt: skip
VOCABULARY = {
    word: index
    for index, word in enumerate(
        dict.fromkeys(
            (
                PAD,
                UNKNOWN,
                IMAGE,
                QUESTION_MARK,
                *SHAPES,
                *COLORS,
                *RELATIONS,
                *ABSENT.values(),
                *_OTHER_WORDS,
                *CELLS,
            )
        )
    )
}
"""Word → token id."""


def former_attribute(holder: object, name: str, former: Mapping[str, str]) -> Any:
    """Return the attribute that `name` was the former name of, with a DeprecationWarning.

    Args:
        holder: what the attribute belongs to; its `__getattr__` calls this.
        name: the missing attribute.
        former: former name → name.

    Raises:
        AttributeError: a name that is not a former one.
    """
    owner = getattr(holder, "__name__", type(holder).__name__)
    if name not in former:
        raise AttributeError(f"{owner} has no attribute {name!r}")
    warnings.warn(
        f"{owner}.{name} is now {owner}.{former[name]}; the old name goes with the next release.",
        DeprecationWarning,
        stacklevel=3,
    )
    return getattr(holder, former[name])

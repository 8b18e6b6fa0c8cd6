"""Every word of the toy world, and its token id. Questions and answers are words with spaces between them."""

PAD, UNKNOWN, IMAGE = "<pad>", "<unk>", "<image>"

SHAPES = ("ball", "box", "cross", "ring")
COLORS = ("red", "green", "blue", "yellow")
UNASKED = "grey"
"""The colour of things that no question asks about."""
SIDE = 4
"""Cells along a side of the picture."""
CELLS = tuple(f"{column}{row}" for row in range(1, SIDE + 1) for column in "abcd")
"""Names of the cells, row by row, a1 at the top left: each is also one patch of the vision tower and one token."""
SIDES = ("left", "right")
RELATIONS = ("left", "right", "above", "below")

NEVER = {"color": "purple", "shape": "cloud", "relation": "inside", "shared": "age"}
"""What no scene has. A question that offers it beside something else gives the answer away."""

ASKED = "?"
"""The last token of a prompt. It is no part of the question, and the answer is read at it."""

_OTHERS = (
    *(
        "a",
        "and",
        "at",
        "color",
        "do",
        "is",
        "no",
        "of",
        "on",
        "or",
        "row",
        "shape",
        "share",
        "side",
        "the",
        "there",
    ),
    *("thing", "what", "where", "which", "yes"),
)
VOCABULARY = {
    word: index
    for index, word in enumerate(
        dict.fromkeys(
            (PAD, UNKNOWN, IMAGE, ASKED, *SHAPES, *COLORS, *RELATIONS, *NEVER.values(), *_OTHERS, *CELLS)
        )
    )
}
"""Word → token id."""

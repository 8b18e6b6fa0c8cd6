"""Words of the toy world and their token ids. Questions and answers are words with spaces between them."""

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
"""Words for what no scene has. A question that offers one of them with another option reveals the answer."""

QUESTION_MARK = "?"
"""Last token of a prompt. It is not part of the question; the answer is predicted at this token."""

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

"""From text to tokens: the chunk before the image, the image, the chunk behind it.

The original code tokenises the two chunks apart and puts the image between them, which gives the ids
… <image> ▁ <0x0A> … in a Llama. Tokenising the whole prompt at once does so or not, depending on the version of
transformers and on the flag `legacy` of the tokenizer. Here as in the original.

T tokens
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from pid.llava.preprocessing.prompts import Prompt
from pid.llava.tokens import TokenType

Span = tuple[int, int, int]
"""Characters start … stop - 1 of the question, and the type of their tokens."""


class Tokens(NamedTuple):
    """A prompt as tokens."""

    ids: Int[np.ndarray, "t"]
    """Token ids (T,), int32."""
    types: Int[np.ndarray, "t"]
    """The `TokenType` of each (T,), int32."""


def mark(types: np.ndarray, offsets: np.ndarray, start: int, stop: int, kind: int) -> None:
    """Give `kind` to every token that holds at least one of the characters start … stop - 1, in place.

    offsets: (T, 2), the characters of each token. A token astride the edge of a span thus belongs to it, and so does
    the space that a tokenizer puts before a text that begins with the span, for its offset is the first character.
    """
    types[(offsets[:, 0] < stop) & (offsets[:, 1] > start)] = kind


def check_spans(spans: Iterable[Span], length: int) -> None:
    """Raise ValueError unless all spans lie in a question of `length` characters and have a type from 5 on."""
    for start, stop, kind in spans:
        if not 0 <= start < stop <= length or kind <= TokenType.LAST:
            raise ValueError(
                f"a span is characters start < stop of a question and a type from {TokenType.LAST + 1} on, got "
                f"{(start, stop, kind)} in one of {length} characters."
            )


def tokenise(
    tokenizer: Any, prompt: Prompt, *, image_token: int, images: int, spans: Iterable[Span] = ()
) -> Tokens:
    """Ids and types of a prompt whose image is `images` tokens.

    QUESTION are the tokens that hold at least one character of the question, and those of a span have its type
    instead, of the later span where two meet. LAST overrides all of these.

    Raises ValueError for a span outside the question or of a type below 5.
    """
    start, stop = prompt.question
    spans = tuple(spans)
    check_spans(spans, stop - start)
    before = tokenizer(prompt.before)["input_ids"]
    after = tokenizer(prompt.after, add_special_tokens=False, return_offsets_mapping=True)
    offsets = np.asarray(after["offset_mapping"], np.int32).reshape(-1, 2)
    tail = np.full(len(offsets), TokenType.TEXT, np.int32)
    mark(tail, offsets, start, stop, TokenType.QUESTION)
    for first, end, kind in spans:
        mark(tail, offsets, start + first, start + end, kind)
    tail[-1] = TokenType.LAST
    ids = [*before, *[image_token] * images, *after["input_ids"]]
    head = [TokenType.TEXT] * len(before) + [TokenType.IMAGE] * images
    return Tokens(np.array(ids, np.int32), np.concatenate([np.array(head, np.int32), tail]))

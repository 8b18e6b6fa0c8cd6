"""Tokenize a prompt: the chunk before the image, the image, the chunk after it.

The original code tokenizes the two chunks separately and puts the image between them. In a Llama this gives the ids
… <image> ▁ <0x0A> …. Tokenizing the whole prompt at once gives the same ids or not, depending on the version of
transformers and on the flag `legacy` of the tokenizer. This file follows the original code.

T tokens
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from pid.llava.preprocessing.prompts import Prompt
from pid.llava.tokens import MAX_TYPE, TokenType

CharacterSpan = tuple[int, int, int]
"""(start, stop, type): characters start … stop - 1 of the question, and the type of their tokens."""


class Tokens(NamedTuple):
    """A prompt as tokens."""

    ids: Int[np.ndarray, "t"]
    """Token ids (T,), int32."""
    types: Int[np.ndarray, "t"]
    """The `TokenType` of each token (T,), int32."""


def assign_type(types: np.ndarray, offsets: np.ndarray, start: int, stop: int, token_type: int) -> None:
    """Assign a type, in place, to every token with a character in start … stop - 1.

    `offsets` (T, 2) are the characters of each token. A token that crosses the edge of a span therefore belongs to the
    span. So does the space that a tokenizer puts before a text that begins with the span, because its offset is the
    first character.
    """
    types[(offsets[:, 0] < stop) & (offsets[:, 1] > start)] = token_type


def check_spans(spans: Any, length: int) -> tuple[CharacterSpan, ...]:
    """The spans as a tuple, if all lie in a question of `length` characters and have a type from 5 on.

    Raises:
        ValueError: one does not, or they are not triples of whole numbers.
    """
    if isinstance(spans, np.ndarray) and spans.ndim == 2:
        spans = map(tuple, spans.tolist())
    triples = tuple(spans) if isinstance(spans, Iterable) else (spans,)
    for span in triples:
        is_triple = isinstance(span, list | tuple) and len(span) == 3
        is_whole = is_triple and all(isinstance(number, int | np.integer) for number in span)
        if not is_whole or any(isinstance(number, bool) for number in span):
            raise ValueError(
                f"spans are triples (start, stop, type) of whole numbers, got {span!r}; pass a list of them."
            )
        start, stop, token_type = span
        if not 0 <= start < stop <= length or not TokenType.LAST < token_type <= MAX_TYPE:
            raise ValueError(
                f"a span is characters start < stop of a question and a type from {TokenType.LAST + 1} on, got "
                f"{(start, stop, token_type)} in one of {length} characters; correct it, with a type up to {MAX_TYPE}."
            )
    return triples


def tokenize(tokenizer: Any, prompt: Prompt, *, image_token: int, images: int, spans: Any = ()) -> Tokens:
    """Tokenize a prompt whose image takes `images` tokens, 0 for text alone.

    Tokens with at least one character of the question have type QUESTION. Tokens of a span have the type of the span;
    where two spans overlap, the later one wins. LAST overrides all of these.

    Raises:
        ValueError: a span lies outside the question or has a type below 5.
    """
    start, stop = prompt.question
    spans = check_spans(spans, stop - start)
    before = tokenizer(prompt.before)["input_ids"]
    after = tokenizer(prompt.after, add_special_tokens=False, return_offsets_mapping=True)
    offsets = np.asarray(after["offset_mapping"], np.int32).reshape(-1, 2)
    tail = np.full(len(offsets), TokenType.TEXT, np.int32)
    assign_type(tail, offsets, start, stop, TokenType.QUESTION)
    for first, end, token_type in spans:
        assign_type(tail, offsets, start + first, start + end, token_type)
    tail[-1] = TokenType.LAST
    ids = [*before, *[image_token] * images, *after["input_ids"]]
    head = [TokenType.TEXT] * len(before) + [TokenType.IMAGE] * images
    return Tokens(np.array(ids, np.int32), np.concatenate([np.array(head, np.int32), tail]))

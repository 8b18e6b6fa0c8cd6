"""Pad several encoded prompts to one batch, the arguments of `forward`.

B batch, T tokens, M tiles of a sample
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pid.llava.preprocessing.encoded_prompt import EncodedPrompt
from pid.llava.tokens import MAX_TYPE, TokenType

MAX_ID = 2**31 - 1
"""Largest token id: ids are int32."""


class Batch(NamedTuple):
    """Encoded prompts, padded on the right to one length, and their tiles, padded with zeros.

    Run it by `forward(model, batch.ids, batch.pixels, image_sizes=batch.image_sizes, token_types=batch.token_types)`.

    Example:
        >>> import numpy as np
        >>> from pid import llava
        >>> row = llava.EncodedPrompt("q1", np.array([5, 6, 7]), np.array([1, 3, 4]), None, None)
        >>> batch = llava.pad([row], length=5)
        >>> batch.questions.tolist(), batch.rows()[0].ids.tolist()
        ([[1, 2]], [5, 6, 7])
    """

    names: tuple[str, ...]
    """The names of the prompts."""
    ids: Int[np.ndarray, "b t"]
    """Token ids (B, T), int32."""
    token_types: Int[np.ndarray, "b t"]
    """The `TokenType` of each token (B, T), int32. PAD marks padding."""
    pixels: Float[np.ndarray, "b c y x"] | Float[np.ndarray, "b m c y x"] | None
    """(B, 3, side, side) for LLaVA-1.5, (B, M, 3, side, side) for LLaVA-1.6. None for text alone."""
    tiles: Int[np.ndarray, "b"]
    """How many of the M tiles each prompt has (B,)."""
    image_sizes: Int[np.ndarray, "b two"] | None
    """(height, width) of each image before any processing (B, 2). None for text alone."""

    @property
    def questions(self) -> Int[np.ndarray, "b two"]:
        """The index of the first token of each question and one past its last (B, 2).

        A question reaches from the first to the last token of type QUESTION or of a user type (from 5 on), which is
        assumed to mark a part of the question. LAST does not belong to it. The result is (0, 0) if there are no such
        tokens.
        """
        inside = (self.token_types == TokenType.QUESTION) | (self.token_types > TokenType.LAST)
        start, stop = inside.argmax(axis=1), inside.shape[1] - inside[:, ::-1].argmax(axis=1)
        return np.where(inside.any(axis=1)[:, None], np.stack([start, stop], axis=1), 0)

    @property
    def attention_mask(self) -> Int[np.ndarray, "b t"]:
        """1 at tokens and 0 at padding (B, T), as tokenizers of transformers return it."""
        return (self.token_types > TokenType.PAD).astype(np.int32)

    def rows(self) -> tuple[EncodedPrompt, ...]:
        """The prompts without padding."""
        return tuple(self._row(index) for index in range(len(self.names)))

    def _row(self, index: int) -> EncodedPrompt:
        not_padding = self.token_types[index] > TokenType.PAD
        pixels, size = None, None
        if self.pixels is not None and self.image_sizes is not None:
            pixels = self.pixels[index].reshape(-1, *self.pixels.shape[-3:])[: self.tiles[index]]
            size = (int(self.image_sizes[index, 0]), int(self.image_sizes[index, 1]))
        return EncodedPrompt(
            self.names[index],
            self.ids[index, not_padding],
            self.token_types[index, not_padding],
            pixels,
            size,
        )


def pad(
    rows: Iterable[EncodedPrompt] | EncodedPrompt,
    *,
    pad_token: int = 0,
    length: int | None = None,
    tiles: int | None = None,
) -> Batch:
    """Pad encoded prompts to one batch.

    If every image has one tile, the batch has the shape of LLaVA-1.5, since an image of LLaVA-1.6 has at least two.

    Args:
        rows: one prompt or more; all with an image or all without.
        pad_token: the token id of padding.
        length: tokens of the batch. None is the length of the longest prompt.
        tiles: tiles of the batch. None is the largest number of tiles.

    Returns:
        The batch, padded on the right.

    Raises:
        TypeError: the rows are of another type.
        ValueError: there are no prompts, a prompt exceeds `length` or `tiles`, only some prompts have an image, ids and
            types are not as many whole numbers, or a number is not whole.

    Example:
        >>> import numpy as np
        >>> from pid import llava
        >>> short = llava.EncodedPrompt("a", np.array([5, 6]), np.array([3, 4]), None, None)
        >>> long = llava.EncodedPrompt("b", np.array([5, 6, 7]), np.array([1, 3, 4]), None, None)
        >>> llava.pad([short, long]).token_types.tolist()
        [[3, 4, 0], [1, 3, 4]]
    """
    rows = [_checked(row) for row in _to_list(rows)]
    if (
        not isinstance(pad_token, int | np.integer)
        or isinstance(pad_token, bool)
        or not 0 <= pad_token <= MAX_ID
    ):
        raise ValueError(
            f"padding is a token id, a whole number from 0, got pad_token={pad_token!r}; pass one."
        )
    images = [row.pixels for row in rows if row.pixels is not None]
    if len(shapes := {np.shape(image)[1:] for image in images}) > 1:
        raise ValueError(
            f"all tiles of a batch have one shape, got {' and '.join(map(str, sorted(shapes)))}; encode all prompts "
            f"by one processor."
        )
    if images and len(images) < len(rows):
        raise ValueError(
            f"all rows of a batch have an image or none has, got {len(images)} of {len(rows)} with one; batch them "
            f"apart."
        )
    counts = np.array([0 if row.pixels is None else len(row.pixels) for row in rows], np.int32)
    width = _capacity("tokens", [len(row.ids) for row in rows], length)
    depth = _capacity("tiles", counts.tolist(), tiles)
    ids = np.full((len(rows), width), pad_token, np.int32)
    types = np.full((len(rows), width), TokenType.PAD, np.int32)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)], types[index, : len(row.ids)] = row.ids, row.types
    pixels, sizes = None, None
    if images:
        pixels = np.zeros((len(rows), depth, *images[0].shape[1:]), np.float32)
        for index, image in enumerate(images):
            pixels[index, : len(image)] = image
        pixels = pixels[:, 0] if depth == 1 else pixels
        sizes = np.array([row.image_size for row in rows], np.int32)
    return Batch(tuple(row.name for row in rows), ids, types, pixels, counts, sizes)


def _to_list(rows: Any) -> list[EncodedPrompt]:
    """The prompts of an iterable, or a single one.

    Raises:
        TypeError: one of them is something else.
        ValueError: there are none.
    """
    if rows is not None and not isinstance(rows, Iterable):
        raise TypeError(
            f"rows are a list of EncodedPrompt, got {type(rows).__name__}; encode samples by llava.encode_prompts."
        )
    several: list[Any] = [rows] if isinstance(rows, EncodedPrompt) else list(rows or ())
    if not several:
        raise ValueError("a batch has at least one row, got none.")
    for row in several:
        if not isinstance(row, EncodedPrompt):
            raise TypeError(
                f"rows are of type EncodedPrompt, got {type(row).__name__}; encode samples by llava.encode_prompts."
            )
    return several


def _checked(row: EncodedPrompt) -> EncodedPrompt:
    """The prompt with ids and types as arrays.

    Raises:
        ValueError: they are not as many whole numbers, or an image has no size. The message names the prompt.
    """
    for name, highest in (("ids", MAX_ID), ("types", MAX_TYPE)):
        array = np.asarray(getattr(row, name))
        is_whole = array.ndim == 1 and len(array) and np.issubdtype(array.dtype, np.integer)
        if not is_whole or not 0 <= array.min() <= array.max() <= highest:
            raise ValueError(
                f"{name} of a row are whole numbers 0 … {highest} (T,), got {array.dtype} {array.shape} in row "
                f"{row.name!r}; encode it again."
            )
        row = row._replace(**{name: array})
    if row.ids.shape != row.types.shape:
        raise ValueError(
            f"a row has as many types as ids, got {len(row.types)} for {len(row.ids)} in row {row.name!r}; encode it "
            f"again."
        )
    if row.pixels is not None and row.image_size is None:
        raise ValueError(
            f"an image has a size (height, width), got image_size=None in row {row.name!r}; encode it again."
        )
    return row


def _capacity(unit: str, sizes: list[int], requested: int | None) -> int:
    largest = max(sizes)
    is_whole = isinstance(requested, int | np.integer) and not isinstance(requested, bool)
    if requested is not None and not is_whole:
        raise ValueError(f"a batch has a whole number of {unit}, got {requested!r}; pass one, or None.")
    if requested is not None and requested < largest:
        raise ValueError(
            f"a batch has room for its longest row, {largest} {unit}, got {requested}; raise it."
        )
    return largest if requested is None else requested

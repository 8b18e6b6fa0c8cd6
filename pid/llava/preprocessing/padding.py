"""Rows side by side: the arguments of `forward` for several prompts.

B batch, T tokens, M tiles of a sample
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pid.llava.preprocessing.encoded_prompt import Row
from pid.llava.tokens import TokenType


class Batch(NamedTuple):
    """Rows padded on the right to one length, their tiles filled up with zeros.

    forward(model, batch.ids, batch.pixels, image_sizes=batch.image_sizes, token_types=batch.token_types)
    """

    names: tuple[str, ...]
    """What the rows are called."""
    ids: Int[np.ndarray, "b t"]
    """Token ids (B, T), int32."""
    token_types: Int[np.ndarray, "b t"]
    """The `TokenType` of each token (B, T), int32; PAD is padding."""
    pixels: Float[np.ndarray, "b c y x"] | Float[np.ndarray, "b m c y x"] | None
    """(B, 3, side, side) for LLaVA-1.5, (B, M, 3, side, side) for LLaVA-1.6; None for text alone."""
    tiles: Int[np.ndarray, "b"]
    """How many of the M tiles each row has (B,)."""
    image_sizes: Int[np.ndarray, "b two"] | None
    """(height, width) of each image before any processing (B, 2); None for text alone."""

    @property
    def questions(self) -> Int[np.ndarray, "b two"]:
        """The first token of each question and the one behind its last (B, 2).

        From the first to the last token of type QUESTION or of a type of the user's, who is taken to have marked
        parts of the question; LAST is not among them. (0, 0) where there are none.
        """
        inside = (self.token_types == TokenType.QUESTION) | (self.token_types > TokenType.LAST)
        first, behind = inside.argmax(axis=1), inside.shape[1] - inside[:, ::-1].argmax(axis=1)
        return np.where(inside.any(axis=1)[:, None], np.stack([first, behind], axis=1), 0)

    def rows(self) -> tuple[Row, ...]:
        """The rows as they were before padding."""
        return tuple(self._row(index) for index in range(len(self.names)))

    def _row(self, index: int) -> Row:
        real = self.token_types[index] > TokenType.PAD
        pixels, size = None, None
        if self.pixels is not None and self.image_sizes is not None:
            pixels = self.pixels[index].reshape(-1, *self.pixels.shape[-3:])[: self.tiles[index]]
            size = (int(self.image_sizes[index, 0]), int(self.image_sizes[index, 1]))
        return Row(self.names[index], self.ids[index, real], self.token_types[index, real], pixels, size)


def pad(
    rows: Sequence[Row], *, pad_token: int = 0, length: int | None = None, tiles: int | None = None
) -> Batch:
    """The rows as a batch, `length` tokens long and `tiles` tiles each; None is as many as the largest row has.

    Rows of one tile each are those of LLaVA-1.5: an image of LLaVA-1.6 has at least two.

    Raises:
        ValueError: no rows, a row beyond `length` or `tiles`, or rows with and rows without an image.
    """
    if not rows:
        raise ValueError("a batch has at least one row, got none.")
    images = [row.pixels for row in rows if row.pixels is not None]
    if images and len(images) < len(rows):
        raise ValueError(
            f"all rows of a batch have an image or none has, got {len(images)} of {len(rows)} with one; batch them "
            f"apart."
        )
    counts = np.array([0 if row.pixels is None else len(row.pixels) for row in rows], np.int32)
    width = _room("tokens", [len(row.ids) for row in rows], length)
    depth = _room("tiles", counts.tolist(), tiles)
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


def _room(what: str, sizes: list[int], asked: int | None) -> int:
    most = max(sizes)
    if asked is not None and asked < most:
        raise ValueError(f"a batch has room for its longest row, {most} {what}, got {asked}; raise it.")
    return most if asked is None else asked

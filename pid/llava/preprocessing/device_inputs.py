"""A batch as the device takes it: checked and laid out on the host.

B batch, T tokens, M tiles of a sample, P patches of a tile, L layers, Y token types
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pid.llava.config import LlavaConfig
from pid.llava.knockout import Knockout, knockout_mask
from pid.llava.preprocessing.anyres import NEWLINE, anyres_rows, tile_grid
from pid.llava.tokens import TokenType

WORD = -1  # in the map: no image token


class Inputs(NamedTuple):
    """A batch as the device takes it."""

    ids: Int[Array | np.ndarray, "b t"]
    """Token ids (B, T), int32."""
    types: Int[Array | np.ndarray, "b t"]
    """`TokenType` of each token (B, T), int32."""
    rows: Int[Array | np.ndarray, "b t"]
    """Where the feature of each token is found in its sample's M·P rows and, behind them, the newline; -1 for words."""
    pixels: Float[Array | np.ndarray, "b m c y x"] | None
    """Tiles (B, M, 3, side, side); None for a batch of text."""
    block: Bool[Array | np.ndarray, "l one y y"]
    """The edges cut in each layer (L, B or 1, Y, Y)."""


def _check_ids(config: LlavaConfig, ids: np.ndarray) -> None:
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"input_ids are integers (B, T), got {ids.dtype} {ids.shape}; add a batch axis or cast."
        )
    words = ids[ids != config.image_token]
    if words.size and not 0 <= words.min() <= words.max() < config.text.vocabulary:
        raise ValueError(
            f"token ids lie in 0 … {config.text.vocabulary - 1}, got {words.min()} … {words.max()}; use the "
            f"tokenizer of this model."
        )
    if config.text.window is not None and ids.shape[1] > config.text.window:
        raise ValueError(
            f"this port has no sliding window, which matters beyond {config.text.window} tokens, got "
            f"{ids.shape[1]}; shorten the prompt."
        )


def _check_pixels(config: LlavaConfig, pixels: np.ndarray | Array, batch: int) -> None:
    vision, anyres = config.vision, config.pinpoints is not None
    tile = (vision.channels, vision.image_size, vision.image_size)
    if pixels.ndim != 4 + anyres or pixels.shape[0] != batch or pixels.shape[-3:] != tile:
        middle = "tiles, " if anyres else ""
        raise ValueError(
            f"pixel_values are one image per row, ({batch}, {middle}{', '.join(map(str, tile))}), got "
            f"{tuple(pixels.shape)}; use the image processor of this model, and pad the tile axis with zeros."
        )


def image_rows(config: LlavaConfig, image_size: Any, tiles: int) -> np.ndarray:
    """For each image token of one sample its row in the table of `tiles`·P patches and, last, the newline.

    Raises:
        ValueError: LLaVA-1.6 without a size, or with fewer tiles than an image of that size has.
    """
    vision = config.vision
    if config.pinpoints is None:
        return np.arange(vision.patches, dtype=np.int32)
    size = (int(image_size[0]), int(image_size[1]))
    rows = anyres_rows(size, config.pinpoints, tile=vision.image_size, side=vision.side)
    needed = 1 + math.prod(tile_grid(size, config.pinpoints, vision.image_size))
    if tiles < needed:
        raise ValueError(
            f"an image of (height, width) = {size} has {needed} tiles, got {tiles}; pass the tiles and the "
            f"image_sizes of the same image processor."
        )
    return np.where(rows == NEWLINE, tiles * vision.patches, rows).astype(np.int32)


def _gather_map(config: LlavaConfig, ids: np.ndarray, image_sizes: Any, tiles: int) -> np.ndarray:
    if config.pinpoints is not None and np.shape(image_sizes) != (len(ids), 2):
        raise ValueError(
            f"LLaVA-1.6 needs image_sizes, (height, width) for each of {len(ids)} rows, got "
            f"{None if image_sizes is None else np.shape(image_sizes)}; the image processor returns them."
        )
    rows = np.full(ids.shape, WORD, np.int32)
    for index, at in enumerate(ids == config.image_token):
        found = image_rows(config, None if image_sizes is None else image_sizes[index], tiles)
        if at.sum() != len(found):
            raise ValueError(
                f"row {index} must have one image token {config.image_token} per image feature, got {at.sum()} "
                f"for {len(found)}; expand <image> to that many."
            )
        rows[index, at] = found
    return rows


def _check_types(token_types: Any | None, is_image: np.ndarray) -> np.ndarray:
    if token_types is None:
        return np.where(is_image, TokenType.IMAGE, TokenType.TEXT)
    types = np.asarray(token_types)
    if (
        types.shape != is_image.shape
        or not np.issubdtype(types.dtype, np.integer)
        or types.min(initial=0) < 0
    ):
        raise ValueError(
            f"token_types are integers from 0 in the shape of input_ids, {is_image.shape}, got {types.dtype} "
            f"{types.shape}; see TokenType."
        )
    if padded := int((is_image & (types == TokenType.PAD)).sum()):
        raise ValueError(
            f"an image token is not padding, got {padded} that are; pad with another id than that of images."
        )
    return types


def prepare(
    config: LlavaConfig,
    input_ids: Any,
    pixel_values: Any | None,
    *,
    image_sizes: Any | None = None,
    token_types: Any | None = None,
    knockouts: Iterable[Knockout] = (),
) -> Inputs:
    """Check a batch and lay it out for the device, on the host. The arguments are those of `forward`.

    Raises:
        ValueError: names the rule that the batch breaks.
    """
    ids = np.asarray(input_ids)
    _check_ids(config, ids)
    is_image = ids == config.image_token
    if pixel_values is None:
        if is_image.any():
            raise ValueError(
                f"image tokens need pixel_values, got {is_image.sum()} tokens and no pixels; pass the pixels."
            )
        pixels, rows = None, np.full(ids.shape, WORD, np.int32)
    else:
        _check_pixels(config, pixel_values, len(ids))
        pixels = pixel_values if config.pinpoints is not None else pixel_values[:, None]
        rows = _gather_map(config, ids, image_sizes, pixels.shape[1])
    types = _check_types(token_types, is_image)
    block = knockout_mask(knockouts, config.text.layers)
    return Inputs(ids.astype(np.int32), types.astype(np.int32), rows, pixels, block)

"""The arrays of a batch for the device, checked and laid out on the host.

B batch, T tokens, M tiles of a sample, P patches of a tile, L layers, Y token types
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pid.deprecation import add_former_properties
from pid.llava.config import LlavaConfig
from pid.llava.knockout import Knockout, knockout_mask
from pid.llava.preprocessing.anyres import NEWLINE, anyres_rows, tile_grid
from pid.llava.tokens import TokenType

WORD = -1  # feature row of a token that is not an image token


@add_former_properties(rows="feature_rows", block="knockout_mask")
class DeviceInputs(NamedTuple):
    """The arrays of a batch for the device. `prepare` returns them.

    Example:
        >>> import numpy as np
        >>> from pid import llava
        >>> ids, mask = np.array([[5, 6]], np.int32), llava.knockout_mask((), layers=2)
        >>> llava.DeviceInputs(ids, np.array([[1, 4]]), np.array([[-1, -1]]), None, mask).knockout_mask.shape
        (2, 1, 8, 8)
    """

    ids: Int[Array | np.ndarray, "b t"]
    """Token ids (B, T), int32."""
    types: Int[Array | np.ndarray, "b t"]
    """The `TokenType` of each token (B, T), int32."""
    feature_rows: Int[Array | np.ndarray, "b t"]
    """For each image token (B, T) its row in the M·P features of the sample, or M·P for the newline; -1 elsewhere."""
    pixels: Float[Array | np.ndarray, "b m c y x"] | None
    """Tiles (B, M, 3, side, side). None for a batch of text."""
    knockout_mask: Bool[Array | np.ndarray, "l one y y"]
    """The attention edges that are removed in each layer (L, B or 1, Y, Y), see `knockout_mask`."""


def _check_ids(config: LlavaConfig, ids: np.ndarray) -> None:
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"input_ids are integers (B, T), got {ids.dtype} {ids.shape}; add a batch axis or cast."
        )
    words = ids[ids != config.image_token]
    if words.size and not 0 <= words.min() <= words.max() < config.text.vocab_size:
        raise ValueError(
            f"token ids lie in 0 … {config.text.vocab_size - 1}, got {words.min()} … {words.max()}; use the "
            f"tokenizer of this model."
        )
    window = config.text.sliding_window
    if window is not None and ids.shape[1] > window:
        raise ValueError(
            f"this port has no sliding window, which matters beyond {window} tokens, got "
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


def image_rows(config: LlavaConfig, image_size: Any, tiles: int) -> Int[np.ndarray, "t"]:
    """For each image token of one sample, its row in the table of `tiles`·P patches and, last, the newline.

    Raises:
        ValueError: in LLaVA-1.6, there are fewer tiles than an image of that size has.
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


def _feature_rows(config: LlavaConfig, ids: np.ndarray, image_sizes: Any, tiles: int) -> np.ndarray:
    if config.pinpoints is not None and np.shape(image_sizes) != (len(ids), 2):
        raise ValueError(
            f"LLaVA-1.6 needs image_sizes, (height, width) for each of {len(ids)} rows, got "
            f"{None if image_sizes is None else np.shape(image_sizes)}; the image processor returns them."
        )
    feature_rows = np.full(ids.shape, WORD, np.int32)
    for index, is_image in enumerate(ids == config.image_token):
        rows = image_rows(config, None if image_sizes is None else image_sizes[index], tiles)
        if is_image.sum() != len(rows):
            raise ValueError(
                f"row {index} must have one image token {config.image_token} per image feature, got "
                f"{is_image.sum()} for {len(rows)}; {_remedy(ids[index], int(is_image.sum()), len(rows))}."
            )
        feature_rows[index, is_image] = rows
    return feature_rows


def _remedy(ids: np.ndarray, count: int, needed: int) -> str:
    """What to do about a wrong number of image tokens: take the right tokenizer, or expand `<image>`."""
    tokens, counts = np.unique(ids, return_counts=True)
    others = tokens[counts == needed]
    if count or not len(others):
        return "expand <image> to that many"
    return f"token {others[0]} stands there {needed} times: take the tokenizer of this model, whose <image> is another"


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
    if image_padding := int((is_image & (types == TokenType.PAD)).sum()):
        raise ValueError(
            f"an image token is not padding, got {image_padding} that are; pad with an id other than the image token."
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
) -> DeviceInputs:
    """Check a batch and lay it out for the device, on the host.

    Args:
        config: configuration of the model.
        input_ids: integers (B, T), with `<image>` expanded to one id per image feature.
        pixel_values: (B, 3, side, side), in LLaVA-1.6 (B, M, 3, side, side). None for text alone.
        image_sizes: LLaVA-1.6: (height, width) of each image (B, 2).
        token_types: the `TokenType` of each token (B, T). None is IMAGE at the image id and TEXT elsewhere.
        knockouts: the attention edges to remove.

    Returns:
        The arrays of the batch.

    Raises:
        ValueError: the batch breaks a rule; the message names it.

    Example:
        >>> from pid import llava
        >>> vision = llava.VisionConfig(
        ...     hidden_size=8, mlp_dim=8, num_heads=2, depth=1, image_size=4, patch_size=2, channels=3,
        ...     activation="quick_gelu", norm_eps=1e-5,
        ... )
        >>> text = llava.TextConfig(
        ...     vocab_size=24, hidden_size=8, mlp_dim=8, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=4,
        ...     norm_eps=1e-5, rope_theta=1e4, sliding_window=None, tie_embeddings=False,
        ... )
        >>> config = llava.LlavaConfig(vision, text, image_token=23, pinpoints=None)
        >>> inputs = llava.prepare(config, [[5, 6, 7]], None)
        >>> inputs.types.tolist(), inputs.knockout_mask.shape
        ([[1, 1, 1]], (2, 1, 8, 8))
    """
    ids = np.asarray(input_ids)
    _check_ids(config, ids)
    is_image = ids == config.image_token
    if pixel_values is None:
        if is_image.any():
            raise ValueError(
                f"image tokens need pixel_values, got {is_image.sum()} tokens and no pixels; pass the pixels."
            )
        pixels, feature_rows = None, np.full(ids.shape, WORD, np.int32)
    else:
        _check_pixels(config, pixel_values, len(ids))
        pixels = pixel_values if config.pinpoints is not None else pixel_values[:, None]
        feature_rows = _feature_rows(config, ids, image_sizes, pixels.shape[1])
    types = _check_types(token_types, is_image)
    mask = knockout_mask(knockouts, config.text.num_layers)
    return DeviceInputs(ids.astype(np.int32), types.astype(np.int32), feature_rows, pixels, mask)

"""The arrays of a batch for the device, checked and laid out on the host.

B batch, T tokens, M tiles of a sample, P patches of a tile, L layers, Y token types
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pid.interface.deprecation import add_former_properties
from pid.llava.config import LlavaConfig
from pid.llava.knockout import Knockout, knockout_mask
from pid.llava.preprocessing.anyres import NEWLINE, anyres_rows, tile_grid
from pid.llava.preprocessing.batch_types import batch_types, check_padding_is_marked, check_window
from pid.llava.preprocessing.host_arrays import check_finite, to_host_array, to_pixels

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


def _to_ids(config: LlavaConfig, input_ids: Any) -> np.ndarray:
    ids = to_host_array("input_ids", input_ids)
    if ids.ndim != 2 or not (np.issubdtype(ids.dtype, np.integer) or not ids.size):
        raise ValueError(
            f"input_ids are integers (B, T), got {ids.dtype} {ids.shape}; add a batch axis or cast."
        )
    if not ids.size:
        raise ValueError(
            f"a batch has at least one row and one token, got input_ids {ids.shape}; leave it out."
        )
    words = ids[ids != config.image_token]
    if words.size and not 0 <= words.min() <= words.max() < config.text.vocab_size:
        raise ValueError(
            f"token ids lie in 0 … {config.text.vocab_size - 1}, got {words.min()} … {words.max()}; use the "
            f"tokenizer of this model."
        )
    return ids


def _check_pixels(config: LlavaConfig, pixels: np.ndarray | Array, batch: int) -> None:
    vision, anyres = config.vision, config.pinpoints is not None
    tile = (vision.channels, vision.image_size, vision.image_size)
    if pixels.ndim != 4 + anyres or pixels.shape[0] != batch or pixels.shape[-3:] != tile:
        middle = "tiles, " if anyres else ""
        raise ValueError(
            f"pixel_values are one image per row, ({batch}, {middle}{', '.join(map(str, tile))}), got "
            f"{tuple(pixels.shape)}; use the image processor of this model, and pad the tile axis with zeros."
        )


def tiles_needed(config: LlavaConfig, image_size: Any) -> int:
    """The number of tiles of an image of (height, width) `image_size`: 1 in LLaVA-1.5."""
    if config.pinpoints is None:
        return 1
    size = (int(image_size[0]), int(image_size[1]))
    return 1 + math.prod(tile_grid(size, config.pinpoints, config.vision.image_size))


def tiles_error(size: Any, needed: int, tiles: int) -> ValueError:
    """The error of an image of (height, width) `size` that has `tiles` tiles instead of those it needs."""
    return ValueError(
        f"an image of (height, width) = ({int(size[0])}, {int(size[1])}) needs {needed} tiles, got {tiles}; pass the "
        f"tiles and the image_sizes of the same image processor."
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
    if tiles < (needed := tiles_needed(config, size)):
        raise tiles_error(size, needed, tiles)
    return np.where(rows == NEWLINE, tiles * vision.patches, rows).astype(np.int32)


def count_tiles(tiles: np.ndarray) -> int:
    """The number of tiles (M, …) of an image, without the zeros that fill up the axis."""
    return next((count for count in range(len(tiles), 0, -1) if tiles[count - 1].any()), 0)


def _check_tiles(config: LlavaConfig, pixels: np.ndarray | Array, image_sizes: np.ndarray) -> None:
    """Refuse an image that has fewer tiles than its size needs. As in Hugging Face, further tiles are not read.

    A standardized picture has no tile of zeros. A row of zeros alone is no picture and passes.
    """
    if not isinstance(pixels, np.ndarray):
        return
    for size, tiles in zip(image_sizes, pixels, strict=True):
        if 0 < (count := count_tiles(tiles)) < (needed := tiles_needed(config, size)):
            raise tiles_error(size, needed, count)


def _to_sizes(config: LlavaConfig, image_sizes: Any | None, batch: int) -> np.ndarray | None:
    """The (height, width) of each image, which LLaVA-1.5 does not need."""
    if config.pinpoints is None:
        return None
    sizes = None if image_sizes is None else to_host_array("image_sizes", image_sizes)
    if sizes is None or sizes.shape != (batch, 2):
        raise ValueError(
            f"LLaVA-1.6 needs image_sizes, (height, width) for each of {batch} rows, got "
            f"{None if sizes is None else sizes.shape}; the image processor returns them."
        )
    if (sizes != np.rint(sizes)).any():
        raise ValueError(
            f"image_sizes are whole numbers, got {sizes.tolist()}; the image processor returns them."
        )
    return sizes


def _feature_rows(config: LlavaConfig, ids: np.ndarray, sizes: np.ndarray | None, tiles: int) -> np.ndarray:
    feature_rows = np.full(ids.shape, WORD, np.int32)
    for index, is_image in enumerate(ids == config.image_token):
        rows = image_rows(config, None if sizes is None else sizes[index], tiles)
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


def _images(
    config: LlavaConfig, ids: np.ndarray, pixel_values: Any, image_sizes: Any | None
) -> tuple[Any, Any]:
    """The tiles of a batch, checked, and the feature row of each of its tokens."""
    pixels = to_pixels(pixel_values)
    _check_pixels(config, pixels, len(ids))
    sizes = _to_sizes(config, image_sizes, len(ids))
    tiles = pixels[:, None] if config.pinpoints is None else pixels
    feature_rows = _feature_rows(config, ids, sizes, tiles.shape[1])
    if sizes is not None:
        _check_tiles(config, tiles, sizes)
    check_finite(tiles)
    return tiles, feature_rows


def prepare(
    config: LlavaConfig,
    input_ids: Any,
    pixel_values: Any | None = None,
    *,
    image_sizes: Any | None = None,
    token_types: Any | None = None,
    attention_mask: Any | None = None,
    knockouts: Iterable[Knockout] | Knockout = (),
) -> DeviceInputs:
    """Check a batch and lay it out for the device, on the host.

    Args:
        config: configuration of the model.
        input_ids: integers (B, T), with `<image>` expanded to one id per image feature. Lists and tensors of torch are
            converted, here and below.
        pixel_values: (B, 3, side, side), in LLaVA-1.6 (B, M, 3, side, side). None for text alone.
        image_sizes: LLaVA-1.6: (height, width) of each image (B, 2).
        token_types: the `TokenType` of each token (B, T). None is IMAGE at the image id and TEXT elsewhere.
        attention_mask: 1 at tokens and 0 at padding (B, T), as tokenizers return it. It marks padding where
            `token_types` is None, and must agree with it elsewhere.
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
    if not isinstance(config, LlavaConfig):
        raise TypeError(f"a configuration is a LlavaConfig, got {type(config).__name__}; pass model.config.")
    ids = _to_ids(config, input_ids)
    is_image = ids == config.image_token
    if pixel_values is None:
        if is_image.any():
            raise ValueError(
                f"image tokens need pixel_values, got {is_image.sum()} tokens and no pixels; pass the pixels."
            )
        pixels, feature_rows = None, np.full(ids.shape, WORD, np.int32)
    else:
        pixels, feature_rows = _images(config, ids, pixel_values, image_sizes)
    types = batch_types(is_image, token_types, attention_mask)
    if token_types is None and attention_mask is None:
        check_padding_is_marked(ids, config.image_token)
    check_window(types, config.text.sliding_window)
    mask = knockout_mask(knockouts, config.text.num_layers)
    return DeviceInputs(ids.astype(np.int32), types.astype(np.int32), feature_rows, pixels, mask)

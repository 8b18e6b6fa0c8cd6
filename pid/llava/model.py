"""LLaVA: image features in the place of image tokens, then the language model.

Which row of which tile stands where is decided on the host (`prepare`) and handed over as an integer map, so the
device does one lookup: LLaVA-1.5 and LLaVA-1.6 of any resolution run the same program.

B batch, T tokens, M tiles of a sample, P patches of a tile, D channels, L layers, Y token types
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from pid.llava.anyres import NEWLINE, anyres_rows
from pid.llava.clip import Vision, exact_gelu
from pid.llava.config import LlavaConfig
from pid.llava.knockout import Knockout, block_table
from pid.llava.language import GROUPS, Collect, Language, Output
from pid.llava.parts import linear, normal
from pid.llava.sharding import put
from pid.llava.tokens import TokenType

WORD = -1  # in the map: no image token


class Inputs(NamedTuple):
    """A batch as the device takes it."""

    ids: Int[Array, "b t"]
    """Token ids (B, T), int32."""
    types: Int[Array, "b t"]
    """`TokenType` of each token (B, T), int32."""
    rows: Int[Array, "b t"]
    """Where the feature of each token is found in its sample's M·P rows and, behind them, the newline; -1 for words."""
    pixels: Float[Array, "b m c y x"] | None
    """Tiles (B, M, 3, side, side); None for a batch of text."""
    block: Bool[Array, "l one y y"]
    """The edges cut in each layer (L, B or 1, Y, Y)."""


class Projector(nnx.Module):
    """down(gelu(up(·))) with the exact Gaussian error unit: vision features → embeddings."""

    def __init__(self, inputs: int, outputs: int, *, dtype: Any, rngs: nnx.Rngs):
        self.up = linear(inputs, outputs, bias=True, dtype=dtype, rngs=rngs)
        self.down = linear(outputs, outputs, bias=True, dtype=dtype, rngs=rngs)

    def __call__(self, features: Float[Array, "m p c"]) -> Float[Array, "m p d"]:
        return self.down(exact_gelu(self.up(features)))


class Llava(nnx.Module):
    """Vision tower, projector, language model and, in LLaVA-1.6, the newline vector."""

    def __init__(self, config: LlavaConfig, *, dtype: Any = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.vision = Vision(config.vision, dtype=dtype, rngs=rngs)
        self.projector = Projector(config.vision.width, config.text.width, dtype=dtype, rngs=rngs)
        self.language = Language(config.text, dtype=dtype, rngs=rngs)
        self.newline = (
            None
            if config.pinpoints is None
            else nnx.Param(normal(rngs.params(), (config.text.width,), dtype))
        )

    def features(self, pixels: Float[Array, "b m c y x"]) -> Float[Array, "b r d"]:
        """The rows that image tokens may be: M·P projected patches of each sample, then the newline vector."""
        patches = self.projector(self.vision(rearrange(pixels, "b m c y x -> (b m) c y x")))
        table = rearrange(patches, "(b m) p d -> b (m p) d", b=pixels.shape[0])
        if self.newline is None:
            return table
        line = jnp.broadcast_to(self.newline[...][None, None], (table.shape[0], 1, table.shape[2]))
        return jnp.concatenate([table, line], axis=1)

    def embed(self, inputs: Inputs) -> Float[Array, "b t d"]:
        """What enters the language model: word embeddings, and image features at the image tokens."""
        is_word = (inputs.rows == WORD)[..., None]
        words = self.language.embed(jnp.where(is_word[..., 0], inputs.ids, 0))
        if inputs.pixels is None:
            return words
        images = jax.vmap(lambda table, rows: table[rows])(
            self.features(inputs.pixels), jnp.maximum(inputs.rows, 0)
        )
        return jnp.where(is_word, words, images)

    def __call__(
        self, inputs: Inputs, *, collect: Collect = "all", groups: tuple[int, ...] = GROUPS
    ) -> Output:
        """The run of a prepared batch; may be traced and differentiated."""
        return self.language(
            self.embed(inputs), inputs.types, inputs.block, collect=collect, groups=groups
        )


def _check_ids(config: LlavaConfig, ids: np.ndarray) -> None:
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"input_ids are integers (B, T), got {ids.dtype} {ids.shape}; add a batch axis or cast.")
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


def image_rows(config: LlavaConfig, image_size: Any | None, tiles: int) -> np.ndarray:
    """For each image token of one sample its row in the table of `tiles`·P patches and, last, the newline.

    Raises:
        ValueError: LLaVA-1.6 without a size, or with fewer tiles than an image of that size has.
    """
    vision = config.vision
    if config.pinpoints is None:
        return np.arange(vision.patches, dtype=np.int32)
    size = (int(image_size[0]), int(image_size[1]))
    rows = anyres_rows(size, config.pinpoints, tile=vision.image_size, side=vision.side)
    if rows.max() >= tiles * vision.patches:
        needed = 1 + rows.max() // vision.patches
        raise ValueError(
            f"an image of (height, width) = {size} has {needed} tiles, got {tiles}; pass the tiles and the "
            f"image_sizes of the same image processor."
        )
    return np.where(rows == NEWLINE, tiles * vision.patches, rows).astype(np.int32)


def _gather_map(config: LlavaConfig, ids: np.ndarray, image_sizes: Any | None, tiles: int) -> np.ndarray:
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
    types = np.where(is_image, TokenType.IMAGE, TokenType.TEXT) if token_types is None else np.asarray(token_types)
    if types.shape != ids.shape or not np.issubdtype(types.dtype, np.integer) or types.min(initial=0) < 0:
        raise ValueError(
            f"token_types are integers from 0 in the shape of input_ids, {ids.shape}, got {types.dtype} "
            f"{types.shape}; see TokenType."
        )
    if (is_image & (types == TokenType.PAD)).any():
        raise ValueError(
            f"an image token is not padding, got {(is_image & (types == TokenType.PAD)).sum()} that are; pad with "
            f"another id than {config.image_token}."
        )
    block = block_table(knockouts, config.text.layers)
    return Inputs(ids.astype(np.int32), types.astype(np.int32), rows, pixels, block)


@partial(jax.jit, static_argnames=("graphdef", "collect", "groups"))
def run(
    graphdef: Any, params: Any, inputs: Inputs, *, collect: Collect, groups: tuple[int, ...]
) -> Output:
    """The compiled forward pass: one program per shape, `collect` and `groups`, whatever is cut."""
    return nnx.merge(graphdef, params)(inputs, collect=collect, groups=groups)


def forward(
    model: Llava,
    input_ids: Any,
    pixel_values: Any | None,
    *,
    image_sizes: Any | None = None,
    token_types: Any | None = None,
    knockouts: Iterable[Knockout] = (),
    collect: Collect = "all",
    groups: tuple[int, ...] = GROUPS,
) -> Output:
    """Raw residual stream, final states and logits of a batch, one image per row.

    input_ids: (B, T), `<image>` expanded to one id per image feature. pixel_values: (B, 3, side, side), in LLaVA-1.6
    (B, M, 3, side, side) with image_sizes (B, 2), (height, width) of each image; None for text alone. token_types:
    (B, T), default IMAGE at the image id, TEXT elsewhere; padding must be marked PAD, wherever it stands.
    collect: "all", "pooled" (means over `groups` only) or "logits", see `Output`.

    Raises:
        ValueError: names the rule that the batch breaks.
    """
    inputs = prepare(
        model.config,
        input_ids,
        pixel_values,
        image_sizes=image_sizes,
        token_types=token_types,
        knockouts=knockouts,
    )
    graphdef, params = nnx.split(model)
    beside = model.language.norm.scale[...].sharding
    return run(graphdef, params, put(inputs, beside), collect=collect, groups=tuple(map(int, groups)))

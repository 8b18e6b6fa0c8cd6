"""LLaVA: image features in the place of image tokens, then the language model.

Which row of which tile stands where is decided on the host (`prepare`) and handed over as an integer map, so the
device does one lookup: LLaVA-1.5 and LLaVA-1.6 of any resolution run the same program.

B batch, T tokens, M tiles of a sample, P patches of a tile, R rows of features of a sample, C and D channels
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from pid.llava.config import LlavaConfig
from pid.llava.knockout import Knockout
from pid.llava.model.language_model import GROUPS, Collect, Language, Output
from pid.llava.model.layers import linear, normal
from pid.llava.model.vision import Vision, exact_gelu
from pid.llava.partitioning import put
from pid.llava.preprocessing.device_inputs import WORD, Inputs, prepare


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
        is_word = jnp.asarray(inputs.rows == WORD)
        words = self.language.embed(jnp.where(is_word, inputs.ids, 0))
        if inputs.pixels is None:
            return words
        rows = jnp.maximum(inputs.rows, 0)
        images = jax.vmap(lambda table, rows: table[rows])(self.features(jnp.asarray(inputs.pixels)), rows)
        return jnp.where(is_word[..., None], words, images)

    def __call__(
        self, inputs: Inputs, *, collect: Collect = "all", groups: tuple[int, ...] = GROUPS
    ) -> Output:
        """The run of a prepared batch, a pure function to be traced."""
        types, block = jnp.asarray(inputs.types), jnp.asarray(inputs.block)
        return self.language(self.embed(inputs), types, block, collect=collect, groups=groups)


@partial(jax.jit, static_argnames=("graphdef", "collect", "groups"))
def run(graphdef: Any, params: Any, inputs: Inputs, *, collect: Collect, groups: tuple[int, ...]) -> Output:
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

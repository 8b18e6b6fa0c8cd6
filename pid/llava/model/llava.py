"""LLaVA: image features replace image tokens, then the language model runs.

The host (`prepare`) computes, as an array of integers, which row of the image features each image token takes. The
device then does one lookup, so LLaVA-1.5 and LLaVA-1.6 of any resolution run the same program.

B batch, T tokens, M tiles of a sample, P patches of a tile, R rows of features of a sample, C and D channels
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from pid.llava.config import LlavaConfig
from pid.llava.knockout import Knockout
from pid.llava.model.choices import Collect, as_groups, check_collect
from pid.llava.model.language_model import GROUPS, LanguageModel, Output
from pid.llava.model.layers import linear, normal, separate
from pid.llava.model.vision import VisionTower, exact_gelu
from pid.llava.partitioning import put_inputs
from pid.llava.preprocessing.batch_types import check_padding_is_marked
from pid.llava.preprocessing.device_inputs import WORD, DeviceInputs, prepare


class Projector(nnx.Module):
    """down(gelu(up(·))) with exact GELU: vision features → embeddings."""

    def __init__(self, inputs: int, outputs: int, *, dtype: Any, rngs: nnx.Rngs):
        """Draw the parameters."""
        self.up = linear(inputs, outputs, bias=True, dtype=dtype, rngs=rngs)
        self.down = linear(outputs, outputs, bias=True, dtype=dtype, rngs=rngs)

    def __call__(self, features: Float[Array, "m p c"]) -> Float[Array, "m p d"]:
        """Project the features of P patches."""
        return self.down(exact_gelu(self.up(features)))


class Llava(nnx.Module):
    """Vision tower, projector, language model and, in LLaVA-1.6, the newline vector.

    Args:
        config: configuration of the model.
        dtype: dtype of parameters and computation, float32 or bfloat16.
        rngs: random streams for the initial parameters.

    Example:
        >>> from flax import nnx
        >>> from pid import llava
        >>> vision = llava.VisionConfig(
        ...     hidden_size=8, mlp_dim=8, num_heads=2, depth=1, image_size=4, patch_size=2, channels=3,
        ...     activation="quick_gelu", norm_eps=1e-5,
        ... )
        >>> text = llava.TextConfig(
        ...     vocab_size=24, hidden_size=16, mlp_dim=8, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=4,
        ...     norm_eps=1e-5, rope_theta=1e4, sliding_window=None, tie_embeddings=False,
        ... )
        >>> config = llava.LlavaConfig(vision, text, image_token=23, pinpoints=None)
        >>> model = nnx.eval_shape(lambda: llava.Llava(config, rngs=nnx.Rngs(0)))      # shapes only
        >>> model.projector.up.kernel.shape
        (8, 16)

    Reference:
        Liu et al. 2023 (LLaVA-1.5); Liu et al. 2024 (LLaVA-NeXT).
    """

    def __init__(self, config: LlavaConfig, *, dtype: Any = jnp.float32, rngs: nnx.Rngs):
        """Draw the parameters."""
        self.config = config
        self.vision = VisionTower(config.vision, dtype=dtype, rngs=rngs)
        width = config.text.hidden_size
        self.projector = Projector(config.vision.hidden_size, width, dtype=dtype, rngs=rngs)
        self.language = LanguageModel(config.text, dtype=dtype, rngs=rngs)
        self.newline = None if config.pinpoints is None else nnx.Param(normal(rngs.params(), (width,), dtype))

    def separate_layers(self) -> None:
        """Replace stacks of blocks by lists, and delete the stacked arrays, see `pid.llava.model.layers`."""
        self.language.separate_layers()
        if self.vision.blocks is not None:
            self.vision.blocks = separate(self.vision.blocks)

    def features(self, pixels: Float[Array, "b m c y x"]) -> Float[Array, "b r d"]:
        """The feature table of each sample: its M·P projected patches, then the newline vector."""
        patches = self.projector(self.vision(rearrange(pixels, "b m c y x -> (b m) c y x")))
        table = rearrange(patches, "(b m) p d -> b (m p) d", b=pixels.shape[0])
        if self.newline is None:
            return table
        line = jnp.broadcast_to(self.newline[...][None, None], (table.shape[0], 1, table.shape[2]))
        return jnp.concatenate([table, line], axis=1)

    def embed(self, inputs: DeviceInputs) -> Float[Array, "b t d"]:
        """The input of the language model: word embeddings, and image features at the image tokens."""
        is_word = jnp.asarray(inputs.feature_rows == WORD)
        words = self.language.embed(jnp.where(is_word, inputs.ids, 0))
        if inputs.pixels is None:
            return words
        rows = jnp.maximum(inputs.feature_rows, 0)
        images = jax.vmap(lambda table, rows: table[rows])(self.features(jnp.asarray(inputs.pixels)), rows)
        return jnp.where(is_word[..., None], words, images)

    def __call__(
        self, inputs: DeviceInputs, *, collect: Collect = "all", groups: tuple[int, ...] = GROUPS
    ) -> Output:
        """Run a batch from `prepare`. This method may be traced."""
        types, mask = jnp.asarray(inputs.types), jnp.asarray(inputs.knockout_mask)
        return self.language(self.embed(inputs), types, mask, collect=collect, groups=groups)


@partial(jax.jit, static_argnames=("graphdef", "collect", "groups"))
def run(
    graphdef: Any, params: Any, inputs: DeviceInputs, *, collect: Collect, groups: tuple[int, ...]
) -> Output:
    """Run the compiled forward pass: one program per shape, `collect` and `groups`, shared by all knockouts."""
    return nnx.merge(graphdef, params)(inputs, collect=collect, groups=groups)


def check_model(model: object) -> None:
    """Raise TypeError unless it is a `Llava`."""
    if not isinstance(model, Llava):
        raise TypeError(
            f"a model is a Llava, got {type(model).__name__}; load one by llava.load(path, dtype=…)."
        )


def forward(
    model: Llava,
    input_ids: Any,
    pixel_values: Any | None = None,
    *,
    image_sizes: Any | None = None,
    token_types: Any | None = None,
    attention_mask: Any | None = None,
    knockouts: Iterable[Knockout] | Knockout = (),
    collect: Collect = "all",
    groups: Iterable[int] | int = GROUPS,
) -> Output:
    """Compute the raw residual stream, final states and logits of a batch with one image per row.

    Args:
        model: the model.
        input_ids: integers (B, T), with `<image>` expanded to one id per image feature. Lists and tensors of torch are
            converted, here and below.
        pixel_values: (B, 3, side, side), in LLaVA-1.6 (B, M, 3, side, side). None for text alone.
        image_sizes: LLaVA-1.6: (height, width) of each image (B, 2).
        token_types: the `TokenType` of each token (B, T). None is IMAGE at the image id and TEXT elsewhere. Padding
            must be marked PAD, at any position.
        attention_mask: 1 at tokens and 0 at padding (B, T), as tokenizers return it. It marks padding where
            `token_types` is None, and must agree with it elsewhere. Positions count only the tokens, as in `generate`
            of transformers.
        knockouts: the attention edges to remove. Other knockouts run the same compiled program.
        collect: "all" returns every state, "pooled" the means over `groups`, "logits" no residual stream.
        groups: token types over which "pooled" averages.

    Returns:
        States and logits, see `Output`.

    Raises:
        ValueError: the batch breaks a rule; the message names it.

    Example::

        model = llava.load("llava-1.5-7b-hf", dtype=jnp.bfloat16)
        batch = llava.encode(processor, samples)
        output = llava.forward(
            model, batch.ids, batch.pixels, token_types=batch.token_types,
            knockouts=[llava.Knockout("all")], collect="pooled",
        )
        output.residual.shape                       # (33, B, 3, 4096)

    The example is not executed, because it needs the weights of a model.
    """
    check_model(model)
    check_collect(collect)
    groups = as_groups(groups)
    inputs = prepare(
        model.config,
        input_ids,
        pixel_values,
        image_sizes=image_sizes,
        token_types=token_types,
        attention_mask=attention_mask,
        knockouts=knockouts,
    )
    if collect == "pooled" and token_types is None and attention_mask is None:
        check_padding_is_marked(np.asarray(inputs.ids), model.config.image_token, last=True)
    graphdef, params = nnx.split(model)
    sharding = model.language.norm.scale[...].sharding
    inputs = put_inputs(inputs, sharding)
    return run(graphdef, params, inputs, collect=collect, groups=groups)

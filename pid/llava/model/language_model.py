"""Llama and Mistral, with the residual stream of every layer.

    u ← u + A(RMS(u)),    u ← u + down(silu(gate(RMS(u))) ⊙ up(RMS(u)))

A is causal attention with rotary positions, K key and value heads for N query heads, and a knockout mask for every
layer. The raw residual stream is recorded at L+1 points, before the first block and after each, inside the scan over
layers. It is recorded either in full or as means over groups of tokens, so that only a few vectors per layer leave
the device.

The tokens of one call may be the end of a longer sequence. The keys and values of its beginning then come from a
`KVCache`.

B batch, T tokens, S key tokens, D channels, N heads, K key and value heads, H head width, L layers, V vocabulary,
G groups of tokens, Y token types
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from pid.interface.deprecation import add_former_properties
from pid.llava.config import TextConfig
from pid.llava.model.choices import Collect
from pid.llava.model.layers import (
    distinct,
    has_axes,
    linear,
    normal,
    precision_of,
    run_layers,
    separate,
    stack,
)
from pid.llava.model.masked_attention import AttentionMask, KVCache, attention
from pid.llava.tokens import TokenType

FORMER_NORMALIZED = "normalized".replace("z", "s")
"""The first spelling of a field, an argument and a kind of arrays. The arrays on disk keep it."""
GROUPS: tuple[int, ...] = (TokenType.IMAGE, TokenType.QUESTION, TokenType.LAST)


@add_former_properties(**{FORMER_NORMALIZED: "normalized"})
class Output(NamedTuple):
    """The result of a forward pass. Logits and pooled states are float32; other states have the dtype of the model.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> from pid import llava
        >>> config = llava.TextConfig(
        ...     vocab_size=24, hidden_size=8, mlp_dim=8, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=4,
        ...     norm_eps=1e-5, rope_theta=1e4, sliding_window=None, tie_embeddings=False,
        ... )
        >>> def run(u, types):
        ...     model = llava.LanguageModel(config, dtype=jnp.float32, rngs=nnx.Rngs(0))
        ...     return model(u, types, jnp.asarray(llava.knockout_mask((), 2)), collect="pooled")
        >>> output = jax.eval_shape(run, jnp.zeros((1, 5, 8)), jnp.ones((1, 5), jnp.int32))
        >>> output.residual.shape, output.logits.shape          # (L+1, B, G, D) and (B, V)
        ((3, 1, 3, 8), (1, 24))
    """

    residual: Float[Array, "p b t d"] | Any
    """The raw residual stream `(L+1, B, T, D)`. Pooled: its means over the tokens of each group `(L+1, B, G, D)`. None
    if only logits are collected."""
    normalized: Float[Array, "p b g d"] | Any
    """Pooled: the means over the tokens of each group, each token divided by its root mean square. Otherwise None."""
    final: Float[Array, "b t d"]
    """The states after the last norm `(B, T, D)`. Pooled: `(B, G, D)`."""
    logits: Float[Array, "b t v"] | Float[Array, "b v"]
    """The logits `(B, T, V)`. Pooled: the logits of the last token `(B, V)`."""


class SegmentOutput(NamedTuple):
    """The result of all layers on a segment of consecutive tokens."""

    last: Float[Array, "b t d"]
    """The residual stream after the last block (B, T, D)."""
    records: Any
    """The results of `record` at L+1 points, stacked on a leading axis."""
    cache: KVCache | None
    """The keys and values of these tokens in all layers. None without `return_cache`."""


class AttentionContext(NamedTuple):
    """Types and rotary angles for the last T tokens of a sequence of S tokens."""

    query_types: Int[Array, "b t"]
    """The types of the T tokens."""
    key_types: Int[Array, "b s"]
    """The types of all S tokens."""
    rope: tuple[Array, Array]
    """cos and sin of the T positions, see `rope_cos_sin`."""

    def mask(self, knockout_mask: Bool[Array, "one y y"]) -> AttentionMask:
        """The attention mask of one layer."""
        return AttentionMask(self.query_types, self.key_types, knockout_mask)


def prepend(first: Any, later: Any) -> Any:
    """Concatenate `first[None]` and `later` along the leading axis, in every array of a tree."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)


def inverse_rms(u: Float[Array, "*s d"], eps: float) -> Float[Array, "*s one"]:
    """Compute 1 / √(mean u² + ε) over the channels, in float32."""
    return jax.lax.rsqrt(jnp.mean(jnp.square(u.astype(jnp.float32)), axis=-1, keepdims=True) + eps)


def rms_normalize(u: Float[Array, "*s d"], eps: float) -> Float[Array, "*s d"]:
    """Compute u / √(mean u² + ε) over the channels, in float32."""
    return u.astype(jnp.float32) * inverse_rms(u, eps)


def rope_cos_sin(positions: Int[Array, "b t"], width: int, theta: float) -> tuple[Array, Array]:
    """Return cos and sin of position·θ^(-2i/H), i = 0 … H/2-1, repeated twice: two arrays (B, T, 1, H), float32."""
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    rates = np.float32(1) / np.float32(theta) ** exponents  # in float32 throughout, as in the original
    angles = positions[..., None].astype(jnp.float32) * jnp.asarray(rates)[None, None]
    angles = jnp.concatenate([angles, angles], axis=-1)[:, :, None]
    return jnp.cos(angles), jnp.sin(angles)


def apply_rope(
    x: Float[Array, "b t n h"], cos: Float[Array, "b t one h"], sin: Float[Array, "b t one h"]
) -> Float[Array, "b t n h"]:
    """Rotate each plane of channels i and i + H/2 by the angle of the position."""
    first, second = jnp.split(x, 2, axis=-1)
    quarter_turn = jnp.concatenate([-second, first], axis=-1)
    return x * cos.astype(x.dtype) + quarter_turn * sin.astype(x.dtype)


def group_weights(types: Int[Array, "b t"], groups: tuple[int, ...]) -> Float[Array, "b g t"]:
    """The weights of the mean over each group of tokens.

    A group is the tokens of a type; LAST is the last token that is not padding. A group without tokens has no mean:
    its weights are NaN.
    """
    index = jnp.arange(types.shape[1])[None]
    last = jnp.max(jnp.where(types > TokenType.PAD, index, -1), axis=1, keepdims=True)
    members = [index == last if group == TokenType.LAST else types == group for group in groups]
    indicator = jnp.stack(members, axis=1).astype(jnp.float32)
    count = jnp.sum(indicator, axis=-1, keepdims=True)
    return jnp.where(count > 0, indicator / jnp.maximum(count, 1), jnp.nan)


def pool(weights: Float[Array, "b g t"], u: Float[Array, "b t d"]) -> Float[Array, "b g d"]:
    """The means of u over each group, in float32."""
    return jnp.einsum("bgt,btd->bgd", weights, u.astype(jnp.float32), precision="highest")


def pool_raw_and_normalized(
    weights: Float[Array, "b g t"], u: Float[Array, "b t d"], eps: float
) -> tuple[Array, Array]:
    """The group means of u, and of u with each token divided by its root mean square: both (B, G, D).

    The root mean squares enter the weights, so that one product reads the states once. On a mesh each device computes
    the means of its share of the channels.
    """
    mesh = jax.typeof(u).sharding.mesh
    if (
        mesh.empty
        or not has_axes(mesh)
        or u.shape[0] % mesh.shape["data"]
        or u.shape[2] % mesh.shape["model"]
    ):
        return _pool_with_scale(weights, u, inverse_rms(u, eps))

    def pool_share(weights: Array, u: Array) -> tuple[Array, Array]:
        width = u.shape[2] // jax.lax.axis_size("model")
        share = jax.lax.dynamic_slice_in_dim(u, jax.lax.axis_index("model") * width, width, axis=2)
        squares = jnp.sum(jnp.square(share.astype(jnp.float32)), axis=-1, keepdims=True)
        mean = jax.lax.psum(squares, "model") / u.shape[2]
        return _pool_with_scale(weights, share, jax.lax.rsqrt(mean + eps))

    samples, channels = PartitionSpec("data"), PartitionSpec("data", None, "model")
    split = jax.shard_map(
        pool_share, mesh=mesh, in_specs=(samples, samples), out_specs=channels, check_vma=False
    )
    return split(weights, u)


def _pool_with_scale(weights: Array, u: Array, scale: Float[Array, "b t one"]) -> tuple[Array, Array]:
    both = pool(jnp.concatenate([weights, weights * scale[:, None, :, 0]], axis=1), u)
    raw, normalized = jnp.split(both, 2, axis=1)
    return raw, normalized


class RMSNorm(nnx.Module):
    """u / √(mean u² + ε) ⊙ w: normalized in float32, cast to the dtype, then multiplied by w."""

    def __init__(self, width: int, eps: float, *, dtype: Any):
        """Initialize w to 1."""
        self.eps, self.dtype = eps, dtype
        self.scale = nnx.Param(jnp.ones((width,), dtype))

    def __call__(self, u: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        """Normalize the channels of u."""
        return rms_normalize(u, self.eps).astype(self.dtype) * self.scale[...][None, None]


class Block(nnx.Module):
    """One layer: attention with rotary positions, and a gated feed-forward sublayer. No biases."""

    def __init__(self, config: TextConfig, *, dtype: Any, rngs: nnx.Rngs):
        """Draw the parameters."""

        def project(inputs: int, outputs: int) -> nnx.Linear:
            return linear(inputs, outputs, bias=False, dtype=dtype, rngs=rngs)

        width, ffn, self.head_dim = config.hidden_size, config.mlp_dim, config.head_dim
        queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.norm_attention = RMSNorm(width, config.norm_eps, dtype=dtype)
        self.query, self.out = project(width, queries), project(queries, width)
        self.key, self.value = project(width, keys), project(width, keys)
        self.norm_ffn = RMSNorm(width, config.norm_eps, dtype=dtype)
        self.gate, self.up = project(width, ffn), project(width, ffn)
        self.down = project(ffn, width)

    def __call__(
        self,
        u: Float[Array, "b t d"],
        mask: AttentionMask,
        rope: tuple[Array, Array],
        caches: tuple[KVCache, ...] = (),
    ) -> tuple[Float[Array, "b t d"], KVCache]:
        """The output of the layer, and the keys and values of its tokens.

        The S keys of `mask` are those of `caches`, then those of the T tokens.
        """
        normed = self.norm_attention(u)
        query, key, value = (
            rearrange(project(x), "b t (n h) -> b t n h", h=self.head_dim)
            for project, x in zip((self.query, self.key, self.value), distinct(normed, 3), strict=True)
        )
        cache = KVCache(apply_rope(key, *rope), value)
        mixture = attention(apply_rope(query, *rope), (*caches, cache), mask)
        u = u + self.out(rearrange(mixture, "b t n h -> b t (n h)"))
        gated, up = distinct(self.norm_ffn(u), 2)
        return u + self.down(jax.nn.silu(self.gate(gated)) * self.up(up)), cache


class LanguageModel(nnx.Module):
    """Embedding, L blocks, a last norm and the output map.

    The blocks are stacked on a leading layer axis, except in a model that `load` placed on a GPU, where `blocks` is a
    list.

    Args:
        config: configuration of a Llama or Mistral.
        dtype: dtype of parameters and computation, float32 or bfloat16.
        rngs: random streams for the initial parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> from pid import llava
        >>> config = llava.TextConfig(
        ...     vocab_size=24, hidden_size=8, mlp_dim=8, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=4,
        ...     norm_eps=1e-5, rope_theta=1e4, sliding_window=None, tie_embeddings=False,
        ... )
        >>> model = nnx.eval_shape(lambda: llava.LanguageModel(config, dtype=jnp.float32, rngs=nnx.Rngs(0)))
        >>> model.blocks.query.kernel.shape                     # (L, D, N·H)
        (2, 8, 8)

    Reference:
        Touvron et al. 2023, LLaMA; Jiang et al. 2023, Mistral 7B.
    """

    def __init__(self, config: TextConfig, *, dtype: Any, rngs: nnx.Rngs):
        """Draw the parameters."""
        vocabulary, width = config.vocab_size, config.hidden_size
        self.config = config
        self.embed = nnx.Embed(
            vocabulary,
            width,
            dtype=dtype,
            param_dtype=dtype,
            embedding_init=normal,
            rngs=rngs,
        )
        self.blocks: Any = stack(lambda rngs: Block(config, dtype=dtype, rngs=rngs), config.num_layers, rngs)
        self.norm = RMSNorm(width, config.norm_eps, dtype=dtype)
        self.head = (
            None if config.tie_embeddings else linear(width, vocabulary, bias=False, dtype=dtype, rngs=rngs)
        )

    def separate_layers(self) -> None:
        """Replace the stack of blocks by a list, and delete the stacked arrays."""
        self.blocks = separate(self.blocks)

    def logits(self, final: Float[Array, "b t d"]) -> Float[Array, "b t v"]:
        """Apply the output map, which may be tied to the embedding; float32."""
        with jax.default_matmul_precision(precision_of(final.dtype).name.lower()):
            logits = self.embed.attend(final) if self.head is None else self.head(final)
        return logits.astype(jnp.float32)

    def last_token_logits(
        self, final: Float[Array, "b t d"], types: Int[Array, "b t"]
    ) -> Float[Array, "b v"]:
        """The logits (B, V) of the last token that is not padding."""
        last = pool(group_weights(types, (TokenType.LAST,)), final).astype(final.dtype)
        return self.logits(last)[:, 0]

    def attention_context(self, types: Int[Array, "b s"], start: int) -> AttentionContext:
        """The attention context of the tokens from index `start` on, given the types of all tokens."""
        not_padding = types > TokenType.PAD
        positions = jnp.maximum(jnp.cumsum(not_padding, axis=1) - 1, 0)[:, start:]
        rope = rope_cos_sin(positions, self.config.head_dim, self.config.rope_theta)
        return AttentionContext(types[:, start:], types, rope)

    def run_segment(
        self,
        u: Float[Array, "b t d"],
        types: Int[Array, "b t"],
        knockout_mask: Bool[Array, "l one y y"],
        record: Callable[[Array], Any],
        *,
        return_cache: bool = False,
    ) -> SegmentOutput:
        """Run all layers on tokens whose embeddings are u.

        `record` is applied to the residual stream at L+1 points. With `return_cache` the result has the keys and
        values.
        """
        context = self.attention_context(types, 0)

        def layer(block: Block, u: Array, knockout_mask: Array) -> tuple[Array, tuple[Any, KVCache | None]]:
            u, cache = block(u, context.mask(knockout_mask), context.rope)
            return u, (record(u), cache if return_cache else None)

        last, (later, cache) = run_layers(self.blocks, layer, u, knockout_mask)
        return SegmentOutput(last, prepend(record(u), later), cache)

    def __call__(
        self,
        u: Float[Array, "b t d"],
        types: Int[Array, "b t"],
        knockout_mask: Bool[Array, "l one y y"],
        *,
        collect: Collect = "all",
        groups: tuple[int, ...] = GROUPS,
    ) -> Output:
        """Run embeddings u through all layers.

        Args:
            u: embeddings (B, T, D).
            types: the `TokenType` of each token (B, T).
            knockout_mask: the edges that are removed in each layer (L, B or 1, Y, Y), see `knockout_mask`.
            collect: "all" returns every state, "pooled" the means over `groups`, "logits" no residual stream.
            groups: token types over which "pooled" averages.

        Returns:
            States and logits, see `Output`.
        """
        weights = group_weights(types, groups)

        def record(u: Array) -> tuple[Array | None, Array | None]:
            if collect == "pooled":
                return pool_raw_and_normalized(weights, u, self.config.norm_eps)
            return (u, None) if collect == "all" else (None, None)

        segment = self.run_segment(u, types, knockout_mask, record)
        residual, normalized = segment.records
        final = self.norm(segment.last)
        if collect != "pooled":
            return Output(residual, normalized, final, self.logits(final))
        logits = self.last_token_logits(final, types)
        return Output(residual, normalized, pool(weights, final), logits)

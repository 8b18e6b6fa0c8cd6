"""One Transformer block with its hooks.

M_x is the diffusion layer at hook x, or the identity if the hook has no layer. A is attention, plain or evolved by a
PDE. F is the feed-forward sublayer. Pre-LN:

    u ← M_before_norm(u)
    u ← u + M_after_attention(A(M_before_attention(LN(u))))
    u ← M_before_norm(u)
    u ← u + M_after_ffn(F(M_before_ffn(LN(u))))
    u ← M_between_layers(u)

Post-LN:

    u ← LN(M_before_norm(u + M_after_attention(A(M_before_attention(u)))))
    u ← LN(M_before_norm(u + M_after_ffn(F(M_before_ffn(u)))))
    u ← M_between_layers(u)

Dropout acts on the output of a sublayer after its hook. Every hook of a block has its own diffusion layer; the two
`before_norm` sites share one. The residual stream has the dtype of the config.

    B batch, T tokens, N heads, H head width, D channels, F feed-forward width
"""

import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from pdeformer.attention import dot_product_attention
from pdeformer.layers import Layer
from pdeformer.model.config import ModelConfig


def named_key(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    """Return the random key of the component `name`. A new component does not change the keys of the others."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def dropout(u: Float[Array, "*s"], rate: float, key: Key[Array, ""] | None) -> Float[Array, "*s"]:
    """Zero each entry with probability `rate` and divide the others by 1 - rate; the identity without a key."""
    if key is None or rate == 0:
        return u
    keep_mask = jax.random.bernoulli(key, 1 - rate, u.shape)
    return jnp.where(keep_mask, u / (1 - rate), 0).astype(u.dtype)


def activation(config: ModelConfig) -> Callable[[Array], Array]:
    """Return the nonlinearity of the config."""
    return {"gelu": nnx.gelu, "relu": nnx.relu}[config.activation]


def layer_norm(config: ModelConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Make a LayerNorm that centers before it squares, because E[x²] - E[x]² loses digits for a large mean."""
    return nnx.LayerNorm(config.width, dtype=jnp.dtype(config.dtype), use_fast_variance=False, rngs=rngs)


def linear(
    config: ModelConfig, inputs: int, outputs: int, rngs: nnx.Rngs, *, bias: bool = True
) -> nnx.Linear:
    """Make a Xavier-initialized linear map with float32 parameters, computed in the dtype of the config."""
    init = nnx.initializers.xavier_uniform()
    return nnx.Linear(
        inputs, outputs, use_bias=bias, dtype=jnp.dtype(config.dtype), kernel_init=init, rngs=rngs
    )


class Attention(nnx.Module):
    """Multi-head attention within segments, plain or evolved by the PDE of the config."""

    def __init__(self, config: ModelConfig, *, causal: bool, rngs: nnx.Rngs):
        """Make the projections, and the evolution if the config has one."""
        width, inner, bias = config.width, config.query_width, config.attention_bias
        self.heads, self.causal, self.rate = config.heads, causal, config.attention_dropout
        self.query = linear(config, width, inner, rngs, bias=bias)
        self.key = linear(config, width, inner, rngs, bias=bias)
        self.value = linear(config, width, inner, rngs, bias=bias)
        self.out = linear(config, inner, width, rngs, bias=bias)
        self.evolution = config.attention.build(config.heads)

    def __call__(
        self, u: Float[Array, "b t d"], segment_ids: Int[Array, "b t"] | None, *, key: Key[Array, ""] | None
    ) -> Float[Array, "b t d"]:
        """Mix the tokens of every segment; `key` draws the attention dropout."""
        query, key_, value = (
            project(u).reshape(*u.shape[:2], self.heads, -1) for project in (self.query, self.key, self.value)
        )
        attend = dot_product_attention if self.evolution is None else self.evolution
        output = attend(
            query,
            key_,
            value,
            segment_ids=segment_ids,
            is_causal=self.causal,
            dropout=0.0 if key is None else self.rate,
            dropout_key=key,
        )
        return self.out(output.reshape(*u.shape[:2], -1))


class FeedForward(nnx.Module):
    """The feed-forward sublayer down(φ(up(u))), token by token."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        """Make both maps."""
        self.up = linear(config, config.width, config.ffn, rngs)
        self.down = linear(config, config.ffn, config.width, rngs)
        self.activation, self.rate = activation(config), config.dropout

    def __call__(self, u: Float[Array, "b t d"], *, key: Key[Array, ""] | None) -> Float[Array, "b t d"]:
        """Map every token; dropout acts between the two maps."""
        return self.down(dropout(self.activation(self.up(u)), self.rate, key))


class Block(nnx.Module):
    """Attention and feed-forward sublayers with residual connections, LayerNorm and hooks."""

    def __init__(self, config: ModelConfig, key: Key[Array, ""], *, causal: bool):
        """Make the sublayers and one diffusion layer per hook."""

        def rngs(name: str) -> nnx.Rngs:
            return nnx.Rngs(named_key(key, name))

        self.pre_norm, self.rate, self.causal = config.norm == "pre", config.dropout, causal
        self.norm_attention = layer_norm(config, rngs("norm_attention"))
        self.attention = Attention(config, causal=causal, rngs=rngs("attention"))
        self.norm_ffn = layer_norm(config, rngs("norm_ffn"))
        self.ffn = FeedForward(config, rngs=rngs("ffn"))
        hooks = [name for name in config.placements if name != "after_embedding"]
        self.stencils = nnx.Dict({name: config.stencil.build(config.width, rngs(name)) for name in hooks})

    def __call__(
        self,
        u: Float[Array, "b t d"],
        segment_ids: Int[Array, "b t"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "b t d"]:
        """Return the residual stream after this block; `key` draws the dropout."""
        keys = (None,) * 4 if key is None else tuple(jax.random.split(key, 4))

        def hook(name: str, u: Array) -> Array:
            layer: Layer | None = self.stencils.get(name)
            return u if layer is None else layer(u, segment_ids, causal=self.causal)

        def attend(u: Array) -> Array:
            output = self.attention(hook("before_attention", u), segment_ids, key=keys[0])
            return dropout(hook("after_attention", output), self.rate, keys[1])

        def feed_forward(u: Array) -> Array:
            output = self.ffn(hook("before_ffn", u), key=keys[2])
            return dropout(hook("after_ffn", output), self.rate, keys[3])

        for norm, sublayer in ((self.norm_attention, attend), (self.norm_ffn, feed_forward)):
            if self.pre_norm:
                u = hook("before_norm", u)
                u = u + sublayer(norm(u))
            else:
                u = norm(hook("before_norm", u + sublayer(u)))
        return hook("between_layers", u)

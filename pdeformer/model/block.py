"""One Transformer block with its hooks.

M_x is the diffusion layer at hook x, or the identity if the hook has no layer. A is the mixer of the config: attention,
plain or evolved by a PDE, or a control. F is the feed-forward sublayer down(φ(M_in_ffn(up(u)))). M_in_attention maps
queries, keys and values, side by side as 3 N H channels, before they rotate. Pre-LN:

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

    B batch, T tokens, N heads, H head width, D channels, F feed-forward width, L blocks, M places of a cache,
    R tokens that a diffusion layer remembers
"""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from pdeformer.attention import AttentionCache
from pdeformer.attention.decode import occupied
from pdeformer.layers import Layer
from pdeformer.model.config import ModelConfig
from pdeformer.model.mixers import linear, make_mixer


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


class BlockCache(NamedTuple):
    """What one block, or all of them on a leading axis, remembers of the earlier tokens."""

    key: Float[Array, "*l b m n h"]
    """Keys of the attention."""
    value: Float[Array, "*l b m n h"]
    """Values of the attention."""
    hooks: dict[str, Float[Array, "*l b r d"]]
    """The last R inputs of every diffusion layer, by its site."""


class NewTokens(NamedTuple):
    """What all blocks know of the new tokens when they decode."""

    segment_ids: Int[Array, "b t"]
    """Segment ids of the new tokens."""
    recent_ids: Int[Array, "b r"]
    """Segment ids of the R tokens before them; 0 where there is none."""
    attention: AttentionCache
    """The cache of the attention before them; its keys and values are those of `BlockCache`."""
    positions: Int[Array, "b t"]
    """Positions of the new tokens in their segments."""


class FeedForward(nnx.Module):
    """The feed-forward sublayer down(φ(up(u))), token by token."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        """Make both maps."""
        self.up = linear(config, config.width, config.ffn, rngs)
        self.down = linear(config, config.ffn, config.width, rngs)
        self.activation, self.rate = activation(config), config.dropout

    def __call__(
        self,
        u: Float[Array, "b t d"],
        *,
        key: Key[Array, ""] | None,
        mix: Callable[[Array], Array] | None = None,
    ) -> Float[Array, "b t d"]:
        """Map every token; dropout acts between the two maps, and `mix` on the hidden units before φ."""
        hidden = self.up(u) if mix is None else mix(self.up(u))
        return self.down(dropout(self.activation(hidden), self.rate, key))


class Block(nnx.Module):
    """Attention and feed-forward sublayers with residual connections, LayerNorm and hooks."""

    def __init__(self, config: ModelConfig, key: Key[Array, ""], *, causal: bool):
        """Make the sublayers and one diffusion layer per hook."""

        def rngs(name: str) -> nnx.Rngs:
            return nnx.Rngs(named_key(key, name))

        self.pre_norm, self.rate, self.causal = config.norm == "pre", config.dropout, causal
        self.norm_attention = layer_norm(config, rngs("norm_attention"))
        self.attention = make_mixer(config, causal=causal, rngs=rngs("attention"))
        self.norm_ffn = layer_norm(config, rngs("norm_ffn"))
        self.ffn = FeedForward(config, rngs=rngs("ffn"))
        self.hooks = config.hooks
        self.stencils = nnx.Dict(
            {name: config.stencil.build(config.hook_width(name), rngs(name)) for name in self.hooks}
        )

    def __call__(
        self,
        u: Float[Array, "b t d"],
        segment_ids: Int[Array, "b t"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
        positions: Int[Array, "b_ t"] | None = None,
        at_site: Callable[[str, Array], Array] | None = None,
    ) -> Float[Array, "b t d"]:
        """Return the residual stream after this block.

        Args:
            u: the residual stream before it.
            segment_ids: 0 is padding; None is one segment.
            key: draws the dropout.
            positions: as in `Attention`.
            at_site: called with the name of every site and the state before its layer, and returns that state; to
                record states, or to replace them. The two sites before norms have the names `before_norm of attention`
                and `before_norm of ffn`.
        """
        keys = (None,) * 4 if key is None else tuple(jax.random.split(key, 4))

        def hook(site: str, u: Array) -> Array:
            layer = self._layer_at(site)
            u = u if at_site is None else at_site(site, u)
            return u if layer is None else layer(u, segment_ids, causal=self.causal)

        inner = partial(self._inner, hook)

        def attend(u: Array) -> Array:
            inputs = hook("before_attention", u)
            options = {"key": keys[0], "positions": positions, "mix": inner("in_attention")}
            output = self.attention(inputs, segment_ids, **options)
            return dropout(hook("after_attention", output), self.rate, keys[1])

        def feed_forward(u: Array) -> Array:
            output = self.ffn(hook("before_ffn", u), key=keys[2], mix=inner("in_ffn"))
            return dropout(hook("after_ffn", output), self.rate, keys[3])

        return self._apply_sublayers(u, hook, attend, feed_forward)

    def decode(
        self, u: Float[Array, "b t d"], cache: BlockCache, new: NewTokens
    ) -> tuple[Float[Array, "b t d"], BlockCache, AttentionCache]:
        """Return the residual stream of new tokens, and the caches with them; without dropout."""
        attention, hooks = new.attention._replace(key=cache.key, value=cache.value), {}

        def hook(site: str, u: Array) -> Array:
            layer = self._layer_at(site)
            if layer is None:
                return u
            after, hooks[site] = decode_layer(layer, u, cache.hooks[site], new)
            return after

        inner = partial(self._inner, hook)

        def attend(u: Array) -> Array:
            nonlocal attention
            ids = None if attention.segment_ids is None else new.segment_ids
            inputs = hook("before_attention", u)
            mix = inner("in_attention")
            output, attention = self.attention.decode(inputs, attention, ids, new.positions, mix=mix)
            return hook("after_attention", output)

        def feed_forward(u: Array) -> Array:
            return hook("after_ffn", self.ffn(hook("before_ffn", u), key=None, mix=inner("in_ffn")))

        u = self._apply_sublayers(u, hook, attend, feed_forward)
        return u, BlockCache(attention.key, attention.value, hooks), attention

    def _apply_sublayers(
        self, u: Array, hook: Callable[[str, Array], Array], *sublayers: Callable[[Array], Array]
    ) -> Array:
        norms = ("attention", self.norm_attention), ("ffn", self.norm_ffn)
        for (name, norm), sublayer in zip(norms, sublayers, strict=True):
            site = f"before_norm of {name}"
            if self.pre_norm:
                u = hook(site, u)
                u = u + sublayer(norm(u))
            else:
                u = norm(hook(site, u + sublayer(u)))
        return hook("between_layers", u)

    def _inner(self, hook: Callable[[str, Array], Array], site: str) -> Callable[[Array], Array] | None:
        """Return the hook inside a sublayer as a function of its inputs; None without a layer there."""
        return partial(hook, site) if site in self.hooks else None

    def _layer_at(self, site: str) -> Any:
        """Return the layer at a site, or None; the two sites before the norms share one."""
        name = site.split(" of ")[0]
        return self.stencils[name] if name in self.hooks else None


def sites_of(hooks: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sites of a block that remember their inputs when they decode."""
    twice = {"before_norm": ("before_norm of attention", "before_norm of ffn")}
    return tuple(site for name in hooks for site in twice.get(name, (name,)))


def decode_layer(
    layer: Layer, u: Float[Array, "b t d"], recent: Float[Array, "b r d"], new: NewTokens
) -> tuple[Float[Array, "b t d"], Float[Array, "b r d"]]:
    """Apply a causal diffusion layer to new tokens after the R recent ones; return also the recent ones after them."""
    window = jnp.concatenate([recent.astype(u.dtype), u], axis=1)
    ids = jnp.concatenate([new.recent_ids, new.segment_ids], axis=1)
    after = layer(window, ids, causal=True)[:, recent.shape[1] :]
    return after, last_tokens(window, new.segment_ids, recent.shape[1])


def last_tokens(window: Array, segment_ids: Int[Array, "b t"], count: int) -> Array:
    """Return the last `count` tokens of every row of (B, count + T, ...), without its trailing padding."""
    index = occupied(segment_ids)[:, None] + jnp.arange(count)[None]
    return jnp.take_along_axis(window, index.reshape(*index.shape, *[1] * (window.ndim - 2)), axis=1)

"""Llama and Mistral, every layer in sight.

    u ← u + A(RMS(u)),    u ← u + down(silu(gate(RMS(u))) ⊙ up(RMS(u)))

A is causal attention with rotary positions, K key and value heads for N query heads, and a table of cut edges for
every layer. The raw residual stream is taken at L+1 points, before the first block and after each, inside the scan:
whole, or pooled at once so that only a few vectors per layer leave the device.

The tokens of one call may be the end of a longer sequence, the keys and values of whose beginning are known: `Span`.

B batch, T tokens, S key tokens, D channels, N heads, K key and value heads, H head width, L layers, V vocabulary,
G groups of tokens, Y token types
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from pid.llava.config import TextConfig
from pid.llava.model.layers import linear, normal, stack
from pid.llava.tokens import TokenType

Collect = Literal["all", "pooled", "logits"]
GROUPS: tuple[int, ...] = (TokenType.IMAGE, TokenType.QUESTION, TokenType.LAST)


class Output(NamedTuple):
    """What a run gives. Logits and pooled states are float32, the others in the dtype of the model."""

    residual: Float[Array, "p b t d"] | Any
    """The raw residual stream `(L+1, B, T, D)`; pooled `(L+1, B, G, D)`, the means over the tokens of each group.
    None if only logits are collected."""
    normalised: Float[Array, "p b g d"] | Any
    """Pooled only, else None: the means of the tokens of each group, each token divided by its root mean square."""
    final: Float[Array, "b t d"]
    """The states after the last norm `(B, T, D)`; pooled `(B, G, D)`."""
    logits: Float[Array, "b t v"] | Float[Array, "b v"]
    """The logits `(B, T, V)`; pooled: those of the last token, `(B, V)`."""


class Past(NamedTuple):
    """Keys, rotated, and values of earlier tokens: of one layer (B, S, K, H), of all with a leading axis L."""

    key: Float[Array, "*l b s k h"]
    value: Float[Array, "*l b s k h"]


class Span(NamedTuple):
    """A run of some consecutive tokens."""

    last: Float[Array, "b t d"]
    """The residual stream after the last block (B, T, D)."""
    records: Any
    """What was recorded at L+1 points, stacked on a leading axis."""
    past: Past | None
    """The keys and values of these tokens in all layers, if they were to be kept."""


class Surroundings(NamedTuple):
    """What T tokens see of S, of which they are the last."""

    queries: Int[Array, "b t"]
    """The types of the T tokens."""
    keys: Int[Array, "b s"]
    """The types of all S."""
    visible: Bool[Array, "b t s"]
    """No later token and no padding."""
    turn: tuple[Array, Array]
    """cos and sin of the T positions, see `rotary`."""

    def edges(self, block: Bool[Array, "one y y"]) -> Bool[Array, "b t s"]:
        """The visible that are not cut by the table of a layer."""
        return self.visible & ~cut_edges(block, self.queries, self.keys)


def prepend(first: Any, later: Any) -> Any:
    """One more entry before those along the leading axis, in every array of a tree."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)


def rms_normalise(u: Float[Array, "*s d"], eps: float) -> Float[Array, "*s d"]:
    """u / √(mean u² + ε) over the channels, in float32."""
    wide = u.astype(jnp.float32)
    return wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + eps)


def rotary(positions: Int[Array, "b t"], width: int, theta: float) -> tuple[Array, Array]:
    """cos and sin of position·θ^(-2i/H), i = 0 … H/2-1, twice over: two arrays (B, T, 1, H), float32."""
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    rates = np.float32(1) / np.float32(theta) ** exponents  # in float32 throughout, as in the original
    angles = positions[..., None].astype(jnp.float32) * jnp.asarray(rates)[None, None]
    angles = jnp.concatenate([angles, angles], axis=-1)[:, :, None]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(
    x: Float[Array, "b t n h"], cos: Float[Array, "b t one h"], sin: Float[Array, "b t one h"]
) -> Float[Array, "b t n h"]:
    """Turn channel i and channel i + H/2 together: the two halves are the two coordinates of the planes."""
    first, second = jnp.split(x, 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    return x * cos.astype(x.dtype) + turned * sin.astype(x.dtype)


def cut_edges(
    block: Bool[Array, "one y y"], queries: Int[Array, "b t"], keys: Int[Array, "b s"]
) -> Bool[Array, "b t s"]:
    """Whether query t of a sample is kept from key s by the table: block[b, queries[b, t], keys[b, s]].

    queries, keys: `TokenType`s; one beyond the table is never cut. As two small matrix products, which a mesh can
    split.
    """
    query, key = (jax.nn.one_hot(types, block.shape[-1], dtype=jnp.float32) for types in (queries, keys))
    table = jnp.broadcast_to(block, (queries.shape[0], *block.shape[1:])).astype(jnp.float32)
    return jnp.einsum("btx,bxy,bsy->bts", query, table, key) > 0.5


def attention(
    query: Float[Array, "b t n h"], parts: tuple[Past, ...], visible: Bool[Array, "b t s"]
) -> Float[Array, "b t n h"]:
    """softmax(QKᵀ/√H) V over the visible of the S keys of all parts; a query that sees none of them gets 0.

    The N query heads take turns on K heads of keys, N/K in a row on each. The scores of the parts are put side by side,
    never their keys: under `vmap` a part that all share stays one. Scores, softmax and sums are float32.
    """
    grouped = rearrange(query, "b t (k g) h -> b t k g h", k=parts[0].key.shape[2])
    scores = jnp.concatenate(
        [
            jnp.einsum("btkgh,bskh->bktgs", grouped, part.key, preferred_element_type=jnp.float32)
            for part in parts
        ],
        axis=-1,
    )
    seen = visible[:, None, :, None]
    scores = jnp.where(seen, scores * query.shape[-1] ** -0.5, jnp.finfo(jnp.float32).min)
    weights = jnp.where(jnp.any(seen, axis=-1, keepdims=True), jax.nn.softmax(scores, axis=-1), 0)
    ends = np.cumsum([part.key.shape[1] for part in parts])[:-1]
    shares = jnp.split(weights.astype(query.dtype), ends, axis=-1)
    mixed = sum(
        jnp.einsum("bktgs,bskh->btkgh", share, part.value, preferred_element_type=jnp.float32)
        for share, part in zip(shares, parts, strict=True)
    )
    return rearrange(jnp.asarray(mixed, query.dtype), "b t k g h -> b t (k g) h")


def group_weights(types: Int[Array, "b t"], groups: tuple[int, ...]) -> Float[Array, "b g t"]:
    """The weights of the mean over each group of tokens: those of a type, or for LAST the last that is no padding.

    A group without tokens has no mean: its weights are NaN.
    """
    at = jnp.arange(types.shape[1])[None]
    last = jnp.max(jnp.where(types > TokenType.PAD, at, -1), axis=1, keepdims=True)
    member = [at == last if group == TokenType.LAST else types == group for group in groups]
    chosen = jnp.stack(member, axis=1).astype(jnp.float32)
    count = jnp.sum(chosen, axis=-1, keepdims=True)
    return jnp.where(count > 0, chosen / jnp.maximum(count, 1), jnp.nan)


def pool(weights: Float[Array, "b g t"], u: Float[Array, "b t d"]) -> Float[Array, "b g d"]:
    """The means of u by group, in float32."""
    return jnp.einsum("bgt,btd->bgd", weights, u.astype(jnp.float32), precision="highest")


def pooled(weights: Float[Array, "b g t"], u: Float[Array, "b t d"], eps: float) -> tuple[Array, Array]:
    """The means of u by group, and of its tokens each divided by its root mean square: both (B, G, D)."""
    return pool(weights, u), pool(weights, rms_normalise(u, eps))


class RMSNorm(nnx.Module):
    """u / √(mean u² + ε) ⊙ w: normalised in float32, cast, then weighted."""

    def __init__(self, width: int, eps: float, *, dtype: Any):
        self.eps, self.dtype = eps, dtype
        self.scale = nnx.Param(jnp.ones((width,), dtype))

    def __call__(self, u: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        return rms_normalise(u, self.eps).astype(self.dtype) * self.scale[...][None, None]


class Block(nnx.Module):
    """One layer: attention with rotary positions, and a gated feed-forward sublayer. No biases."""

    def __init__(self, config: TextConfig, *, dtype: Any, rngs: nnx.Rngs):
        def plain(inputs: int, outputs: int) -> nnx.Linear:
            return linear(inputs, outputs, bias=False, dtype=dtype, rngs=rngs)

        self.head_width = config.head_width
        queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
        self.norm_attention = RMSNorm(config.width, config.eps, dtype=dtype)
        self.query, self.out = plain(config.width, queries), plain(queries, config.width)
        self.key, self.value = plain(config.width, keys), plain(config.width, keys)
        self.norm_ffn = RMSNorm(config.width, config.eps, dtype=dtype)
        self.gate, self.up = plain(config.width, config.ffn), plain(config.width, config.ffn)
        self.down = plain(config.ffn, config.width)

    def __call__(
        self,
        u: Float[Array, "b t d"],
        visible: Bool[Array, "b t s"],
        turn: tuple[Array, Array],
        past: tuple[Past, ...] = (),
    ) -> tuple[Float[Array, "b t d"], Past]:
        """The layer's output, and the keys and values of its tokens; `visible` spans those of `past`, then these."""
        normed = self.norm_attention(u)
        query, key, value = (
            rearrange(project(normed), "b t (n h) -> b t n h", h=self.head_width)
            for project in (self.query, self.key, self.value)
        )
        own = Past(rotate(key, *turn), value)
        mixed = attention(rotate(query, *turn), (*past, own), visible)
        u = u + self.out(rearrange(mixed, "b t n h -> b t (n h)"))
        normed = self.norm_ffn(u)
        return u + self.down(jax.nn.silu(self.gate(normed)) * self.up(normed)), own


class Language(nnx.Module):
    """Embedding, L blocks stacked on a leading layer axis, a last norm and the output map."""

    def __init__(self, config: TextConfig, *, dtype: Any, rngs: nnx.Rngs):
        self.config = config
        self.embed = nnx.Embed(
            config.vocabulary,
            config.width,
            dtype=dtype,
            param_dtype=dtype,
            embedding_init=normal,
            rngs=rngs,
        )
        self.blocks = stack(lambda rngs: Block(config, dtype=dtype, rngs=rngs), config.layers, rngs)
        self.norm = RMSNorm(config.width, config.eps, dtype=dtype)
        self.head = (
            None
            if config.tied
            else linear(config.width, config.vocabulary, bias=False, dtype=dtype, rngs=rngs)
        )

    def logits(self, final: Float[Array, "b t d"]) -> Float[Array, "b t v"]:
        """The output map, which may be the embedding itself; float32."""
        mapped = self.embed.attend(final) if self.head is None else self.head(final)
        return mapped.astype(jnp.float32)

    def answer(self, final: Float[Array, "b t d"], types: Int[Array, "b t"]) -> Float[Array, "b v"]:
        """The logits (B, V) at the last token that is no padding."""
        last = pool(group_weights(types, (TokenType.LAST,)), final).astype(final.dtype)
        return self.logits(last)[:, 0]

    def surroundings(self, types: Int[Array, "b s"], start: int) -> Surroundings:
        """What the tokens from `start` on see of all tokens, whose types are given."""
        real = types > TokenType.PAD
        causal = jnp.tril(jnp.ones((types.shape[1] - start, types.shape[1]), bool), start)[None]
        positions = jnp.maximum(jnp.cumsum(real, axis=1) - 1, 0)[:, start:]
        turn = rotary(positions, self.config.head_width, self.config.theta)
        return Surroundings(types[:, start:], types, causal & real[:, None, :], turn)

    def scan(self, layer: Callable[..., tuple[Any, Any]], carry: Any, *given: Any) -> tuple[Any, Any]:
        """carry, found ← layer(block, carry, *given) through all layers; given and found lead with the layer."""
        graphdef, params = nnx.split(self.blocks)

        def step(carry: Any, layers: tuple[Any, tuple]) -> tuple[Any, Any]:
            params, given = layers
            return layer(nnx.merge(graphdef, params), carry, *given)

        return jax.lax.scan(step, carry, (params, given))

    def span(
        self,
        u: Float[Array, "b t d"],
        types: Int[Array, "b t"],
        block: Bool[Array, "l one y y"],
        record: Callable[[Array], Any],
        *,
        keep: bool = False,
    ) -> Span:
        """Run all layers on tokens whose embeddings are u.

        record: taken of the residual stream at L+1 points. keep: whether the keys and values are returned.
        """
        around = self.surroundings(types, 0)

        def layer(run: Block, u: Array, block: Array) -> tuple[Array, tuple[Any, Past | None]]:
            u, own = run(u, around.edges(block), around.turn)
            return u, (record(u), own if keep else None)

        last, (later, kept) = self.scan(layer, u, block)
        return Span(last, prepend(record(u), later), kept)

    def __call__(
        self,
        u: Float[Array, "b t d"],
        types: Int[Array, "b t"],
        block: Bool[Array, "l one y y"],
        *,
        collect: Collect = "all",
        groups: tuple[int, ...] = GROUPS,
    ) -> Output:
        """Run embeddings u through all layers.

        types (B, T): the `TokenType` of each token. block (L, B or 1, Y, Y): the edges cut in each layer, see
        `knockout_mask`. collect: "all" keeps every state, "pooled" the means over `groups`, "logits" no residual.
        """
        weights = group_weights(types, groups)

        def record(u: Array) -> tuple[Array | None, Array | None]:
            if collect == "pooled":
                return pooled(weights, u, self.config.eps)
            return (u, None) if collect == "all" else (None, None)

        span = self.span(u, types, block, record)
        residual, normalised = span.records
        final = self.norm(span.last)
        if collect != "pooled":
            return Output(residual, normalised, final, self.logits(final))
        return Output(residual, normalised, pool(weights, final), self.answer(final, types))

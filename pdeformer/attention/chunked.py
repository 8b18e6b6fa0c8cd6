"""Exact softmax attention in O(T) memory.

    out[t] = Σ_s p[t, s] v[s],   p[t, s] = exp(scale · q[t]·k[s] − lse[t]),   lse[t] = log Σ_s exp(scale · q[t]·k[s])

over the keys s that the mask allows query t. `chunked_attention` also returns lse, by which attentions over disjoint
sets of keys are joined. It processes one (example, key head) at a time, and one chunk of its query rows at a time.
Every product is therefore a 2-D matrix product, and only one (C, S) block of probabilities exists at once. A chunk
reads a window of keys: from the first to the last key that one of its rows may attend, widened to one of a few static
widths. This saves most of the masked work of causal, padded and packed inputs. The backward pass and the tangents keep
lse and recompute the probabilities chunk by chunk [Rabe & Staats 2021; Dao et al. 2022].

    B batch, T query tokens, S key tokens, N heads, K key heads, G = N/K query heads for each of them, H head width,
    D value width, C query rows of a chunk, W keys of a window; t, s query and key index
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Integer, UInt32

from pdeformer.attention.dropout import keep_mask
from pdeformer.attention.types import (
    AttentionMask,
    AttentionOutput,
    DistancePenalty,
    DropoutBits,
    Precision,
    product_precision,
)
from pdeformer.integrators.linear_map import LinearMap
from pdeformer.integrators.meshes import serial_loops, vary_alike

CHUNK = 256  # rows: enough for a fast matrix product; (256, 2048) float32 scores still fit a CPU's cache
WIDTHS = 8  # number of window widths: more widths save masked work and cost compile time


class StaticArgs(NamedTuple):
    """Static arguments of one chunked attention."""

    scale: float
    """Factor of the scores."""
    dropout: float
    """Probability of dropping a pair."""
    chunk: int
    """Query rows of a chunk."""
    serial: bool
    """Process one head after another instead of all in parallel."""
    precision: Precision
    """Precision of the products."""
    band: int | None = None
    """Keys that one chunk reads at most, if the bounds of the mask are known; None: not known."""


class TokenTerms(NamedTuple):
    """What every token brings to the scores of its pairs beside query and key; None is nothing."""

    dropout_bits: DropoutBits | None
    """Bits that decide which pairs are dropped."""
    penalty: DistancePenalty | None
    """The penalty of distance."""


def chunked_attention(
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k d"],
    mask: AttentionMask | None = None,
    *,
    scale: float,
    dropout: float = 0.0,
    dropout_bits: DropoutBits | None = None,
    penalty: DistancePenalty | None = None,
    chunk: int = CHUNK,
    span: int | None = None,
    serial: bool | None = None,
    precision: Precision | None = None,
) -> AttentionOutput:
    """Return attention and the log-sum-exp of its scores before dropout; both are twice differentiable.

    `serial` processes one head after another, which is faster on CPU and the default there; otherwise heads run in
    parallel. `span` is the number of keys from the first to the last one that the bounds of the mask allow one row: if
    it is known, a chunk reads span + C - 1 keys. All other arguments are as in `dot_product_attention`, whose checks
    are omitted.
    """
    batch, length, heads, _ = query.shape
    serial = serial_loops(query) if serial is None else serial
    precision = product_precision(precision, query, key, value)
    chunk = _even_chunk(length, chunk)
    band = None if span is None or chunk + span > key.shape[1] else chunk + span - 1
    static = StaticArgs(scale, dropout, chunk, serial, precision, band)
    terms = TokenTerms(None if dropout == 0 else dropout_bits, lax.stop_gradient(penalty))
    arrays = _by_key_head(query, key), key, value, mask or AttentionMask(), terms
    leaves, structure = jax.tree.flatten(arrays)
    output, lse = _attend(static, *jax.tree.unflatten(structure, vary_alike(*leaves)))
    return AttentionOutput(output.reshape(batch, length, heads, -1), lse.reshape(batch, length, heads))


def chunked_gradients(
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k d"],
    mask: AttentionMask,
    whole: AttentionOutput,
    cotangent: AttentionOutput,
    *,
    scale: float,
    dropout: float = 0.0,
    dropout_bits: DropoutBits | None = None,
    precision: Precision | None = None,
) -> tuple[Array, Array, Array]:
    """Return what these keys add to the gradients of an attention over more keys.

    Args:
        query: All queries.
        key: Some of the keys.
        value: Their values.
        mask: Which of these keys a query may attend.
        whole: Output and log-sum-exp of the attention over all keys.
        cotangent: The cotangents of `whole`.
        scale: Factor of the scores.
        dropout: As in `chunked_attention`, as are the other arguments.
        dropout_bits: Bits of the queries and of these keys.
        precision: Precision of the products.

    Returns:
        A part of the gradient of `query`, and the gradients of `key` and of `value`.
    """
    length, serial = query.shape[1], serial_loops(query)
    precision = product_precision(precision, query, key, value)
    static = StaticArgs(scale, dropout, _even_chunk(length, CHUNK), serial, precision)
    terms = TokenTerms(None if dropout == 0 else dropout_bits, None)
    grouped = [_by_key_head(x, key) for x in (query, *whole, *cotangent)]
    residuals = grouped[0], key, value, mask, terms, *grouped[1:3]
    leaves, structure = jax.tree.flatten((residuals, tuple(grouped[3:])))
    d_query, d_key, d_value = _attend_backward(static, *jax.tree.unflatten(structure, vary_alike(*leaves)))
    return d_query.reshape(query.shape), d_key, d_value


def _by_key_head(x: Array, key: Array) -> Array:
    """Split the heads of (B, T, N, ...) by key heads: (B, T, K, G, ...)."""
    return x.reshape(*x.shape[:2], key.shape[2], -1, *x.shape[3:])


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attend(
    static: StaticArgs,
    query: Array,
    key: Array,
    value: Array,
    mask: AttentionMask,
    terms: TokenTerms,
) -> tuple[Array, Array]:
    """Return the output (B, T, K, G, D) and lse (B, T, K, G) of a query (B, T, K, G, H)."""
    output, lse = _forward(static, (query, key, value, mask, terms), ())
    return output, lse


@_attend.defjvp
def _attend_jvp(static: StaticArgs, primals: Any, tangents: Any) -> tuple[Any, Any]:
    output = _attend(static, *primals)
    return output, _tangent(static, (*primals, *output), tangents[:3])


def _attend_forward(static: StaticArgs, residuals: Any, nothing: tuple[()]) -> tuple[Array, ...]:
    query, key, value, mask, terms = residuals
    return _map_heads(static, partial(_forward_head, static), (query, key, value, terms), mask)


def _attend_tangent(static: StaticArgs, residuals: Any, tangents: Any) -> tuple[Array, ...]:
    query, key, value, mask, terms, _, lse = residuals
    arrays = query, key, value, terms, lse, *tangents
    return _map_heads(static, partial(_tangent_head, static), arrays, mask)


def _attend_backward(static: StaticArgs, residuals: Any, cotangents: Any) -> tuple[Array, ...]:
    query, key, value, mask, terms, output, lse = residuals
    arrays = query, key, value, terms, output, lse, *cotangents
    return _map_heads(static, partial(_backward_head, static), arrays, mask)


# The forward pass is one primitive too, linear in nothing: the gradient of a scan over layers computes before its loop
# what depends on no layer, and would store the masks there, (C, W) for every chunk and width.
_forward = LinearMap("attention", _attend_forward, lambda static, residuals, y: ())
_tangent = LinearMap("attention_tangent", _attend_tangent, _attend_backward)


def _map_heads(static: StaticArgs, function: Callable, arrays: Any, mask: AttentionMask) -> Any:
    """Apply `function(arrays (T, ...), mask)` to every example and key head of arrays (B, T, K, ...)."""
    ids = mask.query_ids, mask.key_ids

    def apply_to_head(arrays: Any, ids: Any) -> Any:
        with jax.default_matmul_precision(static.precision):  # here, because derivatives are traced later
            return function(arrays, AttentionMask(mask.low, mask.high, *ids))

    if not static.serial:
        return jax.vmap(jax.vmap(apply_to_head, in_axes=(1, None), out_axes=1))(arrays, ids)
    batch, _, heads = jax.tree.leaves(arrays)[0].shape[:3]

    def apply(index: tuple[Array, Array]) -> Any:
        zero = np.uint32(0)

        def select(x: Array) -> Array:
            start = index[0], zero, index[1], *[zero] * (x.ndim - 3)
            head = lax.dynamic_slice(x, start, (1, x.shape[1], 1, *x.shape[3:]))
            return head.reshape(x.shape[1], *x.shape[3:])

        example_ids = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, index[0], keepdims=False), ids)
        return apply_to_head(jax.tree.map(select, arrays), example_ids)

    def unflatten(y: Array) -> Array:
        return jnp.moveaxis(y.reshape(batch, heads, *y.shape[1:]), 1, 2)

    index = jnp.arange(batch * heads, dtype=jnp.uint32)  # unsigned, so that no slice wraps
    return jax.tree.map(unflatten, lax.map(apply, (index // jnp.uint32(heads), index % jnp.uint32(heads))))


class _QueryChunk(NamedTuple):
    """One chunk of query rows; stacked chunks have one more leading axis."""

    first: Int[Array, ""]  # position of row 0
    query: Float[Array, "c h"]  # scaled
    ids: Integer[Array, " c"] | None
    bits: UInt32[Array, " c"] | None
    penalty: Float[Array, " c"] | None


class _KeyWindow(NamedTuple):
    """The keys of one head, or those of one window of it."""

    key: Float[Array, "w h"]
    value: Float[Array, "w d"]
    ids: Integer[Array, " w"] | None
    bits: UInt32[Array, " w"] | None
    penalty: Float[Array, " w"] | None

    def window(self, start: Any, width: int) -> "_KeyWindow":
        full = width == self.key.shape[0]
        return self if full else jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, width), self)


def _forward_head(static: StaticArgs, arrays: Any, mask: AttentionMask) -> tuple[Array, ...]:
    query, key, value, terms = arrays
    chunks, keys = _prepare(static, query, key, value, terms, mask)

    def forward_chunk(chunk: _QueryChunk) -> Any:
        def attend(start: Any, width: int) -> tuple[Array, Array]:
            window = keys.window(start, width)
            scores = _scores(mask, chunk, window, start)
            top = lax.stop_gradient(jnp.maximum(scores.max(-1), jnp.finfo(scores.dtype).min))
            weights = jnp.exp(scores - top[:, None])
            total = weights.sum(-1)
            any_key = total > 0
            total = jnp.where(any_key, total, 1)
            output = (_drop(static, weights, chunk, window) @ window.value) / (total * (1 - static.dropout))[
                :, None
            ]
            return output, jnp.where(any_key, top + jnp.log(total), -jnp.inf)

        return _in_window(static, mask, chunk, keys, attend, lambda start: _empty(chunk, keys, -jnp.inf))

    return tuple(_join(x, query) for x in lax.map(forward_chunk, chunks))


def _tangent_head(static: StaticArgs, arrays: Any, mask: AttentionMask) -> tuple[Array, ...]:
    """Return the tangents of output and lse of one head: dlse = Σ p ds, dO = Σ p (ds − dlse) v + p dv."""
    query, key, value, terms, lse, d_query, d_key, d_value = arrays
    chunks, keys = _prepare(static, query, key, value, terms, mask)
    d_chunks, d_keys = _prepare(static, d_query, d_key, d_value, TokenTerms(None, None), mask)
    any_key = lse > -jnp.inf
    lse = _split(jnp.where(any_key, lse, 0), static.chunk)

    def tangent_chunk(xs: Any) -> Any:
        chunk, d_query, lse = xs

        def attend(start: Any, width: int) -> tuple[Array, Array]:
            window, d_window = keys.window(start, width), d_keys.window(start, width)
            weights = jnp.exp(_scores(mask, chunk, window, start) - lse[:, None])
            d_scores = _outer(d_query, window.key) + _outer(chunk.query, d_window.key)
            d_lse = (weights * d_scores).sum(-1)
            d_weights = weights * (d_scores - d_lse[:, None])
            d_output = _drop(static, d_weights, chunk, window) @ window.value
            d_output += _drop(static, weights, chunk, window) @ d_window.value
            return d_output / (1 - static.dropout), d_lse

        return _in_window(static, mask, chunk, keys, attend, lambda start: _empty(chunk, keys, 0.0))

    return tuple(_join(x, query) for x in lax.map(tangent_chunk, (chunks, d_chunks.query, lse)))


def _backward_head(static: StaticArgs, arrays: Any, mask: AttentionMask) -> tuple[Array, ...]:
    """Return the gradients of one head, with the probabilities p recomputed.

        ds = p · (dp − δ) with dp = dO Vᵀ, δ = dO·O − dlse, then dQ = ds K, dK = dsᵀ Q; dV = pᵀ dO

    Dropout multiplies dp, and the p of dV, by its mask and 1 / (1 − dropout); δ is unchanged.
    """
    query, key, value, terms, output, lse, d_output, d_lse = arrays
    chunks, keys = _prepare(static, query, key, value, terms, mask)
    any_key = lse > -jnp.inf
    d_output = jnp.where(any_key[..., None], d_output, 0)
    delta = jnp.where(any_key, (d_output * output).sum(-1) - d_lse, 0)
    d_output = _split(d_output / (1 - static.dropout), static.chunk)
    transposed = jnp.swapaxes(chunks.query, 1, 2), jnp.swapaxes(d_output, 1, 2)

    def backward_chunk(sums: tuple[Array, Array], xs: Any) -> Any:
        chunk, lse, delta, d_out, (query_t, d_out_t) = xs

        def window_gradients(start: Any, width: int) -> Any:
            window = keys.window(start, width)
            weights = jnp.exp(_scores(mask, chunk, window, start) - lse[:, None])
            d_weights = _drop(static, _outer(d_out, window.value), chunk, window)
            d_scores = weights * (d_weights - delta[:, None])
            d_key = _add(sums[0], start, query_t @ d_scores)
            d_value = _add(sums[1], start, d_out_t @ _drop(static, weights, chunk, window))
            return (d_key, d_value), d_scores @ window.key * static.scale

        return _in_window(
            static, mask, chunk, keys, window_gradients, lambda start: (sums, jnp.zeros_like(chunk.query))
        )

    # dK and dV are summed as (H, S): XLA:CPU runs (H, C) @ (C, W) three times faster than the product (W, H).
    sums = jnp.zeros_like(keys.key.T), jnp.zeros_like(keys.value.T)
    stats = (_split(x, static.chunk) for x in (jnp.where(any_key, lse, 0), delta))
    (d_key, d_value), d_query = lax.scan(backward_chunk, sums, (chunks, *stats, d_output, transposed))
    gradients = (_join(d_query, query), query), (d_key.T, key), (d_value.T, value)
    return tuple(gradient.astype(x.dtype) for gradient, x in gradients)


def _empty(chunk: _QueryChunk, keys: _KeyWindow, lse: float) -> tuple[Array, Array]:
    """Return the output and log-sum-exp of rows without keys."""
    rows = chunk.query.shape[0]
    zeros = jnp.zeros_like(keys.value, shape=(rows, keys.value.shape[1]))
    return zeros, jnp.full_like(keys.value, lse, shape=(rows,))


def _prepare(
    static: StaticArgs,
    query: Array,
    key: Array,
    value: Array,
    terms: TokenTerms,
    mask: AttentionMask,
) -> tuple[_QueryChunk, _KeyWindow]:
    """Convert a head to chunks and keys in at least float32, with 0 in place of padding."""

    def zero_padding(x: Array, ids: Array | None) -> Array:
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return x if ids is None else jnp.where(jnp.expand_dims(ids > 0, range(1, x.ndim)), x, 0)

    length, group = query.shape[:2]
    first = jnp.tile(jnp.arange(0, length, static.chunk), group)
    ids = mask.query_ids
    row_ids = None if ids is None else jnp.broadcast_to(ids[:, None], (length, group))
    query_terms, key_terms = ([None if x is None else x[side] for x in terms] for side in (0, 1))
    query_side = zero_padding(query, ids) * static.scale, row_ids, *query_terms
    chunks = _QueryChunk(first, *jax.tree.map(lambda x: _split(x, static.chunk), query_side))
    key, value = zero_padding(key, mask.key_ids), zero_padding(value, mask.key_ids)
    return chunks, _KeyWindow(key, value, mask.key_ids, *key_terms)


def _split(x: Array, chunk: int) -> Array:
    """Split (T, G, ...) to (G · chunks, C, ...); zeros fill the last chunk of every query head."""
    x = jnp.moveaxis(x, 1, 0)
    x = jnp.pad(x, [(0, 0), (0, -x.shape[1] % chunk)] + [(0, 0)] * (x.ndim - 2))
    return x.reshape(-1, chunk, *x.shape[2:])


def _join(x: Array, like: Array) -> Array:
    """Undo `_split`: (G · chunks, C, ...) -> (T, G, ...), T and G as in `like`."""
    length, group = like.shape[:2]
    return jnp.moveaxis(x.reshape(group, -1, *x.shape[2:])[:, :length], 0, 1)


def _even_chunk(length: int, chunk: int) -> int:
    """Return a chunk size of at most `chunk`, a multiple of 8 if possible, so that the last chunk is nearly full."""
    chunks = -(-length // chunk)
    return min(chunk, -(-length // (8 * chunks)) * 8)


def _in_window(
    static: StaticArgs,
    mask: AttentionMask,
    chunk: _QueryChunk,
    keys: _KeyWindow,
    attend: Callable,
    empty: Callable,
) -> Any:
    """Call `attend(start, width)` on a window of all keys that the chunk may attend, or `empty` if it has no key."""
    count = keys.key.shape[0]
    if static.band is not None and mask.low is not None:
        return attend(jnp.clip(chunk.first + mask.low, 0, count - static.band), static.band)
    if not static.serial or all(x is None for x in (mask.low, mask.high, chunk.ids)):
        return attend(0, count)  # parallel heads would run every branch of the switch
    low, high = 0, count
    if mask.low is not None:
        low = jnp.clip(chunk.first + mask.low, 0, count)
    if mask.high is not None:
        high = jnp.clip(chunk.first + static.chunk + mask.high, 0, count)
    if chunk.ids is not None and keys.ids is not None:
        smallest_id = jnp.where(chunk.ids > 0, chunk.ids, jnp.iinfo(chunk.ids.dtype).max).min()
        s = jnp.arange(count)
        inside = (keys.ids >= smallest_id) & (keys.ids <= chunk.ids.max()) & (s >= low) & (s < high)
        low, high = jnp.where(inside, s, count).min(), jnp.where(inside, s + 1, 0).max()
    step = -(-count // (WIDTHS * static.chunk)) * static.chunk
    widths = [*range(0, count, step), count]
    index = (jnp.array(widths) < high - low).sum()
    start = jnp.minimum(low, count - jnp.array(widths)[index])
    return lax.switch(index, [empty, *(partial(attend, width=width) for width in widths[1:])], start)


def _scores(mask: AttentionMask, chunk: _QueryChunk, keys: _KeyWindow, start: Any) -> Array:
    """Return the scaled scores (C, W), -inf where the mask forbids the pair."""
    scores = _outer(chunk.query, keys.key)
    if chunk.penalty is not None and keys.penalty is not None:
        scores -= jnp.abs(chunk.penalty[:, None] - keys.penalty[None, :])
    t, s = chunk.first + jnp.arange(scores.shape[0]), start + jnp.arange(scores.shape[1])
    dense = AttentionMask(mask.low, mask.high, chunk.ids, keys.ids).dense(t, s)
    return scores if dense is None else jnp.where(dense, scores, -jnp.inf)


def _drop(static: StaticArgs, x: Array, chunk: _QueryChunk, keys: _KeyWindow) -> Array:
    """Set the entries of x (C, W) to 0 for the dropped pairs."""
    if chunk.bits is None or keys.bits is None:
        return x
    return jnp.where(keep_mask(chunk.bits[:, None], keys.bits[None, :], static.dropout), x, 0)


def _outer(a: Float[Array, "c h"], b: Float[Array, "w h"]) -> Float[Array, "c w"]:
    return lax.dot_general(a, b, (((1,), (1,)), ((), ())))


def _add(total: Float[Array, "h s"], start: Any, window: Float[Array, "h w"]) -> Float[Array, "h s"]:
    """Add a window to the total: total[:, start : start + W] += window."""
    if window.shape == total.shape:
        return total + window
    window = lax.dynamic_slice_in_dim(total, start, window.shape[1], axis=1) + window
    return lax.dynamic_update_slice_in_dim(total, window, start, axis=1)

"""Exact softmax attention in O(T) memory.

    out[t] = Σ_s p[t, s] v[s],   p[t, s] = exp(scale · q[t]·k[s] − lse[t]),   lse[t] = log Σ_s exp(scale · q[t]·k[s])

over the keys s that query t sees. `dot_product_attention` is the door. `chunked_attention` is our own form and
also returns lse, by which attentions over disjoint sets of keys are joined. It takes one (example, key head) at a
time and of that one chunk of query rows, so that every product is a 2-D matrix product and only one (C, S) block
of probabilities lives at once. A chunk works on a window: from the first to the last key that one of its rows
sees, widened to one of a few static widths, which spares causal, padded and packed inputs most of the masked work.
The backward pass keeps lse and rebuilds the probabilities chunk by chunk [Rabe & Staats 2021; Dao et al. 2022].

    B batch, T query tokens, S key tokens, N heads, K key heads, G = N/K query heads for each of them, H head width,
    D value width, C query rows of a chunk, W keys of a window; t, s query and key index
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

Method = Literal["auto", "chunked", "xla"]
CHUNK = 256  # rows: enough for a fast matrix product; (256, 2048) float32 scores still fit a CPU's cache
WIDTHS = 8  # window widths: masked work falls with their number, compile time grows


class AttentionOutput(NamedTuple):
    """Both at least float32, whatever the inputs."""

    output: Float[Array, "b t n d"]
    log_sum_exp: Float[Array, "b t n"]  # -inf where a query sees no key


class DropoutBits(NamedTuple):
    """Random words of the query and key tokens of every head; whether (t, s) is dropped is a function of the two."""

    query: UInt32[Array, "b t k g"]
    key: UInt32[Array, "b s k"]


class AttentionMask(NamedTuple):
    """Who sees whom: query t sees key s if t + low <= s <= t + high and both have one positive id.

    None lifts a condition. The bounds may be traced.
    """

    low: Int[Array, ""] | None = None
    high: Int[Array, ""] | None = None
    query_ids: Int[Array, "*b t"] | None = None
    key_ids: Int[Array, "*b s"] | None = None

    def mask(self, t: Int[Array, " t"], s: Int[Array, " s"]) -> Bool[Array, "*b t s"] | None:
        """Which of the keys at `s` the queries at `t` see; None is all. The ids are those of these tokens."""
        seen = None
        if self.low is not None:
            seen = s[None, :] >= t[:, None] + self.low
        if self.high is not None:
            below = s[None, :] <= t[:, None] + self.high
            seen = below if seen is None else seen & below
        if self.query_ids is not None and self.key_ids is not None:
            ids = self.query_ids[..., :, None]
            same = (ids == self.key_ids[..., None, :]) & (ids > 0)
            seen = same if seen is None else same & jnp.expand_dims(seen, range(same.ndim - 2))
        return seen


class Plan(NamedTuple):
    """What is static. `serial`: one head after another."""

    scale: float
    dropout: float
    chunk: int
    serial: bool


def dot_product_attention(
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k h"],
    *,
    segment_ids: Int[Array, "b t"] | None = None,
    is_causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    dropout_key: PRNGKeyArray | None = None,
    method: Method = "auto",
) -> Float[Array, "b t n h"]:
    """softmax(Q Kᵀ · scale) V for every head. N is a multiple of K; query head n reads key head n·K // N.

    `segment_ids` (needs T = S): 0 is padding, and a query sees only the keys of its own positive id. A padded query
    returns exactly 0. A padded query, key or value is never read: NaN there reaches no output and no gradient.
    `is_causal`: query t sees the keys s <= t + S − T, aligned bottom-right; `window` = r: only those with
    |t + S − T − s| <= r [Beltagy et al. 2020]. A query that sees no key returns 0.
    `scale` defaults to 1/√H. `dropout` drops each probability with that chance and divides the others by
    1 − dropout; the mask is a function of `dropout_key`, rebuilt in the backward pass.

    Softmax and sums run in at least float32; the result has the dtype of `value`. `method`: "chunked" holds O(T)
    memory; "xla" is `jax.nn.dot_product_attention` and has no dropout; "auto" is "chunked" on CPU and for dropout,
    else "xla". Raises ValueError if shapes or options do not fit together.
    """
    check_shapes(query, key, value, segment_ids, dropout, dropout_key)
    _check_method(method, dropout)
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    if method == "auto":
        method = "chunked" if dropout > 0 or jax.default_backend() == "cpu" else "xla"
    seen = attention_mask(query.shape[1], key.shape[1], segment_ids, is_causal=is_causal, window=window)
    if method == "xla":
        return _xla_attention(query, key, value, seen, scale)
    dropout_bits = None if dropout_key is None else draw_dropout_bits(dropout_key, query, key)
    attended = chunked_attention(
        query, key, value, seen, scale=scale, dropout=dropout, dropout_bits=dropout_bits
    )
    return attended.output.astype(value.dtype)


def attention_mask(
    length: int, keys: int, segment_ids: Array | None = None, *, is_causal: bool, window: int | None = None
) -> AttentionMask:
    """Who sees whom among `length` queries and `keys` keys, aligned bottom-right."""
    shift = keys - length
    low = None if window is None else jnp.int32(shift - window)
    high = jnp.int32(shift) if is_causal else None if window is None else jnp.int32(shift + window)
    return AttentionMask(low, high, segment_ids, segment_ids)


def chunked_attention(
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k d"],
    seen: AttentionMask | None = None,
    *,
    scale: float,
    dropout: float = 0.0,
    dropout_bits: DropoutBits | None = None,
    chunk: int = CHUNK,
    serial: bool | None = None,
) -> AttentionOutput:
    """Attention and the log-sum-exp of its scores (those before dropout), both differentiable, twice if need be.

    `serial` takes one head after another, the faster way on CPU and the default there; else heads run side by side.
    Everything else as in `dot_product_attention`, without its checks.
    """
    batch, length, heads, width = query.shape
    grouped = query.reshape(batch, length, key.shape[2], heads // key.shape[2], width)
    serial = jax.default_backend() == "cpu" if serial is None else serial
    plan = Plan(scale, dropout, _even_chunk(length, chunk), serial)
    output, lse = _attend(
        plan, grouped, key, value, seen or AttentionMask(), None if dropout == 0 else dropout_bits
    )
    return AttentionOutput(output.reshape(batch, length, heads, -1), lse.reshape(batch, length, heads))


def draw_dropout_bits(
    random: PRNGKeyArray, query: Float[Array, "b t n h"], key: Float[Array, "b s k h"]
) -> DropoutBits:
    """Draw the words of all query and key tokens."""
    (batch, length, heads, _), groups = query.shape, key.shape[2]

    def words(part: PRNGKeyArray, tokens: int, per_token: int) -> Array:
        return jax.random.bits(part, (batch * tokens, per_token), jnp.uint32)  # few axes compile far sooner

    of_query, of_key = jax.random.split(random)
    return DropoutBits(
        words(of_query, length, heads).reshape(batch, length, groups, heads // groups),
        words(of_key, key.shape[1], groups).reshape(key.shape[:3]),
    )


def kept(query: UInt32[Array, "*q"], key: UInt32[Array, "*k"], dropout: float) -> Bool[Array, "*p"]:
    """Which pairs survive: a 32-bit mix of the two words, uniform, is at least dropout · 2³². They broadcast.

    The mix is MurmurHash3's finaliser [Appleby 2011]: a few integer operations for each pair, where a generator
    such as threefry would cost more than the attention. The mask does not depend on chunks or windows.
    """
    x = query ^ key
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return (x ^ (x >> 16)) >= jnp.uint32(int(dropout * 2**32))


def _attend_plain(plan: Plan, query, key, value, seen, dropout_bits) -> tuple[Array, Array]:
    """query (B, T, K, G, H) -> output (B, T, K, G, D), lse (B, T, K, G)."""
    return _over_heads(plan, partial(_forward_head, plan), (query, key, value, dropout_bits), seen)


def _attend_forward(plan: Plan, *arrays):
    results = _attend_plain(plan, *arrays)
    return results, (*arrays, *results)


def _attend_backward(plan: Plan, residuals, cotangents):
    query, key, value, seen, dropout_bits, output, lse = residuals
    arrays = query, key, value, dropout_bits, output, lse, *cotangents
    d_query, d_key, d_value = _over_heads(plan, partial(_backward_head, plan), arrays, seen)
    return d_query, d_key, d_value, None, None


_attend = jax.custom_vjp(_attend_plain, nondiff_argnums=(0,))
_attend.defvjp(_attend_forward, _attend_backward)


def _over_heads(plan: Plan, head: Callable, arrays: Any, seen: AttentionMask) -> Any:
    """Apply `head(arrays (T, ...), sight of the example)` to every example and key head of arrays (B, T, K, ...)."""
    ids = seen.query_ids, seen.key_ids

    def one(arrays, ids):
        return head(arrays, AttentionMask(seen.low, seen.high, *ids))

    if not plan.serial:
        return jax.vmap(jax.vmap(one, in_axes=(1, None), out_axes=1))(arrays, ids)
    batch, _, heads = jax.tree.leaves(arrays)[0].shape[:3]

    def pick(place):
        zero = np.uint32(0)

        def cut(x):
            start = place[0], zero, place[1], *[zero] * (x.ndim - 3)
            piece = lax.dynamic_slice(x, start, (1, x.shape[1], 1, *x.shape[3:]))
            return piece.reshape(x.shape[1], *x.shape[3:])

        example = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, place[0], keepdims=False), ids)
        return one(jax.tree.map(cut, arrays), example)

    def gather(y):
        return jnp.moveaxis(y.reshape(batch, heads, *y.shape[1:]), 1, 2)

    places = np.indices((batch, heads), np.uint32).reshape(2, -1)  # unsigned, so that no slice wraps
    return jax.tree.map(gather, lax.map(pick, tuple(places)))


class _Rows(NamedTuple):
    """One chunk of query rows; `first` is the position of row 0, `query` is scaled."""

    first: Int[Array, ""]
    query: Float[Array, "c h"]
    ids: Int[Array, " c"] | None
    bits: UInt32[Array, " c"] | None


class _Keys(NamedTuple):
    """The keys of one head, or those of one window."""

    key: Float[Array, "w h"]
    value: Float[Array, "w d"]
    ids: Int[Array, " w"] | None
    bits: UInt32[Array, " w"] | None

    def window(self, start, width: int) -> "_Keys":
        whole = width == self.key.shape[0]
        return self if whole else jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, width), self)


def _forward_head(plan: Plan, arrays, seen: AttentionMask):
    query, key, value, dropout_bits = arrays
    rows, keys = _prepare(plan, query, key, value, dropout_bits, seen)

    def chunk(row: _Rows):
        def attend(start, width):
            near = keys.window(start, width)
            scores = _scores(seen, row, near, start)
            top = lax.stop_gradient(jnp.maximum(scores.max(-1), jnp.finfo(scores.dtype).min))
            weights = jnp.exp(scores - top[:, None])
            total = weights.sum(-1)
            any_key = total > 0
            total = jnp.where(any_key, total, 1)
            output = (_drop(plan, weights, row, near) @ near.value) / (total * (1 - plan.dropout))[:, None]
            return output, jnp.where(any_key, top + jnp.log(total), -jnp.inf)

        empty = jnp.zeros((plan.chunk, keys.value.shape[1]), keys.value.dtype)
        nothing = empty, jnp.full_like(empty[:, 0], -jnp.inf)
        return _in_window(plan, seen, row, keys, attend, lambda start: nothing)

    return tuple(_join(x, query) for x in lax.map(chunk, rows))


def _backward_head(plan: Plan, arrays, seen: AttentionMask):
    """ds = p · (dp − δ) with dp = dO Vᵀ, δ = dO·O − dlse, then dQ = ds K, dK = dsᵀ Q; dV = pᵀ dO.

    Dropout multiplies dp, and the p of dV, by its mask and 1 / (1 − dropout); δ stays as it is.
    """
    query, key, value, dropout_bits, output, lse, d_output, d_lse = arrays
    rows, keys = _prepare(plan, query, key, value, dropout_bits, seen)
    any_key = lse > -jnp.inf
    d_output = jnp.where(any_key[..., None], d_output, 0)
    delta = jnp.where(any_key, (d_output * output).sum(-1) - d_lse, 0)
    d_output = _split(d_output / (1 - plan.dropout), plan.chunk)
    turned = jnp.swapaxes(rows.query, 1, 2), jnp.swapaxes(d_output, 1, 2)

    def chunk(sums, xs):
        row, lse, delta, d_out, (query_t, d_out_t) = xs

        def pull(start, width):
            near = keys.window(start, width)
            weights = jnp.exp(_scores(seen, row, near, start) - lse[:, None])
            d_weights = _drop(plan, _outer(d_out, near.value), row, near)
            d_scores = weights * (d_weights - delta[:, None])
            d_key = _add(sums[0], start, query_t @ d_scores)
            d_value = _add(sums[1], start, d_out_t @ _drop(plan, weights, row, near))
            return (d_key, d_value), d_scores @ near.key * plan.scale

        return _in_window(plan, seen, row, keys, pull, lambda start: (sums, jnp.zeros_like(row.query)))

    # dK and dV are summed as (H, S): XLA:CPU runs (H, C) @ (C, W) three times faster than the product (W, H).
    sums = jnp.zeros_like(keys.key.T), jnp.zeros_like(keys.value.T)
    stats = (_split(x, plan.chunk) for x in (jnp.where(any_key, lse, 0), delta))
    (d_key, d_value), d_query = lax.scan(chunk, sums, (rows, *stats, d_output, turned))
    gradients = (_join(d_query, query), query), (d_key.T, key), (d_value.T, value)
    return tuple(gradient.astype(x.dtype) for gradient, x in gradients)


def _prepare(plan: Plan, query, key, value, dropout_bits, seen: AttentionMask) -> tuple[_Rows, _Keys]:
    """Chunks and keys of a head, at least float32, with 0 in the place of padding so that it is never read."""

    def clean(x, ids):
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return x if ids is None else jnp.where(jnp.expand_dims(ids > 0, range(1, x.ndim)), x, 0)

    length, group = query.shape[:2]
    first = jnp.tile(jnp.arange(0, length, plan.chunk), group)
    ids = seen.query_ids
    row_ids = None if ids is None else jnp.broadcast_to(ids[:, None], (length, group))
    query_coin, key_coin = (None, None) if dropout_bits is None else dropout_bits
    parts = clean(query, ids) * plan.scale, row_ids, query_coin
    query, row_ids, query_coin = jax.tree.map(lambda x: _split(x, plan.chunk), parts)
    key, value = clean(key, seen.key_ids), clean(value, seen.key_ids)
    return _Rows(first, query, row_ids, query_coin), _Keys(key, value, seen.key_ids, key_coin)


def _split(x: Array, chunk: int) -> Array:
    """(T, G, ...) -> (G · chunks, C, ...); zeros fill up the last chunk of every query head."""
    x = jnp.moveaxis(x, 1, 0)
    x = jnp.pad(x, [(0, 0), (0, -x.shape[1] % chunk)] + [(0, 0)] * (x.ndim - 2))
    return x.reshape(-1, chunk, *x.shape[2:])


def _join(x: Array, like: Array) -> Array:
    """Undo `_split`: (G · chunks, C, ...) -> (T, G, ...), T and G as in `like`."""
    length, group = like.shape[:2]
    return jnp.moveaxis(x.reshape(group, -1, *x.shape[2:])[:, :length], 0, 1)


def _even_chunk(length: int, chunk: int) -> int:
    """At most `chunk` rows, a multiple of 8 if that fits, so that the last chunk is nearly full."""
    chunks = -(-length // chunk)
    return min(chunk, -(-length // (8 * chunks)) * 8)


def _in_window(plan: Plan, seen: AttentionMask, row: _Rows, keys: _Keys, attend: Callable, nothing: Callable):
    """Call `attend(start, width)` on a window that holds every key the chunk sees, or `nothing` if there is none."""
    count = keys.key.shape[0]
    if not plan.serial or all(x is None for x in (seen.low, seen.high, row.ids)):
        return attend(0, count)  # side by side, heads would run every branch of the switch
    low, high = 0, count
    if seen.low is not None:
        low = jnp.clip(row.first + seen.low, 0, count)
    if seen.high is not None:
        high = jnp.clip(row.first + plan.chunk + seen.high, 0, count)
    if row.ids is not None and keys.ids is not None:
        least = jnp.where(row.ids > 0, row.ids, jnp.iinfo(row.ids.dtype).max).min()
        s = jnp.arange(count)
        near = (keys.ids >= least) & (keys.ids <= row.ids.max()) & (s >= low) & (s < high)
        low, high = jnp.where(near, s, count).min(), jnp.where(near, s + 1, 0).max()
    step = -(-count // (WIDTHS * plan.chunk)) * plan.chunk
    widths = [*range(0, count, step), count]
    index = (jnp.array(widths) < high - low).sum()
    start = jnp.minimum(low, count - jnp.array(widths)[index])
    return lax.switch(index, [nothing, *(partial(attend, width=width) for width in widths[1:])], start)


def _scores(seen: AttentionMask, row: _Rows, keys: _Keys, start) -> Array:
    """Scaled scores (C, W), -inf where the key is not seen."""
    scores = _outer(row.query, keys.key)
    t, s = row.first + jnp.arange(scores.shape[0]), start + jnp.arange(scores.shape[1])
    mask = AttentionMask(seen.low, seen.high, row.ids, keys.ids).mask(t, s)
    return scores if mask is None else jnp.where(mask, scores, -jnp.inf)


def _drop(plan: Plan, x: Array, row: _Rows, keys: _Keys) -> Array:
    """`x` (C, W) with 0 for the dropped pairs."""
    if row.bits is None or keys.bits is None:
        return x
    return jnp.where(kept(row.bits[:, None], keys.bits[None, :], plan.dropout), x, 0)


def _outer(a: Float[Array, "c h"], b: Float[Array, "w h"]) -> Float[Array, "c w"]:
    return lax.dot_general(a, b, (((1,), (1,)), ((), ())))


def _add(total: Float[Array, "h s"], start, part: Float[Array, "h w"]) -> Float[Array, "h s"]:
    """total[:, start : start + W] += part."""
    if part.shape == total.shape:
        return total + part
    part = lax.dynamic_slice_in_dim(total, start, part.shape[1], axis=1) + part
    return lax.dynamic_update_slice_in_dim(total, part, start, axis=1)


def _xla_attention(query, key, value, seen: AttentionMask, scale) -> Array:
    mask = seen.mask(jnp.arange(query.shape[1]), jnp.arange(key.shape[1]))
    if seen.query_ids is not None:
        valid = (seen.query_ids > 0)[:, :, None, None]
        query, key, value = (jnp.where(valid, x, 0) for x in (query, key, value))
    if mask is None:
        return jax.nn.dot_product_attention(query, key, value, scale=scale)
    mask = mask[None, None] if mask.ndim == 2 else mask[:, None]
    output = jax.nn.dot_product_attention(query, key, value, mask=mask, scale=scale)
    return jnp.where(jnp.swapaxes(mask.any(-1)[..., None], 1, 2), output, 0)


def check_shapes(query, key, value, segment_ids, dropout, dropout_key) -> None:
    """Raises ValueError for shapes or a dropout that do not fit together."""
    batch, length, heads, width = query.shape
    if key.shape != value.shape or (key.shape[0], key.shape[3]) != (batch, width):
        raise ValueError(
            "attention needs query (B, T, N, H) and key, value (B, S, K, H), got "
            f"{query.shape}, {key.shape}, {value.shape}; give them one batch and one head width."
        )
    if heads % key.shape[2]:
        raise ValueError(
            "the number of query heads must be a multiple of the number of key heads, got "
            f"{heads} and {key.shape[2]}; repeat or drop key heads."
        )
    if segment_ids is not None and (segment_ids.shape != (batch, length) or key.shape[1] != length):
        raise ValueError(
            f"segment_ids needs T = S and the shape (B, T), got {segment_ids.shape} for B={batch}, T={length}, "
            f"S={key.shape[1]}; leave it out when queries and keys are different tokens."
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), got {dropout}; it is the chance to drop, not to keep.")
    if dropout > 0 and dropout_key is None:
        raise ValueError(f"dropout needs a random key, got None with dropout={dropout}; pass dropout_key.")


def _check_method(method: str, dropout: float) -> None:
    if method not in get_args(Method):
        raise ValueError(
            f"method must be one of {get_args(Method)}, got {method!r}; 'auto' fits every device."
        )
    if method == "xla" and dropout > 0:
        raise ValueError(f"method 'xla' has no dropout, got dropout={dropout}; use 'auto' or 'chunked'.")

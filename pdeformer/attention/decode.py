"""Decoding: the causal evolved attention of new tokens over a cache of the old ones.

The row of a token depends on no later one, so that a prompt in one piece, in chunks, or token by token gives the
same outputs. The cache holds plain keys and values: nothing in it depends on the equation.

    B batch, T new tokens, M places in the cache, N heads, K key heads, H head width
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from pdeformer.attention import options
from pdeformer.attention.api import prepare, run
from pdeformer.attention.chunked import AttentionMask, check_shapes
from pdeformer.pde import Coefficient, is_concrete

FEW = 16  # new rows up to which evolving them is cheaper than evolving all values of the cache


class AttentionCache(NamedTuple):
    """Keys and values of the tokens so far: a pytree of fixed shapes, fit for `lax.scan` and donation."""

    key: Float[Array, "b m k h"]
    value: Float[Array, "b m k h"]
    length: Int[Array, ""]  # tokens so far
    segment_ids: Int[Array, "b m"] | None  # None: all tokens are one segment

    @property
    def max_len(self) -> int:
        """Places M."""
        return self.key.shape[1]


def init_cache(
    batch: int, max_len: int, kv_heads: int, head_width: int, dtype=jnp.float32, *, segments: bool = False
) -> AttentionCache:
    """An empty cache of `max_len` places; with `segments` it remembers the segment id of every token.

    Raises ValueError for a size below 1.
    """
    shape = batch, max_len, kv_heads, head_width
    if min(shape) < 1:
        raise ValueError(f"a cache needs sizes (batch, max_len, kv_heads, head_width) >= 1, got {shape}.")
    empty = jnp.zeros(shape, dtype)
    ids = jnp.zeros(shape[:2], jnp.int32) if segments else None
    return AttentionCache(empty, empty, jnp.zeros((), jnp.int32), ids)


def pde_attention_decode(
    query: Float[Array, "b t n h"],
    key: Float[Array, "b t k h"],
    value: Float[Array, "b t k h"],
    cache: AttentionCache,
    pde: Any,
    *,
    steps: int,
    dt: Coefficient = 1.0,
    segment_ids: Shaped[Array | np.ndarray, "..."] | None = None,
    base: str = "softmax",
    window: int | None = None,
    scale: float | None = None,
    renormalize: str | None = None,
    method: str = "auto",
    order: str = "strang",
    features: int | None = None,
    feature_key: PRNGKeyArray | None = None,
) -> tuple[Float[Array, "b t n h"], AttentionCache]:
    """Append T tokens to the cache, and attend from them: those rows of `pde_attention(..., is_causal=True)`.

    T = 1 is a step of decoding; more are a prompt or a chunk of one. Arguments are those of `pde_attention`, on
    weights along the keys. `segment_ids` (B, T), of a cache made with `segments`: 0 is padding, which takes a place
    but is never read; None means 1. Under "auto" up to 16 rows evolve as a row each, more fold onto the values.

    Raises:
        ValueError: what `pde_attention` refuses; new tokens that the cache does not fit or has no place for. Under
            jit, where the length is not known, a full cache makes every output NaN.
    """
    chosen = options.Options(
        steps=steps,
        dt=dt,
        is_causal=True,
        base=base,
        window=window,
        scale=scale,
        renormalize=renormalize,
        method=method,
        order=order,
        features=features,
        feature_key=feature_key,
    )
    options.check_choices(chosen)
    check_shapes(query, key, value, None, 0.0, None)
    ids = _check_cache(key, cache, segment_ids)
    if pde is not None and steps:
        options.check_meaning(pde, chosen, same_tokens=False)
        options.check_coefficients(pde, chosen, heads=query.shape[2])
    length = query.shape[1]
    few = method == "auto" and length <= max(FEW, 2 * steps)
    served = "tiled" if few else options.choose(pde, chosen)

    full = cache.length + length > cache.max_len
    cache = _append(cache, key, value, ids)
    start = cache.length - length
    seen = AttentionMask(None if window is None else start - window, start, ids, cache.segment_ids)
    output = run(prepare(query, cache.key, cache.value, pde, chosen, seen), served).output
    return jnp.where(full, jnp.nan, output).astype(value.dtype), cache


def _append(cache: AttentionCache, key: Array, value: Array, ids: Array | None) -> AttentionCache:
    def write(old: Array, new: Array) -> Array:
        return lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), cache.length, axis=1)

    kept = None if cache.segment_ids is None or ids is None else write(cache.segment_ids, ids)
    return AttentionCache(write(cache.key, key), write(cache.value, value), cache.length + key.shape[1], kept)


def _check_cache(key: Array, cache: AttentionCache, segment_ids) -> Array | None:
    """The segment ids of the new tokens, None where the cache has none."""
    batch, length, heads, width = key.shape
    if (batch, heads, width) != (cache.key.shape[0], *cache.key.shape[2:]):
        raise ValueError(
            f"the cache holds keys (B, M, K, H) = {cache.key.shape}, got new ones {key.shape}; they need one batch, "
            "number of heads and width."
        )
    if is_concrete(cache.length) and int(cache.length) + length > cache.max_len:
        raise ValueError(
            f"the cache has {cache.max_len} places, {int(cache.length)} of them taken, got {length} new tokens; make "
            "it with a larger max_len."
        )
    if segment_ids is None:
        return None if cache.segment_ids is None else jnp.ones((batch, length), jnp.int32)
    if cache.segment_ids is None:
        raise ValueError(
            "this cache remembers no segments, got segment_ids; make it with init_cache(..., segments=True)."
        )
    ids = jnp.asarray(segment_ids, jnp.int32)
    if ids.shape != (batch, length):
        raise ValueError(f"segment_ids needs the shape (B, T) = {(batch, length)}, got {ids.shape}.")
    return ids

"""Stable stencils: functions that the diffusion layers share.

A stencil joins token j to tokens j ± k for a few offsets k. Every edge has one weight w ≥ 0 for both of its ends,
and the weights of all offsets sum to at most 1/2 (`MAX_WEIGHT_SUM`). One step is then symmetric with spectrum in
[-1, 1], because the Laplacian of each offset has its spectrum in [-4, 0].

    B batch, T tokens, D channels, K offsets of a stencil, S scales
"""

from collections.abc import Callable
from functools import partial
from math import log, prod
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from pdeformer import stencil
from pdeformer.integrators.sequence_parallel import map_with_halo, sequence_shards
from pdeformer.stencil.arguments import check_dtype, convert_segment_ids, static_number

MAX_WEIGHT_SUM = 0.5

HiddenStates: TypeAlias = Float[Array, "*b t d"]
Segments: TypeAlias = Shaped[Array | np.ndarray, "*_s"] | list


def update_valid_tokens(
    change: Callable[[Array, Array | None], Array],
    u: Array,
    segment_ids: Segments | None,
    dtype: Any,
    *,
    name: str,
    channels: int,
) -> Array:
    """Return u + change(u, segment_ids) on valid tokens and u on padding, in at least float32, as `dtype`.

    `change` takes hidden states (B, T, D); other leading axes are flattened to B. `dtype` None is the dtype of u.

    Raises:
        ValueError: a shape or dtype does not fit the layer `name` of `channels` channels.
    """
    u = jnp.asarray(u)
    check_hidden_states(u, name, channels)
    ids = None if segment_ids is None else broadcast_segments(segment_ids, u.shape[:-1])
    rows = prod(u.shape[:-2])
    wide = u.astype(jnp.promote_types(u.dtype, jnp.float32)).reshape(rows, *u.shape[-2:])
    result = wide
    if ids is None:
        result = wide + change(wide, None) if u.size else wide
    elif u.size:
        ids = ids.reshape(rows, u.shape[-2])
        valid = ids[..., None] > 0
        # zeros in place of padding, so that no number there, NaN included, reaches a value or a gradient
        clean = jnp.where(valid, wide, 0)
        result = jnp.where(valid, clean + change(clean, ids), wide)
    return result.reshape(u.shape).astype(u.dtype if dtype is None else dtype)


def check_hidden_states(u: Array, name: str, channels: int | None = None) -> None:
    """Check rank, dtype and channels of hidden states (..., T, D); with `channels` None, D may be any number.

    Raises:
        ValueError: they do not fit; the message begins with `name`.
    """
    if u.ndim < 2 or not jnp.issubdtype(u.dtype, jnp.floating):
        raise ValueError(
            f"{name} needs real floating hidden states (..., T, D), got {u.dtype} {u.shape}; add the missing axes or "
            f"cast."
        )
    if channels is not None and u.shape[-1] != channels:
        raise ValueError(
            f"{name} of {channels} channels needs hidden states (..., T, {channels}), got {u.shape}; make it with "
            f"channels={u.shape[-1]}."
        )


def broadcast_segments(segment_ids: Segments, shape: tuple[int, ...]) -> Array:
    """Return segment ids of the shape (..., T) of the tokens; leading axes broadcast.

    Raises:
        ValueError: their shape does not fit, or `convert_segment_ids` refuses them.
    """
    ids = convert_segment_ids(segment_ids)
    fits = 1 <= ids.ndim <= len(shape) and ids.shape[-1] == shape[-1]
    leading = zip(ids.shape[-2::-1], shape[-2::-1], strict=False)
    if not fits or any(a not in (1, b) for a, b in leading):
        raise ValueError(
            f"segment_ids are integers or booleans that broadcast to the tokens {shape}, got {ids.dtype} {ids.shape}; "
            f"insert axes of size 1 where they differ."
        )
    return jnp.broadcast_to(ids, shape)


def diffuse(
    u: Array, segment_ids: Array | None, offsets: tuple[int, ...], weights: Array, *, causal: bool
) -> Array:
    """Return the change Σ_k -D_kᵀ diag(w_k) D_k u of one step.

    `weights` is (K, B, T, D), or 1 in place of B, T or D. The weight of an edge is the mean of `weights` over its
    two ends, so the matrix is symmetric. A causal step changes only the later end of an edge. If the ambient mesh
    splits the sequence, every shard gets the rows of its neighbors that its edges reach.
    """
    if sequence_shards(u.shape[-2]) > 1:
        return _diffuse_shards(u, segment_ids, offsets, weights, causal=causal)
    scatter = stencil.receive if causal else stencil.divergence
    runs = None if segment_ids is None else stencil.run_ids(segment_ids)
    change, length = jnp.zeros_like(u), u.shape[-2]
    for k, weight in zip(offsets, weights, strict=True):
        if k < length:  # longer edges have no second end
            per_edge = weight if weight.shape[-2] == 1 else (weight[:, k:] + weight[:, : length - k]) / 2
            change += scatter(per_edge * stencil.difference(u, k, runs), k)
    return change


def _diffuse_shards(
    u: Array, segment_ids: Array | None, offsets: tuple[int, ...], weights: Array, *, causal: bool
) -> Array:
    """Compute `diffuse` by shards; weights of single tokens travel as channels beside their states."""
    step = partial(diffuse, offsets=offsets, causal=causal)
    if weights.shape[-3:-1] == (1, 1):
        return map_with_halo(
            lambda u, ids, weights: step(u, ids, weights=weights),
            u,
            segment_ids,
            weights,
            radius=max(offsets),
        )
    batch, length, channels = u.shape
    count, width = weights.shape[0], weights.shape[-1]
    per_token = jnp.broadcast_to(weights, (count, batch, length, width))
    packed = jnp.concatenate([u, *per_token], axis=-1)

    def unpack_and_step(packed: Array, ids: Array) -> Array:
        columns = packed[..., channels:].reshape(*packed.shape[:2], count, width)
        return step(packed[..., :channels], ids, weights=jnp.moveaxis(columns, -2, 0))

    return map_with_halo(unpack_and_step, packed, segment_ids, radius=max(offsets))


def stable_weights(parameters: Array) -> Array:
    """Map 1+S real numbers to S weights ≥ 0 of sum ≤ 1/2: 1/2 sigmoid(a) softmax(w), a and w along axis -2."""
    rate, share = parameters[..., :1, :], parameters[..., 1:, :]
    return MAX_WEIGHT_SUM * jax.nn.sigmoid(rate) * jax.nn.softmax(share, axis=-2)


def standardize(u: Array) -> Array:
    """Return LN(u) without parameters: every token minus its mean over channels, over its standard deviation."""
    centered = u - jnp.mean(u, axis=-1, keepdims=True)
    return centered * jax.lax.rsqrt(jnp.mean(jnp.square(centered), axis=-1, keepdims=True) + 1e-6)


def symmetric_taps(weights: Array, offsets: tuple[int, ...]) -> Array:
    """Convert (..., K, D) weights of offsets ±k to (..., D, 2m+1) taps of sum 1; m is the largest offset."""
    radius, k = max(offsets), jnp.asarray(offsets)
    taps = jnp.zeros((*weights.shape[:-2], 2 * radius + 1, weights.shape[-1]), weights.dtype)
    taps = taps.at[..., radius, :].set(1 - 2 * jnp.sum(weights, axis=-2))
    taps = taps.at[..., radius + k, :].set(weights).at[..., radius - k, :].set(weights)
    return jnp.moveaxis(taps, -2, -1)


def at_least_float32(parameter: Any) -> Array:
    """Return the value of an `nnx.Param` in at least float32."""
    value = parameter[...]
    return value.astype(jnp.promote_types(value.dtype, jnp.float32))


def logit(p: float) -> float:
    """Return the inverse of the sigmoid: log(p / (1 - p)) for 0 < p < 1."""
    return log(p / (1 - p))


def check_dtypes(name: str, dtype: Any, param_dtype: Any) -> None:
    """Check that the dtypes of a result and of parameters are floating; other types would cut their digits.

    Raises:
        ValueError: one is not; the message begins with `name`.
    """
    check_dtype(f"{name}: dtype", dtype)
    check_dtype(f"{name}: param_dtype", param_dtype)


def check_alpha(alpha: float, name: str, *, closed: bool) -> None:
    """Check that the smoothing is in (0, 1/2), or in (0, 1/2] if `closed`.

    Raises:
        ValueError: `alpha` is outside the interval, or no number; the message begins with `name`.
    """
    static_number(f"{name}: alpha", alpha)
    if not (0 < alpha < MAX_WEIGHT_SUM or (closed and alpha == MAX_WEIGHT_SUM)):
        raise ValueError(
            f"{name} needs 0 < alpha {'<=' if closed else '<'} 1/2 to be non-expansive, got {alpha}; "
            f"choose a smaller alpha, or more steps or layers."
        )

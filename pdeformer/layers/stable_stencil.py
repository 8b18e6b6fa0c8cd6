"""What the layers share: edges with symmetric weights, and free numbers mapped into the stability budget."""

from collections.abc import Callable
from math import log
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pdeformer import stencil

BUDGET = 0.5  # of all weights together: a Laplacian has its spectrum in [-4, 0], so the step in [-1, 1]

Hidden: TypeAlias = Float[Array, "b t d"]
Segments: TypeAlias = Int[Array, "b t"]


def apply(change: Callable[[Array, Array | None], Array], u: Array, segment_ids: Array | None) -> Array:
    """u + change(u, runs) on valid tokens, in at least float32."""
    wide = u.astype(jnp.promote_types(u.dtype, jnp.float32))
    if segment_ids is None:
        return (wide + change(wide, None)).astype(u.dtype)
    valid = segment_ids[..., None] > 0
    # zeros instead of padding: whatever stands there, NaN included, cannot reach a value or a gradient
    clean = jnp.where(valid, wide, 0)
    return jnp.where(valid, clean + change(clean, stencil.run_ids(segment_ids)), wide).astype(u.dtype)


def diffuse(u: Array, runs: Array | None, offsets: tuple[int, ...], weights: Array, *, causal: bool) -> Array:
    """Σ_k -D_kᵀ diag(w_k) D_k u with `weights` (K, B, T, D), or 1 in place of B, T or D.

    The weight of an edge is the mean over its two ends, so the matrix is symmetric.
    """
    spread = stencil.receive if causal else stencil.divergence
    change, length = jnp.zeros_like(u), u.shape[-2]
    for k, weight in zip(offsets, weights, strict=True):
        if k < length:  # longer edges have no second end
            both = weight if weight.shape[-2] == 1 else (weight[:, k:] + weight[:, : length - k]) / 2
            change += spread(both * stencil.difference(u, k, runs), k)
    return change


def share_budget(weights: Array) -> Array:
    """1/2 sigmoid(a) softmax(w), with a and w along axis -2: 1+S real numbers to S weights ≥ 0 of sum ≤ 1/2."""
    rate, share = weights[..., :1, :], weights[..., 1:, :]
    return BUDGET * jax.nn.sigmoid(rate) * jax.nn.softmax(share, axis=-2)


def standardise(u: Array) -> Array:
    """LN(u): every token minus its mean over channels, divided by its standard deviation; no parameters."""
    centred = u - jnp.mean(u, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + 1e-6)


def symmetric_taps(weights: Array, offsets: tuple[int, ...]) -> Array:
    """(..., K, D) weights of the offsets ±k to (..., D, 2m+1) taps that sum to 1, m the largest offset."""
    reach, places = max(offsets), jnp.asarray(offsets)
    taps = jnp.zeros((*weights.shape[:-2], 2 * reach + 1, weights.shape[-1]), weights.dtype)
    taps = taps.at[..., reach, :].set(1 - 2 * jnp.sum(weights, axis=-2))
    taps = taps.at[..., reach + places, :].set(weights).at[..., reach - places, :].set(weights)
    return jnp.moveaxis(taps, -2, -1)


def logit(p: float) -> float:
    return log(p / (1 - p))


def check_alpha(alpha: float, name: str, *, closed: bool) -> None:
    if not (0 < alpha < BUDGET or (closed and alpha == BUDGET)):
        raise ValueError(
            f"{name} needs 0 < alpha {'<=' if closed else '<'} 1/2 to be non-expansive, got {alpha}; "
            f"choose a smaller alpha, or more steps or layers."
        )

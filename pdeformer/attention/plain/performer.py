"""Kernel attention with positive random features: the linear-cost base of a hybrid.

    exp(q·k) = E_ω[φ(q)·φ(k)],  φ(x) = exp(ωx − ‖x‖²/2) / √m,  ω ~ N(0, I)

The rows of ω are orthogonal in blocks of H, which lowers the variance. The weights are A[t, s] ∝ φ(q[t])·φ(k[s])
over the keys that the mask allows. Everywhere else φ·φ replaces the exponential of the score, and its logarithm is
the score. [Choromanski et al., "Rethinking Attention with Performers", 2021]

    B batch, T query tokens, S key tokens, N heads, K key heads, G = N/K, H head width, F features, D value width
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pdeformer.attention.types import AttentionOutput

CHUNK = 128  # rows of a chunk, whose pairs are formed; all earlier rows are one (F, D) state


def draw_projection(random_key: PRNGKeyArray, count: int, width: int, dtype: Any) -> Float[Array, "f h"]:
    """Draw `count` Gaussian rows of length `width`, orthogonal within every block of `width` rows."""
    rotation_key, norm_key = jax.random.split(random_key)
    blocks = -(-count // width)
    rows = jax.random.orthogonal(rotation_key, width, (blocks,), dtype).reshape(-1, width)[:count]
    return rows * jnp.linalg.norm(jax.random.normal(norm_key, (count, width), dtype), axis=-1, keepdims=True)


def feature_map(
    x: Float[Array, "b t n h"],
    omega: Float[Array, "f h"],
    *,
    scale: Float[Array, ""] | float,
    normalize_over: int | tuple[int, ...] | None,
) -> Float[Array, "b t n f"]:
    """Return φ(√scale · x), divided by its largest value along the axes `normalize_over`, if any.

    A factor per query, or one for all keys of a head, cancels in the weights. Causal keys are not divided, because
    the factor would depend on future keys; a key with scale·‖k‖²/2 beyond 80 then underflows in float32 and has
    weight 0.
    """
    x = x * scale**0.5
    exponent = jnp.einsum("btnh,fh->btnf", x, omega) - 0.5 * jnp.sum(x * x, axis=-1, keepdims=True)
    if normalize_over is not None:
        exponent -= lax.stop_gradient(jnp.max(exponent, axis=normalize_over, keepdims=True))
    return jnp.exp(exponent) / omega.shape[0] ** 0.5


def linear_attention(
    query: Float[Array, "b t n f"],
    key: Float[Array, "b s k f"],
    value: Float[Array, "b s k d"],
    high: Int[Array, ""] | None,
) -> AttentionOutput:
    """Attend with weights ∝ query·key in O(T F D) time; query t attends to the keys s <= t + high (None: all)."""
    batch, length, heads, width = query.shape
    grouped = query.reshape(batch, length, key.shape[2], -1, width)
    # a column of ones beside the values sums the weights
    value = jnp.concatenate([value, jnp.ones_like(value[..., :1])], axis=-1)
    if high is None:
        total = jnp.einsum("btkgf,bkfd->btkgd", grouped, jnp.einsum("bskf,bskd->bkfd", key, value))
    else:
        total = _prefix_sums(grouped, key, value, high)
    total = total.reshape(batch, length, heads, -1)
    mass = total[..., -1]
    any_key = mass > 0
    mass = jnp.where(any_key, mass, 1)
    return AttentionOutput(total[..., :-1] / mass[..., None], jnp.where(any_key, jnp.log(mass), -jnp.inf))


def _prefix_sums(query: Array, key: Array, value: Array, high: Array) -> Array:
    """Return Σ_{s <= t + high} (query[t]·key[s]) value[s]: a state for earlier chunks, all pairs in a chunk."""
    batch, length, keys = query.shape[0], query.shape[1], key.shape[1]
    before = jnp.where((jnp.arange(keys) < high)[None, :, None, None], key, 0)
    state = jnp.einsum("bskf,bskd->bkfd", before, value)
    chunk = min(CHUNK, length)
    chunks = -(-length // chunk)

    def split(x: Array) -> Array:
        x = jnp.pad(x, [(0, 0), (0, chunks * chunk - length)] + [(0, 0)] * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(batch, chunks, chunk, *x.shape[2:]), 1, 0)

    def align(x: Array) -> Array:
        """Shift the keys so that row t is key t + high."""
        padded = jnp.pad(x, [(0, 0), (length, length), (0, 0), (0, 0)])
        start = jnp.clip(high + length, 0, keys + length)
        return split(lax.dynamic_slice_in_dim(padded, start, length, axis=1))

    @jax.checkpoint
    def step(state: Array, xs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        query, key, value = xs
        pairs = jnp.tril(jnp.einsum("btkgf,bskf->bkgts", query, key))
        inside = jnp.einsum("bkgts,bskd->btkgd", pairs, value)
        outside = jnp.einsum("btkgf,bkfd->btkgd", query, state)
        return state + jnp.einsum("bskf,bskd->bkfd", key, value), inside + outside

    rows = lax.scan(step, state, (split(query), align(key), align(value)))[1]
    return jnp.moveaxis(rows, 0, 1).reshape(batch, chunks * chunk, *rows.shape[3:])[:, :length]

"""The last n weights of every causal row by diagonals: for accelerators, all rows side by side.

    s_j[t] = scale · q[t]·k[t − j],  j = 0 … n − 1

is one array over all rows, and the window of the 2n keys that end at t is 2n of them. A step combines neighboring
arrays, entry by entry, so XLA makes one pass of all steps; nothing is as large as a block of scores.

    B batch, T tokens, N heads, K key heads, G = N/K, H head width, n steps
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from pdeformer.attention.types import AttentionOutput
from pdeformer.integrators.linear_map import LinearMap
from pdeformer.pde import PDE, AdvectionDiffusion, Diffusion, Wave

MOST_STEPS = 8  # n² n arithmetic operations in one program; for more steps it takes too long to compile


def diagonal_band(
    pde: PDE,
    query: Float[Array, "b t n h"],
    key: Float[Array, "b t k h"],
    value: Float[Array, "b t k h"],
    query_ids: Integer[Array, "b t"] | None,
    key_ids: Integer[Array, "b t"] | None,
    runs: Integer[Array, "b t"] | None,
    *,
    steps: int,
    scale: float,
    low: int | None,
) -> AttentionOutput:
    """Attend with the last n weights of every causal row, evolved among the 2n keys that end at the query.

    It equals `folded.causal_band`. Coefficients have the shape (steps, N or 1); `runs` are the ids of the runs of
    connected keys, `low` is the smallest allowed s - t.
    """
    window, groups = 2 * steps, query.shape[2] // key.shape[2]

    def clean(x: Array, ids: Array | None) -> Array:
        return x if ids is None else jnp.where((ids > 0)[:, :, None, None], x, 0)

    def by_head(x: Array) -> Array:
        return x if groups == 1 else jnp.repeat(x, groups, axis=2)

    query = clean(query, query_ids)
    key, value = (by_head(clean(x, key_ids)) for x in (key, value))
    position = jnp.arange(query.shape[1])[None, :, None]

    def visible(j: int) -> Array:
        mask = position >= j
        if query_ids is not None and key_ids is not None:
            mask = mask & ((query_ids == earlier(key_ids, j)) & (query_ids > 0))[..., None]
        return mask if low is None or j <= -low else jnp.zeros_like(mask)

    def connected(j: int) -> Array:
        """Return whether the keys t - j - 1 and t - j are neighbors of one run."""
        edge = position >= j + 1
        if runs is not None:
            first, second = earlier(runs, j + 1), earlier(runs, j)
            edge = edge & ((first == second) & (second > 0))[..., None]
        return edge

    products = _diagonals(tuple(range(steps)), query, key)
    scores = [jnp.where(visible(j), x * scale, -jnp.inf) for j, x in enumerate(products)]
    weights, lse = _softmax(scores)
    zeros = [jnp.zeros_like(lse)] * steps
    edges = [connected(window - 2 - m) for m in range(window - 1)]
    evolved = _integrate(pde, zeros + weights[::-1], edges, steps)
    return AttentionOutput(_weighted_sum(tuple(range(window)), tuple(evolved[::-1]), value), lse)


def earlier(x: Array, distance: int) -> Array:
    """Return x[t - distance] at the token t, 0 before the first one."""
    return jnp.pad(x[:, : x.shape[1] - distance], [(0, 0), (distance, 0)] + [(0, 0)] * (x.ndim - 2))


def later(x: Array, distance: int) -> Array:
    """Return x[t + distance] at the token t, 0 after the last one."""
    return jnp.pad(x[:, distance:], [(0, 0), (0, distance)] + [(0, 0)] * (x.ndim - 2))


# The derivatives of the two products below read shifted arrays, as the products do. Those of JAX would add shifted
# arrays, each of which XLA writes to memory.


def _products(distances: tuple[int, ...], x: Array, y: Array) -> tuple[Array, ...]:
    """Return Σ_h x[t] y[t - j] for every distance j."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return tuple((x.astype(wide) * earlier(y, j).astype(wide)).sum(-1) for j in distances)


def _sum_earlier(distances: tuple[int, ...], weights: tuple[Array, ...], y: Array) -> Array:
    """Return Σ_j w_j[t] y[t - j]."""
    terms = [w[..., None] * earlier(y, j).astype(w.dtype) for j, w in zip(distances, weights, strict=True)]
    return sum(terms[1:], terms[0])


def _sum_later(distances: tuple[int, ...], weights: tuple[Array, ...], x: Array) -> Array:
    """Return Σ_j w_j[t + j] x[t + j]."""
    terms = [
        later(w, j)[..., None] * later(x, j).astype(w.dtype) for j, w in zip(distances, weights, strict=True)
    ]
    return sum(terms[1:], terms[0])


def _of_dtype(x: Array, like: Array) -> tuple[Array]:
    return (x.astype(like.dtype),)


_PRODUCTS_OF_X = LinearMap(
    "band_products_of_queries",
    lambda at, residuals, x: _products(at, x[0], residuals[0]),
    lambda at, residuals, w: _of_dtype(_sum_earlier(at, w, residuals[0]), residuals[0]),
)
_PRODUCTS_OF_Y = LinearMap(
    "band_products_of_keys",
    lambda at, residuals, y: _products(at, residuals[0], y[0]),
    lambda at, residuals, w: _of_dtype(_sum_later(at, w, residuals[0]), residuals[0]),
)
_SUM_OF_WEIGHTS = LinearMap(
    "band_sum_of_weights",
    lambda at, residuals, w: (_sum_earlier(at, w, residuals[0]),),
    lambda at, residuals, z: _products(at, z[0], residuals[0]),
)
_SUM_OF_VALUES = LinearMap(
    "band_sum_of_values",
    lambda at, residuals, y: (_sum_earlier(at, residuals[:-1], y[0]),),
    lambda at, residuals, z: _of_dtype(_sum_later(at, residuals[:-1], z[0]), residuals[-1]),
)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _diagonals(distances: tuple[int, ...], query: Array, key: Array) -> tuple[Array, ...]:
    """Return q[t]·k[t - j] for every distance j."""
    return _products(distances, query, key)


@_diagonals.defjvp
def _diagonals_jvp(distances: Any, primals: Any, tangents: Any) -> Any:
    (query, key), (d_query, d_key) = primals, tangents
    by_query = _PRODUCTS_OF_X(distances, (key,), (d_query,))
    by_key = _PRODUCTS_OF_Y(distances, (query,), (d_key,))
    return _diagonals(distances, query, key), tuple(map(jnp.add, by_query, by_key))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _weighted_sum(distances: tuple[int, ...], weights: tuple[Array, ...], value: Array) -> Array:
    """Return Σ_j w_j[t] v[t - j]."""
    return _sum_earlier(distances, weights, value)


@_weighted_sum.defjvp
def _weighted_sum_jvp(distances: Any, primals: Any, tangents: Any) -> Any:
    (weights, value), (d_weights, d_value) = primals, tangents
    (by_weights,) = _SUM_OF_WEIGHTS(distances, (value,), tuple(d_weights))
    marker = jnp.zeros((0,), value.dtype)  # the dtype of the gradient
    (by_value,) = _SUM_OF_VALUES(distances, (*weights, marker), (d_value,))
    return _weighted_sum(distances, weights, value), by_weights + by_value


def _softmax(scores: list[Array]) -> tuple[list[Array], Array]:
    """Return the softmax over a list of arrays, 0 where all are -inf, and the log-sum-exp."""
    top = scores[0]
    for x in scores[1:]:
        top = jnp.maximum(top, x)
    top = jax.lax.stop_gradient(jnp.where(top > -jnp.inf, top, 0))
    terms = [jnp.exp(x - top) for x in scores]
    total = sum(terms[1:], terms[0])
    any_key = total > 0
    safe = jnp.where(any_key, total, 1)
    return [x / safe for x in terms], jnp.where(any_key, top + jnp.log(safe), -jnp.inf)


def _integrate(pde: PDE, u: list[Array], edges: list[Array], steps: int) -> list[Array]:
    """Integrate along a list of arrays; edge m joins the entries m and m + 1."""

    def step_of(k: int) -> Callable[[list[Array]], list[Array]]:
        at: Any = jax.tree.map(lambda x: x[k][None, None, :], pde)
        rate = at.speed**2 if isinstance(at, Wave) else at.alpha
        down = jnp.maximum(at.beta, 0) if isinstance(at, AdvectionDiffusion) else 0
        up = jnp.maximum(-at.beta, 0) if isinstance(at, AdvectionDiffusion) else 0

        def increment(u: list[Array]) -> list[Array]:
            flux = [  # to the entry m, through the edge between m and m + 1
                jnp.where(edge, rate * (b - a) + down * b - up * a, 0)
                for a, b, edge in zip(u, u[1:], edges, strict=False)
            ]
            zero = [jnp.zeros_like(u[0])]
            return [to_here - onward for to_here, onward in zip(flux + zero, zero + flux, strict=True)]

        return increment

    if isinstance(pde, Wave):
        change = [0.5 * x for x in step_of(0)(u)]
        u = [a + b for a, b in zip(u, change, strict=True)]
        for k in range(1, steps):
            change = [a + b for a, b in zip(change, step_of(k)(u), strict=True)]
            u = [a + b for a, b in zip(u, change, strict=True)]
        return u
    assert isinstance(pde, Diffusion | AdvectionDiffusion)
    for k in range(steps):
        u = [a + b for a, b in zip(u, step_of(k)(u), strict=True)]
    return u

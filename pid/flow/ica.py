"""Independent component analysis: initial directions for the linear mix of a flow.

Data that are Gaussian but for an elementwise warp are non-Gaussian along their coordinates and nearly Gaussian
along any mixture of them. The likelihood therefore has many poor optima, and a start near the right directions
avoids them.

    n rows, d coordinates
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

ITERATIONS = 60
NEWTON = (
    24  # Newton-Schulz steps: each multiplies a small singular value by 1.5, so all of them raise 1e-4 to 1
)


def independent_directions(u: Float[Array, "n d"]) -> Float[Array, "d d"]:
    """Compute W of symmetric FastICA with tanh: u Wᵀ is white, its coordinates as independent as a rotation allows.

        B <- polar(E[tanh(B v) vᵀ] - diag(E[1 - tanh²(B v)]) B),   v = S^(-1/2) u

    `u` has mean zero. Directions with variance under 1e-6 of the largest are scaled as if they had that much.
    Columns of zeros stay unchanged.
    [Hyvärinen & Oja, "Independent component analysis: algorithms and applications", 2000]
    """
    values, vectors = jnp.linalg.eigh(u.T @ u / u.shape[0])
    whiten = (vectors / jnp.sqrt(jnp.maximum(values, 1e-6 * values[-1]))[None]) @ vectors.T
    v = u @ whiten.T

    def step(rotation: Array, _: None) -> tuple[Array, None]:
        activation = jnp.tanh(v @ rotation.T)
        slope = jnp.mean(1 - jnp.square(activation), axis=0)
        return _polar(activation.T @ v / v.shape[0] - slope[:, None] * rotation), None

    rotation = jax.lax.scan(step, jnp.eye(u.shape[1], dtype=u.dtype), None, length=ITERATIONS)[0]
    varies = jnp.any(u != 0, axis=0)
    return jnp.where(jnp.outer(varies, varies), rotation @ whiten, jnp.eye(u.shape[1], dtype=u.dtype))


def _polar(a: Array) -> Array:
    """Compute the orthogonal factor of `a` by Newton-Schulz, without LAPACK: A <- A (3I - AᵀA) / 2, norm ≤ 1."""
    a = a / jnp.sqrt(jnp.max(jnp.sum(jnp.abs(a.T @ a), axis=1)))

    def step(a: Array, _: None) -> tuple[Array, None]:
        return 1.5 * a - 0.5 * a @ (a.T @ a), None

    return jax.lax.scan(step, a, None, length=NEWTON)[0]

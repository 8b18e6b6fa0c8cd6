"""Extreme eigenvalues of a Hessian by Lanczos iteration.

Hessian-vector products are ∇(∇f · v), reverse over reverse, since attention has its own derivative rule. The basis is
orthogonalized twice in every iteration. [Lanczos 1950]

    P parameters, m iterations
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key


class Extremes(NamedTuple):
    """Extreme eigenvalues of a symmetric operator."""

    largest: float
    smallest: float
    residual: float
    """‖H x - λ x‖ / |λ| for the largest; it counts as converged below .01."""


class Tridiagonal(NamedTuple):
    """The operator in the Krylov basis."""

    diagonal: Float[Array, " m"]
    off: Float[Array, " m"]
    """Off-diagonal entries; the last is the norm of the remainder outside the basis."""


def lanczos(f: Callable[[Any], Array], at: Any, key: Key[Array, ""], iterations: int) -> Tridiagonal:
    """Return the Hessian of the scalar function `f` at the tree `at`, in the Krylov space of a random vector."""
    flat, unravel = ravel_pytree(at)
    iterations = min(iterations, flat.size)

    def product(v: Array) -> Array:
        return jax.grad(lambda x: jnp.vdot(jax.grad(lambda y: f(unravel(y)))(x), v))(flat)

    def step(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Tridiagonal]:
        basis, v = carry
        basis = basis.at[k].set(v)
        w = product(v)
        diagonal = jnp.vdot(v, w)
        for _ in range(2):
            w = w - (basis @ w) @ basis
        off = jnp.linalg.norm(w)
        return (basis, w / jnp.maximum(off, jnp.finfo(w.dtype).tiny)), Tridiagonal(diagonal, off)

    start = jax.random.normal(key, flat.shape, flat.dtype)
    state = (jnp.zeros((iterations, flat.size), flat.dtype), start / jnp.linalg.norm(start))
    return jax.lax.scan(step, state, jnp.arange(iterations))[1]


def extremes(matrix: Tridiagonal) -> Extremes:
    """Return the extreme Ritz values. They are exact if the Krylov space is invariant."""
    diagonal, off = (np.asarray(x, np.float64) for x in matrix)
    scale = np.max(np.abs(diagonal)) + np.max(np.abs(off))
    breakdowns = np.flatnonzero(off <= 1e-6 * scale)
    size = (
        int(breakdowns[0]) + 1 if breakdowns.size else len(diagonal)
    )  # a breakdown makes the space invariant
    inner = off[: size - 1]
    values, vectors = np.linalg.eigh(np.diag(diagonal[:size]) + np.diag(inner, 1) + np.diag(inner, -1))
    residual = abs(off[size - 1] * vectors[-1, -1]) / max(abs(values[-1]), np.finfo(float).tiny)
    return Extremes(float(values[-1]), float(values[0]), float(residual))

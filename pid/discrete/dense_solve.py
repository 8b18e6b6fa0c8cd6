"""Solution of many small symmetric positive definite systems at once.

The batch is the last axis, so that each elimination step is a vectorized operation over all systems. Programs with
several batched LAPACK calls, which can hang on CPU, are not needed.

    n unknowns, m right sides, B systems
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def solve_spd(matrices: Float[Array, "n n B"], right: Float[Array, "n m B"]) -> Float[Array, "n m B"]:
    """Solve A z = b for symmetric positive definite A by Gauss-Jordan elimination without pivoting.

    Args:
        matrices: A.
        right: b, m right sides.

    Returns:
        z.
    """
    size = matrices.shape[0]

    def eliminate(k: Array, work: Float[Array, "n c B"]) -> Float[Array, "n c B"]:
        pivot_row = jax.lax.dynamic_index_in_dim(work, k, 0, keepdims=False)
        pivot = jax.lax.dynamic_index_in_dim(pivot_row, k, 0, keepdims=False)
        scaled = pivot_row / pivot[None]
        column = jax.lax.dynamic_index_in_dim(work, k, 1, keepdims=False)
        is_pivot = (jnp.arange(size) == k)[:, None, None]
        return jnp.where(is_pivot, scaled[None], work - column[:, None] * scaled[None])

    return jax.lax.fori_loop(0, size, eliminate, jnp.concatenate([matrices, right], axis=1))[:, size:]

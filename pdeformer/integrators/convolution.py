"""One convolution with 2n+1 taps instead of n steps: exact for every linear equation without segments.

Interior rows meet no wall within n steps, so they are a convolution with the impulse response. Border rows take
explicit steps on a separate slab. Both are computed separately and concatenated once, because
padding the full array first would cost another pass over memory. The adjoint reverses the taps, and applies the
transposed operator to the slabs.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pdeformer import stencil
from pdeformer.integrators import explicit
from pdeformer.integrators.explicit import Linear, impulse_response, integrate
from pdeformer.stencil import Path, rows


def convolve(u: Array, taps: Array) -> Array:
    """Return the valid part of a convolution along the tokens, y_i = Σ_k taps[k] u_{i+K-1-k}.

    Args:
        u: the state `(..., T, D)`.
        taps: the kernel `(..., K, D)`, K ≤ T.

    Returns:
        The T - K + 1 rows for which all K taps meet a token.
    """
    size, length = taps.shape[-2], u.shape[-2]
    terms = [rows(taps, k, k + 1) * rows(u, size - 1 - k, length - k) for k in range(size)]
    return sum(terms[1:], terms[0])


def apply(pde: Linear, u: Array, graph: Path, steps: int, *, adjoint: bool = False) -> Array:
    """Compute `steps` steps of dt = 1 by taps; arguments and result are those of `explicit.integrate`.

    A sequence too short to have an interior takes explicit steps.
    """

    def taps() -> Array:
        response = impulse_response(pde, steps)
        return jnp.flip(response, axis=-2) if adjoint else response

    return _interior_and_border(taps, partial(integrate, pde, steps=steps, adjoint=adjoint), u, graph, steps)


def sensitivity(pde: Linear, direction: Linear, u: Array, graph: Path, steps: int) -> Array:
    """Return (∂M/∂c · ċ) u; arguments are those of `explicit.sensitivity`.

    The interior uses the derivative of the taps, the border that of the explicit steps.
    """

    def taps() -> Array:
        return jax.jvp(lambda pde: impulse_response(pde, steps), (pde,), (direction,))[1]

    border = partial(explicit.sensitivity, pde, direction, steps=steps)
    return _interior_and_border(taps, border, u, graph, steps)


def _interior_and_border(taps: Callable, border: Callable, u: Array, graph: Path, steps: int) -> Array:
    """Apply the taps to the rows that meet no wall, and the function `border` to a slab at each end."""
    length = u.shape[-2]
    margin = steps + 1  # the transposed copy boundary reaches one row further than the walls themselves
    if length < 4 * margin:
        return border(u, graph)
    if graph.boundary == "periodic":
        seam = jnp.concatenate([rows(u, length - 2 * steps, length), rows(u, 0, 2 * steps)], axis=-2)
        kernel = taps()
        ends = convolve(seam, kernel)
        return jnp.concatenate(
            [rows(ends, steps, 2 * steps), convolve(u, kernel), rows(ends, 0, steps)], axis=-2
        )

    slab = stencil.path(2 * margin, None, graph.boundary, ndim=u.ndim)
    left = border(rows(u, 0, 2 * margin), slab)
    right = border(rows(u, length - 2 * margin, length), slab)
    inner = convolve(rows(u, 1, length - 1), taps())
    return jnp.concatenate([rows(left, 0, margin), inner, rows(right, margin, 2 * margin)], axis=-2)

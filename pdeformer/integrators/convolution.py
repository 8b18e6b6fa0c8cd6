"""One pass of 2n+1 taps instead of n steps: exact for every linear equation without segments.

Interior rows see no wall within n steps, so they are a convolution with the response to a single token. Border
rows are stepped explicitly on a slab of their own. Both are computed apart and joined once, since padding the
whole array first would cost another trip through memory. The adjoint reverses the taps and steps the
slabs by the transposed operator.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pdeformer import stencil
from pdeformer.integrators import explicit
from pdeformer.integrators.explicit import Linear, integrate, response
from pdeformer.stencil import Path, rows


def convolve(u: Array, taps: Array) -> Array:
    """y_i = Σ_k taps[k] u_{i+K-1-k}: the rows for which all K taps meet a token, T - K + 1 of them."""
    size, length = taps.shape[-2], u.shape[-2]
    terms = [rows(taps, k, k + 1) * rows(u, size - 1 - k, length - k) for k in range(size)]
    return sum(terms[1:], terms[0])


def apply(pde: Linear, u: Array, graph: Path, steps: int, *, adjoint: bool = False) -> Array:
    """`steps` steps of dt = 1 by taps; a sequence too short to have an interior is stepped whole."""

    def taps():
        return jnp.flip(response(pde, steps), axis=-2) if adjoint else response(pde, steps)

    return _inside_and_border(taps, partial(integrate, pde, steps=steps, adjoint=adjoint), u, graph, steps)


def sensitivity(pde: Linear, direction: Linear, u: Array, graph: Path, steps: int) -> Array:
    """(∂M/∂c · ċ) u: inside by the derivative of the taps, at the border as the steps have it."""

    def taps():
        return jax.jvp(lambda pde: response(pde, steps), (pde,), (direction,))[1]

    border = partial(explicit.sensitivity, pde, direction, steps=steps)
    return _inside_and_border(taps, border, u, graph, steps)


def _inside_and_border(taps: Callable, border: Callable, u: Array, graph: Path, steps: int) -> Array:
    length = u.shape[-2]
    margin = steps + 1  # the transposed copy boundary reaches one row further than the walls themselves
    if length < 4 * margin:
        return border(u, graph)
    if graph.boundary == "periodic":
        seam = jnp.concatenate([rows(u, length - 2 * steps, length), rows(u, 0, 2 * steps)], axis=-2)
        kernel = taps()
        around = convolve(seam, kernel)
        return jnp.concatenate(
            [rows(around, steps, 2 * steps), convolve(u, kernel), rows(around, 0, steps)], axis=-2
        )

    slab = stencil.path(2 * margin, None, graph.boundary, ndim=u.ndim)
    left = border(rows(u, 0, 2 * margin), slab)
    right = border(rows(u, length - 2 * margin, length), slab)
    inner = convolve(rows(u, 1, length - 1), taps())
    return jnp.concatenate([rows(left, 0, margin), inner, rows(right, margin, 2 * margin)], axis=-2)

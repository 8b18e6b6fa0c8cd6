"""One convolution with 2n+1 taps instead of n steps: exact for every linear equation.

Interior rows of a long sequence meet no wall within n steps, so they are a convolution with the impulse response.
Border rows take explicit steps on a separate slab. Both are computed separately and concatenated once, because
padding the full array first would cost another pass over memory. The adjoint reverses the taps, and applies the
transposed operator to the slabs. Segments and short sequences are served by `reflection`.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pdeformer import stencil
from pdeformer.integrators import explicit, reflection
from pdeformer.integrators.explicit import Linear, impulse_response, integrate
from pdeformer.pde import AdvectionDiffusion
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

    `u` may be shorter floats, and the result is in at least float32. Padding may hold any number and becomes 0.
    """
    if not _has_interior(u, graph, steps):
        return reflection.apply(pde, u, graph, steps, adjoint=adjoint)

    def taps() -> Array:
        response = impulse_response(pde, steps)
        return jnp.flip(response, axis=-2) if adjoint else response

    if _pads(pde, graph):
        return _convolve_padded(taps(), u, graph, symmetric=not isinstance(pde, AdvectionDiffusion))
    return _interior_and_border(taps, partial(integrate, pde, steps=steps, adjoint=adjoint), u, graph, steps)


def sensitivity(pde: Linear, direction: Linear, u: Array, graph: Path, steps: int) -> Array:
    """Return (∂M/∂c · ċ) u; arguments are those of `explicit.sensitivity`.

    The interior uses the derivative of the taps, the border that of the explicit steps.
    """
    if not _has_interior(u, graph, steps):
        return reflection.sensitivity(pde, direction, u, graph, steps)

    def taps() -> Array:
        return jax.jvp(lambda pde: impulse_response(pde, steps), (pde,), (direction,))[1]

    if _pads(pde, graph):
        return _convolve_padded(taps(), u, graph, symmetric=not isinstance(pde, AdvectionDiffusion))
    border = partial(explicit.sensitivity, pde, direction, steps=steps)
    return _interior_and_border(taps, border, u, graph, steps)


def _has_interior(u: Array, graph: Path, steps: int) -> bool:
    """Return whether the sequence is one run, long enough to have tokens that meet no wall."""
    return graph.valid is None and u.shape[-2] >= 4 * (steps + 1)


def _pads(pde: Linear, graph: Path) -> bool:
    """Return whether to pad the state by its mirror images; a CPU would need another pass over memory for it."""
    return jax.default_backend() != "cpu" and reflection.has_mirror(pde, graph)


def _convolve_padded(taps: Array, u: Array, graph: Path, *, symmetric: bool) -> Array:
    """Convolve the state between its mirror images; every slice is cast, not the state, and pairs are added first."""
    steps, length = taps.shape[-2] // 2, u.shape[-2]
    before, after = rows(u, 0, steps), rows(u, length - steps, length)
    match graph.boundary:
        case "neumann":
            before, after = jnp.flip(before, -2), jnp.flip(after, -2)
        case "dirichlet":
            zero = jnp.zeros_like(rows(u, 0, 1))
            before = jnp.concatenate([-jnp.flip(rows(before, 0, steps - 1), -2), zero], axis=-2)
            after = jnp.concatenate([zero, -jnp.flip(rows(after, 1, steps), -2)], axis=-2)
        case _:
            before, after = after, before
    padded = jnp.concatenate([before, u, after], axis=-2)

    def shifted(k: int) -> Array:
        return rows(padded, steps + k, steps + k + length).astype(taps.dtype)

    total = rows(taps, steps, steps + 1) * shifted(0)
    for k in range(1, steps + 1):
        to_right, to_left = (rows(taps, steps + s, steps + s + 1) for s in (k, -k))
        pair = shifted(-k) + shifted(k)
        total += to_right * pair if symmetric else to_right * shifted(-k) + to_left * shifted(k)
    return total


def _interior_and_border(taps: Callable, border: Callable, u: Array, graph: Path, steps: int) -> Array:
    """Apply the taps to the rows that meet no wall, and the function `border` to a slab at each end."""
    length = u.shape[-2]
    if graph.boundary == "periodic":
        seam = jnp.concatenate([rows(u, length - 2 * steps, length), rows(u, 0, 2 * steps)], axis=-2)
        kernel = taps()
        ends = convolve(seam, kernel)
        return jnp.concatenate(
            [rows(ends, steps, 2 * steps), convolve(u, kernel), rows(ends, 0, steps)], axis=-2
        )

    margin = steps + 1  # the transposed copy boundary reaches one row further than the walls themselves
    slab = stencil.path(2 * margin, None, graph.boundary, ndim=u.ndim)

    def at_end(start: int) -> Array:
        return border(reflection.without_padding(rows(u, start, start + 2 * margin), slab), slab)

    left, right = at_end(0), at_end(length - 2 * margin)
    inner = convolve(rows(u, 1, length - 1), taps())
    return jnp.concatenate([rows(left, 0, margin), inner, rows(right, margin, 2 * margin)], axis=-2)

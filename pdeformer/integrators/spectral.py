"""Any number of steps as one multiplier per mode: cosines, sines or Fourier modes, all through one FFT.

Every boundary is a ring in disguise: Neumann is the ring of the even (half-sample) extension, whose FFT is the
DCT-II; Dirichlet that of the odd extension, the DST-I; copy is Dirichlet for what is left above the straight
line through the two ends, which no equation without advection moves.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pdeformer.integrators.explicit import Linear
from pdeformer.pde import Diffusion, Wave
from pdeformer.stencil import Path, rows


def apply(pde: Linear, u: Array, graph: Path, steps: int) -> Array:
    """`steps` steps of dt = 1 in mode space. Advection needs the ring: its walls have no orthogonal modes.

    On CPU one sequence after another: its FFT keeps all cores busy, and the temporaries (four states, since the
    ring is twice as long and its modes are complex) shrink to those of one sequence.
    """
    one_by_one = jax.default_backend() == "cpu" and all(c.size == c.shape[-1] for c in jax.tree.leaves(pde))
    if not one_by_one:
        return _apply(pde, u, graph.boundary, steps)
    alone = jax.tree.map(lambda c: c.reshape(1, -1), pde)
    sequences = u.reshape(-1, *u.shape[-2:])
    return jax.lax.map(lambda x: _apply(alone, x, graph.boundary, steps), sequences).reshape(u.shape)


def _apply(pde: Linear, u: Array, boundary: str, steps: int) -> Array:
    length = u.shape[-2]
    match boundary:
        case "periodic":
            return _on_ring(pde, u, steps)
        case "neumann":
            return rows(_on_ring(pde, jnp.concatenate([u, jnp.flip(u, -2)], axis=-2), steps), 0, length)
        case "dirichlet":
            zero = jnp.zeros_like(rows(u, 0, 1))
            ring = jnp.concatenate([zero, u, zero, -jnp.flip(u, -2)], axis=-2)
            return rows(_on_ring(pde, ring, steps), 1, length + 1)
    if length < 3:
        return u
    first, last = rows(u, 0, 1), rows(u, length - 1, length)
    slope = jnp.linspace(0, 1, length, dtype=u.dtype).reshape((1,) * (u.ndim - 2) + (length, 1))
    line = first + (last - first) * slope
    inner = _apply(pde, rows(u - line, 1, length - 1), "dirichlet", steps) + rows(line, 1, length - 1)
    return jnp.concatenate([first, inner, last], axis=-2)


def _on_ring(pde: Linear, u: Array, steps: int) -> Array:
    length = u.shape[-2]
    modes = jnp.fft.rfft(u, axis=-2)
    return jnp.fft.irfft(modes * multiplier(pde, length, steps, u.ndim), n=length, axis=-2)


def multiplier(pde: Linear, length: int, steps: int, ndim: int) -> Array:
    """What `steps` steps do to the modes ω = 2πk/P, k = 0 … P/2, of a ring of P = `length` tokens.

    Diffusion (1 - 4α sin²(ω/2))ⁿ; advection-diffusion (1 - 4α sin²(ω/2) + β⁺(e^{iω} - 1) + β⁻(e^{-iω} - 1))ⁿ
    with β⁺ = max(β, 0), β⁻ = max(-β, 0); wave T_n(1 - 2c² sin²(ω/2)) = cos(2n arcsin(c sin(ω/2))).
    """
    half = (np.pi * np.arange(length // 2 + 1) / length).reshape((1,) * (ndim - 2) + (-1, 1))  # ω/2
    dtype = np.dtype(jnp.result_type(*jax.tree.leaves(pde)))
    sine, cosine = np.sin(half).astype(dtype), np.cos(half).astype(dtype)
    if isinstance(pde, Wave):
        return chebyshev(jnp.abs(pde.speed), sine, cosine, steps)
    decay = 1 - 4 * pde.alpha * sine**2
    if isinstance(pde, Diffusion):
        return decay**steps
    turn = jax.lax.complex(-2 * sine**2, 2 * sine * cosine)  # e^{iω} - 1, without cancellation
    drift = jnp.maximum(pde.beta, 0) * turn + jnp.maximum(-pde.beta, 0) * jnp.conj(turn)
    return (decay + drift) ** steps


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def chebyshev(c: Array, sine: np.ndarray, cosine: np.ndarray, steps: int) -> Array:
    """T_n(1 - 2c² sin²) = cos(2nφ), sin φ = c·sine, for 0 ≤ c ≤ 1 and 0 ≤ sine ≤ 1.

    cos φ = sqrt((1-c)(1+c) + c² cosine²) keeps its digits where c·sine → 1. The derivative in c,
    -2n sine sin(2nφ)/cos φ, tends to 4n² (-1)ⁿ sine as cos φ → 0.
    """
    return jnp.cos(2 * steps * jnp.arctan2(c * sine, _cosine_of_angle(c, cosine)))


def _cosine_of_angle(c: Array, cosine: np.ndarray) -> Array:
    return jnp.sqrt(jnp.maximum((1 - c) * (1 + c) + (c * cosine) ** 2, 0))


@chebyshev.defjvp
def _(sine, cosine, steps, primals, tangents):
    (c,), (c_dot,) = primals, tangents
    x = _cosine_of_angle(c, cosine)
    at_pole = x < jnp.finfo(x.dtype).eps ** 0.5
    x = jnp.where(at_pole, 1, x)
    slope = -2 * steps * jnp.sin(2 * steps * jnp.arctan2(c * sine, x)) / x
    limit = 4.0 * steps**2 * (-1) ** steps
    return chebyshev(c, sine, cosine, steps), sine * jnp.where(at_pole, limit, slope) * c_dot

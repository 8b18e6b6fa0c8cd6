"""Any number of steps as one multiplier per mode: cosines, sines or Fourier modes, all through one FFT.

Every boundary is a ring in disguise. Neumann: the even tokens forwards, then the odd ones backwards, are a ring of
T whose FFT is the DCT-II up to a turn of each mode [Makhoul, "A Fast Cosine Transform in One and Two Dimensions",
1980]. Dirichlet: the odd extension is a ring of 2T + 2 whose FFT is the DST-I. Copy is Dirichlet for what is left
above the straight line through the two ends, which no equation without advection moves.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pdeformer.integrators.channel_blocks import PARTS, in_parts
from pdeformer.integrators.explicit import Linear
from pdeformer.pde import AdvectionDiffusion, Diffusion, Wave
from pdeformer.stencil import Path, rows


def apply(pde: Linear, u: Array, graph: Path, steps: int, *, adjoint: bool = False) -> Array:
    """`steps` steps of dt = 1 in mode space. Advection needs the ring: its walls have no orthogonal modes.

    On CPU one sequence after another: its FFT keeps all cores busy, and the temporaries shrink to those of one
    sequence. Sines, whose ring is twice as long, go in parts where sequences are few.
    """
    modes = partial(_apply, graph.boundary, steps, adjoint=adjoint)
    parts = partial(in_parts, modes) if graph.boundary in ("dirichlet", "copy") else modes
    if jax.default_backend() != "cpu" or any(c.size > c.shape[-1] for c in jax.tree.leaves(pde)):
        return parts(u, pde)
    alone = jax.tree.map(lambda c: c.reshape(1, -1), pde)
    sequences = u.reshape(-1, *u.shape[-2:])
    run = modes if len(sequences) >= PARTS else parts
    return jax.lax.map(lambda x: run(x, alone), sequences).reshape(u.shape)


def _apply(boundary: str, steps: int, u: Array, pde: Linear, *, adjoint: bool) -> Array:
    """Without advection every boundary but copy is symmetric; advection turns around."""
    if adjoint and isinstance(pde, AdvectionDiffusion):
        pde = AdvectionDiffusion(pde.alpha, -pde.beta)
    match boundary:
        case "periodic":
            return _on_ring(pde, u, steps)
        case "neumann":
            return _cosines(pde, u, steps)
        case "dirichlet":
            return _sines(pde, u, steps)
    return _straightened(pde, u, steps, adjoint=adjoint)


def _on_ring(pde: Linear, u: Array, steps: int) -> Array:
    length = u.shape[-2]
    modes = jnp.fft.rfft(u, axis=-2)
    return jnp.fft.irfft(modes * multiplier(pde, length, steps, u.ndim), n=length, axis=-2)


def _cosines(pde: Linear, u: Array, steps: int) -> Array:
    """With V the FFT of the ring of T, e^{-iπk/2T} V_k = C_k - i C_{T-k} holds two cosine modes of T tokens."""
    length = u.shape[-2]
    odd = length // 2
    ring = jnp.concatenate([_every_other(u, 0), jnp.flip(_every_other(u, 1), -2)], axis=-2)
    modes = jnp.fft.rfft(ring, axis=-2)
    turn = _column(np.exp(-0.5j * np.pi * np.arange(odd + 1) / length), u.ndim).astype(modes.dtype)
    decay = multiplier(pde, 2 * length, steps, u.ndim)  # of C_0 … C_T, the last of which is zero
    modes = modes * turn
    own, mirrored = rows(decay, 0, odd + 1), jnp.flip(rows(decay, length - odd, length + 1), -2)
    modes = jax.lax.complex(modes.real * own, modes.imag * mirrored) * np.conj(turn)
    ring = jnp.fft.irfft(modes, n=length, axis=-2)
    even = rows(ring, 0, length - odd)
    back = jnp.flip(rows(ring, length - odd, length), -2)
    back = jnp.concatenate([back, rows(even, odd, length - odd)], axis=-2)  # one row too many if T is odd
    return rows(jnp.stack([even, back], axis=-2).reshape(*u.shape[:-2], -1, u.shape[-1]), 0, length)


def _sines(pde: Linear, u: Array, steps: int) -> Array:
    zero = jnp.zeros_like(rows(u, 0, 1))
    ring = jnp.concatenate([zero, u, zero, -jnp.flip(u, -2)], axis=-2)
    return rows(_on_ring(pde, ring, steps), 1, u.shape[-2] + 1)


def _straightened(pde: Linear, u: Array, steps: int, *, adjoint: bool) -> Array:
    """The two ends stay, and the line between them: what is left above it vanishes at both."""
    length = u.shape[-2]
    if length < 3:
        return u
    first, inner, last = rows(u, 0, 1), rows(u, 1, length - 1), rows(u, length - 1, length)
    slope = _column(np.linspace(0, 1, length)[1:-1], u.ndim).astype(u.dtype)
    if adjoint:
        after = _sines(pde, inner, steps)
        by_line = inner - after
        first = first + jnp.sum((1 - slope) * by_line, axis=-2, keepdims=True)
        last = last + jnp.sum(slope * by_line, axis=-2, keepdims=True)
    else:
        line = first + slope * (last - first)
        after = line + _sines(pde, inner - line, steps)
    return jnp.concatenate([first, after, last], axis=-2)


def _every_other(u: Array, start: int) -> Array:
    return jax.lax.slice_in_dim(u, min(start, u.shape[-2]), None, stride=2, axis=-2)


def _column(x: np.ndarray, ndim: int) -> np.ndarray:
    return x.reshape((1,) * (ndim - 2) + (-1, 1))


def multiplier(pde: Linear, length: int, steps: int, ndim: int) -> Array:
    """What `steps` steps do to the modes ω = 2πk/P, k = 0 … P/2, of a ring of P = `length` tokens.

    Diffusion (1 - 4α sin²(ω/2))ⁿ; advection-diffusion (1 - 4α sin²(ω/2) + β⁺(e^{iω} - 1) + β⁻(e^{-iω} - 1))ⁿ
    with β⁺ = max(β, 0), β⁻ = max(-β, 0); wave T_n(1 - 2c² sin²(ω/2)) = cos(2n arcsin(c sin(ω/2))).
    """
    half = _column(np.pi * np.arange(length // 2 + 1) / length, ndim)  # ω/2
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

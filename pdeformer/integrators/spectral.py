"""Any number of steps as one transfer function over cosine, sine or Fourier modes, computed by one FFT.

Every boundary reduces to a ring.

    periodic    the tokens are a ring of T
    neumann     the even tokens forward, then the odd ones backward, are a ring of T. Its FFT is the DCT-II up to
                a phase of each mode [Makhoul, "A Fast Cosine Transform in One and Two Dimensions", 1980]
    dirichlet   the odd extension is a ring of 2T + 2. Its FFT is the DST-I
    copy        Dirichlet for u minus the straight line through its two ends. Without advection, no equation
                changes that line
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pdeformer.integrators.channel_blocks import BLOCKS, map_channel_blocks
from pdeformer.integrators.explicit import Linear
from pdeformer.integrators.meshes import serial_loops
from pdeformer.pde import AdvectionDiffusion, Diffusion, Wave
from pdeformer.stencil import Path, rows


def apply(pde: Linear, u: Array, graph: Path, steps: int, *, adjoint: bool = False) -> Array:
    """Compute `steps` steps of dt = 1 in mode space; arguments and result are those of `explicit.integrate`.

    Advection needs the ring: with walls it has no orthogonal modes. On CPU the sequences run one after another,
    because one FFT uses all cores, and the temporaries are then those of one sequence. Sines, whose ring is twice
    as long, run in channel blocks if there are few sequences.
    """
    in_modes = partial(_apply, graph.boundary, steps, adjoint=adjoint)
    in_blocks = partial(map_channel_blocks, in_modes) if graph.boundary in ("dirichlet", "copy") else in_modes
    if not serial_loops(u) or any(c.size > c.shape[-1] for c in jax.tree.leaves(pde)):
        return in_blocks(u, pde)
    per_sequence = jax.tree.map(lambda c: c.reshape(1, -1), pde)
    sequences = u.reshape(-1, *u.shape[-2:])
    count = sequences.shape[0]  # no integer in an export for batches of any size
    run = in_modes if isinstance(count, int) and count >= BLOCKS else in_blocks
    return jax.lax.map(lambda x: run(x, per_sequence), sequences).reshape(u.shape)


def _apply(boundary: str, steps: int, u: Array, pde: Linear, *, adjoint: bool) -> Array:
    """Apply the transfer function by the transform of the boundary.

    Without advection the operator is symmetric except under copy. The adjoint of advection is advection with -β.
    """
    if adjoint and isinstance(pde, AdvectionDiffusion):
        pde = AdvectionDiffusion(pde.alpha, -pde.beta)
    match boundary:
        case "periodic":
            return _on_ring(pde, u, steps)
        case "neumann":
            return _cosines(pde, u, steps)
        case "dirichlet":
            return _sines(pde, u, steps)
    return _sines_above_line(pde, u, steps, adjoint=adjoint)


def _on_ring(pde: Linear, u: Array, steps: int) -> Array:
    length = u.shape[-2]
    modes = jnp.fft.rfft(u, axis=-2)
    return jnp.fft.irfft(modes * transfer_function(pde, length, steps, u.ndim), n=length, axis=-2)


def _cosines(pde: Linear, u: Array, steps: int) -> Array:
    """Apply the transfer function to the cosine modes C_k.

    With V the FFT of the ring of T, e^{-iπk/2T} V_k = C_k - i C_{T-k} holds two cosine modes of T tokens.
    """
    length = u.shape[-2]
    odd = length // 2
    ring = jnp.concatenate([_every_other(u, 0), jnp.flip(_every_other(u, 1), -2)], axis=-2)
    modes = jnp.fft.rfft(ring, axis=-2)
    phase = _column(np.exp(-0.5j * np.pi * np.arange(odd + 1) / length), u.ndim).astype(modes.dtype)
    decay = transfer_function(pde, 2 * length, steps, u.ndim)  # of C_0 … C_T, the last of which is zero
    modes = modes * phase
    forward, mirrored = rows(decay, 0, odd + 1), jnp.flip(rows(decay, length - odd, length + 1), -2)
    modes = jax.lax.complex(modes.real * forward, modes.imag * mirrored) * np.conj(phase)
    ring = jnp.fft.irfft(modes, n=length, axis=-2)
    even = rows(ring, 0, length - odd)
    back = jnp.flip(rows(ring, length - odd, length), -2)
    back = jnp.concatenate([back, rows(even, odd, length - odd)], axis=-2)  # one row too many if T is odd
    return rows(jnp.stack([even, back], axis=-2).reshape(*u.shape[:-2], -1, u.shape[-1]), 0, length)


def _sines(pde: Linear, u: Array, steps: int) -> Array:
    zero = jnp.zeros_like(rows(u, 0, 1))
    ring = jnp.concatenate([zero, u, zero, -jnp.flip(u, -2)], axis=-2)
    return rows(_on_ring(pde, ring, steps), 1, u.shape[-2] + 1)


def _sines_above_line(pde: Linear, u: Array, steps: int, *, adjoint: bool) -> Array:
    """Evolve u minus the line through its two ends, which vanishes at both; the line does not change."""
    length = u.shape[-2]
    if length < 3:
        return u
    first, inner, last = rows(u, 0, 1), rows(u, 1, length - 1), rows(u, length - 1, length)
    slope = _column(np.linspace(0, 1, length)[1:-1], u.ndim).astype(u.dtype)
    if adjoint:
        after = _sines(pde, inner, steps)
        difference = inner - after
        first = first + jnp.sum((1 - slope) * difference, axis=-2, keepdims=True)
        last = last + jnp.sum(slope * difference, axis=-2, keepdims=True)
    else:
        line = first + slope * (last - first)
        after = line + _sines(pde, inner - line, steps)
    return jnp.concatenate([first, after, last], axis=-2)


def _every_other(u: Array, start: int) -> Array:
    return jax.lax.slice_in_dim(u, min(start, u.shape[-2]), None, stride=2, axis=-2)


def _column(x: np.ndarray, ndim: int) -> np.ndarray:
    return x.reshape((1,) * (ndim - 2) + (-1, 1))


def transfer_function(pde: Linear, length: int, steps: int, ndim: int) -> Array:
    """Return the factors by which n = `steps` steps multiply the modes of a ring of P tokens.

    The modes are ω = 2πk/P, k = 0 … P/2. With β⁺ = max(β, 0) and β⁻ = max(-β, 0)::

        diffusion             (1 - 4α sin²(ω/2))ⁿ
        advection-diffusion   (1 - 4α sin²(ω/2) + β⁺(e^{iω} - 1) + β⁻(e^{-iω} - 1))ⁿ
        wave                  T_n(1 - 2c² sin²(ω/2)) = cos(2n arcsin(c sin(ω/2)))

    Args:
        pde: a linear equation in units of the time step.
        length: the number of tokens P of the ring.
        steps: the number of steps n.
        ndim: the rank of the state.

    Returns:
        The factors `(..., P/2 + 1, D)`; complex with advection, else real.

    Raises:
        ValueError: the equation is none of the three.
    """
    if not isinstance(pde, Diffusion | Wave | AdvectionDiffusion):
        raise ValueError(
            f"the factors of the modes are written for Diffusion, Wave and AdvectionDiffusion, got "
            f"{type(pde).__name__}; use method 'scan', or add them to integrators.spectral."
        )
    half = _column(np.pi * np.arange(length // 2 + 1) / length, ndim)  # ω/2
    dtype = np.dtype(jnp.result_type(*jax.tree.leaves(pde)))
    sine, cosine = np.sin(half).astype(dtype), np.cos(half).astype(dtype)
    if isinstance(pde, Wave):
        return chebyshev(jnp.abs(pde.speed), sine, cosine, steps)
    decay = 1 - 4 * pde.alpha * sine**2
    if isinstance(pde, Diffusion):
        return decay**steps
    shift = jax.lax.complex(-2 * sine**2, 2 * sine * cosine)  # e^{iω} - 1, without cancellation
    drift = jnp.maximum(pde.beta, 0) * shift + jnp.maximum(-pde.beta, 0) * jnp.conj(shift)
    return (decay + drift) ** steps


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def chebyshev(c: Array, sine: np.ndarray, cosine: np.ndarray, steps: int) -> Array:
    """Return the Chebyshev polynomial T_n(1 - 2c² sine²) = cos(2nφ), where sin φ = c·sine.

    cos φ = sqrt((1-c)(1+c) + c² cosine²) keeps its digits where c·sine → 1. The derivative in c,
    -2n sine sin(2nφ)/cos φ, tends to 4n² (-1)ⁿ sine as cos φ → 0.

    Args:
        c: the Courant number, 0 ≤ c ≤ 1.
        sine: sin(ω/2) of every mode, 0 ≤ sine ≤ 1.
        cosine: cos(ω/2) of every mode.
        steps: the degree n.

    Returns:
        The values, `c` broadcast against `sine`.
    """
    return jnp.cos(2 * steps * jnp.arctan2(c * sine, _cosine_of_angle(c, cosine)))


def _cosine_of_angle(c: Array, cosine: np.ndarray) -> Array:
    return jnp.sqrt(jnp.maximum((1 - c) * (1 + c) + (c * cosine) ** 2, 0))


@chebyshev.defjvp
def _(
    sine: np.ndarray, cosine: np.ndarray, steps: int, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Any, Any]:
    (c,), (c_dot,) = primals, tangents
    cos_phi = _cosine_of_angle(c, cosine)
    at_pole = cos_phi < jnp.finfo(cos_phi.dtype).eps ** 0.5
    cos_phi = jnp.where(at_pole, 1, cos_phi)
    slope = -2 * steps * jnp.sin(2 * steps * jnp.arctan2(c * sine, cos_phi)) / cos_phi
    limit = 4.0 * steps**2 * (-1) ** steps
    return chebyshev(c, sine, cosine, steps), sine * jnp.where(at_pole, limit, slope) * c_dot

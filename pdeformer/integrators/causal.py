"""The causal forms: no output depends on a later token.

A two-sided stencil leaks, and a one-sided second difference is unstable, so n causal steps are defined as one
kernel: that of a diffusion on the half line of past tokens.

    Diffusion            y_t = Σ_{k=0..n} w_k u_{t-k},  w_k = g_n(k) + g_n(k+1)
    AdvectionDiffusion   first n shifts u_j ← (1 - |β|) u_j + |β| u_{j-1}, then that kernel

The first token of a run stands for all before it. Weights are ≥ 0 and sum to 1 in the stable set, so a causal
step never leaves the range of its input. n steps after m are not n + m.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pdeformer import stencil
from pdeformer.integrators.channel_blocks import in_parts
from pdeformer.integrators.convolution import convolve
from pdeformer.integrators.explicit import held, response
from pdeformer.pde import AdvectionDiffusion, Diffusion
from pdeformer.stencil import Path, rows

CausalLinear = Diffusion | AdvectionDiffusion


def integrate(pde: CausalLinear, u: Array, graph: Path, steps: int, *, adjoint: bool = False) -> Array:
    """The definition, on any segments: shift by shift, then tap by tap.

    Both are polynomials in one operator, the token before, so the transposed one serves the adjoint.
    """
    if isinstance(pde, AdvectionDiffusion):
        share = jnp.abs(pde.beta)

        def shift(x, _):
            return x + held(share) * (_previous(x, held(graph), adjoint=adjoint) - x), None

        u = jax.lax.scan(shift, u, length=steps)[0]
    weights = stencil.half_line_taps(response(Diffusion(pde.alpha), steps))
    return gather(u, weights, graph, adjoint=adjoint)


def gather(u: Array, kernel: Array, graph: Path, *, adjoint: bool = False) -> Array:
    """y_t = Σ_k kernel[k] u_{t-k}, one lag at a time; the first token of a run stands for all before it."""

    def tap(carry, weight):
        past, total = carry
        past = _previous(past, held(graph), adjoint=adjoint)
        return (past, total + weight * past), None

    later = jnp.moveaxis(rows(kernel, 1, kernel.shape[-2]), -2, 0)[..., None, :]
    return jax.lax.scan(tap, (u, rows(kernel, 0, 1) * u), later)[0][1]


def sensitivity(pde: CausalLinear, direction: CausalLinear, u: Array, graph: Path, steps: int) -> Array:
    """(∂M/∂c · ċ) u: M is one kernel, so its derivative is the derivative of the taps."""

    def part(u, pde, direction, graph):
        return gather(u, jax.jvp(lambda pde: taps(pde, steps), (pde,), (direction,))[1], graph)

    return in_parts(part, u, pde, direction, graph)


def _previous(u: Array, graph: Path, *, adjoint: bool = False) -> Array:
    """u_{j-1}, or u_j at the first token of a run; transposed, u_{j+1}, and the first token keeps its own."""
    length = u.shape[-2]
    if adjoint:
        following = jnp.concatenate([rows(u, 1, length), rows(u, length - 1, length)], axis=-2)
        return jnp.where(graph.right, following, 0) + jnp.where(graph.left, 0, u)
    before = jnp.concatenate([rows(u, 0, 1), rows(u, 0, length - 1)], axis=-2)
    return jnp.where(graph.left, before, u)


def taps(pde: CausalLinear, steps: int) -> Array:
    """The one kernel of all n steps, lag 0 first: n+1 taps, or 2n+1 with advection."""
    weights = stencil.half_line_taps(response(Diffusion(pde.alpha), steps))
    if not isinstance(pde, AdvectionDiffusion):
        return weights
    share = jnp.abs(pde.beta)
    lead = jnp.broadcast_shapes(weights.shape[:-2], share.shape[:-2])
    width = max(weights.shape[-1], share.shape[-1])
    kernel = jnp.zeros((*lead, 2 * steps + 1, width), weights.dtype).at[..., : steps + 1, :].add(weights)

    def shift(x, _):
        moved = jnp.concatenate([jnp.zeros_like(rows(x, 0, 1)), rows(x, 0, 2 * steps)], axis=-2)
        return x + share * (moved - x), None

    return jax.lax.scan(shift, kernel, length=steps)[0]


def apply(pde: CausalLinear, u: Array, graph: Path, steps: int, *, adjoint: bool = False) -> Array:
    """`taps` in one pass over a sequence without segments."""
    del graph  # without segments the only wall is before token 0
    kernel = taps(pde, steps)
    reach, length = kernel.shape[-2] - 1, u.shape[-2]
    if adjoint:
        return _adjoint(u, kernel)
    start = jnp.broadcast_to(rows(u, 0, 1), (*u.shape[:-2], reach, u.shape[-1]))
    if length <= reach:
        return convolve(jnp.concatenate([start, u], axis=-2), kernel)
    head = convolve(jnp.concatenate([start, rows(u, 0, reach)], axis=-2), kernel)
    return jnp.concatenate([head, convolve(u, kernel)], axis=-2)


def _adjoint(u: Array, kernel: Array) -> Array:
    """x_j = Σ_k c_k u_{j+k}; token 0 also gathers what reached before it: Σ_t u_t Σ_{k>t} c_k."""
    reach, length = kernel.shape[-2] - 1, u.shape[-2]
    backwards = jnp.flip(kernel, axis=-2)
    beyond = jnp.zeros((*u.shape[:-2], reach, u.shape[-1]), u.dtype)
    if length <= reach:
        x = convolve(jnp.concatenate([u, beyond], axis=-2), backwards)
    else:
        tail = convolve(jnp.concatenate([rows(u, length - reach, length), beyond], axis=-2), backwards)
        x = jnp.concatenate([convolve(u, backwards), tail], axis=-2)
    seen = min(reach, length)
    above = jnp.flip(jnp.cumsum(jnp.flip(rows(kernel, 1, reach + 1), -2), axis=-2), -2)
    first = jnp.sum(rows(u, 0, seen) * rows(above, 0, seen), axis=-2, keepdims=True)
    return jnp.concatenate([rows(x, 0, 1) + first, rows(x, 1, length)], axis=-2)

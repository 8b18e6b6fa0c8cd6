"""The causal forms: no output depends on a later token.

A two-sided stencil reads later tokens, and a one-sided second difference is unstable. So one kernel defines n
causal steps: that of a diffusion on the half line of past tokens.

    Diffusion            y_t = Σ_{k=0..n} w_k u_{t-k},  w_k = g_n(k) + g_n(k+1)
    AdvectionDiffusion   first n shifts u_j ← (1 - |β|) u_j + |β| u_{j-1}, then the same kernel

g_n are the taps of n heat steps. The tokens before a run have the value of its first token. In the stable set the
weights are ≥ 0 and sum to 1, so the output stays in the range of the input. The causal forms do not compose: n
steps after m steps differ from n + m steps.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pdeformer import stencil
from pdeformer.integrators.channel_blocks import map_channel_blocks
from pdeformer.integrators.convolution import convolve
from pdeformer.integrators.explicit import impulse_response, keep_inside_loop
from pdeformer.integrators.reflection import (
    find_runs,
    keep_padding,
    run_alone,
    store_on_cpu,
    take_tokens,
    without_padding,
)
from pdeformer.pde import AdvectionDiffusion, Diffusion
from pdeformer.stencil import Path, rows

CausalLinear = Diffusion | AdvectionDiffusion


def integrate(pde: CausalLinear, u: Array, graph: Path, steps: int, *, adjoint: bool = False) -> Array:
    """Compute the definition, on any segments: shift by shift, then tap by tap.

    Both stages are polynomials in one operator, the shift by one token. Its transpose gives the adjoint.
    Arguments and result are those of `explicit.integrate`.
    """
    if isinstance(pde, AdvectionDiffusion):
        rate = jnp.abs(pde.beta)

        def shift(x: Array, _: None) -> tuple[Array, None]:
            r = keep_inside_loop(rate)
            return x + r * (_previous(x, keep_inside_loop(graph), adjoint=adjoint) - x), None

        u = jax.lax.scan(shift, u, length=steps)[0]
    weights = stencil.half_line_taps(impulse_response(Diffusion(pde.alpha), steps))
    if adjoint and isinstance(pde, Diffusion):
        # In blocks, because XLA allocates two more states for the loop of the adjoint from jaxlib 0.11 on.
        return map_channel_blocks(partial(causal_convolution, adjoint=True), u, weights, graph)
    return causal_convolution(u, weights, graph, adjoint=adjoint)


def causal_convolution(u: Array, kernel: Array, graph: Path, *, adjoint: bool = False) -> Array:
    """Return y_t = Σ_k kernel[k] u_{t-k}, one lag at a time.

    The tokens before a run have the value of its first token.

    Args:
        u: the state `(..., T, D)`.
        kernel: the weights `(..., K, D)`, lag 0 first.
        graph: the path graph.
        adjoint: whether to apply the transposed convolution.

    Returns:
        The result, of the shape of `u`.
    """

    def add_lag(carry: tuple[Array, Array], weight: Array) -> tuple[tuple[Array, Array], None]:
        past, total = carry
        past = _previous(past, keep_inside_loop(graph), adjoint=adjoint)
        return (past, total + weight * past), None

    later = jnp.moveaxis(rows(kernel, 1, kernel.shape[-2]), -2, 0)[..., None, :]
    return jax.lax.scan(add_lag, (u, rows(kernel, 0, 1) * u), later)[0][1]


def sensitivity(pde: CausalLinear, direction: CausalLinear, u: Array, graph: Path, steps: int) -> Array:
    """Return (∂M/∂c · ċ) u; arguments are those of `explicit.sensitivity`.

    M is a convolution, so its derivative is the convolution with the derivative of the taps.
    """

    def compute_block(u: Array, pde: CausalLinear, direction: CausalLinear, graph: Path) -> Array:
        tangent = jax.jvp(lambda pde: taps(pde, steps), (pde,), (direction,))[1]
        return causal_convolution(u, tangent, graph)

    return map_channel_blocks(compute_block, u, pde, direction, graph)


def _previous(u: Array, graph: Path, *, adjoint: bool = False) -> Array:
    """Return u_{j-1}, or u_j at the first token of a run; the adjoint is the transpose of this shift."""
    length = u.shape[-2]
    if adjoint:
        following = jnp.concatenate([rows(u, 1, length), rows(u, length - 1, length)], axis=-2)
        return jnp.where(graph.right, following, 0) + jnp.where(graph.left, 0, u)
    before = jnp.concatenate([rows(u, 0, 1), rows(u, 0, length - 1)], axis=-2)
    return jnp.where(graph.left, before, u)


def taps(pde: CausalLinear, steps: int) -> Array:
    """Return the kernel of all n = `steps` steps, lag 0 first: n+1 taps, or 2n+1 with advection."""
    weights = stencil.half_line_taps(impulse_response(Diffusion(pde.alpha), steps))
    if not isinstance(pde, AdvectionDiffusion):
        return weights
    rate = jnp.abs(pde.beta)
    lead = jnp.broadcast_shapes(weights.shape[:-2], rate.shape[:-2])
    width = max(weights.shape[-1], rate.shape[-1])
    kernel = jnp.zeros_like(weights, shape=(*lead, 2 * steps + 1, width)).at[..., : steps + 1, :].add(weights)

    def shift(x: Array, _: None) -> tuple[Array, None]:
        delayed = jnp.concatenate([jnp.zeros_like(rows(x, 0, 1)), rows(x, 0, 2 * steps)], axis=-2)
        return x + rate * (delayed - x), None

    return jax.lax.scan(shift, kernel, length=steps)[0]


def apply(pde: CausalLinear, u: Array, graph: Path, steps: int, *, adjoint: bool = False) -> Array:
    """Compute `taps` in one convolution, on any segments; arguments and result are those of `explicit.integrate`.

    `u` may be shorter floats, and the result is in at least float32. Padding may hold any number and becomes 0.
    """
    kernel = taps(pde, steps)
    max_lag, length = kernel.shape[-2] - 1, u.shape[-2]
    if graph.valid is not None:
        return run_alone(partial(_convolve_runs, graph, adjoint=adjoint), u, kernel)
    if adjoint:
        return _adjoint(u, kernel)
    start = jnp.broadcast_to(rows(u, 0, 1), (*u.shape[:-2], max_lag, u.shape[-1]))
    if length <= max_lag:
        return convolve(jnp.concatenate([start, u], axis=-2), kernel)
    head = convolve(jnp.concatenate([start, rows(u, 0, max_lag)], axis=-2), kernel)
    return jnp.concatenate([head, convolve(u, kernel)], axis=-2)


def _convolve_runs(graph: Path, u: Array, kernel: Array, *, adjoint: bool) -> Array:
    """Convolve on all runs; padding does not change."""
    if graph.left.shape[-1] != 1 or u.shape[-1] == 1:
        after = causal_convolution(without_padding(u, graph), kernel, graph, adjoint=adjoint)
    elif adjoint:
        after = _sum_later_tokens(u, kernel, graph)
    else:
        after = _sum_earlier_tokens(u, kernel, graph)
    return keep_padding(u, after, graph)


def _sum_earlier_tokens(u: Array, kernel: Array, graph: Path) -> Array:
    """Return y_t = Σ_k c_k u_{max(t-k, a)}, where a is the first token of the run."""
    first, _, token = find_runs(graph)
    lags = range(kernel.shape[-2])
    index = store_on_cpu(*(jnp.maximum(token - k, first) for k in lags))
    terms = [rows(kernel, k, k + 1) * take_tokens(u, index[k]) for k in lags]
    return sum(terms[1:], terms[0])


def _sum_later_tokens(u: Array, kernel: Array, graph: Path) -> Array:
    """Return x_j = Σ_k c_k u_{j+k} within the run; its first token adds Σ_m u_{a+m} Σ_{k>m} c_k."""
    _, last, token = find_runs(graph)
    lags = range(kernel.shape[-2])
    later = jnp.flip(jnp.cumsum(jnp.flip(kernel, -2), axis=-2), -2)  # Σ_{k≥m} c_k
    index = store_on_cpu(*(jnp.minimum(token + k, last) for k in lags))

    def term(k: int) -> Array:
        weight = jnp.where(graph.left, rows(kernel, k, k + 1), rows(later, k, k + 1))
        return weight * jnp.where((token + k <= last)[..., None], take_tokens(u, index[k]), 0)

    terms = [term(k) for k in lags]
    return sum(terms[1:], terms[0])


def _adjoint(u: Array, kernel: Array) -> Array:
    """Return x_j = Σ_k c_k u_{j+k}; token 0 adds Σ_t u_t Σ_{k>t} c_k, for the tokens before it."""
    max_lag, length = kernel.shape[-2] - 1, u.shape[-2]
    backward = jnp.flip(kernel, axis=-2)
    zeros = jnp.zeros((*u.shape[:-2], max_lag, u.shape[-1]), u.dtype)
    if length <= max_lag:
        x = convolve(jnp.concatenate([u, zeros], axis=-2), backward)
    else:
        tail = convolve(jnp.concatenate([rows(u, length - max_lag, length), zeros], axis=-2), backward)
        x = jnp.concatenate([convolve(u, backward), tail], axis=-2)
    overlap = min(max_lag, length)
    tail_sums = jnp.flip(jnp.cumsum(jnp.flip(rows(kernel, 1, max_lag + 1), -2), axis=-2), -2)
    first = jnp.sum(rows(u, 0, overlap) * rows(tail_sums, 0, overlap), axis=-2, keepdims=True)
    return jnp.concatenate([rows(x, 0, 1) + first, rows(x, 1, length)], axis=-2)

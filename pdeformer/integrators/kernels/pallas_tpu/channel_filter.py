"""The filter: one diffusivity per channel, no segments.

With g the taps of n steps on the infinite line, and w_k = g(k) + g(k+1) those of the causal form::

    y_j = g(0) u_j + Σ_k g(k) (u_{j+k} + u_{j-k})       beyond a wall stands the mirror image; M is symmetric
    y_j = Σ_k w_k u_{j-k}                               causal; before the first token stands its value
    x_j = Σ_k w_k y_{j+k},  x_0 = Σ_k (Σ_{m≥k} w_m) y_k     its transpose; beyond the last token stand zeros

The backward pass takes the derivatives of the taps too.

    B batch, T tokens, D channels, n steps
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array

from pdeformer.integrators.explicit import impulse_response
from pdeformer.integrators.kernels.operator_steps import Operator
from pdeformer.integrators.kernels.pallas_tpu import halo_blocks
from pdeformer.integrators.kernels.pallas_tpu.halo_blocks import HALO, LANES
from pdeformer.pde import Diffusion
from pdeformer.stencil import half_line_taps, rows

STRIP = 64  # tokens that are computed at a time, so that their sums stay in registers


def apply(
    u: Array,
    alpha: Array,
    operator: Operator,
    *,
    interpret: Any = False,
) -> Array:
    """Take n steps with one diffusivity per channel, without segments.

    Args:
        u: the state `(B, T, D)`, T ≥ 128.
        alpha: the diffusivities in units of the time step, float32 `(D,)`.
        operator: the operator M, 1 ≤ n ≤ 16 steps.
        interpret: whether to interpret the kernel, as `pallas_call` takes it.

    Returns:
        The state after n steps, of the shape and dtype of `u`.
    """
    return _call(u, None, alpha, operator, interpret)[0]


def pull_back(
    cotangent: Array, u: Array, alpha: Array, operator: Operator, *, interpret: Any = False
) -> tuple[Array, Array]:
    """Return ū = Mᵀ ȳ and ᾱ = Σ u (∂M/∂α)ᵀ ȳ, float32 `(D,)`; arguments are those of `apply`."""
    u_bar, terms = _call(cotangent, u, alpha, operator.transposed, interpret)
    return u_bar, jnp.sum(terms, axis=(0, 1, 2))


def _call(u: Array, weight: Array | None, alpha: Array, operator: Operator, interpret: Any) -> Any:
    steps, causal, adjoint = operator

    def half(alpha: Array) -> Array:
        taps = impulse_response(Diffusion(alpha), steps)
        return half_line_taps(taps) if causal else rows(taps, steps, 2 * steps + 1)

    alpha = alpha.astype(jnp.float32).reshape(1, -1)
    taps = jnp.stack(jax.jvp(half, (alpha,), (jnp.ones_like(alpha),)))
    tiling = halo_blocks.make_tiling(*u.shape[1:])
    operands = [halo_blocks.in_chunks(taps, tiling)]
    sides = ((1,) if adjoint else (-1,)) if causal else (1, -1)
    kernel = partial(_kernel, length=u.shape[1], steps=steps, sides=sides, back=weight is not None)
    scratch = [((tiling.chunks, tiling.rows, LANES), jnp.float32)]
    return halo_blocks.call(kernel, u, weight, operands, scratch, interpret)


def _kernel(
    taps: Any,
    before: Any,
    here: Any,
    after: Any,
    *refs: Any,
    length: int,
    steps: int,
    sides: tuple[int, ...],
    back: bool,
) -> None:
    *rest, state = refs
    weight = rest.pop(0) if back else None
    outputs: list[Any] = [*rest, None]
    out, terms = outputs[:2]
    tokens, channels = here.shape
    for chunk, lanes in halo_blocks.chunks(channels):
        for span, part in halo_blocks.rows_with_halos(before, here, after):
            state[chunk, span, : lanes.stop - lanes.start] = part[:, lanes].astype(jnp.float32)
    _extend(state, length, steps, sides)
    if back:
        terms[...] = jnp.zeros_like(terms)
    for start in range(0, tokens, STRIP):
        strip, token = slice(start, start + STRIP), pl.program_id(1) * tokens + start

        @pl.when(token < length)
        def _(start: int = start, strip: slice = strip, token: Any = token) -> None:
            for chunk, lanes in halo_blocks.chunks(channels):
                width = lanes.stop - lanes.start
                sums = _convolve(state.at[chunk], taps.at[:, :, chunk], start, steps, sides, 1 + back)
                out[strip, lanes] = sums[0][:, :width].astype(out.dtype)
                if weight is not None:
                    product = sums[1][:, :width] * weight[strip, lanes].astype(jnp.float32)
                    inside = halo_blocks.inside_sequence(token, product.shape, length)
                    halo_blocks.add_terms(terms, lanes, product, inside)

    if sides == (1,):

        @pl.when(pl.program_id(1) == 0)
        def _() -> None:
            for chunk, lanes in halo_blocks.chunks(channels):
                width = lanes.stop - lanes.start
                sums, extra = _first_token(state.at[chunk], taps.at[:, :, chunk], steps, 1 + back)
                out[0:1, lanes] = sums[0][:, :width].astype(out.dtype)
                if weight is not None:
                    terms[:, lanes] += extra[1][:, :width] * weight[0:1, lanes].astype(jnp.float32)


def _convolve(x: Any, taps: Any, start: int, steps: int, sides: tuple[int, ...], orders: int) -> list[Array]:
    """Return a strip of the convolution with the taps, and with `orders` = 2 of that with their derivatives."""

    def shifted(k: int) -> Array:
        return x[pl.ds(HALO + start + k, STRIP)]

    sums = [taps[i, 0] * shifted(0) for i in range(orders)]
    for k in range(1, steps + 1):
        values = shifted(k) + shifted(-k) if len(sides) == 2 else shifted(sides[0] * k)
        sums = [total + taps[i, k] * values for i, total in enumerate(sums)]
    return sums


def _first_token(x: Any, taps: Any, steps: int, orders: int) -> tuple[list[Array], list[Array]]:
    """Return x_0 of the transpose of the causal form, and the part of it that `_convolve` lacks."""
    sums, extra = [], []
    for i in range(orders):
        later, total, lacking = 0.0, 0.0, 0.0
        for k in range(steps, -1, -1):
            value, tap = x[pl.ds(HALO + k, 1)], taps[i, k]
            lacking += later * value
            later += tap
            total += later * value
        sums.append(total)
        extra.append(lacking)
    return sums, extra


def _extend(state: Any, length: int, steps: int, sides: tuple[int, ...]) -> None:
    """Write n tokens beyond both ends of the sequence."""
    t, size = pl.program_id(1), state.shape[1]
    zeros = jnp.zeros((state.shape[0], 1, state.shape[2]), jnp.float32)

    if -1 in sides:

        @pl.when(t == 0)
        def _() -> None:
            for k in range(steps):
                image = k if 1 in sides else 0
                state[:, pl.ds(HALO - 1 - k, 1)] = state[:, pl.ds(HALO + image, 1)]

    for block, end in halo_blocks.split_ends(length, size - 2 * HALO):

        @pl.when(t == block)
        def _(end: int = end) -> None:
            for k in range(min(steps, size - end)):
                image = state[:, pl.ds(end - 1 - k, 1)] if -1 in sides else zeros
                state[:, pl.ds(end + k, 1)] = image

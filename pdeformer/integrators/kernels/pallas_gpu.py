"""Diffusion for NVIDIA GPUs: n steps in one kernel that reads the state once from memory and writes it once.

A program computes 64 tokens of some channels. With g the taps of n steps on the infinite line, w_k = g(k) + g(k+1),
and a and b the first and the last token of the run of token j::

    y_j = Σ_k g(k) u[m_k(j)]                  m_k(j) is met k places from j when the walls of the run reflect
    y_j = Σ_k w_k u[max(j - k, a)]            causal
    x_j = Σ_{k ≤ b - j} w_k y[j + k]          its transpose; at token a with Σ_{m ≥ k} w_m in place of w_k

The 2n + 1 reads of a token come from the cache. The backward pass is one kernel that makes ū = Mᵀ ȳ and, with the
derivatives of the taps, the terms of ᾱ = Σ u (∂M/∂α)ᵀ ȳ. Plain XLA reaches the same traffic in the forward pass of the
causal form, but moves 2.7 times three states in its backward pass.

The kernel is lowered by Triton. JAX 0.11 deprecates that lowering; its successor, Mosaic GPU, needs Hopper or later.

    B batch, T tokens, D channels, n steps
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array

from pdeformer.integrators.explicit import impulse_response
from pdeformer.integrators.kernels.operator_steps import Operator
from pdeformer.integrators.meshes import struct_like, vary_alike
from pdeformer.pde import Diffusion
from pdeformer.stencil import half_line_taps, rows

TOKENS = 64  # tokens of a program
CHANNELS = 64  # the most channels of a program


def apply(
    u: Array,
    alpha: Array,
    ends: tuple[Array, Array] | None,
    operator: Operator,
    *,
    interpret: Any = False,
) -> Array:
    """Take n steps of diffusion with Neumann walls.

    Args:
        u: the state `(B, T, D)`.
        alpha: the diffusivity in units of the time step, float32 `(1,)` or one per channel, `(D,)`.
        ends: the first and the last token of the run of every token, int32 `(B or 1, T)`, see
            `reflection.find_runs`; None is one run. The last token of padding is one before the first.
        operator: the operator M.
        interpret: whether to interpret the kernel, as `pallas_call` takes it.

    Returns:
        The state after n steps, of the shape and dtype of `u`.
    """
    return _call(u, None, alpha, ends, operator, interpret)[0]


def pull_back(
    cotangent: Array,
    u: Array,
    alpha: Array,
    ends: tuple[Array, Array] | None,
    operator: Operator,
    *,
    interpret: Any = False,
) -> tuple[Array, Array]:
    """Return ū = Mᵀ ȳ and ᾱ = Σ u (∂M/∂α)ᵀ ȳ, float32 `(D,)`; arguments are those of `apply`."""
    u_bar, terms = _call(cotangent, u, alpha, ends, operator.transposed, interpret)
    return u_bar, jnp.sum(terms, axis=(0, 1))


def _taps(alpha: Array, operator: Operator) -> Array:
    """Return the taps, their sums from k on, and the derivatives of both, `(4 (n + 1), D)`."""

    def taps(alpha: Array) -> Array:
        taps = impulse_response(Diffusion(alpha), operator.steps)
        taps = half_line_taps(taps) if operator.causal else rows(taps, operator.steps, 2 * operator.steps + 1)
        return jnp.concatenate([taps, jnp.flip(jnp.cumsum(jnp.flip(taps, 0), axis=0), 0)])

    return jnp.concatenate(jax.jvp(taps, (alpha,), (jnp.ones_like(alpha),)))


def _call(u: Array, weight: Array | None, alpha: Array, ends: Any, operator: Operator, interpret: Any) -> Any:
    batch, length, channels = u.shape
    taps = _taps(alpha.astype(jnp.float32).reshape(1, -1), operator)
    width = min(CHANNELS, pl.next_power_of_2(channels))
    blocks = pl.cdiv(length, TOKENS)
    state = pl.BlockSpec((None, length, channels), lambda b, t, d: (b, 0, 0))
    operands: list[tuple[Array, pl.BlockSpec]] = [(taps, pl.BlockSpec(taps.shape, lambda b, t, d: (0, 0)))]
    for end in ends or ():
        shared = end.shape[0] == 1
        index = (lambda b, t, d: (0, 0)) if shared else (lambda b, t, d: (b, 0))
        operands.append((end, pl.BlockSpec((None, length), index)))
    operands += [(x, state) for x in (u, weight) if x is not None]
    arrays, in_specs = zip(*operands, strict=True)
    arrays = vary_alike(*arrays)
    outputs, specs = [struct_like(arrays[0], u.shape, u.dtype)], [state]
    if weight is not None:
        outputs.append(struct_like(arrays[0], (batch, blocks, channels), jnp.float32))
        specs.append(pl.BlockSpec((None, None, channels), lambda b, t, d: (b, t, 0)))
    kernel = partial(
        _kernel,
        shape=(length, channels),
        width=width,
        operator=operator,
        segmented=ends is not None,
        back=weight is not None,
    )
    return pl.pallas_call(
        kernel,
        grid=(batch, blocks, pl.cdiv(channels, width)),
        in_specs=list(in_specs),
        out_specs=specs,
        out_shape=outputs,
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=2),
        interpret=interpret,
    )(*arrays)


def _kernel(
    taps: Any, *refs: Any, shape: tuple[int, int], width: int, operator: Operator, segmented: bool, back: bool
) -> None:
    length, channels = shape
    ends, refs = refs[: 2 * segmented], refs[2 * segmented :]
    state, *rest = refs
    weight = rest.pop(0) if back else None
    outputs: list[Any] = [*rest, None]
    out, terms = outputs[:2]
    token = pl.program_id(1) * TOKENS + jnp.arange(TOKENS)
    channel = pl.program_id(2) * width + jnp.arange(width)
    in_tokens, in_channels = token < length, channel < channels
    inside = in_tokens[:, None] & in_channels[None, :]
    place = jnp.minimum(token, length - 1)
    if segmented:
        first, last = (plgpu.load(end.at[place]) for end in ends)
        valid = last >= first
        first, last = jnp.where(valid, first, place), jnp.where(valid, last, place)
    else:
        valid, first, last = None, jnp.zeros_like(place), jnp.full_like(place, length - 1)

    def take(index: Array, mask: Array = inside) -> Array:
        values = plgpu.load(state.at[index[:, None], channel[None, :]], mask=mask, other=0)
        return values.astype(jnp.float32)

    def tap(block: int, k: int) -> Array:
        row = block * (operator.steps + 1) + k
        if taps.shape[1] == 1:
            return taps[row, 0]
        at = taps.at[jnp.full_like(channel, row), channel]
        return plgpu.load(at, mask=in_channels, other=0)[None, :]

    def values(k: int) -> Array:
        if not operator.causal:
            pair = take(_reflect(place, first, last, k))
            return pair if k == 0 else pair + take(_reflect(place, first, last, -k))
        if operator.adjoint:
            return take(jnp.minimum(place + k, last), inside & (place + k <= last)[:, None])
        return take(jnp.maximum(place - k, first))

    def weights(i: int, k: int) -> Array:
        if not (operator.causal and operator.adjoint):
            return tap(2 * i, k)
        return jnp.where((place == first)[:, None], tap(2 * i + 1, k), tap(2 * i, k))

    middle = values(0)
    sums = [weights(i, 0) * middle for i in range(1 + back)]
    for k in range(1, operator.steps + 1):
        x = values(k)
        sums = [total + weights(i, k) * x for i, total in enumerate(sums)]
    y = sums[0] if valid is None else jnp.where(valid[:, None], sums[0], middle)
    at = (token[:, None], channel[None, :])
    plgpu.store(out.at[at], y.astype(out.dtype), mask=inside)
    if weight is not None:
        used = inside if valid is None else inside & valid[:, None]
        product = sums[1] * plgpu.load(weight.at[at], mask=used, other=0).astype(jnp.float32)
        plgpu.store(terms.at[channel], jnp.sum(jnp.where(used, product, 0), axis=0), mask=in_channels)


def _reflect(place: Array, first: Array, last: Array, k: int) -> Array:
    """Return the token that is met k places from token `place` when the walls of its run reflect."""
    size = last - first + 1
    offset = (place - first + k) % (2 * size)
    offset = jnp.where(offset < 0, offset + 2 * size, offset)
    return first + jnp.minimum(offset, 2 * size - 1 - offset)

"""Diffusion for NVIDIA GPUs: n steps in one kernel that reads the state once from memory and writes it once.

A program computes 64 tokens of some channels by the formula of `reflection` for Neumann walls,
y_j = Σ_k g(k) u[m_k(j)], where m_k(j) is the token that is met k places from token j when the walls of its run reflect.
The 2n + 1 reads of a token come from the cache. M is symmetric. The backward pass is one kernel that makes ū = M ȳ and,
with the derivatives of the taps, the terms of ᾱ = Σ u (∂M/∂α) ȳ.

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
from pdeformer.integrators.meshes import struct_like, vary_alike
from pdeformer.pde import Diffusion
from pdeformer.stencil import rows

TOKENS = 64  # tokens of a program
CHANNELS = 64  # the most channels of a program


def apply(
    u: Array, alpha: Array, ends: tuple[Array, Array] | None, steps: int, *, interpret: Any = False
) -> Array:
    """Take n steps of diffusion with Neumann walls.

    Args:
        u: the state `(B, T, D)`.
        alpha: the diffusivity in units of the time step, float32 `(1,)` or one per channel, `(D,)`.
        ends: the first and the last token of the run of every token, int32 `(B or 1, T)`, see
            `reflection.find_runs`; None is one run. The last token of padding is one before the first.
        steps: the number of steps n ≥ 1.
        interpret: whether to interpret the kernel, as `pallas_call` takes it.

    Returns:
        The state after n steps, of the shape and dtype of `u`.
    """
    return _call(u, None, alpha, ends, steps, interpret)[0]


def pull_back(
    cotangent: Array,
    u: Array,
    alpha: Array,
    ends: tuple[Array, Array] | None,
    steps: int,
    *,
    interpret: Any = False,
) -> tuple[Array, Array]:
    """Return ū = M ȳ and ᾱ = Σ u (∂M/∂α) ȳ, float32 `(D,)`; arguments are those of `apply`."""
    u_bar, terms = _call(cotangent, u, alpha, ends, steps, interpret)
    return u_bar, jnp.sum(terms, axis=(0, 1))


def _call(u: Array, weight: Array | None, alpha: Array, ends: Any, steps: int, interpret: Any) -> Any:
    def half(alpha: Array) -> Array:
        return rows(impulse_response(Diffusion(alpha), steps), steps, 2 * steps + 1)

    batch, length, channels = u.shape
    alpha = alpha.astype(jnp.float32).reshape(1, -1)
    taps = jnp.concatenate(
        jax.jvp(half, (alpha,), (jnp.ones_like(alpha),))
    )  # row k, and their derivatives below
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
        steps=steps,
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
    taps: Any, *refs: Any, shape: tuple[int, int], width: int, steps: int, segmented: bool, back: bool
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
    size = last - first + 1

    def take(k: int) -> Array:
        offset = (place - first + k) % (2 * size)
        offset = jnp.where(offset < 0, offset + 2 * size, offset)
        index = first + jnp.minimum(offset, 2 * size - 1 - offset)
        values = plgpu.load(state.at[index[:, None], channel[None, :]], mask=inside, other=0)
        return values.astype(jnp.float32)

    def tap(i: int, k: int) -> Array:
        row = i * (steps + 1) + k
        if taps.shape[1] == 1:
            return taps[row, 0]
        at = taps.at[jnp.full_like(channel, row), channel]
        return plgpu.load(at, mask=in_channels, other=0)[None, :]

    middle = take(0)
    y, change = tap(0, 0) * middle, tap(1, 0) * middle
    for k in range(1, steps + 1):
        pair = take(k) + take(-k)
        y += tap(0, k) * pair
        if back:
            change += tap(1, k) * pair
    if valid is not None:
        y = jnp.where(valid[:, None], y, middle)
    at = (token[:, None], channel[None, :])
    plgpu.store(out.at[at], y.astype(out.dtype), mask=inside)
    if weight is not None:
        used = inside if valid is None else inside & valid[:, None]
        product = change * plgpu.load(weight.at[at], mask=used, other=0).astype(jnp.float32)
        plgpu.store(terms.at[channel], jnp.sum(jnp.where(used, product, 0), axis=0), mask=in_channels)

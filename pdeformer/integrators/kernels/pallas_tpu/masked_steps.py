"""The steps: one diffusivity per channel with segments; n masked steps in fast memory.

With e = 1 for an edge, else 0, a step of diffusion and the shift S of the causal form are::

    u_j ← u_j + α (e_{j,j+1} (u_{j+1} - u_j) + e_{j,j-1} (u_{j-1} - u_j))
    (S u)_j  = u_j + e_{j,j-1} (u_{j-1} - u_j)
    (Sᵀ u)_j = e_{j,j+1} u_{j+1} + (1 - e_{j,j-1}) u_j

The causal form Σ_k w_k Sᵏ u is computed by Horner's rule, w_0 u + S (w_1 u + S (w_2 u + …)). Derivatives in α are
n (I + αL)^{n-1} L u of a diffusion, and the causal form with the derivatives of the weights.

    B batch, T tokens, D channels, n steps
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Int

from pdeformer.integrators.explicit import impulse_response
from pdeformer.integrators.kernels.operator_steps import Operator
from pdeformer.integrators.kernels.pallas_tpu import edge_codes, halo_blocks
from pdeformer.integrators.kernels.pallas_tpu.edge_codes import LEFT, RIGHT, VALID
from pdeformer.integrators.kernels.pallas_tpu.halo_blocks import HALO, LANES
from pdeformer.pde import Diffusion
from pdeformer.stencil import half_line_taps

STRIP = 64  # tokens that are computed at a time
MARGIN = 8  # rows of a buffer above and below the block and its halos, which may hold any number


def apply(
    u: Array,
    alpha: Array,
    codes: Int[Array, "b t"],
    operator: Operator,
    *,
    interpret: Any = False,
) -> Array:
    """Take n steps of one diffusivity per channel with segments.

    Args:
        u: the state `(B, T, D)`, T ≥ 128.
        alpha: the diffusivities in units of the time step, float32 `(D,)`.
        codes: the edges of every token, see `encode_edges`.
        operator: the operator M, 1 ≤ n ≤ 16 steps.
        interpret: whether to interpret the kernel, as `pallas_call` takes it.

    Returns:
        The state after n steps, of the shape and dtype of `u`.
    """
    return _call(u, None, alpha, codes, operator, interpret)[0]


def pull_back(
    cotangent: Array,
    u: Array,
    alpha: Array,
    codes: Array,
    operator: Operator,
    *,
    interpret: Any = False,
) -> tuple[Array, Array]:
    """Return ū = Mᵀ ȳ and ᾱ = Σ u (∂M/∂α)ᵀ ȳ, float32 `(D,)`; arguments are those of `apply`."""
    u_bar, terms = _call(cotangent, u, alpha, codes, operator.transposed, interpret)
    return u_bar, jnp.sum(terms, axis=(0, 1, 2))


def _call(
    u: Array,
    weight: Array | None,
    alpha: Array,
    codes: Array,
    operator: Operator,
    interpret: Any,
) -> Any:
    steps, causal, adjoint = operator
    tiling = halo_blocks.make_tiling(*u.shape[1:])
    back = weight is not None
    weights = halo_blocks.in_chunks(_weights(alpha, steps, causal=causal), tiling)
    operands = [weights, edge_codes.codes_of_blocks(codes, tiling)]
    rows = tiling.rows + 2 * MARGIN
    scratch: list[tuple[tuple[int, ...], Any]] = [
        ((2 + (causal and back), tiling.chunks, rows, LANES), jnp.float32),
        ((3, rows, LANES), jnp.float32),
    ]
    kernel = partial(_kernel, steps=steps, causal=causal, adjoint=adjoint, back=back)
    return halo_blocks.call(kernel, u, weight, operands, scratch, interpret)


def _weights(alpha: Array, steps: int, *, causal: bool) -> Array:
    """Return α, `(1, 1, D)`, or in the causal form the n+1 weights and their derivatives, `(2, n+1, D)`."""
    alpha = alpha.astype(jnp.float32).reshape(1, -1)

    def taps(alpha: Array) -> Array:
        return half_line_taps(impulse_response(Diffusion(alpha), steps))

    return jnp.stack(jax.jvp(taps, (alpha,), (jnp.ones_like(alpha),))) if causal else alpha[None]


def _kernel(
    weights: Any,
    codes: Any,
    before: Any,
    here: Any,
    after: Any,
    *refs: Any,
    steps: int,
    causal: bool,
    adjoint: bool,
    back: bool,
) -> None:
    *rest, buffers, edges = refs
    weight = rest.pop(0) if back else None
    outputs: list[Any] = [*rest, None]
    out, terms = outputs[:2]
    tokens, channels = here.shape
    for i, bit in enumerate((LEFT, RIGHT, VALID)):
        edge_codes.write_columns(codes, bit, edges.at[i, pl.ds(MARGIN, tokens + 2 * HALO)])
    left, right, valid = (edges.at[i] for i in range(3))
    for chunk, lanes in halo_blocks.chunks(channels):
        width = lanes.stop - lanes.start
        for span, part in halo_blocks.rows_with_halos(before, here, after):
            place = _moved(span, MARGIN)
            x = jnp.where(valid[place, :width] > 0, part[:, lanes].astype(jnp.float32), 0)
            buffers[0, chunk, place, :width] = x
    if back:
        terms[...] = jnp.zeros_like(terms)
    states = [buffers.at[i] for i in range(buffers.shape[0])]
    if causal:
        strips = _sum_shifts(weights, states, left, right, tokens, steps, adjoint=adjoint)
    else:
        strips = _diffuse(weights[0, 0], states, left, right, tokens, steps)
    for strip, y, change in strips:
        token = _moved(strip, -MARGIN - HALO)
        for chunk, lanes in halo_blocks.chunks(channels):
            width = lanes.stop - lanes.start
            is_valid = valid[strip, :width] > 0
            unchanged = here[token, lanes].astype(jnp.float32)
            out[token, lanes] = jnp.where(is_valid, y[chunk, :, :width], unchanged).astype(out.dtype)
            if weight is not None:
                product = change[chunk, :, :width] * weight[token, lanes].astype(jnp.float32)
                halo_blocks.add_terms(terms, lanes, product, is_valid)


def _strips(tokens: int, reach: int = HALO) -> list[slice]:
    """Return the strips of rows of a buffer that hold the tokens of a block and `reach` more on both sides."""
    first, stop = MARGIN + HALO - reach, MARGIN + HALO + tokens + reach
    return [slice(start, min(start + STRIP, stop)) for start in range(first, stop, STRIP)]


def _moved(rows: slice, by: int) -> slice:
    return slice(rows.start + by, rows.stop + by)


def _diffuse(
    alpha: Array, states: list[Any], left: Any, right: Any, tokens: int, steps: int
) -> Iterator[tuple[slice, Array, Array]]:
    """Yield strips of the state after all steps, and of its derivative in α, each `(chunks, rows, 128)`."""
    first, second = states

    def increment(state: Any, strip: slice) -> tuple[Array, Array]:
        u = state[:, strip]
        to_right, to_left = state[:, _moved(strip, 1)] - u, state[:, _moved(strip, -1)] - u
        return u, right[strip][None] * to_right + left[strip][None] * to_left

    def step(state: Any, following: Any) -> None:
        for strip in _strips(tokens):
            u, change = increment(state, strip)
            following[:, strip] = u + alpha * change

    @pl.loop(0, (steps - 1) // 2)
    def _(_: Array) -> None:
        step(first, second)
        step(second, first)

    if steps % 2 == 0:
        step(first, second)
    for strip in _strips(tokens, 0):
        u, change = increment(second if steps % 2 == 0 else first, strip)
        yield strip, u + alpha * change, steps * change


def _sum_shifts(
    weights: Any, states: list[Any], left: Any, right: Any, tokens: int, steps: int, *, adjoint: bool
) -> Iterator[tuple[slice, Array, Array]]:
    """Yield strips of Σ_k w_k Sᵏ u, or of its transpose, and with a third buffer of the sum with derivatives of w.

    The sums are updated in place, each strip before the one from which it reads a token.
    """
    state, *sums = states

    def ordered(strips: list[slice]) -> list[slice]:
        return strips if adjoint else strips[::-1]

    def add_weighted(k: Any, strip: slice) -> list[Array]:
        u, to_left = state[:, strip], left[strip][None]
        updated = []
        for i, total in enumerate(sums):
            x = total[:, strip]
            if adjoint:
                shifted = x + right[strip][None] * total[:, _moved(strip, 1)] - to_left * x
            else:
                shifted = x + to_left * (total[:, _moved(strip, -1)] - x)
            updated.append(weights[i, k] * u + shifted)
        return updated

    for strip in _strips(tokens):
        for i, total in enumerate(sums):
            total[:, strip] = weights[i, steps] * state[:, strip]

    @pl.loop(1, steps)
    def _(k: Array) -> None:
        for strip in ordered(_strips(tokens)):
            for total, x in zip(sums, add_weighted(steps - k, strip), strict=True):
                total[:, strip] = x

    for strip in _strips(tokens, 0):
        y, *change = add_weighted(0, strip)
        yield strip, y, change[-1] if change else y

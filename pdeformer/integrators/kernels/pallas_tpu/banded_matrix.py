"""The matrix: one diffusivity; the rows of M of 128 tokens are a matrix of 128 x 160 for the matrix unit.

Any number of steps up to 16 then costs the same. Without segments the matrices come from a table of the first, the last
two and all other tiles. With segments the kernel computes the diagonals of M from the edges of its tokens. A bfloat16
state meets a matrix in two parts of bfloat16, which have 16 bits.

    B batch, T tokens, D channels, n steps
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Int

from pdeformer.integrators.kernels.operator_steps import Operator
from pdeformer.integrators.kernels.pallas_tpu import edge_codes, halo_blocks, operator_diagonals
from pdeformer.integrators.kernels.pallas_tpu.edge_codes import VALID
from pdeformer.integrators.kernels.pallas_tpu.halo_blocks import HALO, LANES, TILE
from pdeformer.integrators.kernels.pallas_tpu.operator_diagonals import WIDTH


def apply(
    u: Array,
    alpha: Array,
    codes: Int[Array, "b t"] | None,
    operator: Operator,
    *,
    interpret: Any = False,
) -> Array:
    """Take n steps of one diffusivity.

    Args:
        u: the state `(B, T, D)`, T ≥ 128.
        alpha: the diffusivity in units of the time step, a float32 scalar.
        codes: the edges of every token, see `encode_edges`; None is one run.
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
    codes: Array | None,
    operator: Operator,
    *,
    interpret: Any = False,
) -> tuple[Array, Array]:
    """Return ū = Mᵀ ȳ and the float32 scalar ᾱ = Σ u (∂M/∂α)ᵀ ȳ; arguments are those of `apply`."""
    u_bar, terms = _call(cotangent, u, alpha, codes, operator.transposed, interpret)
    return u_bar, jnp.sum(terms)


def _call(
    u: Array, weight: Array | None, alpha: Array, codes: Array | None, operator: Operator, interpret: Any
) -> Any:
    length = u.shape[1]
    tiling = halo_blocks.make_tiling(*u.shape[1:])
    weights = operator_diagonals.make_weights(alpha, operator)
    scratch: list[tuple[tuple[int, ...], Any]] = [((tiling.rows, tiling.channels), u.dtype)]
    options: dict[str, Any] = dict(length=length, operator=operator, back=weight is not None)
    if codes is None:
        kernel, operands = (
            partial(_kernel, **options),
            [operator_diagonals.make_table(weights, length, operator, interpret)],
        )
    else:
        kernel = partial(_segments_kernel, **options)
        smem = pl.BlockSpec(memory_space=pltpu.SMEM)
        operands = [(weights, smem), edge_codes.codes_of_blocks(codes, tiling)]
        scratch.append(((tiling.rows, LANES), jnp.float32))
    return halo_blocks.call(kernel, u, weight, operands, scratch, interpret)


def _kernel(
    table: Any, before: Any, here: Any, after: Any, *refs: Any, length: int, operator: Operator, back: bool
) -> None:
    """Compute a block of one run."""
    del operator
    *rest, state = refs
    weight = rest.pop(0) if back else None
    outputs: list[Any] = [*rest, None]
    out, terms = outputs[:2]
    tokens, channels = here.shape
    for span, part in halo_blocks.rows_with_halos(before, here, after):
        state[span] = part[...]
    _clear_outside(state, length)
    if back:
        terms[...] = jnp.zeros_like(terms)
    for start in range(0, tokens, TILE):
        tile = pl.program_id(1) * (tokens // TILE) + start // TILE
        kind, inner = operator_diagonals.table_entry(tile, pl.cdiv(length, TILE)), slice(start, start + TILE)
        x = state[start : start + WIDTH]
        out[inner] = _multiply(table[kind, 0], x).astype(out.dtype)
        if weight is not None:
            product = _multiply(table[kind, 1], x) * weight[inner].astype(jnp.float32)
            inside = halo_blocks.inside_sequence(tile * TILE, product.shape, length)
            halo_blocks.add_terms(terms, slice(0, channels), product, inside)


def _segments_kernel(
    weights: Any,
    codes: Any,
    before: Any,
    here: Any,
    after: Any,
    *refs: Any,
    length: int,
    operator: Operator,
    back: bool,
) -> None:
    """Compute a block with segments."""
    del length
    *rest, state, valid = refs
    weight = rest.pop(0) if back else None
    outputs: list[Any] = [*rest, None]
    out, terms = outputs[:2]
    tokens, channels = here.shape
    edge_codes.write_columns(codes, VALID, valid)
    for _, lanes in halo_blocks.chunks(channels):
        width = lanes.stop - lanes.start
        for span, part in halo_blocks.rows_with_halos(before, here, after):
            x = jnp.where(valid[span, :width] > 0, part[:, lanes].astype(jnp.float32), 0)
            state[span, lanes] = x.astype(state.dtype)
    if back:
        terms[...] = jnp.zeros_like(terms)
    diagonals = operator_diagonals.make_diagonals(codes[...], weights, operator)
    for start in range(0, tokens, TILE):
        inner = slice(start, start + TILE)
        x = state[start : start + WIDTH]
        y = _multiply(operator_diagonals.to_matrix(diagonals[0][:, inner], operator), x)
        for _, lanes in halo_blocks.chunks(channels):
            is_valid = valid[HALO + start : HALO + start + TILE, : lanes.stop - lanes.start] > 0
            unchanged = here[inner, lanes].astype(jnp.float32)
            out[inner, lanes] = jnp.where(is_valid, y[:, lanes], unchanged).astype(out.dtype)
        if weight is not None:
            change = _multiply(operator_diagonals.to_matrix(diagonals[1][:, inner], operator), x)
            for _, lanes in halo_blocks.chunks(channels):
                is_valid = valid[HALO + start : HALO + start + TILE, : lanes.stop - lanes.start] > 0
                product = change[:, lanes] * weight[inner, lanes].astype(jnp.float32)
                halo_blocks.add_terms(terms, lanes, product, is_valid)


def _clear_outside(state: Any, length: int) -> None:
    """Write zeros beyond both ends of the sequence, where any number may stand."""
    t, size = pl.program_id(1), state.shape[0]

    @pl.when(t == 0)
    def _() -> None:
        state[:HALO] = jnp.zeros((HALO, state.shape[1]), state.dtype)

    for block, end in halo_blocks.split_ends(length, size - 2 * HALO):

        @pl.when(t == block)
        def _(end: int = end) -> None:
            start = end // HALO * HALO
            x = state[start:].astype(jnp.float32)
            row = start + jax.lax.broadcasted_iota(jnp.int32, x.shape, 0)
            state[start:] = jnp.where(row < end, x, 0).astype(state.dtype)


def _multiply(matrix: Array, x: Array) -> Array:
    """Return matrix @ x in float32: of bfloat16 by both parts of the matrix, of float32 with all digits."""
    if x.dtype != jnp.bfloat16:
        return jnp.dot(matrix, x, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
    high = matrix.astype(jnp.bfloat16)
    low = (matrix - high.astype(jnp.float32)).astype(jnp.bfloat16)
    return jnp.dot(high, x, preferred_element_type=jnp.float32) + jnp.dot(
        low, x, preferred_element_type=jnp.float32
    )

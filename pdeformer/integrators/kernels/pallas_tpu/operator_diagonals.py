"""The operator of n steps as its diagonals, and as a matrix.

M is banded, and a few registers hold its diagonals for a whole block::

    X[k, j] = M[j, j + k - c]      c = 8 or 16 ≥ n, k = 0 … 2c: a diagonal per row, a token per column

A product with the matrix of one step adds neighboring diagonals. A transposition makes each token a row, and a rotation
of row j by j puts the diagonals in their places. For a diffusion ∂M/∂α = n (I + αL)^{n-1} L.

    n steps
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array

from pdeformer.integrators.explicit import impulse_response
from pdeformer.integrators.kernels.operator_steps import Operator
from pdeformer.integrators.kernels.pallas_tpu import edge_codes
from pdeformer.integrators.kernels.pallas_tpu.edge_codes import LEFT, RIGHT
from pdeformer.integrators.kernels.pallas_tpu.halo_blocks import HALO, LANES, TILE
from pdeformer.integrators.meshes import struct_like, vary_alike
from pdeformer.pde import Diffusion
from pdeformer.stencil import half_line_taps

WIDTH = TILE + 2 * HALO  # tokens that a tile reads


def make_diagonals(code: Array, weights: Any, operator: Operator) -> tuple[Array, Array]:
    """Return, inside a kernel, the diagonals of M and of ∂M/∂α, `(2c + 8, J)`.

    With e = 1 for an edge, else 0, a product of a matrix X with a matrix of one step is::

        X L      F_i - F_{i-1},  F_i = e_{i,i+1} (X_{j,i+1} - X_ji)
        X S      e_{i,i+1} X_{j,i+1} + (1 - e_{i,i-1}) X_ji      S shifts by one token, but not beyond a wall
        X Sᵀ     e_{i,i-1} X_{j,i-1} + (1 - e_{i,i-1}) X_ji

    Args:
        code: the codes of the tokens, `(1, J + 128)`; column 16 is that of the first token j.
        weights: of a diffusion α, `(1, 1)`; in the causal form the n+1 weights and their derivatives, `(2, n+1)`.
        operator: the operator.
    """
    center = _center(operator)
    size, length = 2 * center + 8, code.shape[-1]
    columns = length - TILE
    shape = (size, length)
    row = jax.lax.broadcasted_iota(jnp.int32, shape, 0)
    if center < HALO:
        code = pltpu.roll(code, length + center - HALO, 1)
    code = jnp.broadcast_to(code, shape)
    for bit in (1, 2, 4, 8, 16, 32):  # row k moves by k: its column j becomes the code of token j + k - c
        if bit < size:
            code = jnp.where(row & bit != 0, pltpu.roll(code, length - bit, 1), code)
    code, row = code[:, :columns], row[:, :columns]
    left, right = ((code & bit != 0).astype(jnp.float32) for bit in (LEFT, RIGHT))
    matrix = (row == center).astype(jnp.float32)

    def before(x: Array) -> Array:
        return pltpu.roll(x, 1, 0)

    def after(x: Array) -> Array:
        return pltpu.roll(x, size - 1, 0)

    def laplacian(x: Array) -> Array:
        flux = right * (after(x) - x)
        return flux - before(flux)

    def shift(x: Array) -> Array:
        moved = left * before(x) if operator.adjoint else right * after(x)
        return moved + (1 - left) * x

    if operator.causal:
        sums = [weights[i, 0] * matrix for i in range(2)]
        for k in range(1, operator.steps + 1):
            matrix = shift(matrix)
            sums = [total + weights[i, k] * matrix for i, total in enumerate(sums)]
        return sums[0], sums[1]
    alpha = weights[0, 0]
    for _ in range(operator.steps - 1):
        matrix = matrix + alpha * laplacian(matrix)
    change = laplacian(matrix)
    return matrix + alpha * change, operator.steps * change


def _center(operator: Operator) -> int:
    """Return the row of the main diagonal among the diagonals."""
    return pl.cdiv(operator.steps, 8) * 8


def to_matrix(diagonals: Array, operator: Operator) -> Array:
    """Return the matrix of a tile, `(128, 160)`, column i for token i - 16, from its diagonals `(2c + 8, 128)`."""
    rest = jnp.zeros((TILE - diagonals.shape[0], TILE), diagonals.dtype)
    rows = jnp.concatenate([diagonals, rest]).T
    rows = jnp.concatenate([rows, jnp.zeros_like(rows)], axis=1)
    return pltpu.roll(rows, HALO - _center(operator), 1, stride=1, stride_axis=0)[:, :WIDTH]


def make_weights(alpha: Array, operator: Operator) -> Array:
    """Return the numbers of which `make_diagonals` makes the operator."""
    alpha = alpha.astype(jnp.float32).reshape(1, 1)
    if not operator.causal:
        return alpha

    def taps(alpha: Array) -> Array:
        return half_line_taps(impulse_response(Diffusion(alpha), operator.steps))[:, 0]

    return jnp.stack(jax.jvp(taps, (alpha,), (jnp.ones_like(alpha),)))


def make_table(weights: Array, length: int, operator: Operator, interpret: Any) -> tuple[Array, pl.BlockSpec]:
    """Return M and ∂M/∂α of the tiles of one run: of its first, any inner, the last but one and the last."""
    tiles = pl.cdiv(length, TILE)
    kinds = jnp.arange(min(tiles, 4))
    kinds = jnp.where(kinds < 2, kinds, kinds + max(tiles, 4) - 4)
    token = TILE * kinds[:, None, None] - HALO + jnp.arange(2 * LANES)[None, None]
    weights, codes = vary_alike(weights, edge_codes.encode_run(token, length))

    def kernel(weights: Any, codes: Any, matrices: Any) -> None:
        for i, diagonals in enumerate(make_diagonals(codes[...], weights, operator)):
            matrices[i] = to_matrix(diagonals, operator)

    shape = (2, TILE, WIDTH)
    table = pl.pallas_call(
        kernel,
        grid=kinds.shape,
        in_specs=[
            pl.BlockSpec(memory_space=pltpu.SMEM),
            pl.BlockSpec((None, *codes.shape[1:]), lambda kind: (kind, 0, 0)),
        ],
        out_specs=pl.BlockSpec((None, *shape), lambda kind: (kind, 0, 0, 0)),
        out_shape=struct_like(weights, (*kinds.shape, *shape), jnp.float32),
        interpret=interpret,
    )(weights, codes)
    return table, pl.BlockSpec(table.shape, lambda b, t, d: (0, 0, 0, 0))


def table_entry(tile: Array, tiles: int) -> Array:
    """Return the entry of `make_table` of a tile; tiles beyond the last one are not used."""
    if tiles <= 4:
        return jnp.minimum(tile, tiles - 1)
    return jnp.where(tile == 0, 0, jnp.where(tile < tiles - 2, 1, jnp.minimum(tile - tiles + 4, 3)))

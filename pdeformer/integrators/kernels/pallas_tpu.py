"""Diffusion for TPU: n steps in one kernel that reads the state once and writes it once.

Rows of 512 tokens pass through fast memory, each with a halo of 16 tokens. Two forms of the operator M of n steps:

    matrix    one diffusivity: the rows of M of 128 tokens are a matrix of 128 x 160 for the matrix unit, so that any
              number of steps up to 16 costs the same. Without segments the matrices come from a table of the first,
              the last two and all other tiles. With segments the kernel computes each from the edges of its tokens.
    filter    one diffusivity per channel, no segments: 2n + 1 taps, symmetric pairs added first, beyond a wall the
              mirror image

M of a diffusion is symmetric. The backward pass is one kernel too: of the cotangent ȳ and the state u it makes
ū = M ȳ and the terms of ᾱ = Σ u (∂M/∂α) ȳ. For the matrix ∂M/∂α = n (I + αL)^{n-1} L, and the filter takes the
derivatives of its taps. The causal form has a matrix too, with the transpose in the backward pass.

The arithmetic is that of float32. A bfloat16 state meets a matrix in two parts of bfloat16, which have 16 bits.

    B batch, T tokens, D channels, n steps
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Int

from pdeformer.integrators.explicit import impulse_response
from pdeformer.integrators.meshes import struct_like, vary_alike
from pdeformer.pde import Diffusion
from pdeformer.stencil import half_line_taps, rows

HALO = 16  # tokens beside a row of tokens; also the largest number of steps
TILE = 128  # tokens of one product
WIDTH = TILE + 2 * HALO  # tokens that a tile reads
LANES = 2 * TILE  # the columns of a matrix, in whole registers
CHANNELS = 512  # the most channels of a block
STRIP = 32  # tokens of the filter that are computed at a time
STRIP_CHANNELS = 256  # and channels
LEFT, RIGHT, VALID = 1, 2, 4  # bits of the code of a token


class Tiling(NamedTuple):
    """How a state is cut into blocks."""

    tokens: int
    """Tokens of a block, a multiple of `TILE`."""
    blocks: int
    """Blocks of a sequence; the last one may be ragged."""
    channels: int
    """Channels of a block."""
    channel_blocks: int
    """Blocks of channels; the last one may be ragged."""


class Operator(NamedTuple):
    """The operator of the matrix form."""

    steps: int
    """The number of steps n."""
    causal: bool
    """Whether it is the causal form."""
    adjoint: bool
    """Whether it is Mᵀ."""


def make_tiling(length: int, channels: int) -> Tiling:
    """Return the blocks of a state of T = `length` ≥ 128 tokens."""
    tokens = 4 * TILE if length >= 4 * TILE else TILE
    width = min(channels, CHANNELS)
    return Tiling(tokens, pl.cdiv(length, tokens), width, pl.cdiv(channels, width))


def apply_matrix(
    u: Array,
    alpha: Array,
    codes: Int[Array, "b t"] | None,
    steps: int,
    *,
    causal: bool = False,
    adjoint: bool = False,
    interpret: Any = False,
) -> Array:
    """Take n steps of one diffusivity.

    Args:
        u: the state `(B, T, D)`, T ≥ 128.
        alpha: the diffusivity in units of the time step, a float32 scalar.
        codes: the edges of every token, see `encode_edges`; None is one run.
        steps: the number of steps n, 1 ≤ n ≤ 16.
        causal: whether to use the causal form.
        adjoint: whether to apply Mᵀ, which differs from M in the causal form only.
        interpret: whether to interpret the kernel, as `pallas_call` takes it.

    Returns:
        The state after n steps, of the shape and dtype of `u`.
    """
    return _call_matrix(u, None, alpha, codes, Operator(steps, causal, adjoint), interpret)[0]


def pull_back_matrix(
    cotangent: Array,
    u: Array,
    alpha: Array,
    codes: Array | None,
    steps: int,
    *,
    causal: bool = False,
    interpret: Any = False,
) -> tuple[Array, Array]:
    """Return ū = Mᵀ ȳ and the float32 scalar ᾱ = Σ u (∂M/∂α)ᵀ ȳ; arguments are those of `apply_matrix`."""
    operator = Operator(steps, causal, adjoint=True)
    u_bar, terms = _call_matrix(cotangent, u, alpha, codes, operator, interpret)
    return u_bar, jnp.sum(terms)


def apply_filter(u: Array, alpha: Array, steps: int, *, interpret: Any = False) -> Array:
    """Take n steps with one diffusivity per channel, without segments.

    Args:
        u: the state `(B, T, D)`, T ≥ 128.
        alpha: the diffusivities in units of the time step, float32 `(D,)`.
        steps: the number of steps n, 1 ≤ n ≤ 16.
        interpret: whether to interpret the kernel, as `pallas_call` takes it.

    Returns:
        The state after n steps, of the shape and dtype of `u`.
    """
    return _call_filter(u, None, alpha, steps, interpret)[0]


def pull_back_filter(
    cotangent: Array, u: Array, alpha: Array, steps: int, *, interpret: Any = False
) -> tuple[Array, Array]:
    """Return ū = M ȳ and ᾱ = Σ u (∂M/∂α) ȳ, float32 `(D,)`; arguments are those of `apply_filter`."""
    u_bar, terms = _call_filter(cotangent, u, alpha, steps, interpret)
    return u_bar, jnp.sum(terms, axis=(0, 1, 2))


def encode_edges(left: Array, right: Array, valid: Array) -> Int[Array, "b t"]:
    """Return one integer per token: whether it has a left neighbor, a right neighbor, and is a token at all."""
    return LEFT * left.astype(jnp.int32) + RIGHT * right.astype(jnp.int32) + VALID * valid.astype(jnp.int32)


def _specs(tiling: Tiling, length: int) -> dict[str, pl.BlockSpec]:
    """Return the blocks: the rows of tokens, the halos on both sides, and one row of terms per block."""
    ratio, last = tiling.tokens // HALO, pl.cdiv(length, HALO) - 1

    def block(size: int, index: Any) -> pl.BlockSpec:
        return pl.BlockSpec((None, size, tiling.channels), index)

    return {
        "before": block(HALO, lambda b, t, d: (b, jnp.maximum(t * ratio - 1, 0), d)),
        "here": block(tiling.tokens, lambda b, t, d: (b, t, d)),
        "after": block(HALO, lambda b, t, d: (b, jnp.minimum((t + 1) * ratio, last), d)),
        "terms": pl.BlockSpec((None, None, 1, tiling.channels), lambda b, t, d: (b, t, 0, d)),
    }


def _call(kernel: Any, u: Array, weight: Array | None, operands: list, dtype: Any, interpret: Any) -> Any:
    """Run a kernel over all blocks of a state.

    Args:
        kernel: computes a block.
        u: the state to which M is applied.
        weight: the state of the products, for the backward pass; None for the forward pass.
        operands: pairs of an array and its blocks, in front of the states.
        dtype: the dtype of the rows with their halos in fast memory.
        interpret: as `pallas_call` takes it.
    """
    batch, length, channels = u.shape
    tiling = make_tiling(length, channels)
    specs = _specs(tiling, length)
    states = [(u, specs[name]) for name in ("before", "here", "after")]
    states += [] if weight is None else [(weight, specs["here"])]
    arrays, blocks = zip(*operands, *states, strict=True)
    arrays = vary_alike(*arrays)
    outputs = [struct_like(arrays[0], u.shape, u.dtype)]
    if weight is not None:
        outputs.append(struct_like(arrays[0], (batch, tiling.blocks, 1, channels), jnp.float32))
    return pl.pallas_call(
        kernel,
        grid=(batch, tiling.blocks, tiling.channel_blocks),
        in_specs=list(blocks),
        out_specs=[specs["here"], specs["terms"]][: len(outputs)],
        out_shape=outputs,
        scratch_shapes=[pltpu.VMEM((tiling.tokens + 2 * HALO, tiling.channels), dtype)],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",) * 3),
        interpret=interpret,
    )(*arrays)


def _load(before: Any, here: Any, after: Any, scratch: Any) -> None:
    """Lay a row of tokens with its halos side by side."""
    tokens = here.shape[0]
    scratch[:HALO] = before[...].astype(scratch.dtype)
    scratch[HALO : HALO + tokens] = here[...].astype(scratch.dtype)
    scratch[HALO + tokens :] = after[...].astype(scratch.dtype)


def _clear_outside(scratch: Any, length: int) -> None:
    """Write zeros beyond both ends of the sequence, where any number may stand; row i is token i - 16 of the block."""
    t, size = pl.program_id(1), scratch.shape[0]
    tokens = size - 2 * HALO

    @pl.when(t == 0)
    def _() -> None:
        scratch[:HALO] = jnp.zeros((HALO, scratch.shape[1]), scratch.dtype)

    for block, wall in _walls(length, tokens):

        @pl.when(t == block)
        def _(wall: int = wall) -> None:
            start = wall // HALO * HALO
            x = scratch[start:].astype(jnp.float32)
            row = start + jax.lax.broadcasted_iota(jnp.int32, x.shape, 0)
            scratch[start:] = jnp.where(row < wall, x, 0).astype(scratch.dtype)


def _walls(length: int, tokens: int) -> list[tuple[int, int]]:
    """Return the blocks that see the end of the sequence, each with the first row of its scratch beyond it."""
    blocks = pl.cdiv(length, tokens)
    walls = [(block, length - block * tokens + HALO) for block in range(max(blocks - 2, 0), blocks)]
    return [(block, wall) for block, wall in walls if wall < tokens + 2 * HALO]


# the matrix


def _matrices(
    code: Array, weights: Any, operator: Operator, roll: Callable = pltpu.roll
) -> tuple[Array, Array]:
    """Return M and ∂M/∂α of the tokens of a tile, `(..., 128, 256)`; column i is token i - 16 of the tile.

    With e = 1 for an edge, else 0, a product of a matrix X with a matrix of one step is::

        X L      e_{i,i-1} (X_{j,i-1} - X_ji) + e_{i,i+1} (X_{j,i+1} - X_ji)
        X S      e_{i,i+1} X_{j,i+1} + (1 - e_{i,i-1}) X_ji      S shifts by one token, but not beyond a wall
        X Sᵀ     e_{i,i-1} X_{j,i-1} + (1 - e_{i,i-1}) X_ji

    Args:
        code: the codes of the tokens, `(..., 1, 256)`, 0 beyond the 160 that the tile reads.
        weights: of a diffusion α, `(1, 1)`; in the causal form the n+1 weights and their derivatives, `(2, n+1)`.
        operator: the operator.
        roll: the function that rolls an array, inside a kernel or outside.
    """
    left, right = ((code & bit != 0).astype(jnp.float32) for bit in (LEFT, RIGHT))
    shape = (*code.shape[:-2], TILE, LANES)
    axis = len(shape) - 1
    row, column = (jax.lax.broadcasted_iota(jnp.int32, shape, a) for a in (axis - 1, axis))
    matrix = (column == row + HALO).astype(jnp.float32)

    def laplacian(x: Array) -> Array:
        return left * (roll(x, 1, axis) - x) + right * (roll(x, LANES - 1, axis) - x)

    def shift(x: Array) -> Array:
        moved = left * roll(x, 1, axis) if operator.adjoint else right * roll(x, LANES - 1, axis)
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


def _weights(alpha: Array, operator: Operator) -> Array:
    """Return the numbers of which `_matrices` makes the operator."""
    alpha = alpha.astype(jnp.float32).reshape(1, 1)
    if not operator.causal:
        return alpha

    def taps(alpha: Array) -> Array:
        return half_line_taps(impulse_response(Diffusion(alpha), operator.steps))[:, 0]

    return jnp.stack(jax.jvp(taps, (alpha,), (jnp.ones_like(alpha),)))


def _call_matrix(
    u: Array, weight: Array | None, alpha: Array, codes: Array | None, operator: Operator, interpret: Any
) -> Any:
    length = u.shape[1]
    tiling = make_tiling(*u.shape[1:])
    weights = _weights(alpha, operator)
    operands = [_table(weights, length, operator)]
    if codes is not None:
        size = tiling.blocks * tiling.tokens + 2 * HALO
        padded = jnp.pad(codes, ((0, 0), (HALO, size - length - HALO)))
        start = (
            tiling.tokens * jnp.arange(tiling.blocks)[:, None] + jnp.arange(tiling.tokens + 2 * HALO)[None]
        )
        blocks = jnp.pad(padded[:, start], ((0, 0), (0, 0), (0, TILE - 2 * HALO)))[:, :, None]
        shared = codes.shape[0] == 1
        spec = pl.BlockSpec((None, None, 1, blocks.shape[-1]), lambda b, t, d: (0 if shared else b, t, 0, 0))
        operands = [(weights, pl.BlockSpec(memory_space=pltpu.SMEM)), (blocks, spec)]
    kernel = partial(
        _matrix_kernel, length=length, operator=operator, segmented=codes is not None, back=weight is not None
    )
    return _call(kernel, u, weight, operands, u.dtype, interpret)


def _table(weights: Array, length: int, operator: Operator) -> tuple[Array, pl.BlockSpec]:
    """Return M and ∂M/∂α of the tiles of one run: of its first, any inner, the last but one and the last."""
    tiles = pl.cdiv(length, TILE)
    kinds = jnp.arange(min(tiles, 4))
    kinds = jnp.where(kinds < 2, kinds, kinds + max(tiles, 4) - 4)
    token = TILE * kinds[:, None] - HALO + jnp.arange(LANES)[None]
    inside = (token >= 0) & (token < length) & (jnp.arange(LANES)[None] < WIDTH)
    codes = encode_edges(inside & (token > 0), inside & (token < length - 1), inside)[:, None, :]
    table = jnp.stack(_matrices(codes, weights, operator, jnp.roll), axis=1)
    return table, pl.BlockSpec(table.shape, lambda b, t, d: (0, 0, 0, 0))


def _kind(tile: Array, tiles: int) -> Array:
    """Return the entry of `_table` of a tile; tiles beyond the last one are not used."""
    if tiles <= 4:
        return jnp.minimum(tile, tiles - 1)
    return jnp.where(tile == 0, 0, jnp.where(tile < tiles - 2, 1, jnp.minimum(tile - tiles + 4, 3)))


def _matrix_kernel(*refs: Any, length: int, operator: Operator, segmented: bool, back: bool) -> None:
    operands, refs = refs[: 1 + segmented], refs[1 + segmented :]
    before, here, after, *rest, scratch = refs
    weight = rest.pop(0) if back else None
    outputs: list[Any] = [*rest, None]
    out, terms = outputs[:2]
    t, tokens = pl.program_id(1), here.shape[0]
    _load(before, here, after, scratch)
    if not segmented:
        _clear_outside(scratch, length)
    if back:
        terms[...] = jnp.zeros_like(terms)
    for s in range(tokens // TILE):
        inner, tile = pl.ds(s * TILE, TILE), t * (tokens // TILE) + s
        x = scratch[pl.ds(s * TILE, WIDTH)]
        valid = None
        if segmented:
            weights, codes = operands
            lane = jax.lax.broadcasted_iota(jnp.int32, (1, LANES), 1)
            code = jnp.where(lane < WIDTH, codes[:, s * TILE : s * TILE + LANES], 0)
            matrix, derivative = _matrices(code, weights, operator)
            valid = _to_column(code & VALID != 0)
            x = jnp.where(valid, x.astype(jnp.float32), 0).astype(x.dtype)
            valid = valid[HALO : HALO + TILE]
        else:
            (table,) = operands
            kind = _kind(tile, pl.cdiv(length, TILE))
            matrix, derivative = table[kind, 0], table[kind, 1]
        y = _multiply(matrix, x)
        if valid is not None:
            y = jnp.where(valid, y, here[inner].astype(jnp.float32))
        out[inner] = y.astype(out.dtype)
        if weight is not None:
            product = _multiply(derivative, x) * weight[inner].astype(jnp.float32)
            inside = tile * TILE + jax.lax.broadcasted_iota(jnp.int32, product.shape, 0) < length
            inside = inside if valid is None else inside & valid
            terms[...] += jnp.sum(jnp.where(inside, product, 0), axis=0, keepdims=True)


def _to_column(mask: Array) -> Array:
    """Return a mask `(1, 256)` of lanes as one of rows, `(160, 1)`."""
    row, lane = (jax.lax.broadcasted_iota(jnp.int32, (WIDTH, LANES), axis) for axis in (0, 1))
    return jnp.sum(jnp.where((row == lane) & mask, 1.0, 0.0), axis=1, keepdims=True) > 0


def _multiply(matrix: Array, x: Array) -> Array:
    """Return matrix @ x in float32: of bfloat16 by both parts of the matrix, of float32 with all digits."""
    matrix = matrix[:, :WIDTH]
    if x.dtype != jnp.bfloat16:
        return jnp.dot(matrix, x, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
    high = matrix.astype(jnp.bfloat16)
    low = (matrix - high.astype(jnp.float32)).astype(jnp.bfloat16)
    return jnp.dot(high, x, preferred_element_type=jnp.float32) + jnp.dot(
        low, x, preferred_element_type=jnp.float32
    )


# the filter


def _call_filter(u: Array, weight: Array | None, alpha: Array, steps: int, interpret: Any) -> Any:
    def half(alpha: Array) -> Array:
        return rows(impulse_response(Diffusion(alpha), steps), steps, 2 * steps + 1)

    alpha = alpha.astype(jnp.float32).reshape(1, -1)
    taps = jnp.stack(jax.jvp(half, (alpha,), (jnp.ones_like(alpha),)))
    channels = make_tiling(*u.shape[1:]).channels
    spec = pl.BlockSpec((*taps.shape[:2], channels), lambda b, t, d: (0, 0, d))
    kernel = partial(_filter_kernel, length=u.shape[1], steps=steps, back=weight is not None)
    return _call(kernel, u, weight, [(taps, spec)], jnp.float32, interpret)


def _filter_kernel(
    taps: Any, before: Any, here: Any, after: Any, *refs: Any, length: int, steps: int, back: bool
) -> None:
    *rest, scratch = refs
    weight = rest.pop(0) if back else None
    outputs: list[Any] = [*rest, None]
    out, terms = outputs[:2]
    t, tokens = pl.program_id(1), here.shape[0]
    _load(before, here, after, scratch)
    _mirror(scratch, length, steps)
    channels = here.shape[1]
    width = STRIP_CHANNELS if channels % STRIP_CHANNELS == 0 else channels
    for lanes in (slice(start, start + width) for start in range(0, channels, width)):
        total = jnp.zeros((1, width), jnp.float32)
        for start in range(0, tokens, STRIP):
            strip = slice(start, start + STRIP)
            x = scratch[start : start + STRIP + 2 * HALO, lanes]
            y, change = _convolve(x, taps.at[:, :, lanes], steps, back=back)
            out[strip, lanes] = y.astype(out.dtype)
            if weight is not None:
                product = change * weight[strip, lanes].astype(jnp.float32)
                token = t * tokens + start + jax.lax.broadcasted_iota(jnp.int32, product.shape, 0)
                total += jnp.sum(jnp.where(token < length, product, 0), axis=0, keepdims=True)
        if back:
            terms[:, lanes] = total


def _convolve(x: Array, taps: Any, steps: int, *, back: bool) -> tuple[Array, Array]:
    """Return the convolutions of a strip with its halos with the taps and with their derivative.

    A register holds eight tokens. A rotation by r serves all shifts that are r mod 8, so that seven rotations serve
    all taps; the tokens of a symmetric pair are added first.
    """

    def shifted(rotated: Array, r: int, k: int) -> Array:
        return rotated[HALO + k + r : HALO + k + r + STRIP]  # aligned: k + r is a multiple of 8

    middle = x[HALO : HALO + STRIP]
    sums = [taps[i, 0:1] * middle for i in range(1 + back)]
    for r in range(5):
        offsets = [k for k in range(1, steps + 1) if k % 8 in (r, (8 - r) % 8)]
        if not offsets:
            continue
        by = {s: pltpu.roll(x, s, 0) if s else x for s in {r, (8 - r) % 8}}
        for k in offsets:
            pair = shifted(by[-k % 8], -k % 8, k) + shifted(by[k % 8], k % 8, -k)
            for i in range(1 + back):
                sums[i] += taps[i, k : k + 1] * pair
    return sums[0], sums[-1]


def _mirror(scratch: Any, length: int, steps: int) -> None:
    """Write the mirror image of n tokens beyond both ends of the sequence; row i of the scratch is token i - 16."""
    t, size = pl.program_id(1), scratch.shape[0]

    @pl.when(t == 0)
    def _() -> None:
        for k in range(steps):
            scratch[pl.ds(HALO - 1 - k, 1)] = scratch[pl.ds(HALO + k, 1)]

    for block, wall in _walls(length, size - 2 * HALO):

        @pl.when(t == block)
        def _(wall: int = wall) -> None:
            for k in range(min(steps, size - wall)):
                scratch[pl.ds(wall + k, 1)] = scratch[pl.ds(wall - 1 - k, 1)]

"""A state in blocks of tokens and channels, each with a halo of tokens on both sides.

A block and its halos lie one below the other in fast memory: row i is token i - 16 of the block. The buffers of 128
channels each, `(chunks, rows, 128)`, can be read from any row on at the price of one load; in a wider buffer such a
read would rotate registers.

    B batch, T tokens, D channels
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array

from pdeformer.integrators.meshes import struct_like, vary_alike

HALO = 16  # tokens beside a row of tokens; also the largest number of steps
TILE = 128  # tokens of one product of the matrix form, and the fewest tokens of a state
LANES = 128  # channels of a register
CHANNELS = 512  # the most channels of a block


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

    @property
    def rows(self) -> int:
        """Tokens of a block and its halos."""
        return self.tokens + 2 * HALO

    @property
    def chunks(self) -> int:
        """Registers that hold the channels of a block side by side."""
        return pl.cdiv(self.channels, LANES)


def make_tiling(length: int, channels: int) -> Tiling:
    """Return the blocks of a state of T = `length` ≥ 128 tokens."""
    tokens = 4 * TILE if length >= 4 * TILE else TILE
    width = min(channels, CHANNELS)
    return Tiling(tokens, pl.cdiv(length, tokens), width, pl.cdiv(channels, width))


def call(
    kernel: Any,
    u: Array,
    weight: Array | None,
    operands: Sequence[tuple[Array, pl.BlockSpec]],
    scratch: Sequence[tuple[tuple[int, ...], Any]],
    interpret: Any,
) -> Any:
    """Run a kernel over all blocks of a state.

    Args:
        kernel: computes a block. It takes the operands, the halo before the block, the block, the halo after it, the
            block of `weight` if there is one, the block of the result, with `weight` its row of terms, and the scratch.
        u: the state `(B, T, D)` to which M is applied.
        weight: the state of the products, for the backward pass; None for the forward pass.
        operands: pairs of an array and its blocks.
        scratch: shapes and dtypes of the buffers in fast memory.
        interpret: as `pallas_call` takes it.

    Returns:
        A list of the result, of the shape and dtype of `u`, and with `weight` the terms, float32 `(B, blocks, 1, D)`.
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
        scratch_shapes=[pltpu.VMEM(*buffer) for buffer in scratch],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",) * 3),
        interpret=interpret,
    )(*arrays)


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


def in_chunks(numbers: Array, tiling: Tiling) -> tuple[Array, pl.BlockSpec]:
    """Return numbers per channel, `(M, N, D)`, by registers, `(M, N, chunks of all blocks, 1, 128)`, and its blocks."""
    lead, chunks = numbers.shape[:2], tiling.chunks * tiling.channel_blocks
    padded = jnp.pad(numbers, ((0, 0), (0, 0), (0, chunks * LANES - numbers.shape[2])))
    spec = pl.BlockSpec((*lead, tiling.chunks, 1, LANES), lambda b, t, d: (0, 0, d, 0, 0))
    return padded.reshape(*lead, chunks, 1, LANES), spec


def chunks(channels: int) -> Iterator[tuple[int, slice]]:
    """Return the registers that hold the channels of a block: their index and their channels."""
    for chunk in range(pl.cdiv(channels, LANES)):
        yield chunk, slice(chunk * LANES, min(chunk * LANES + LANES, channels))


def rows_with_halos(before: Any, here: Any, after: Any) -> Iterator[tuple[slice, Any]]:
    """Return the rows of a block and its halos one below the other, as pairs of a range of rows and a reference."""
    start = 0
    for part in (before, here, after):
        yield slice(start, start + part.shape[0]), part
        start += part.shape[0]


def split_ends(length: int, tokens: int) -> list[tuple[int, int]]:
    """Return the blocks that see the end of the sequence, each with the first row beyond it."""
    blocks = pl.cdiv(length, tokens)
    ends = [(block, length - block * tokens + HALO) for block in range(max(blocks - 2, 0), blocks)]
    return [(block, end) for block, end in ends if end < tokens + 2 * HALO]


def add_terms(terms: Any, lanes: slice, product: Array, used: Array) -> None:
    """Add the sum over those tokens of a product that are used, `(tokens, channels)`, to the terms of a block."""
    terms[:, lanes] += jnp.sum(jnp.where(used, product, 0), axis=0, keepdims=True)


def inside_sequence(first: Any, shape: tuple[int, int], length: int) -> Array:
    """Return which of the tokens from `first` on lie inside the sequence, as a mask of this shape."""
    return first + jax.lax.broadcasted_iota(jnp.int32, shape, 0) < length

"""The edges of tokens: one integer per token, and its bits along the tokens of a block.

B batch, T tokens
"""

from typing import Any

import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Int

from pdeformer.integrators.kernels.pallas_tpu.halo_blocks import HALO, LANES, Tiling

LEFT, RIGHT, VALID = 1, 2, 4  # the bits


def encode_edges(left: Array, right: Array, valid: Array) -> Int[Array, "*b t"]:
    """Return one integer per token: whether it has a left neighbor, a right neighbor, and is a token at all."""
    return LEFT * left.astype(jnp.int32) + RIGHT * right.astype(jnp.int32) + VALID * valid.astype(jnp.int32)


def encode_run(token: Array, length: int) -> Int[Array, "*b t"]:
    """Return the codes of tokens of one run of `length` tokens, 0 for the numbers of other tokens."""
    inside = (token >= 0) & (token < length)
    return encode_edges(inside & (token > 0), inside & (token < length - 1), inside)


def codes_of_blocks(codes: Int[Array, "b t"], tiling: Tiling) -> tuple[Array, pl.BlockSpec]:
    """Return the codes of the tokens of every block and its halos side by side, and the blocks of this array."""
    batch, length = codes.shape
    size = tiling.blocks * tiling.tokens
    padded = jnp.pad(codes, ((0, 0), (HALO, size - length + HALO)))

    def blocks(start: int) -> Array:
        return padded[:, start : start + size].reshape(batch, tiling.blocks, tiling.tokens)

    rest = jnp.zeros((batch, tiling.blocks, -tiling.rows % LANES), codes.dtype)
    parts = [blocks(0)[..., :HALO], blocks(HALO), blocks(2 * HALO)[..., -HALO:], rest]
    array = jnp.concatenate(parts, axis=-1)[:, :, None]
    shared = batch == 1
    return array, pl.BlockSpec(
        (None, None, 1, array.shape[-1]), lambda b, t, d: (0 if shared else b, t, 0, 0)
    )


def write_columns(codes: Any, bit: int, column: Any) -> None:
    """Write a bit of the codes of a block, `(1, ≥ rows)`, as 0 or 1 into all channels of a buffer `(rows, 128)`."""
    rows = column.shape[0]
    for start in range(0, rows, LANES):
        flags = (codes[:, start : start + LANES] & bit != 0).astype(jnp.float32)
        stop = min(start + LANES, rows)
        column[start:stop] = jnp.broadcast_to(flags, (LANES, LANES)).T[: stop - start]

"""Compute a function of a state one block of channels at a time, to save memory.

Neither channels nor sequences mix, so the blocks are independent. The program then needs the temporaries of one
block instead of those of the full state, besides its input and output.

    T tokens, D channels
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from pdeformer.integrators.meshes import on_mesh

BLOCKS = 4  # more blocks are slower and save little, because the input and output remain


def map_channel_blocks(function: Callable[..., Array], u: Array, *operands: Any) -> Array:
    """Return function(u, *operands), computed in four blocks, one after another.

    A block is a quarter of the channels. If there are fewer than four channels, it is a quarter of the longest
    axis among the channels and the leading axes. If the blocks do not divide evenly, the last block overlaps
    the previous one and computes some values again.

    Args:
        function: maps a block of `u` and of the operands to a block of the result; it must not mix channels
            or sequences.
        u: the state `(..., T, D)`.
        operands: trees of arrays of the rank of `u` that broadcast against it; they are sliced as `u` is.

    Returns:
        The result, of the shape and dtype of `u`.
    """
    axis = _block_axis(u)
    length = u.shape[axis]
    size = -(-length // BLOCKS)
    if size == length or (
        axis < u.ndim - 1 and on_mesh(u)
    ):  # on a mesh, slices of the batch would be gathered
        return function(u, *operands)

    def compute_block(result: Array, index: Array) -> tuple[Array, None]:
        start = jnp.minimum(index * size, length - size)
        values = function(*jax.tree.map(lambda x: _slice(x, start, size, axis), (u, *operands)))
        return lax.dynamic_update_slice_in_dim(result, values, start, axis), None

    return lax.scan(compute_block, jnp.zeros_like(u), jnp.arange(-(-length // size)))[0]


def _block_axis(u: Array) -> int:
    channels = u.ndim - 1
    if u.shape[channels] >= BLOCKS:
        return channels
    # an export for batches of any size has an axis whose length is no integer
    axes = [axis for axis in (channels, *range(u.ndim - 2)) if isinstance(u.shape[axis], int)]
    return max(axes, key=lambda axis: u.shape[axis])


def _slice(x: Array, start: Array, size: int, axis: int) -> Array:
    return x if x.shape[axis] == 1 else lax.dynamic_slice_in_dim(x, start, size, axis)

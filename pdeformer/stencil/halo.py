"""Halos: the rows that a shard of a sequence needs from its neighbors along the mesh axis "seq".

These functions run inside `jax.shard_map`. Device i of p holds the tokens i·T/p … (i+1)·T/p - 1. One exchange is one
collective-permute for each side. The ids of the halo travel in the same message as its states, as a few channels of
numbers that every floating type holds exactly. Beyond both ends of the sequence the ids are 0, which is padding, so
that the edges of the path graph end there without another rule.

    B batch, T tokens, D channels, p devices, h rows of a halo
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from pdeformer.stencil.path_graph import rows

AXIS = "seq"
"""The mesh axis that splits sequences."""


def exchange_rows(u: Shaped[Array, "*b t d"], before: int, after: int, *, ring: bool = False) -> Array:
    """Return the shard with `before` rows of the devices to the left and `after` rows of those to the right.

    A halo that is longer than a shard takes one collective-permute for each device it reaches.

    Args:
        u: the shard `(..., T/p, D)`.
        before: rows h ≥ 0 from the left.
        after: rows h ≥ 0 from the right.
        ring: whether the first and the last device are neighbors; otherwise the rows beyond the ends are 0.

    Returns:
        `(..., before + T/p + after, D)`.
    """
    length = u.shape[-2]
    left = [
        _from_device(rows(u, length - count, length), hops, ring=ring)
        for hops, count in _hops(before, length)
    ]
    right = [_from_device(rows(u, 0, count), -hops, ring=ring) for hops, count in _hops(after, length)]
    return jnp.concatenate([*reversed(left), u, *right], axis=-2)


def _hops(count: int, length: int) -> list[tuple[int, int]]:
    """Return the distance and the rows of every device that a halo of `count` rows reaches, nearest first."""
    return [(i + 1, min(length, count - i * length)) for i in range(-(-count // length))]


def _from_device(x: Array, hops: int, *, ring: bool) -> Array:
    """Return x of the device `hops` places to the left, or to the right if negative."""
    size = lax.axis_size(AXIS)
    pairs = [(i, (i + hops) % size) for i in range(size) if ring or 0 <= i + hops < size]
    return lax.ppermute(x, AXIS, pairs) if pairs else jnp.zeros_like(x)


def exchange_segments(
    u: Float[Array, "*b t d"], segment_ids: Int[Array, "*#b t"] | None, before: int, after: int
) -> tuple[Array, Array]:
    """Return the shard with its halo, and the segment ids of both; ids beyond the ends of the sequence are 0.

    Args:
        u: the shard `(..., T/p, D)`.
        segment_ids: the ids of the shard, `(..., T/p)` with leading axes that broadcast against those of `u`; None is
            one segment.
        before: rows of the left halo.
        after: rows of the right halo.

    Returns:
        The states `(..., before + T/p + after, D)` and their ids; types of 8 bits become float32.
    """
    length, channels = u.shape[-2:]
    if jnp.finfo(u.dtype).nmant < 7:  # 8 bits hold no byte of an id
        u = u.astype(jnp.float32)
    if segment_ids is None:
        token = lax.axis_index(AXIS) * length + jnp.arange(-before, length + after)
        inside = (token >= 0) & (token < lax.axis_size(AXIS) * length)
        return exchange_rows(u, before, after), inside.astype(jnp.int32)
    packed = jnp.concatenate([u, _pack(segment_ids, u)], axis=-1)
    slab = exchange_rows(packed, before, after)
    ids = _unpack(slab[..., channels:], segment_ids.dtype)
    return slab[..., :channels], ids


def _bits(dtype: np.dtype, ids: np.dtype) -> int:
    """Return how many bits of an id one number of a floating type holds exactly: whole bytes, fewer than the id has."""
    return min((jnp.finfo(dtype).nmant + 1) // 8, ids.itemsize - 1) * 8


def _pack(ids: Int[Array, "*#b t"], u: Float[Array, "*b t d"]) -> Float[Array, "*b t c"]:
    """Write ids as channels of the type of u, a few bits in each; negative ids are padding, 0."""
    bits = _bits(u.dtype, ids.dtype)
    ids = jnp.broadcast_to(jnp.maximum(ids, 0), u.shape[:-1])
    parts = [ids >> shift & (2**bits - 1) for shift in range(0, 8 * ids.dtype.itemsize, bits)]
    return jnp.stack(parts, axis=-1).astype(u.dtype)


def _unpack(parts: Float[Array, "*b t c"], dtype: np.dtype) -> Int[Array, "*b t"]:
    """Return the ids of `_pack`."""
    bits = _bits(parts.dtype, dtype)
    ids = [lax.stop_gradient(parts[..., i]).astype(dtype) << i * bits for i in range(parts.shape[-1])]
    return sum(ids[1:], ids[0])

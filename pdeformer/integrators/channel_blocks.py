"""A state in parts, one after another: channels do not mix, and sequences do not either.

Beside its input and output a program then needs the temporaries of one part instead of those of the whole.

    T tokens, D channels
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

PARTS = 4  # more of them cost more round trips and save little: the input and output remain


def in_parts(function: Callable[..., Array], u: Array, *small: Any) -> Array:
    """function(u, *small), a state like u `(..., T, D)`, computed in four parts.

    A part is a quarter of the channels or, of fewer than four, of the longest leading axis. `small` are trees of
    arrays of the rank of u that broadcast against it; they are cut as u is. Where the parts do not divide evenly,
    the last one reaches back and computes some values again.
    """
    axis = _axis(u)
    length = u.shape[axis]
    size = -(-length // PARTS)
    if size == length:
        return function(u, *small)

    def part(whole, number):
        start = jnp.minimum(number * size, length - size)
        values = function(*jax.tree.map(lambda x: _cut(x, start, size, axis), (u, *small)))
        return lax.dynamic_update_slice_in_dim(whole, values, start, axis), None

    return lax.scan(part, jnp.zeros_like(u), jnp.arange(-(-length // size)))[0]


def _axis(u: Array) -> int:
    channels = u.ndim - 1
    if u.shape[channels] >= PARTS:
        return channels
    return max((channels, *range(u.ndim - 2)), key=lambda axis: u.shape[axis])


def _cut(x: Array, start: Array, size: int, axis: int) -> Array:
    return x if x.shape[axis] == 1 else lax.dynamic_slice_in_dim(x, start, size, axis)

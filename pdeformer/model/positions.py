"""Position codes: sinusoids, rotations of queries and keys, slopes of linear biases.

B batch, T tokens, N heads, H head width, D channels
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BASE = 10000.0  # of the wavelengths, which grow from 2π to 2π · BASE


def sinusoids(length: int, width: int) -> Float[Array, "t d"]:
    """Return sinusoidal positions [Vaswani et al. 2017].

    P[t, 2i] = sin(t / 10000^(2i/D)), P[t, 2i+1] = cos(t / 10000^(2i/D)).
    """
    return sinusoids_at(jnp.arange(length), width)


def sinusoids_at(positions: Int[Array, "*s"], width: int) -> Float[Array, "*s d"]:
    """Return the sinusoids of any positions."""
    angles = _angles(positions, width)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*positions.shape, width)


def _angles(positions: Int[Array, "*s"], width: int) -> Float[Array, "*s h"]:
    """Return position / 10000^(2i/D) for the pairs i = 0 … D/2-1."""
    rates = BASE ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    return positions.astype(jnp.float32)[..., None] * rates.reshape((1,) * positions.ndim + (-1,))


def rotate(x: Float[Array, "b t n h"], positions: Int[Array, "b_ t"]) -> Float[Array, "b t n h"]:
    """Rotate the channel pairs (2i, 2i+1) of queries or keys by the angle p / 10000^(2i/H) [Su et al. 2021].

    The product of a rotated query and a rotated key depends on their positions through the difference alone.

    Args:
        x: queries or keys, with an even head width H.
        positions: position p of every token; one row serves all examples.

    Returns:
        The rotated array, in the dtype of `x`.
    """
    angles = _angles(positions, x.shape[-1])[:, :, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    pairs = x.astype(jnp.promote_types(x.dtype, jnp.float32)).reshape(*x.shape[:-1], -1, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    shape = first.shape
    cos, sin = jnp.broadcast_to(cos, shape), jnp.broadcast_to(sin, shape)
    rotated = jnp.stack([first * cos - second * sin, first * sin + second * cos], axis=-1)
    return rotated.reshape(x.shape).astype(x.dtype)


def alibi_slopes(heads: int) -> Float[Array, " n"]:
    """Return the slopes 2^(-8h/N) of the heads h = 1 … N [Press et al. 2022]."""
    return 2.0 ** (-8.0 * jnp.arange(1, heads + 1, dtype=jnp.float32) / heads)


def positions_in_segment(segment_ids: Int[Array, "b t"]) -> Int[Array, "b t"]:
    """Return the number of earlier tokens with the same id, which does not depend on the packing of a segment."""
    order = jnp.argsort(segment_ids, axis=-1, stable=True)
    sorted_ids = jnp.take_along_axis(segment_ids, order, axis=-1)
    index = jnp.broadcast_to(jnp.arange(segment_ids.shape[-1])[None], segment_ids.shape)
    is_first = jnp.diff(sorted_ids, axis=-1, prepend=sorted_ids[:, :1] - 1) != 0
    rank = index - jax.lax.cummax(jnp.where(is_first, index, 0), axis=1)
    return jnp.put_along_axis(jnp.zeros_like(index), order, rank, axis=-1, inplace=False)


def token_positions(length: int, segment_ids: Int[Array, "b t"] | None) -> Int[Array, "b_ t"]:
    """Return the positions of all tokens in their segments; one row if there is one segment."""
    return jnp.arange(length)[None] if segment_ids is None else positions_in_segment(segment_ids)

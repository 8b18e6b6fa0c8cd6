"""Attention dropout without a stored mask: random bits per token, and a hash that decides each pair.

B batch, T query tokens, S key tokens, N query heads, K key heads, G = N/K, H head width
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt32

from pdeformer.attention.types import DropoutBits


def draw_dropout_bits(
    random_key: PRNGKeyArray, query: Float[Array, "b t n h"], key: Float[Array, "b s k h"]
) -> DropoutBits:
    """Draw one uint32 for every query token and every key token of every head."""
    (batch, length, heads, _), groups = query.shape, key.shape[2]

    def draw(subkey: PRNGKeyArray, tokens: int, per_token: int) -> Array:
        return jax.random.bits(
            subkey, (batch * tokens, per_token), jnp.uint32
        )  # two axes compile much faster

    query_subkey, key_subkey = jax.random.split(random_key)
    return DropoutBits(
        draw(query_subkey, length, heads).reshape(batch, length, groups, heads // groups),
        draw(key_subkey, key.shape[1], groups).reshape(key.shape[:3]),
    )


def keep_mask(query: UInt32[Array, "*q"], key: UInt32[Array, "*k"], dropout: float) -> Bool[Array, "*p"]:
    """Return whether each pair is kept: hash(query, key) >= dropout · 2³². The two arrays broadcast.

    The hash is MurmurHash3's finalizer of query XOR key [Appleby 2011], uniform on uint32. It takes a few integer
    operations for each pair; a generator such as threefry would cost more than the attention. The mask does not
    depend on chunks or windows.
    """
    x = query ^ key
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return (x ^ (x >> 16)) >= jnp.uint32(int(dropout * 2**32))


def drop_weights(
    weights: Float[Array, "*p"], query: UInt32[Array, "*q"], key: UInt32[Array, "*k"], dropout: float
) -> Float[Array, "*p"]:
    """Set dropped weights to 0 and divide the others by 1 - dropout."""
    return jnp.where(keep_mask(query, key, dropout), weights / (1 - dropout), 0)

"""The definition, a few query rows at a time: for what does not fold. Rows are independent along the key axis.

A tile holds O(C · S) numbers, one for each key of its C rows and of each step, and the backward pass rebuilds it.

    B batch, T query tokens, S key tokens, K key heads, G query heads for each, C rows of a tile, H and D widths
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, UInt32

from pdeformer.attention.chunked import AttentionMask, AttentionOutput, DropoutBits
from pdeformer.attention.materialized import Evolution, evolved_weights
from pdeformer.pde import PDE

TILE = 2**20  # numbers in a tile, at most, as long as it keeps 8 rows


def each_head(function: Callable, arrays: Any, *, serial: bool) -> Any:
    """Apply `function` to every entry of arrays (B, K, ...): one after another, or side by side."""
    if not serial:
        return jax.vmap(jax.vmap(function))(arrays)
    lead = jax.tree.leaves(arrays)[0].shape[:2]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), arrays)
    return jax.tree.map(lambda y: y.reshape(*lead, *y.shape[1:]), lax.map(function, flat))


def by_head(x: Float[Array, "b t n *h"], heads: int) -> Float[Array, "b k g t *h"]:
    """(B, T, N, ...) -> (B, K, G, T, ...)."""
    x = x.reshape(*x.shape[:2], heads, -1, *x.shape[3:])
    return jnp.moveaxis(x, 1, 3)


def by_token(x: Float[Array, "b k g t *h"]) -> Float[Array, "b t n *h"]:
    """Undo `by_head`."""
    x = jnp.moveaxis(x, 3, 1)
    return x.reshape(*x.shape[:2], -1, *x.shape[4:])


class Head(NamedTuple):
    """What belongs to one key head of one example; arrays of `heads` have (B, K) in front."""

    query: Float[Array, "*b g t h"]
    key: Float[Array, "*b s h"]
    value: Float[Array, "*b s d"]
    pde: PDE | None  # coefficients (..., G, steps)
    query_ids: Int[Array, "*b t"] | None
    key_ids: Int[Array, "*b s"] | None
    query_coins: UInt32[Array, "*b g t"] | None
    key_coins: UInt32[Array, "*b s"] | None


def heads(
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k d"],
    pde: PDE | None,
    seen: AttentionMask,
    dropout_bits: DropoutBits | None,
) -> Head:
    """The arguments of an attention, head by head; coefficients (steps, N) or (steps, 1)."""
    batch, count, groups = query.shape[0], key.shape[2], query.shape[2] // key.shape[2]

    def spread(x: Array) -> Array:
        x = jnp.broadcast_to(x, (x.shape[0], count * groups)).T.reshape(count, groups, -1)
        return jnp.broadcast_to(x[None], (batch, *x.shape))

    def repeat(ids: Array | None) -> Array | None:
        return None if ids is None else jnp.broadcast_to(ids[:, None], (batch, count, ids.shape[1]))

    return Head(
        by_head(query, count),
        jnp.moveaxis(key, 2, 1),
        jnp.moveaxis(value, 2, 1),
        jax.tree.map(spread, pde),
        repeat(seen.query_ids),
        repeat(seen.key_ids),
        None if dropout_bits is None else jnp.moveaxis(dropout_bits.query, 1, 3),
        None if dropout_bits is None else jnp.moveaxis(dropout_bits.key, 2, 1),
    )


def tiled(
    evolution: Evolution,
    pde: PDE | None,
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k d"],
    seen: AttentionMask,
    dropout_bits: DropoutBits | None,
    *,
    rows: int | None = None,
) -> AttentionOutput:
    """Evolved weights times values, and the log-sum-exp of the scores before the evolution."""
    length, keys = query.shape[1], key.shape[1]
    rows = min(length, rows or max(8, TILE // keys))
    tiles = -(-length // rows)

    def split(x: Array) -> Array:
        """(G, T, ...) -> (G, tiles, C, ...)."""
        x = jnp.pad(x, [(0, 0), (0, tiles * rows - length)] + [(0, 0)] * (x.ndim - 2))
        return x.reshape(x.shape[0], tiles, rows, *x.shape[2:])

    def one(head: Head):
        @jax.checkpoint
        def tile(xs):
            coefficients, query, ids, bits, t = xs
            near = AttentionMask(seen.low, seen.high, ids, head.key_ids)
            pde = jax.tree.map(lambda x: x[:, None, None], coefficients)
            both = None if bits is None or head.key_coins is None else DropoutBits(bits, head.key_coins)
            weights, lse = evolved_weights(evolution, pde, query, head.key, near, t, both)
            return weights @ head.value, lse

        def group(xs):
            coefficients, query, bits = xs
            return lax.map(lambda x: tile((coefficients, *x)), (query, query_ids, bits, t))

        t = jnp.arange(tiles * rows).reshape(tiles, rows)
        query_ids = None if head.query_ids is None else split(head.query_ids[None])[0]
        dropout_bits = None if head.query_coins is None else split(head.query_coins)
        output, lse = lax.map(group, (head.pde, split(head.query), dropout_bits))
        whole = head.query.shape[0], tiles * rows
        return output.reshape(*whole, -1)[:, :length], lse.reshape(whole)[:, :length]

    arguments = heads(query, key, value, pde, seen, dropout_bits)
    output, lse = each_head(one, arguments, serial=jax.default_backend() == "cpu")
    return AttentionOutput(by_token(output), by_token(lse))

"""The definition, a few query rows at a time: for what does not fold. Rows are independent along the key axis.

A tile holds O(C · S) numbers, one for each key of its C rows and of each step, and the backward pass rebuilds it.

    B batch, T query tokens, S key tokens, K key heads, G query heads for each, C rows of a tile, H and D widths
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from pdeformer.attention.definition import Evolution, evolved_weights
from pdeformer.attention.softmax import Attended, Coins, Sight
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


def repeat_ids(ids: Array | None, heads: int) -> Array | None:
    return None if ids is None else jnp.broadcast_to(ids[:, None], (ids.shape[0], heads, ids.shape[1]))


def head_coefficients(pde: PDE | None, batch: int, heads: int) -> PDE | None:
    """Coefficients (steps, N) -> (B, K, G, steps)."""

    def spread(x: Array) -> Array:
        x = jnp.moveaxis(x, 0, 1).reshape(heads, -1, x.shape[0])
        return jnp.broadcast_to(x[None], (batch, *x.shape))

    return jax.tree.map(spread, pde)


def tiled(
    evolution: Evolution,
    pde: PDE | None,
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k d"],
    seen: Sight,
    coins: Coins | None,
    *,
    rows: int | None = None,
) -> Attended:
    """Evolved weights times values, and the log-sum-exp of the scores before the evolution."""
    batch, length, _, _ = query.shape
    keys, heads = key.shape[1:3]
    rows = min(length, rows or max(8, TILE // keys))
    tiles = -(-length // rows)

    def split(x: Array) -> Array:
        """(G, T, ...) -> (G, tiles, C, ...)."""
        x = jnp.pad(x, [(0, 0), (0, tiles * rows - length)] + [(0, 0)] * (x.ndim - 2))
        return x.reshape(x.shape[0], tiles, rows, *x.shape[2:])

    def head(xs):
        query, key, value, coefficients, query_ids, key_ids, query_coin, key_coin = xs

        @jax.checkpoint
        def tile(xs):
            coefficients, query, ids, coin, t = xs
            near = Sight(seen.low, seen.high, ids, key_ids)
            pde = jax.tree.map(lambda x: x[:, None, None], coefficients)
            both = None if coin is None else Coins(coin, key_coin)
            weights, lse = evolved_weights(evolution, pde, query, key, near, t, both)
            return weights @ value, lse

        def group(xs):
            coefficients, query, coin = xs
            return lax.map(lambda x: tile((coefficients, *x)), (query, query_ids, coin, t))

        t = jnp.arange(tiles * rows).reshape(tiles, rows)
        query_ids = None if query_ids is None else split(query_ids[None])[0]
        coin = None if query_coin is None else split(query_coin)
        output, lse = lax.map(group, (coefficients, split(query), coin))
        whole = query.shape[0], tiles * rows
        return output.reshape(*whole, -1)[:, :length], lse.reshape(whole)[:, :length]

    columns = (jnp.moveaxis(x, 2, 1) for x in (key, value))
    ids = (repeat_ids(x, heads) for x in (seen.query_ids, seen.key_ids))
    drawn = (
        (None, None) if coins is None else (jnp.moveaxis(coins.query, 1, 3), jnp.moveaxis(coins.key, 2, 1))
    )
    xs = by_head(query, heads), *columns, head_coefficients(pde, batch, heads), *ids, *drawn
    output, lse = each_head(head, xs, serial=jax.default_backend() == "cpu")
    return Attended(by_token(output), by_token(lse))

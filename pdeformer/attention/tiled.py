"""The definition by blocks of query rows, for equations that do not fold onto plain attention.

Rows are independent if the space axis is the key axis. A tile has O(C · S) entries, one for each key of its
C rows and of each step. The backward pass recomputes it.

    B batch, T query tokens, S key tokens, K key heads, G query heads for each, C rows of a tile, H and D widths
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer, UInt32

from pdeformer.attention.materialized import EvolutionSpec, evolve_weights
from pdeformer.attention.types import AttentionInputs, AttentionMask, AttentionOutput, DropoutBits
from pdeformer.integrators.meshes import map_in_groups, serial_loops, vary_alike
from pdeformer.pde import PDE

TILE = 2**20  # largest number of entries of a tile, which always has at least 8 rows


class HeadInputs(NamedTuple):
    """The inputs of one key head of one example; those of `split_heads` have (B, K) in front."""

    query: Float[Array, "*b g t h"]
    """Scaled queries, or their random features."""
    key: Float[Array, "*b s h"]
    """Keys, or their random features."""
    value: Float[Array, "*b s d"]
    """Values."""
    pde: PDE | None
    """The equation with coefficients (..., G, steps)."""
    query_ids: Integer[Array, "*b t"] | None
    """Segment ids of the query tokens."""
    key_ids: Integer[Array, "*b s"] | None
    """Segment ids of the key tokens."""
    query_bits: UInt32[Array, "*b g t"] | None
    """Dropout bits of the query tokens."""
    key_bits: UInt32[Array, "*b s"] | None
    """Dropout bits of the key tokens."""


def split_heads(pde: PDE | None, inputs: AttentionInputs) -> HeadInputs:
    """Split the inputs of an attention by example and key head; coefficients are (steps, N) or (steps, 1)."""
    query, key, value, mask, dropout_bits = inputs
    assert value is not None
    batch, count, groups = query.shape[0], key.shape[2], query.shape[2] // key.shape[2]
    grouped = jnp.moveaxis(query.reshape(*query.shape[:2], count, -1, *query.shape[3:]), 1, 3)

    def per_head(x: Array) -> Array:
        x = jnp.broadcast_to(x, (x.shape[0], count * groups)).T.reshape(count, groups, -1)
        return jnp.broadcast_to(x[None], (batch, *x.shape))

    def repeat(ids: Array | None) -> Array | None:
        return None if ids is None else jnp.broadcast_to(ids[:, None], (batch, count, ids.shape[1]))

    return HeadInputs(
        grouped,
        jnp.moveaxis(key, 2, 1),
        jnp.moveaxis(value, 2, 1),
        jax.tree.map(per_head, pde),
        repeat(mask.query_ids),
        repeat(mask.key_ids),
        None if dropout_bits is None else jnp.moveaxis(dropout_bits.query, 1, 3),
        None if dropout_bits is None else jnp.moveaxis(dropout_bits.key, 2, 1),
    )


def merge_heads(x: Float[Array, "b k g t *h"]) -> Float[Array, "b t n *h"]:
    """Merge (B, K, G, T, ...) to (B, T, N, ...)."""
    x = jnp.moveaxis(x, 3, 1)
    return x.reshape(*x.shape[:2], -1, *x.shape[4:])


def map_heads(
    function: Callable[[HeadInputs], tuple[Array, Array]],
    pde: PDE | None,
    inputs: AttentionInputs,
    *,
    most: int = 1,
) -> AttentionOutput:
    """Apply `function` to every example and key head: at most `most` side by side on CPU, elsewhere all.

    It maps the inputs of one head to its output (G, T, D) and log-sum-exp (G, T).
    """
    heads = split_heads(pde, inputs)
    leaves, structure = jax.tree.flatten(heads)
    heads = jax.tree.unflatten(structure, vary_alike(*leaves))
    if not serial_loops(inputs.query):
        output, lse = jax.vmap(jax.vmap(function))(heads)
    else:
        lead = heads.query.shape[:2]
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), heads)
        output, lse = jax.tree.map(
            lambda y: y.reshape(*lead, *y.shape[1:]), map_in_groups(function, flat, most)
        )
    return AttentionOutput(merge_heads(output), merge_heads(lse))


def tiled_attention(
    spec: EvolutionSpec, pde: PDE | None, inputs: AttentionInputs, *, rows: int | None = None
) -> AttentionOutput:
    """Return the evolved weights times the values, and the log-sum-exp of the scores before the evolution."""
    length, keys = inputs.query.shape[1], inputs.key.shape[1]
    rows = min(length, rows or max(8, TILE // keys))
    return map_heads(partial(_tile_head, spec, inputs.mask, rows), pde, inputs)


def _tile_head(spec: EvolutionSpec, mask: AttentionMask, rows: int, head: HeadInputs) -> tuple[Array, Array]:
    """Attend for one key head: one loop over the tiles of all its query heads."""
    length = head.query.shape[1]
    tiles = -(-length // rows)

    def split(x: Array) -> Array:
        """Split (G, T, ...) to (G, tiles, C, ...)."""
        x = jnp.pad(x, [(0, 0), (0, tiles * rows - length)] + [(0, 0)] * (x.ndim - 2))
        return x.reshape(x.shape[0], tiles, rows, *x.shape[2:])

    @jax.checkpoint
    def tile(xs: Any) -> tuple[Array, Array]:
        coefficients, query, ids, bits, t = xs
        pde = jax.tree.map(lambda x: x[:, None, None], coefficients)
        tile_mask = AttentionMask(mask.low, mask.high, ids, head.key_ids)
        dropout_bits = None if bits is None or head.key_bits is None else DropoutBits(bits, head.key_bits)
        weights, lse = evolve_weights(spec, pde, query, head.key, tile_mask, t, dropout_bits)
        return weights @ head.value, lse

    groups = head.query.shape[0]
    t = jnp.arange(tiles * rows).reshape(tiles, rows)
    query_ids = None if head.query_ids is None else split(head.query_ids[None])[0]
    # What is the same for all heads or layers is computed once, before their loop, and kept: here the masks of all
    # tiles, T · S booleans. The barrier makes them depend on the head.
    (t, query_ids), _ = lax.optimization_barrier(((t, query_ids), lax.stop_gradient(head.query[:1, :1, :1])))

    def of_tiles(x: Array, axis: int) -> Array:
        """Repeat along the new axis, which has the query heads or the tiles, and return (G · tiles, ...)."""
        x = jnp.expand_dims(x, axis)
        return jnp.broadcast_to(x, (groups, tiles, *x.shape[2:])).reshape(groups * tiles, *x.shape[2:])

    by_head = jax.tree.map(partial(of_tiles, axis=1), head.pde)
    by_tile = jax.tree.map(partial(of_tiles, axis=0), (query_ids, t))
    query, bits = jax.tree.map(
        lambda x: split(x).reshape(groups * tiles, rows, *x.shape[2:]), (head.query, head.query_bits)
    )
    output, lse = lax.map(tile, (by_head, query, by_tile[0], bits, by_tile[1]))
    return output.reshape(groups, tiles * rows, -1)[:, :length], lse.reshape(groups, -1)[:, :length]

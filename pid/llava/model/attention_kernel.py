"""Attention in the fast memory of an accelerator: a Pallas kernel that writes neither scores nor a mask.

A query t and a key s are compared by two integers. Each bit stands for a type of tokens: the query has the bits of the
types that are removed from it, the key the bit of its own type. The pair is removed if they share a bit. This serves
any knockout mask of up to 31 types, and needs T + S integers instead of a mask of T·S entries.

One body is compiled by Mosaic for TPUs and by Triton for GPUs.

B batch, T queries, S keys, N heads, K key and value heads, H head width
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float, Int

MASKED = -1e30
"""The score of a removed pair: finite, so that a row without any key has no NaN."""
CONTRACT_LAST = (((1,), (1,)), ((), ()))
"""Dimension numbers of the product A Bᵀ."""


class Blocks(NamedTuple):
    """How a platform cuts the arrays."""

    queries: int
    """Largest number of queries of a program."""
    keys: int
    """Number of keys in a step of its loop."""
    heads_first: bool
    """Whether heads precede tokens in memory, as the tiles of a TPU need it."""


BLOCKS = {"gpu": Blocks(64, 64, heads_first=False), "tpu": Blocks(128, 256, heads_first=True)}
"""The cut on each platform."""


class Keys(NamedTuple):
    """Keys and values, and the bit of the type of each key."""

    key: Float[Array, "b s k h"]
    """Keys (B, S, K, H)."""
    value: Float[Array, "b s k h"]
    """Values in the same shape."""
    bits: Int[Array, "b s"]
    """The bit of the type of each key (B, S), int32."""


def flash_attention(
    query: Float[Array, "b t n h"],
    removed: Int[Array, "b t"],
    keys: tuple[Keys, ...],
    *,
    causal: bool,
    blocks: Blocks,
    interpret: bool = False,
) -> Float[Array, "b t n h"]:
    """softmax(QKᵀ/√H) V over all keys of `keys`, as `attention` in `pid.llava.model.masked_attention`.

    `removed` has the bits of the types that are removed from each query (B, T), int32. If `causal`, the last of `keys`
    belong to the queries themselves: query t takes its first t + 1 keys.
    """
    tokens, width = query.shape[1], query.shape[3]
    rows = min(blocks.queries, max(16, pl.next_power_of_2(tokens)))
    groups = query.shape[2] // keys[0].key.shape[2]
    per_query, per_key = _specs(blocks, width, groups)
    operands: list[Array] = [_padded(query, rows, blocks), _padded(removed, rows)[..., None]]
    specs = [per_query(rows), pl.BlockSpec((None, rows, 1), lambda b, n, i: (b, i, 0))]
    steps = []
    for each in keys:
        # a key of padding has all bits, which no query lacks, since padding is always removed
        bits = _padded(each.bits, blocks.keys, fill=-1)[:, None]
        operands += [_padded(each.key, blocks.keys, blocks), _padded(each.value, blocks.keys, blocks), bits]
        size = bits.shape[-1]
        steps.append(size // blocks.keys)
        specs += [per_key(size), per_key(size), pl.BlockSpec((None, 1, size), lambda b, n, i: (b, 0, 0))]
    params: dict[str, Any] = {} if blocks.heads_first or interpret else {"compiler_params": _triton_params()}
    output = pl.pallas_call(
        partial(_kernel, steps=tuple(steps), width=blocks.keys, causal=causal),
        grid=(query.shape[0], query.shape[2], operands[1].shape[1] // rows),
        in_specs=specs,
        out_specs=per_query(rows),
        out_shape=jax.ShapeDtypeStruct(operands[0].shape, query.dtype),
        interpret=interpret,
        name="attention",
        **params,
    )(*operands)
    return (jnp.swapaxes(output, 1, 2) if blocks.heads_first else output)[:, :tokens]


def _padded(x: Array, block: int, blocks: Blocks | None = None, *, fill: int = 0) -> Array:
    """Fill the token axis up to a multiple of the block, and move the heads where the platform wants them."""
    missing = -x.shape[1] % block
    if missing:
        x = jnp.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2), constant_values=fill)
    return jnp.swapaxes(x, 1, 2) if blocks is not None and blocks.heads_first else x


def _specs(blocks: Blocks, width: int, groups: int) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    """The blocks of queries of one head, and of all keys of the key head that serves it."""

    def spec(size: int, place: Callable[[Any, Any], tuple[Any, Any]]) -> Any:
        def index(b: Any, n: Any, i: Any) -> tuple[Any, ...]:
            head, token = place(n, i)
            return (b, head, token, 0) if blocks.heads_first else (b, token, head, 0)

        return pl.BlockSpec(
            (None, None, size, width) if blocks.heads_first else (None, size, None, width), index
        )

    return (
        lambda size: spec(size, lambda n, i: (n, i)),
        lambda size: spec(size, lambda n, i: (jax.lax.div(n, groups), 0)),
    )


def _triton_params() -> Any:
    """The parameters that choose Triton, imported where they are needed: a later JAX may drop it."""
    from jax.experimental.pallas import triton

    return triton.CompilerParams(num_warps=4, num_stages=2)


def _kernel(
    q_ref: Any, removed_ref: Any, *refs: Any, steps: tuple[int, ...], width: int, causal: bool
) -> None:
    """One block of queries of one head against all keys, with a running maximum and sum."""
    query, removed, out_ref = q_ref[...], removed_ref[...], refs[-1]
    rows = query.shape[0]
    first = pl.program_id(2) * rows
    row = first + jax.lax.broadcasted_iota(jnp.int32, (rows, 1), 0)

    def step(key_ref: Any, value_ref: Any, bits_ref: Any, j: Any, carry: Any, *, own: bool) -> Any:
        top, total, mixture = carry
        at = pl.ds(pl.multiple_of(j * width, width), width)
        scores = jax.lax.dot_general(query, key_ref[at, :], CONTRACT_LAST, preferred_element_type=jnp.float32)
        allowed = (removed & bits_ref[:, at]) == 0
        if own:
            allowed &= j * width + jax.lax.broadcasted_iota(jnp.int32, (1, width), 1) <= row
        scores = jnp.where(allowed, scores * query.shape[1] ** -0.5, MASKED)
        highest = jnp.maximum(top, jnp.max(scores, axis=1, keepdims=True))
        decay, weights = jnp.exp(top - highest), jnp.where(allowed, jnp.exp(scores - highest), 0.0)
        value = value_ref[at, :]
        part = jnp.dot(weights.astype(value.dtype), value, preferred_element_type=jnp.float32)
        total = total * decay + jnp.sum(weights, axis=1, keepdims=True)
        return highest, total, mixture * decay + part

    carry = (
        jnp.full((rows, 1), MASKED, jnp.float32),
        jnp.zeros((rows, 1), jnp.float32),
        jnp.zeros(query.shape, jnp.float32),
    )
    for place, count in enumerate(steps):
        own = causal and place == len(steps) - 1
        needed = jnp.minimum(count, jax.lax.div(first + rows + width - 1, width)) if own else count
        body = partial(step, *refs[3 * place : 3 * place + 3], own=own)
        carry = jax.lax.fori_loop(0, needed, body, carry)
    _, total, mixture = carry
    out_ref[...] = (mixture / jnp.where(total == 0, 1.0, total)).astype(out_ref.dtype)

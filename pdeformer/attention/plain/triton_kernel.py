"""Softmax attention in the fast memory of a GPU: Pallas kernels, compiled by Triton.

One program computes one block of rows of one head and loops over the blocks of keys inside the band; a block of scores
is (queries, keys). This is the only file that knows of Triton, whose lowering later versions of JAX deprecate.

    B batch, T query tokens, S key tokens, N heads, K key heads, G = N/K, H head width, C queries of a block, W keys
    of a block
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array

from pdeformer.attention.dropout import keep_mask
from pdeformer.attention.plain.kernel_interface import (
    EMPTY,
    MASKED,
    BandBlocks,
    Kernel,
    KernelSpec,
    pad_tokens,
)
from pdeformer.integrators.meshes import struct_like, vary_alike

SMALLEST = 16  # rows and columns of a product of the tensor cores
LOG2_E = math.log2(math.e)  # exp2 is an instruction, exp is not


class _Layout:
    """Blocks and padded arrays of one call; Triton needs powers of 2."""

    def __init__(
        self, spec: KernelSpec, query: Array, key: Array, *, segmented: bool, queries: int, keys: int
    ):
        self.spec, self.dtype, self.segmented = spec, query.dtype, segmented
        self.batch, self.length, self.heads, self.width = query.shape
        self.keys, self.key_heads = key.shape[1:3]
        self.groups = self.heads // self.key_heads
        self.c, self.w = _block(self.length, queries), _block(self.keys, keys)
        self.query_blocks, self.key_blocks = -(-self.length // self.c), -(-self.keys // self.w)
        self.padded_width = max(pl.next_power_of_2(self.width), SMALLEST)
        self.band = BandBlocks(self.c, self.w, self.key_blocks, spec.low, spec.high)
        self.by_key = self.band.transposed(self.query_blocks)
        self.params = plgpu.CompilerParams(num_warps=4 if self.padded_width <= 64 else 8, num_stages=2)

    def queries_of(self, x: Array, axis: int = 1) -> Array:
        return pad_tokens(x, axis, self.c)

    def keys_of(self, x: Array, axis: int = 1) -> Array:
        return pad_tokens(x, axis, self.w)

    def load(self, ref: Any, ids: Any = None) -> Array:
        """Load (tokens, H) with 0 beyond the head width and in place of padding."""
        mask = (jnp.arange(self.padded_width) < self.width)[None, :]
        if ids is not None:
            mask &= (ids > 0)[:, None]
        return plgpu.load(ref, mask=jnp.broadcast_to(mask, ref.shape), other=0.0)

    def specs_by_query(self) -> tuple[pl.BlockSpec, pl.BlockSpec, pl.BlockSpec, list[pl.BlockSpec]]:
        """Return the blocks of queries, all keys, query rows and marks, for a grid of queries."""
        all_keys, groups = self.key_blocks * self.w, self.groups
        queries = pl.BlockSpec((None, self.c, None, self.padded_width), lambda i, n, b: (b, i, n, 0))
        keys = pl.BlockSpec(
            (None, all_keys, None, self.padded_width), lambda i, n, b: (b, 0, lax.div(n, groups), 0)
        )
        rows = pl.BlockSpec((None, None, self.c), lambda i, n, b: (b, n, i))
        ids = [
            pl.BlockSpec((None, self.c), lambda i, n, b: (b, i)),
            pl.BlockSpec((None, all_keys), lambda i, n, b: (b, 0)),
        ]
        key_rows = pl.BlockSpec((None, None, all_keys), lambda i, n, b: (b, lax.div(n, groups), 0))
        return queries, keys, rows, self.mark_specs(ids, [rows, key_rows])

    def mark_specs(self, ids: list[pl.BlockSpec], bits: list[pl.BlockSpec]) -> list[pl.BlockSpec]:
        """Return the blocks of the marks that the call has."""
        return [*(ids if self.segmented else []), *(bits if self.spec.dropout > 0 else [])]

    def marks(self, marks: Sequence[Array]) -> list[Array]:
        """Return ids (B, tokens) and dropout bits (B, heads, tokens) in whole blocks."""
        ids, bits = self.spec.split_marks(marks)
        pads = self.queries_of, self.keys_of
        padded = [pad(x.astype(jnp.int32)) for pad, x in zip(pads, ids, strict=False)]
        return padded + [pad(x, 2) for pad, x in zip(pads, bits, strict=False)]

    def drop(self, x: Array, query_bits: Any, key_bits: Any) -> Array:
        """Return x (C, W) with 0 for the dropped pairs, the others divided by 1 − dropout."""
        if query_bits is None:
            return x
        keep = keep_mask(query_bits[:, None], key_bits[None, :], self.spec.dropout)
        return jnp.where(keep, x / (1 - self.spec.dropout), 0.0)

    def store(self, ref: Any, x: Array) -> None:
        mask = (jnp.arange(self.padded_width) < self.width)[None, :]
        plgpu.store(ref, x.astype(ref.dtype), mask=jnp.broadcast_to(mask, ref.shape))

    def scores(self, q: Array, k: Array, i: Any, j: Any, query_ids: Any, key_ids: Any) -> Array:
        """Return scores · log2 e, (C, W), and `MASKED` at forbidden pairs."""
        scores = self.dot(q, k.T) * (self.spec.scale * LOG2_E)
        bounded = self.band.low is not None or self.band.high is not None or self.keys % self.w
        if not bounded and query_ids is None:
            return scores
        mask = jnp.ones(scores.shape, bool)
        if bounded:
            row, column = i * self.c + jnp.arange(self.c), j * self.w + jnp.arange(self.w)
            mask = self.band.mask(row[:, None], column[None, :], self.keys)
        if query_ids is not None:
            mask &= (query_ids[:, None] == key_ids[None, :]) & (query_ids > 0)[:, None]
        return jnp.where(mask, scores, MASKED)

    def dot(self, a: Array, b: Array) -> Array:
        precision = self.spec.product_precision(a.dtype)
        return lax.dot_general(
            a, b, (((1,), (0,)), ((), ())), precision=precision, preferred_element_type=jnp.float32
        )


class _Marks(NamedTuple):
    """The ids and the dropout bits of the queries or of the keys of one program."""

    ids: Any
    bits: Any

    @classmethod
    def of(cls, at: _Layout, refs: Sequence[Any]) -> tuple["_Marks", "_Marks"]:
        """Return the marks of the queries and those of the keys; None for what the call has not."""
        ids, bits = (part or (None, None) for part in at.spec.split_marks(refs))
        return cls(ids[0], bits[0]), cls(ids[1], bits[1])

    def read(self, *index: Any) -> tuple[Any, Any]:
        """Return ids and bits of some tokens; bits of several heads have the head as their first index."""
        ids = None if self.ids is None else self.ids[index[-1]]
        return ids, None if self.bits is None else self.bits[index]


def _block(length: int, largest: int) -> int:
    return min(largest, max(pl.next_power_of_2(length), SMALLEST))


def _sizes(query: Array, *, backward: bool) -> dict[str, int]:
    """Return the largest blocks that fit registers and shared memory: smaller ones for wide heads and float32."""
    wide = pl.next_power_of_2(query.shape[-1]) * query.dtype.itemsize
    if backward:
        return {"queries": 64 if wide <= 128 else 32, "keys": 64 if wide <= 128 else 32}
    return {"queries": 128 if wide <= 128 else 64, "keys": 64 if wide <= 256 else 32}


def forward(spec: KernelSpec, query: Array, key: Array, value: Array, *marks: Array) -> tuple[Array, Array]:
    """Return output (B, T, N, H) and lse (B, N, T), as `kernel_interface.Kernel` says."""
    ids, _ = spec.split_marks(marks)
    at = _Layout(spec, query, key, segmented=bool(ids), **_sizes(query, backward=False))
    tokens = at.query_blocks * at.c
    q_spec, k_spec, row_spec, mark_specs = at.specs_by_query()
    arrays = vary_alike(at.queries_of(query), at.keys_of(key), at.keys_of(value), *at.marks(marks))
    output, lse = pl.pallas_call(
        partial(_forward_kernel, at),
        grid=(at.query_blocks, at.heads, at.batch),
        in_specs=[q_spec, k_spec, k_spec, *mark_specs],
        out_specs=[q_spec, row_spec],
        out_shape=[
            struct_like(arrays[0], (at.batch, tokens, at.heads, at.width), value.dtype),
            struct_like(arrays[0], (at.batch, at.heads, tokens), jnp.float32),
        ],
        compiler_params=at.params,
        interpret=spec.interpret,
        name="attention_forward",
    )(*arrays)
    return output[:, : at.length], lse[..., : at.length]


def _forward_kernel(at: _Layout, q_ref: Any, k_ref: Any, v_ref: Any, *refs: Any) -> None:
    (*marks, o_ref, lse_ref), i = refs, pl.program_id(0)
    queries, keys = _Marks.of(at, marks)
    query_ids, query_bits = queries.read(...)
    q = at.load(q_ref, query_ids)

    def step(j: Any, carry: Any) -> Any:
        top, total, output = carry
        block = pl.ds(j * at.w, at.w)
        key_ids, key_bits = keys.read(block)
        k, v = at.load(k_ref.at[block, :], key_ids), at.load(v_ref.at[block, :], key_ids)
        scores = at.scores(q, k, i, j, query_ids, key_ids)
        new_top = jnp.maximum(top, scores.max(1))
        weights, decay = jnp.exp2(scores - new_top[:, None]), jnp.exp2(top - new_top)
        remaining = at.drop(weights, query_bits, key_bits).astype(v.dtype)
        output = output * decay[:, None] + at.dot(remaining, v)
        return new_top, total * decay + weights.sum(1), output

    start = (
        jnp.full((at.c,), MASKED, jnp.float32),
        jnp.zeros((at.c,), jnp.float32),
        jnp.zeros((at.c, at.padded_width), jnp.float32),
    )
    top, total, output = lax.fori_loop(at.band.start(i), at.band.last(i) + 1, step, start)
    any_key = top > EMPTY
    total = jnp.where(any_key, total, 1.0)
    at.store(o_ref, output * jnp.where(any_key, 1 / total, 0.0)[:, None])
    lse_ref[...] = jnp.where(any_key, (top + jnp.log2(total)) / LOG2_E, -jnp.inf)


def backward(
    spec: KernelSpec, query: Array, key: Array, value: Array, *rest: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients of query, key and value, as `kernel_interface.Kernel` says."""
    *marks, lse, delta, d_output = rest
    ids, _ = spec.split_marks(marks)
    at = _Layout(spec, query, key, segmented=bool(ids), **_sizes(query, backward=True))
    lse = jnp.where(lse == -jnp.inf, 0.0, lse)  # no pair of such a row is allowed
    arrays = vary_alike(
        at.queries_of(query),
        at.keys_of(key),
        at.keys_of(value),
        *at.marks(marks),
        at.queries_of(d_output),
        at.queries_of(lse, 2),
        at.queries_of(delta, 2),
    )
    d_query = _query_gradient(at, arrays)
    d_key, d_value = _key_gradient(at, arrays, value.dtype)
    return d_query[:, : at.length], d_key[:, : at.keys], d_value[:, : at.keys]


def _query_gradient(at: _Layout, arrays: tuple) -> Array:
    q_spec, k_spec, row_spec, mark_specs = at.specs_by_query()
    return pl.pallas_call(
        partial(_query_gradient_kernel, at),
        grid=(at.query_blocks, at.heads, at.batch),
        in_specs=[q_spec, k_spec, k_spec, *mark_specs, q_spec, row_spec, row_spec],
        out_specs=q_spec,
        out_shape=struct_like(arrays[0], arrays[0].shape, at.dtype),
        compiler_params=at.params,
        interpret=at.spec.interpret,
        name="attention_query_gradient",
    )(*arrays)


def _query_gradient_kernel(at: _Layout, q_ref: Any, k_ref: Any, v_ref: Any, *refs: Any) -> None:
    (*marks, do_ref, lse_ref, delta_ref, dq_ref), i = refs, pl.program_id(0)
    queries, keys = _Marks.of(at, marks)
    query_ids, query_bits = queries.read(...)
    q, d_output = at.load(q_ref, query_ids), at.load(do_ref, query_ids)
    lse, delta = lse_ref[...], delta_ref[...]

    def step(j: Any, total: Array) -> Array:
        block = pl.ds(j * at.w, at.w)
        key_ids, key_bits = keys.read(block)
        k, v = at.load(k_ref.at[block, :], key_ids), at.load(v_ref.at[block, :], key_ids)
        weights = jnp.exp2(at.scores(q, k, i, j, query_ids, key_ids) - (lse * LOG2_E)[:, None])
        d_weights = at.drop(at.dot(d_output, v.T), query_bits, key_bits)
        d_scores = weights * (d_weights - delta[:, None])
        return total + at.dot(d_scores.astype(k.dtype), k)

    zeros = jnp.zeros((at.c, at.padded_width), jnp.float32)
    total = lax.fori_loop(at.band.start(i), at.band.last(i) + 1, step, zeros)
    at.store(dq_ref, total * at.spec.scale)


def _key_gradient(at: _Layout, arrays: tuple, value_dtype: Any) -> tuple[Array, Array]:
    tokens = at.query_blocks * at.c
    q_spec = pl.BlockSpec((None, tokens, at.groups, at.padded_width), lambda j, k, b: (b, 0, k, 0))
    k_spec = pl.BlockSpec((None, at.w, None, at.padded_width), lambda j, k, b: (b, j, k, 0))
    row_spec = pl.BlockSpec((None, at.groups, tokens), lambda j, k, b: (b, k, 0))
    id_specs = [
        pl.BlockSpec((None, tokens), lambda j, k, b: (b, 0)),
        pl.BlockSpec((None, at.w), lambda j, k, b: (b, j)),
    ]
    key_row_spec = pl.BlockSpec((None, None, at.w), lambda j, k, b: (b, k, j))
    mark_specs = at.mark_specs(id_specs, [row_spec, key_row_spec])
    return pl.pallas_call(
        partial(_key_gradient_kernel, at),
        grid=(at.key_blocks, at.key_heads, at.batch),
        in_specs=[q_spec, k_spec, k_spec, *mark_specs, q_spec, row_spec, row_spec],
        out_specs=[k_spec, k_spec],
        out_shape=[
            struct_like(arrays[0], arrays[1].shape, at.dtype),
            struct_like(arrays[0], arrays[2].shape, value_dtype),
        ],
        compiler_params=at.params,
        interpret=at.spec.interpret,
        name="attention_key_gradient",
    )(*arrays)


def _key_gradient_kernel(at: _Layout, q_ref: Any, k_ref: Any, v_ref: Any, *refs: Any) -> None:
    (*marks, do_ref, lse_ref, delta_ref, dk_ref, dv_ref), j = refs, pl.program_id(0)
    queries, keys = _Marks.of(at, marks)
    key_ids, key_bits = keys.read(...)
    k, v = at.load(k_ref, key_ids), at.load(v_ref, key_ids)

    def step(g: Array, i: Any, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        block = pl.ds(i * at.c, at.c)
        query_ids, query_bits = queries.read(g, block)
        q, d_output = at.load(q_ref.at[block, g, :], query_ids), at.load(do_ref.at[block, g, :], query_ids)
        scores = at.scores(q, k, i, j, query_ids, key_ids)
        weights = jnp.exp2(scores - (lse_ref[g, block] * LOG2_E)[:, None])
        d_weights = at.drop(at.dot(d_output, v.T), query_bits, key_bits)
        d_scores = weights * (d_weights - delta_ref[g, block][:, None])
        d_key = sums[0] + at.dot(d_scores.astype(q.dtype).T, q)
        remaining = at.drop(weights, query_bits, key_bits).astype(d_output.dtype)
        return d_key, sums[1] + at.dot(remaining.T, d_output)

    zeros = jnp.zeros((at.w, at.padded_width), jnp.float32)
    sums = zeros, zeros
    for g in range(at.groups):
        head = partial(step, jnp.int32(g))
        sums = lax.fori_loop(at.by_key.start(j), at.by_key.last(j) + 1, head, sums)
    at.store(dk_ref, sums[0] * at.spec.scale)
    at.store(dv_ref, sums[1])


KERNEL = Kernel(forward, backward, "cuda")

"""Softmax attention in the fast memory of a TPU: Pallas kernels that never form a row of scores in HBM.

The tokens lie along the lanes, (B, N, H, T). A head width of 64 then fills whole registers, the sums of the softmax run
along the sublanes, and the log-sum-exp is one row of numbers. A block of scores is (keys, queries).

    B batch, T query tokens, S key tokens, N heads, K key heads, G = N/K, H head width, C queries of a block, W keys
    of a block
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array

from pdeformer.attention.dropout import keep_mask
from pdeformer.attention.plain.kernel_interface import (
    EMPTY,
    MASKED,
    BandBlocks,
    Kernel,
    KernelSpec,
    even_block,
    pad_tokens,
)
from pdeformer.integrators.meshes import struct_like, vary_alike

QUERIES, KEYS, LANES = 512, 1024, 128
TN, NN, NT = (((0,), (0,)), ((), ())), (((1,), (0,)), ((), ())), (((1,), (1,)), ((), ()))


class _Layout:
    """Blocks, index maps and padded arrays of one call."""

    def __init__(
        self, spec: KernelSpec, query: Array, key: Array, *, segmented: bool, queries: int, keys: int
    ):
        self.spec, self.dtype, self.segmented = spec, query.dtype, segmented
        self.batch, self.length, self.heads, self.width = query.shape
        self.keys, self.groups = key.shape[1], self.heads // key.shape[2]
        self.key_heads = key.shape[2]
        self.c, self.w = even_block(self.length, queries, LANES), even_block(self.keys, keys, LANES)
        self.query_blocks, self.key_blocks = -(-self.length // self.c), -(-self.keys // self.w)
        self.band = BandBlocks(self.c, self.w, self.key_blocks, spec.low, spec.high)
        self.by_key = self.band.transposed(self.query_blocks)

    def queries_last(self, x: Array) -> Array:
        return pad_tokens(jnp.transpose(x, (0, 2, 3, 1)), 3, self.c)

    def keys_last(self, x: Array) -> Array:
        return pad_tokens(jnp.transpose(x, (0, 2, 3, 1)), 3, self.w)

    def rows(self, x: Array) -> Array:
        return pad_tokens(x, 2, self.c)[:, :, None, :]

    def marks(self, marks: Sequence[Array]) -> list[Array]:
        """Return ids (B, 1, tokens) and dropout bits (B, heads, 1, tokens) in whole blocks."""
        ids, bits = self.spec.split_marks(marks)
        blocks = self.c, self.w
        padded = [
            pad_tokens(x.astype(jnp.int32), 1, block)[:, None] for x, block in zip(ids, blocks, strict=False)
        ]
        return padded + [pad_tokens(x, 2, block)[:, :, None] for x, block in zip(bits, blocks, strict=False)]

    def tokens_first(self, x: Array, length: int) -> Array:
        return jnp.transpose(x[..., :length], (0, 3, 1, 2))

    def specs_by_query(self) -> tuple[pl.BlockSpec, pl.BlockSpec, pl.BlockSpec, list[pl.BlockSpec]]:
        """Return the blocks of queries, keys, query rows and marks, for a grid over queries and keys of their band."""
        band, groups = self.band, self.groups

        def key_block(i: Any, jj: Any) -> Any:
            return jnp.minimum(band.first(i) + jj, band.last(i))

        queries = pl.BlockSpec((None, None, self.width, self.c), lambda b, n, i, jj: (b, n, 0, i))
        keys = pl.BlockSpec(
            (None, None, self.width, self.w), lambda b, n, i, jj: (b, lax.div(n, groups), 0, key_block(i, jj))
        )
        rows = pl.BlockSpec((None, None, 1, self.c), lambda b, n, i, jj: (b, n, 0, i))
        ids = [
            pl.BlockSpec((None, 1, self.c), lambda b, n, i, jj: (b, 0, i)),
            pl.BlockSpec((None, 1, self.w), lambda b, n, i, jj: (b, 0, key_block(i, jj))),
        ]
        key_rows = pl.BlockSpec(
            (None, None, 1, self.w), lambda b, n, i, jj: (b, lax.div(n, groups), 0, key_block(i, jj))
        )
        return queries, keys, rows, self.mark_specs(ids, [rows, key_rows])

    def mark_specs(self, ids: list[pl.BlockSpec], bits: list[pl.BlockSpec]) -> list[pl.BlockSpec]:
        """Return the blocks of the marks that the call has."""
        return [*(ids if self.segmented else []), *(bits if self.spec.dropout > 0 else [])]


def forward(spec: KernelSpec, query: Array, key: Array, value: Array, *marks: Array) -> tuple[Array, Array]:
    """Return output (B, T, N, H) and lse (B, N, T), as `kernel_interface.Kernel` says."""
    ids, _ = spec.split_marks(marks)
    at = _Layout(spec, query, key, segmented=bool(ids), queries=QUERIES, keys=KEYS)
    q_spec, k_spec, row_spec, mark_specs = at.specs_by_query()
    tokens = at.query_blocks * at.c
    arrays = vary_alike(at.queries_last(query), at.keys_last(key), at.keys_last(value), *at.marks(marks))
    output, lse = pl.pallas_call(
        partial(_forward_kernel, at),
        grid=(at.batch, at.heads, at.query_blocks, at.band.width),
        in_specs=[q_spec, k_spec, k_spec, *mark_specs],
        out_specs=[q_spec, row_spec],
        out_shape=[
            struct_like(arrays[0], (at.batch, at.heads, at.width, tokens), value.dtype),
            struct_like(arrays[0], (at.batch, at.heads, 1, tokens), jnp.float32),
        ],
        scratch_shapes=[
            pltpu.VMEM((1, at.c), jnp.float32),
            pltpu.VMEM((1, at.c), jnp.float32),
            pltpu.VMEM((at.width, at.c), jnp.float32),
        ],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "parallel", "arbitrary")
        ),
        interpret=spec.interpret,
        name="attention_forward",
    )(*arrays)
    return at.tokens_first(output, at.length), lse[:, :, 0, : at.length]


def _forward_kernel(at: _Layout, q_ref: Any, k_ref: Any, v_ref: Any, *refs: Any) -> None:
    marks, (o_ref, lse_ref, top_ref, total_ref, sum_ref) = refs[:-5], refs[-5:]
    ids, bits = at.spec.split_marks(marks)
    i, jj = pl.program_id(2), pl.program_id(3)
    j = at.band.first(i) + jj

    @pl.when(jj == 0)
    def _() -> None:
        top_ref[...] = jnp.full_like(top_ref, MASKED)
        total_ref[...] = jnp.zeros_like(total_ref)
        sum_ref[...] = jnp.zeros_like(sum_ref)

    def step(*, masked: bool) -> None:
        q, k, v = _clean(q_ref, ids[:1]), _clean(k_ref, ids[1:]), _clean(v_ref, ids[1:])
        scores = _scores(at, q, k, i, j, ids, masked=masked)
        top = jnp.maximum(top_ref[...], scores.max(0, keepdims=True))
        weights, decay = jnp.exp(scores - top), jnp.exp(top_ref[...] - top)
        top_ref[...] = top
        total_ref[...] = total_ref[...] * decay + weights.sum(0, keepdims=True)
        remaining = _drop(at, weights, bits).astype(v.dtype)
        sum_ref[...] = sum_ref[...] * decay + _dot(at, v, remaining, NN)

    _run_blocks(at, i, j, step)

    @pl.when(jj == at.band.width - 1)
    def _() -> None:
        any_key = top_ref[...] > EMPTY
        total = jnp.where(any_key, total_ref[...], 1.0)
        factor = jnp.where(any_key, 1 / (total * (1 - at.spec.dropout)), 0.0)
        o_ref[...] = (sum_ref[...] * factor).astype(o_ref.dtype)
        lse_ref[...] = jnp.where(any_key, top_ref[...] + jnp.log(total), -jnp.inf)


def backward(
    spec: KernelSpec, query: Array, key: Array, value: Array, *rest: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients of query, key and value, as `kernel_interface.Kernel` says."""
    *marks, lse, delta, d_output = rest
    ids, _ = spec.split_marks(marks)
    at = _Layout(spec, query, key, segmented=bool(ids), queries=QUERIES, keys=QUERIES)
    lse = jnp.where(lse == -jnp.inf, 0.0, lse)  # no pair of such a row is allowed
    arrays = vary_alike(
        at.queries_last(query),
        at.keys_last(key),
        at.keys_last(value),
        *at.marks(marks),
        at.queries_last(d_output),
        at.rows(lse),
        at.rows(delta),
    )
    d_query = _query_gradient(at, arrays)
    d_key, d_value = _key_gradient(at, arrays, value.dtype)
    return (
        at.tokens_first(d_query, at.length),
        at.tokens_first(d_key, at.keys),
        at.tokens_first(d_value, at.keys),
    )


def _query_gradient(at: _Layout, arrays: tuple) -> Array:
    q_spec, k_spec, row_spec, mark_specs = at.specs_by_query()
    return pl.pallas_call(
        partial(_query_gradient_kernel, at),
        grid=(at.batch, at.heads, at.query_blocks, at.band.width),
        in_specs=[q_spec, k_spec, k_spec, *mark_specs, q_spec, row_spec, row_spec],
        out_specs=q_spec,
        out_shape=struct_like(arrays[0], arrays[0].shape, at.dtype),
        scratch_shapes=[pltpu.VMEM((at.width, at.c), jnp.float32)],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "parallel", "arbitrary")
        ),
        interpret=at.spec.interpret,
        name="attention_query_gradient",
    )(*arrays)


def _query_gradient_kernel(at: _Layout, *refs: Any) -> None:
    *inputs, dq_ref, sum_ref = refs
    i, jj = pl.program_id(2), pl.program_id(3)
    j = at.band.first(i) + jj

    @pl.when(jj == 0)
    def _() -> None:
        sum_ref[...] = jnp.zeros_like(sum_ref)

    def step(*, masked: bool) -> None:
        _, k, _, _, d_scores = _score_gradient(at, inputs, i, j, masked=masked)
        sum_ref[...] += _dot(at, k, d_scores.astype(k.dtype), NN)

    _run_blocks(at, i, j, step)

    @pl.when(jj == at.band.width - 1)
    def _() -> None:
        dq_ref[...] = (sum_ref[...] * at.spec.scale).astype(dq_ref.dtype)


def _key_gradient(at: _Layout, arrays: tuple, value_dtype: Any) -> tuple[Array, Array]:
    band, steps = at.by_key, at.by_key.width * at.groups

    def query_block(j: Any, r: Any) -> Any:
        return jnp.minimum(band.first(j) + lax.rem(r, band.width), band.last(j))

    def head(k: Any, r: Any) -> Any:
        return k * at.groups + lax.div(r, band.width)

    q_spec = pl.BlockSpec(
        (None, None, at.width, at.c), lambda b, k, j, r: (b, head(k, r), 0, query_block(j, r))
    )
    k_spec = pl.BlockSpec((None, None, at.width, at.w), lambda b, k, j, r: (b, k, 0, j))
    row_spec = pl.BlockSpec((None, None, 1, at.c), lambda b, k, j, r: (b, head(k, r), 0, query_block(j, r)))
    id_specs = [
        pl.BlockSpec((None, 1, at.c), lambda b, k, j, r: (b, 0, query_block(j, r))),
        pl.BlockSpec((None, 1, at.w), lambda b, k, j, r: (b, 0, j)),
    ]
    key_row_spec = pl.BlockSpec((None, None, 1, at.w), lambda b, k, j, r: (b, k, 0, j))
    mark_specs = at.mark_specs(id_specs, [row_spec, key_row_spec])
    return pl.pallas_call(
        partial(_key_gradient_kernel, at),
        grid=(at.batch, at.key_heads, at.key_blocks, steps),
        in_specs=[q_spec, k_spec, k_spec, *mark_specs, q_spec, row_spec, row_spec],
        out_specs=[k_spec, k_spec],
        out_shape=[
            struct_like(arrays[0], arrays[1].shape, at.dtype),
            struct_like(arrays[0], arrays[2].shape, value_dtype),
        ],
        scratch_shapes=[pltpu.VMEM((at.width, at.w), jnp.float32), pltpu.VMEM((at.width, at.w), jnp.float32)],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "parallel", "arbitrary")
        ),
        interpret=at.spec.interpret,
        name="attention_key_gradient",
    )(*arrays)


def _key_gradient_kernel(at: _Layout, *refs: Any) -> None:
    *inputs, dk_ref, dv_ref, k_sum_ref, v_sum_ref = refs
    j, r = pl.program_id(2), pl.program_id(3)
    i = at.by_key.first(j) + lax.rem(r, at.by_key.width)

    @pl.when(r == 0)
    def _() -> None:
        k_sum_ref[...] = jnp.zeros_like(k_sum_ref)
        v_sum_ref[...] = jnp.zeros_like(v_sum_ref)

    def step(*, masked: bool) -> None:
        q, _, d_output, weights, d_scores = _score_gradient(at, inputs, i, j, masked=masked)
        k_sum_ref[...] += _dot(at, q, d_scores.astype(q.dtype), NT)
        v_sum_ref[...] += _dot(at, d_output, weights.astype(d_output.dtype), NT)

    _run_blocks(at, i, j, step)

    @pl.when(r == at.by_key.width * at.groups - 1)
    def _() -> None:
        dk_ref[...] = (k_sum_ref[...] * at.spec.scale).astype(dk_ref.dtype)
        dv_ref[...] = (v_sum_ref[...] / (1 - at.spec.dropout)).astype(dv_ref.dtype)


def _score_gradient(at: _Layout, refs: Any, i: Any, j: Any, *, masked: bool) -> tuple[Array, ...]:
    """Return query, key, cotangent, the weights m p that are kept, and ds = p (dp − δ) of one block."""
    q_ref, k_ref, v_ref, *marks, do_ref, lse_ref, delta_ref = refs
    ids, bits = at.spec.split_marks(marks)
    q, k, v = _clean(q_ref, ids[:1]), _clean(k_ref, ids[1:]), _clean(v_ref, ids[1:])
    d_output = _clean(do_ref, ids[:1])
    weights = jnp.exp(_scores(at, q, k, i, j, ids, masked=masked) - lse_ref[...])
    d_weights = _dot(at, v, d_output, TN)
    if not bits:
        return q, k, d_output, weights, weights * (d_weights - delta_ref[...])
    keep = _keep(at, bits)
    d_weights = jnp.where(keep, d_weights / (1 - at.spec.dropout), 0.0)
    return q, k, d_output, jnp.where(keep, weights, 0.0), weights * (d_weights - delta_ref[...])


def _run_blocks(at: _Layout, i: Any, j: Any, step: Callable[..., None]) -> None:
    """Run a step if the blocks have a pair inside the band, with a mask only where one is needed."""
    band = at.band
    if band.low is None and band.high is None and not at.segmented and at.keys % at.w == 0:
        step(masked=False)
        return
    active = band.any_pair(i, j)
    if at.segmented:
        pl.when(active)(partial(step, masked=True))
        return
    inside = band.all_pairs(i, j, at.keys)
    pl.when(active & ~inside)(partial(step, masked=True))
    pl.when(active & inside)(partial(step, masked=False))


def _scores(at: _Layout, q: Array, k: Array, i: Any, j: Any, ids: Any, *, masked: bool) -> Array:
    """Return the scaled scores (W, C), and `MASKED` at forbidden pairs."""
    scores = _dot(at, k, q, TN) * at.spec.scale
    if not masked:
        return scores
    row = i * at.c + lax.broadcasted_iota(jnp.int32, scores.shape, 1)
    column = j * at.w + lax.broadcasted_iota(jnp.int32, scores.shape, 0)
    mask = at.band.mask(row, column, at.keys)
    if ids:
        query_ids = ids[0][...]
        mask &= (query_ids == _column(at, ids[1])) & (query_ids > 0)
    return jnp.where(mask, scores, MASKED)


def _drop(at: _Layout, weights: Array, bits: Any) -> Array:
    """Return weights (W, C) with 0 for the dropped pairs."""
    return jnp.where(_keep(at, bits), weights, 0.0) if bits else weights


def _keep(at: _Layout, bits: Any) -> Array:
    return keep_mask(bits[0][...], _column(at, bits[1]), at.spec.dropout)


def _column(at: _Layout, ref: Any) -> Array:
    """Return the numbers of a block of keys (1, W) as a column (W, 1)."""
    return jnp.transpose(jnp.broadcast_to(ref[...], (8, at.w)))[:, :1]


def _clean(ref: Any, ids: Any) -> Array:
    """Return a block (H, tokens) with 0 in place of padding."""
    x = ref[...]
    if not ids:
        return x
    return jnp.where(ids[0][...] > 0, x.astype(jnp.float32), 0.0).astype(x.dtype)


def _dot(at: _Layout, a: Array, b: Array, dimensions: Any) -> Array:
    return lax.dot_general(
        a,
        b,
        dimensions,
        precision=at.spec.product_precision(a.dtype),
        preferred_element_type=jnp.float32,
    )


KERNEL = Kernel(forward, backward, "tpu")

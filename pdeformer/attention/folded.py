"""The exact rewrite: a linear evolution of the weights acts on what they multiply, in O(T) instead of O(T · S).

    weights, key axis     (A Mᵀ) V = A (Mᵀ V)          on the values, before attention; Mᵀ reverses an advection
    weights, query axis   (M A) V = M (A V)            on the output, after it
    logits                M S Mᵀ = (M Q)(M K)ᵀ         on queries and keys, each only if its axis evolves

M is the propagator of all steps on the path graph of the tokens. A causal row of weights has a wall behind its
query. No M is common to all rows, but within n steps this wall changes only the last n weights of a row:

    past    keys s <= t - n: attention over the evolved values, whose entry s depends on V[s-n … s+n], none after t
    band    the last n weights are evolved in a window of the 2n keys that end at t, then multiply V

The two parts are joined by their log-sum-exps. A later token enters a row only with weight 0.

    B batch, T query tokens, S key tokens, N heads, K key heads, G = N/K, H head width, D value width, n steps,
    C rows of a chunk
"""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Integer, UInt32

from pdeformer import stencil
from pdeformer.attention.chunked import chunked_attention
from pdeformer.attention.dropout import drop_weights
from pdeformer.attention.materialized import EvolutionSpec, integrate, scores, softmax
from pdeformer.attention.plain.causal_diagonals import MOST_STEPS, diagonal_band
from pdeformer.attention.plain.fused import fused_attention
from pdeformer.attention.plain.performer import linear_attention
from pdeformer.attention.tiled import HeadInputs, map_heads, tiled_attention
from pdeformer.attention.types import AttentionInputs, AttentionMask, AttentionOutput, DropoutBits
from pdeformer.integrators.api import select_method
from pdeformer.integrators.meshes import map_in_groups, serial_loops
from pdeformer.integrators.propagator import casts, propagate
from pdeformer.pde import PDE, AdvectionDiffusion
from pdeformer.stencil import Path

CHUNK = 64  # rows whose windows are cut out of one matrix product; more rows waste more of it
BLOCK = 2**20  # entries of the scores that a CPU computes in one step of its loops over chunks and heads


def apply_propagator(
    spec: EvolutionSpec, pde: PDE, u: Float[Array, "b t n d"], ids: Array | None, *, adjoint: bool = False
) -> Float[Array, "b t n d"]:
    """Return M u along the tokens, or Mᵀ u, in every head; coefficients have shape (steps, N or 1).

    The steps have at least float32, the result has the dtype of u.
    """
    if ids is not None and spec.kernel is not None:
        u = jnp.where(jnp.broadcast_to(ids > 0, u.shape[:2])[:, :, None, None], u, 0)
    batch, length, heads, width = u.shape
    graph = stencil.path(length, ids, "neumann", ndim=3)

    def per_channel(x: Array) -> Array:
        """Expand (steps, N) to (steps, 1, 1, N·D)."""
        full = jnp.broadcast_to(x[:, :, None], (x.shape[0], heads, width))
        return x[:, :, None, None] if x.shape[1] == 1 else full.reshape(x.shape[0], 1, 1, -1)

    coefficients = jax.tree.map(per_channel, pde)

    def apply(u: Array) -> Array:
        if not spec.constant:
            return integrate(coefficients, spec.order, _widen(u), graph)
        first = jax.tree.map(lambda x: x[0], coefficients)
        method = select_method(
            first, "auto", spec.steps, "neumann", segmented=ids is not None, causal=False, state=u
        )
        return propagate(first, u if casts(method) else _widen(u), graph, steps=spec.steps, method=method)

    flat = u.reshape(batch, length, -1)
    if adjoint:
        result, transposed = jax.vjp(apply, flat)
        (result,) = transposed(flat.astype(result.dtype))  # the vjp of a linear map is its transpose
    else:
        result = apply(flat)
    return result.astype(u.dtype).reshape(u.shape)


def _widen(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def base_attention(spec: EvolutionSpec, inputs: AttentionInputs) -> AttentionOutput:
    """Compute attention without evolution by the fastest exact method; `query` is scaled, or the kernel scales."""
    query, key, value, mask, dropout_bits = inputs
    assert value is not None
    if spec.kernel is not None:
        return fused_attention(spec.kernel, query, key, value, mask.query_ids, mask.key_ids, dropout_bits)
    if not spec.random_features:
        return chunked_attention(
            query,
            key,
            value,
            mask,
            scale=1.0,
            dropout=spec.dropout,
            dropout_bits=dropout_bits,
            precision=spec.precision,
        )
    if mask.low is not None:
        return tiled_attention(spec, None, inputs)
    if mask.query_ids is None or mask.key_ids is None:
        return linear_attention(query, key, value, mask.high)
    by_tiles = partial(tiled_attention, spec, None)
    is_one_segment = _is_one_segment(mask.query_ids, mask.key_ids)
    return lax.cond(is_one_segment, _linear_attention_of_valid_tokens, by_tiles, inputs)


def _is_one_segment(query_ids: Array, key_ids: Array) -> Array:
    """Return whether no row has tokens of several segments; then padding alone restricts the keys."""
    first = jnp.max(key_ids, axis=1, keepdims=True, initial=0)
    return jnp.all((query_ids <= 0) | (query_ids == first)) & jnp.all((key_ids <= 0) | (key_ids == first))


def _linear_attention_of_valid_tokens(inputs: AttentionInputs) -> AttentionOutput:
    """Attend with random features to all keys but padding."""
    query, key, value, mask, _ = inputs
    assert mask.query_ids is not None
    assert mask.key_ids is not None
    assert value is not None
    key = jnp.where((mask.key_ids > 0)[..., None, None], key, 0)
    output, lse = linear_attention(query, key, value, mask.high)
    valid = (mask.query_ids > 0)[..., None]
    return AttentionOutput(jnp.where(valid[..., None], output, 0), jnp.where(valid, lse, -jnp.inf))


def folded_attention(spec: EvolutionSpec, pde: PDE, inputs: AttentionInputs) -> AttentionOutput:
    """Return the evolved attention of a linear `pde`, and the log-sum-exp of its scores before the evolution.

    If the coefficients are not `shared`, the key heads are already repeated: K = N. For evolved logits the
    log-sum-exp is that of the evolved scores.
    """
    pde = jax.tree.map(lambda x: x[:, :1], pde) if spec.shared else pde
    if spec.renormalize and not conserves_mass(spec, pde):
        return _renormalized_attention(spec, pde, inputs)
    query, key, value, mask, _ = inputs
    propagate_along = partial(apply_propagator, spec, pde)
    by_key, by_query = (spec.axis in (name, "both") for name in ("key", "query"))
    if spec.target == "logits":
        query = propagate_along(query, mask.query_ids) if by_query else query
        key = propagate_along(key, mask.key_ids) if by_key else key
        return base_attention(spec, inputs._replace(query=query, key=key))
    assert value is not None
    evolved = inputs
    if by_key:
        evolved = inputs._replace(value=propagate_along(value, mask.key_ids, adjoint=True))
    if spec.causal:
        assert mask.high is not None
        past_mask, past_kernel = mask._replace(high=mask.high - spec.steps), spec.kernel
        if past_kernel is not None and past_kernel.high is not None:
            past_kernel = past_kernel._replace(high=past_kernel.high - spec.steps)
        past = base_attention(replace(spec, kernel=past_kernel), evolved._replace(mask=past_mask))
        return join(past, _recent_keys(spec, pde, inputs))
    output, lse = base_attention(spec, evolved)
    return AttentionOutput(propagate_along(output, mask.query_ids) if by_query else output, lse)


def _recent_keys(spec: EvolutionSpec, pde: PDE, inputs: AttentionInputs) -> AttentionOutput:
    """Attend with the last n weights of every causal row, in the form of the device."""
    query, key, value, mask, _ = inputs
    kernel = spec.kernel
    if kernel is None or value is None:
        return causal_band(spec, pde, inputs)
    if spec.steps > MOST_STEPS or query.shape[1] != key.shape[1] or spec.dropout > 0:
        return causal_band(replace(spec, kernel=None), pde, scaled_float32(kernel.scale, inputs))
    runs = None if mask.key_ids is None else stencil.run_ids(mask.key_ids)

    def band(pde: PDE, query: Array, key: Array, value: Array) -> AttentionOutput:
        static: Any = dict(steps=spec.steps, scale=kernel.scale, low=kernel.low)
        return diagonal_band(pde, query, key, value, mask.query_ids, mask.key_ids, runs, **static)

    return jax.checkpoint(band)(pde, query, key, value)


def scaled_float32(scale: float, inputs: AttentionInputs) -> AttentionInputs:
    """Return the inputs as the forms without a kernel expect them."""
    query, key, value, mask, _ = inputs

    def widen(x: Array, ids: Array | None) -> Array:
        return _widen(x) if ids is None else jnp.where((ids > 0)[:, :, None, None], _widen(x), 0)

    assert value is not None
    query = widen(query, mask.query_ids) * scale
    return inputs._replace(query=query, key=widen(key, mask.key_ids), value=widen(value, mask.key_ids))


def conserves_mass(spec: EvolutionSpec, pde: PDE) -> bool:
    """Return whether every row of the evolved weights of a linear `pde` sums to 1.

    Dropout changes the sums, and so does advection along the queries, because it adds up different rows.
    """
    advection = isinstance(pde, AdvectionDiffusion) and spec.target == "weights" and spec.axis != "key"
    return spec.dropout == 0 and not advection


def _renormalized_attention(spec: EvolutionSpec, pde: PDE, inputs: AttentionInputs) -> AttentionOutput:
    """Divide every row by its sum, which is its attention over a column of ones beside the values."""
    value: Any = inputs.value
    value = jnp.concatenate([value, jnp.ones_like(value[..., :1])], axis=-1)
    total, lse = folded_attention(replace(spec, renormalize=False), pde, inputs._replace(value=value))
    mass = total[..., -1:]
    return AttentionOutput(total[..., :-1] / jnp.where(mass == 0, 1, mass), lse)


def join(a: AttentionOutput, b: AttentionOutput) -> AttentionOutput:
    """Combine the attentions over two disjoint sets of keys to the attention over their union."""
    top = lax.stop_gradient(jnp.maximum(a.log_sum_exp, b.log_sum_exp))
    top = jnp.where(top > -jnp.inf, top, 0)
    mass_a, mass_b = jnp.exp(a.log_sum_exp - top), jnp.exp(b.log_sum_exp - top)
    total = mass_a + mass_b
    any_key = total > 0
    total = jnp.where(any_key, total, 1)
    output = (mass_a[..., None] * a.output + mass_b[..., None] * b.output) / total[..., None]
    return AttentionOutput(output, jnp.where(any_key, top + jnp.log(total), -jnp.inf))


class BandLayout(NamedTuple):
    """Static sizes of a causal band: rows in chunks of C >= 2n - 1, and the block of keys that each chunk reads.

    The block of C + 2n - 1 keys ends at the last row of a chunk and contains the windows of all its rows. The
    windows are the diagonals of one matrix product.
    """

    length: int
    """Query rows T."""
    steps: int
    """Steps n, the width of the band."""
    window: int
    """Keys 2n among which the band of a row evolves."""
    chunk: int
    """Rows C of a chunk."""
    chunks: int
    """Number of chunks."""
    block: int
    """Keys C + 2n - 1 that a chunk reads."""
    group: int
    """Number of chunks side by side, a divisor of `chunks`."""

    @classmethod
    def of(cls, length: int, steps: int, entries: int = 1) -> "BandLayout":
        """Return the layout of `length` rows and `steps` steps, with up to `entries` scores side by side."""
        window = 2 * steps
        chunk = -(-max(window, min(CHUNK, length)) // 8) * 8
        block, chunks = chunk + window - 1, -(-length // chunk)
        loops = -(-chunks // max(1, entries // (chunk * block)))
        group = -(-chunks // loops)
        return cls(length, steps, window, chunk, loops * group, block, group)

    def split_rows(self, x: Array) -> Array:
        """Split (G, T, ...) to (chunks, G, C, ...)."""
        x = jnp.pad(x, [(0, 0), (0, self.chunks * self.chunk - self.length)] + [(0, 0)] * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(x.shape[0], self.chunks, self.chunk, *x.shape[2:]), 1, 0)

    def split_keys(self, high: Int[Array, ""], x: Array) -> Array:
        """Split (S, ...) to (chunks, block, ...): keys p - 2n + 1 of the first to p of the last row of a chunk."""
        front, total = self.length + self.window - 1, (self.chunks + 1) * self.chunk
        x = jnp.pad(x, [(front, total)] + [(0, 0)] * (x.ndim - 1))
        x = lax.dynamic_slice_in_dim(x, high + self.length, total)
        x = x.reshape(self.chunks + 1, self.chunk, *x.shape[1:])
        return jnp.concatenate([x[:-1], x[1:, : self.window - 1]], axis=1)


class _QueryChunks(NamedTuple):
    """The queries of one head by chunks; a single chunk has no axis m."""

    query: Float[Array, "m g c h"]
    ids: Integer[Array, "m 1 c"] | None
    bits: UInt32[Array, "m g c"] | None


class _KeyBlocks(NamedTuple):
    """The keys and values of one head by chunks; a single chunk has no axis m."""

    key: Float[Array, "m w h"]
    value: Float[Array, "m w d"]
    position: Int[Array, "m w"]  # 1 + position of the key; 0 means no key
    ids: Integer[Array, "m w"] | None
    runs: Integer[Array, "m w"] | None  # ids of the runs of connected tokens
    bits: UInt32[Array, "m w"] | None


def causal_band(spec: EvolutionSpec, pde: PDE, inputs: AttentionInputs) -> AttentionOutput:
    """Attend with the last n weights of every causal row, evolved among the 2n keys that end at the query.

    The last key of row t is p = t + high.
    """
    length, heads = inputs.query.shape[1:3]
    entries = BLOCK * inputs.key.shape[2] // heads if serial_loops(inputs.query) else 1
    layout = BandLayout.of(length, spec.steps, entries)
    most = entries // (layout.group * layout.chunk * layout.block)
    return map_heads(partial(_head_band, spec, layout, inputs.mask), pde, inputs, most=most)


def _head_band(
    spec: EvolutionSpec, layout: BandLayout, mask: AttentionMask, head: HeadInputs
) -> tuple[Array, Array]:
    """Compute the band of one key head, chunk by chunk."""
    assert mask.high is not None
    runs = None if head.key_ids is None else stencil.run_ids(head.key_ids)
    position = jnp.arange(head.key.shape[0]) + 1
    keys = _KeyBlocks(head.key, head.value, position, head.key_ids, runs, head.key_bits)
    key_blocks = jax.tree.map(partial(layout.split_keys, mask.high), keys)
    query_ids = None if head.query_ids is None else head.query_ids[None]
    query_chunks = jax.tree.map(layout.split_rows, _QueryChunks(head.query, query_ids, head.query_bits))
    band = jax.checkpoint(partial(_chunk_band, spec, layout, mask, head.pde))
    output, lse = map_in_groups(band, (query_chunks, key_blocks), layout.group)
    output, lse = (jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:]) for x in (output, lse))
    return output[:, : layout.length], lse[:, : layout.length]


def _chunk_band(
    spec: EvolutionSpec,
    layout: BandLayout,
    mask: AttentionMask,
    pde: PDE | None,
    chunk: tuple[_QueryChunks, _KeyBlocks],
) -> tuple[Array, Array]:
    """Compute the band of one chunk of rows, for every query head of the key head."""
    queries, keys = chunk
    steps = layout.steps
    # the index in the block of every key of the window of every row
    index = jnp.arange(layout.chunk)[:, None] + jnp.arange(layout.window)[None, :]
    graph, visible = _windows(layout, mask, queries, keys, index)

    def query_head(query: Array, coefficients: Any, bits: Array | None) -> tuple[Array, Array]:
        pairs = scores(query, keys.key[steps:], random_features=spec.random_features)
        weights, lse = softmax(diagonals(pairs, steps), visible[:, steps:])
        if bits is not None:
            assert keys.bits is not None
            weights = drop_weights(weights, bits[:, None], keys.bits[index[:, steps:]], spec.dropout)
        pde = jax.tree.map(lambda x: x[:, None, None], coefficients)
        weights = jnp.pad(weights, ((0, 0), (steps, 0))).T
        evolved = integrate(pde, spec.order, weights, graph).T
        return band_to_dense(evolved, layout.block) @ keys.value, lse

    return jax.vmap(query_head)(queries.query, pde, queries.bits)


def _windows(
    layout: BandLayout, mask: AttentionMask, queries: _QueryChunks, keys: _KeyBlocks, index: Int[Array, "c k"]
) -> tuple[Path, Array]:
    """Return the edges along the window of every row, and the mask of the keys that the row may attend."""
    visible = keys.position[index] > 0
    connected = visible[:, :-1] & visible[:, 1:]
    if keys.runs is not None:
        before, after = keys.runs[index[:, :-1]], keys.runs[index[:, 1:]]
        connected &= (before == after) & (after > 0)
    wall = jnp.zeros((layout.chunk, 1), bool)
    left, right = jnp.concatenate([wall, connected], 1), jnp.concatenate([connected, wall], 1)
    graph = Path(left.T, right.T, None, "neumann")
    if queries.ids is not None and keys.ids is not None:
        visible &= (keys.ids[index] == queries.ids[0][:, None]) & (queries.ids[0] > 0)[:, None]
    if mask.low is not None and mask.high is not None:
        visible &= jnp.arange(layout.window)[None, :] >= layout.window - 1 + mask.low - mask.high
    return graph, visible


def diagonals(matrix: Float[Array, "c w"], count: int) -> Float[Array, "c k"]:
    """Return the entries (i, i + b), b < `count`, by one reshape to rows that are longer by one."""
    rows, width = matrix.shape
    return jnp.pad(matrix.reshape(-1), (0, rows)).reshape(rows, width + 1)[:, :count]


def band_to_dense(band: Float[Array, "c k"], width: int) -> Float[Array, "c w"]:
    """Return the matrix of `width` columns with band[i, b] at (i, i + b) and 0 elsewhere."""
    rows, count = band.shape
    return jnp.pad(band, ((0, 0), (0, width + 1 - count))).reshape(-1)[: rows * width].reshape(rows, width)


def repeat_key_heads(spec: EvolutionSpec, inputs: AttentionInputs) -> AttentionInputs:
    """Repeat key heads to K = N if query heads of one key head have different coefficients."""
    query, key, value, _, dropout_bits = inputs
    assert value is not None
    if spec.shared or key.shape[2] == query.shape[2]:
        return inputs
    group = query.shape[2] // key.shape[2]
    key, value = (jnp.repeat(x, group, axis=2) for x in (key, value))
    if dropout_bits is not None:
        flat = dropout_bits.query.reshape(*query.shape[:3], 1)
        dropout_bits = DropoutBits(flat, jnp.repeat(dropout_bits.key, group, axis=2))
    return inputs._replace(key=key, value=value, dropout_bits=dropout_bits)

"""Softmax attention over a sequence that is split over the mesh axis "seq": the keys travel around the ring of devices.

Device d holds the queries and keys d·T/p … (d+1)·T/p - 1. In step i it attends to the keys of device d - i, which have
come to it by i collective-permutes, while the next ones are on their way. The parts are joined by their log-sum-exps,

    lse = log(e^{lse_a} + e^{lse_b}),   out = e^{lse_a - lse} out_a + e^{lse_b - lse} out_b

so that a device never has more than two shards of keys. Shards that no query may attend, as those of later tokens of
causal attention, are left out. The backward pass goes around the ring once more: each shard of keys collects its
gradients on its way home, from probabilities that are recomputed with the final log-sum-exp [Liu et al. 2023, "Ring
Attention with Blockwise Transformers"; Dao et al. 2022].

    B batch, T tokens, N heads, K key heads, H head width, D value width, p devices; t, s query and key index
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from pdeformer.attention.chunked import chunked_attention, chunked_gradients
from pdeformer.attention.folded import join
from pdeformer.attention.plain.fused import cotangent_rows, fused_attention, fused_gradients, make_marks
from pdeformer.attention.plain.kernel_interface import KernelSpec
from pdeformer.attention.types import AttentionMask, AttentionOutput, DropoutBits, Precision
from pdeformer.integrators.explicit import keep_inside_loop
from pdeformer.integrators.meshes import vary_alike
from pdeformer.sharding.ring_blocks import Band, ring_blocks
from pdeformer.stencil.halo import AXIS


class RingArgs(NamedTuple):
    """Static arguments of one ring attention."""

    low: int | None
    """Smallest allowed s - t in the whole sequence; None means no bound."""
    high: int | None
    """Largest allowed s - t in the whole sequence; None means no bound."""
    dropout: float
    """Probability of dropping a pair."""
    precision: Precision
    """Precision of the products."""
    kernel: KernelSpec | None = None
    """The fused kernel of a shard, with its scale; its bounds are those of each shard. None is the chunked form."""


class RingInputs(NamedTuple):
    """The shards of one device; a None does not apply."""

    query: Float[Array, "b t n h"]
    """Queries; the chunked form expects them scaled, a kernel scales them."""
    key: Float[Array, "b t k h"]
    """Keys."""
    value: Float[Array, "b t k d"]
    """Values."""
    ids: tuple[Array, Array] | None
    """Segment ids of the queries and of the keys."""
    dropout_bits: DropoutBits | None
    """Random bits of the tokens."""


def ring_attention(static: RingArgs, inputs: RingInputs) -> AttentionOutput:
    """Return the attention of the queries of this device over all keys; it runs inside `jax.shard_map`.

    Reverse mode is served once; there is no forward mode.
    """
    leaves, structure = jax.tree.flatten(inputs)
    *leaves, _ = vary_alike(*leaves, lax.axis_index(AXIS))
    attend: Any = _attend
    return AttentionOutput(*attend(static, *jax.tree.unflatten(structure, leaves)))


class _Shard(NamedTuple):
    """What travels with the keys of one device."""

    key: Array
    value: Array
    ids: Array | None
    bits: Array | None


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
    static: RingArgs, query: Array, key: Array, value: Array, ids: Any, bits: DropoutBits | None
) -> tuple[Array, Array]:
    return _forward(static, query, key, value, ids, bits)[0]


def _forward(
    static: RingArgs, query: Array, key: Array, value: Array, ids: Any, bits: DropoutBits | None
) -> tuple[tuple[Array, Array], Any]:
    """Return the output and log-sum-exp, and the residuals.

    A scan over layers computes before its loop what depends on no layer, and keeps it: here masks and constants of
    T²/p numbers. Under `checkpoint` it keeps nothing but the arguments.
    """
    arrays = keep_inside_loop((query, key, value, ids, bits))
    output, lse = jax.checkpoint(partial(_attend_ring, static), prevent_cse=False)(*arrays)
    return (output, lse), (query, key, value, ids, bits, output, lse)


def _attend_ring(
    static: RingArgs, query: Array, key: Array, value: Array, ids: Any, bits: DropoutBits | None
) -> tuple[Array, Array]:
    """Attend to every shard in turn; the last one goes no further."""
    own = _Shard(key, value, None if ids is None else ids[1], None if bits is None else bits.key)
    last = lax.axis_size(AXIS) - 1

    def attend(total: AttentionOutput, shard: _Shard, step: Any, steps: range) -> AttentionOutput:
        def add(total: AttentionOutput, band: Any) -> AttentionOutput:
            part = _attend_shard(static, query, ids, bits, shard, step, band)
            return AttentionOutput(*vary_alike(*join(total, part), query)[:2])

        return _if_any_pair(static, query.shape[1], step, steps, add, total)

    def turn(carry: tuple[AttentionOutput, _Shard], step: Array) -> tuple[Any, None]:
        total, shard = carry
        following = _to_next_device(shard)  # first, so that it travels during the attention
        return (attend(total, shard, step, range(last)), following), None

    wide = jnp.promote_types(query.dtype, jnp.float32)
    lse = jnp.full_like(query, -jnp.inf, wide, shape=query.shape[:3])
    nothing = AttentionOutput(jnp.zeros_like(query, wide, shape=(*query.shape[:3], value.shape[3])), lse)
    nothing = AttentionOutput(*vary_alike(*nothing, query)[:2])
    (total, shard), _ = lax.scan(turn, (nothing, own), jnp.arange(last))
    output, lse = attend(total, shard, jnp.int32(last), range(last, last + 1))
    return output, lse


def _attend_shard(
    static: RingArgs, query: Array, ids: Any, bits: Any, shard: _Shard, step: Any, band: Band | None
) -> AttentionOutput:
    """Attend to one shard; a kernel needs its band."""
    if static.kernel is None:
        options = _options(static, bits, shard)
        return chunked_attention(query, shard.key, shard.value, _mask(static, ids, shard, step), **options)
    assert band is not None
    spec = static.kernel._replace(**band._asdict())
    query_ids = None if ids is None else ids[0]
    return fused_attention(
        spec, query, shard.key, shard.value, query_ids, shard.ids, _bits_of_pair(bits, shard)
    )


def _backward(static: RingArgs, residuals: Any, cotangents: tuple[Array, Array]) -> tuple[Any, ...]:
    """Send every shard of keys around the ring with its gradients, which come home after p turns."""
    query, key, value, ids, bits, output, lse = keep_inside_loop(residuals)
    own = _Shard(key, value, None if ids is None else ids[1], None if bits is None else bits.key)
    gradients_of = _gradients_of_shard(static, query, ids, bits, (output, lse), cotangents, value.dtype)
    size = lax.axis_size(AXIS)

    def turn(carry: Any, step: Array) -> tuple[Any, None]:
        shard, gradients = carry

        def add(gradients: tuple[Array, ...], band: Any) -> tuple[Array, ...]:
            part = gradients_of(shard, step, band)
            total = (a + b.astype(a.dtype) for a, b in zip(gradients, part, strict=True))
            return vary_alike(*total, query)[:3]

        d_query, *of_keys = _if_any_pair(static, query.shape[1], step, range(size), add, gradients)
        return (_to_next_device(shard), (d_query, *_to_next_device(tuple(of_keys)))), None

    zeros = (jnp.zeros_like(x, jnp.promote_types(x.dtype, jnp.float32)) for x in (query, key, value))
    zeros = vary_alike(*zeros, query)[:3]
    (_, gradients), _ = lax.scan(turn, (own, zeros), jnp.arange(size))
    d_query, d_key, d_value = (x.astype(y.dtype) for x, y in zip(gradients, (query, key, value), strict=True))
    return d_query, d_key, d_value, None, None


def _gradients_of_shard(
    static: RingArgs, query: Array, ids: Any, bits: Any, whole: Any, cotangents: Any, dtype: Any
) -> Callable[[_Shard, Any, Band | None], tuple[Array, ...]]:
    """Return the function of a shard, a step and a band that computes what the shard adds to the gradients."""

    def by_chunks(shard: _Shard, step: Any, band: Band | None) -> tuple[Array, ...]:
        del band
        options = _options(static, bits, shard)
        mask = _mask(static, ids, shard, step)
        pair = AttentionOutput(*whole), AttentionOutput(*cotangents)
        return chunked_gradients(query, shard.key, shard.value, mask, *pair, **options)

    kernel = static.kernel
    if kernel is None:
        return by_chunks
    lse, d_lse = (jnp.swapaxes(x, 1, 2) for x in (whole[1], cotangents[1]))
    delta, d_output = cotangent_rows(whole[0], lse, cotangents[0], d_lse, masked=True)
    d_output = d_output.astype(dtype)

    def by_kernel(shard: _Shard, step: Any, band: Band | None) -> tuple[Array, ...]:
        del step
        assert band is not None
        spec = kernel._replace(**band._asdict())
        marks = make_marks(None if ids is None else ids[0], shard.ids, _bits_of_pair(bits, shard))
        return fused_gradients(spec, query, shard.key, shard.value, marks, lse, delta, d_output)

    return by_kernel


_attend.defvjp(_forward, _backward)


def _if_any_pair(
    static: RingArgs, length: int, step: Any, steps: range, add: Callable[[Any, Band | None], Any], total: Any
) -> Any:
    """Add the part of a shard that has a pair by its position; for a kernel, with the band of this device.

    Args:
        static: the arguments of the ring.
        length: tokens of a shard.
        step: the step of the ring, traced.
        steps: the steps that it may be.
        add: maps the total, and the band of the shard if a kernel needs it, to the new total.
        total: what is added to.
    """
    if static.kernel is None:
        any_pair = _any_pair(static, length, step)
        return lax.cond(any_pair, lambda total: add(total, None), lambda total: total, total)
    blocks = ring_blocks(static.low, static.high, length, lax.axis_size(AXIS), steps)
    distance = _offset(length, step) // length

    def branch(band: Band | None) -> Callable[[Any], Any]:
        return lambda total: total if band is None else add(total, band)

    branches = [branch(band) for band in blocks.bands]
    return lax.switch(jnp.asarray(blocks.index)[distance + lax.axis_size(AXIS) - 1], branches, total)


def _to_next_device(tree: Any) -> Any:
    size = lax.axis_size(AXIS)
    return jax.tree.map(lambda x: lax.ppermute(x, AXIS, [(i, (i + 1) % size) for i in range(size)]), tree)


def _options(static: RingArgs, bits: DropoutBits | None, shard: _Shard) -> dict[str, Any]:
    both = _bits_of_pair(bits, shard)
    return {"scale": 1.0, "dropout": static.dropout, "dropout_bits": both, "precision": static.precision}


def _bits_of_pair(bits: DropoutBits | None, shard: _Shard) -> DropoutBits | None:
    """Return the bits of the queries of this device and of the keys of a shard."""
    return None if bits is None or shard.bits is None else DropoutBits(bits.query, shard.bits)


def _offset(length: int, step: Any) -> Array:
    """Return by how many tokens the shard of the queries begins after that of the keys, after `step` turns."""
    here = lax.axis_index(AXIS)
    return (here - (here - step) % lax.axis_size(AXIS)) * length


def _mask(static: RingArgs, ids: Any, shard: _Shard, step: Any) -> AttentionMask:
    offset = _offset(shard.key.shape[1], step)
    low, high = (None if x is None else x + offset for x in (static.low, static.high))
    return AttentionMask(low, high, None if ids is None else ids[0], shard.ids)


def _any_pair(static: RingArgs, length: int, step: Any) -> Array:
    """Return whether a query of this device may attend a key of the shard by its position."""
    offset = _offset(length, step)
    inside = offset == offset  # a traced True
    if static.low is not None:
        inside &= static.low + offset <= length - 1
    if static.high is not None:
        inside &= static.high + offset >= 1 - length
    return inside

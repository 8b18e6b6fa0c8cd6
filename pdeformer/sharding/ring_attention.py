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

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from pdeformer.attention.chunked import chunked_attention, chunked_gradients
from pdeformer.attention.folded import join
from pdeformer.attention.types import AttentionMask, AttentionOutput, DropoutBits, Precision
from pdeformer.integrators.explicit import keep_inside_loop
from pdeformer.integrators.meshes import vary_alike
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


class RingInputs(NamedTuple):
    """The shards of one device; a None does not apply."""

    query: Float[Array, "b t n h"]
    """Scaled queries."""
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

    def attend(total: AttentionOutput, shard: _Shard, step: Any) -> AttentionOutput:
        def add(total: AttentionOutput) -> AttentionOutput:
            options = _options(static, bits, shard)
            part = chunked_attention(
                query, shard.key, shard.value, _mask(static, ids, shard, step), **options
            )
            return AttentionOutput(*vary_alike(*join(total, part), query)[:2])

        return lax.cond(_any_pair(static, query.shape[1], step), add, lambda total: total, total)

    def turn(carry: tuple[AttentionOutput, _Shard], step: Array) -> tuple[Any, None]:
        total, shard = carry
        following = _to_next_device(shard)  # first, so that it travels during the attention
        return (attend(total, shard, step), following), None

    lse = jnp.full_like(query, -jnp.inf, shape=query.shape[:3])
    nothing = AttentionOutput(jnp.zeros_like(query, shape=(*query.shape[:3], value.shape[3])), lse)
    nothing = AttentionOutput(*vary_alike(*nothing, query)[:2])
    last = lax.axis_size(AXIS) - 1
    (total, shard), _ = lax.scan(turn, (nothing, own), jnp.arange(last))
    output, lse = attend(total, shard, jnp.int32(last))
    return output, lse


def _backward(static: RingArgs, residuals: Any, cotangents: tuple[Array, Array]) -> tuple[Any, ...]:
    """Send every shard of keys around the ring with its gradients, which come home after p turns."""
    query, key, value, ids, bits, output, lse = keep_inside_loop(residuals)
    whole, cotangent = AttentionOutput(output, lse), AttentionOutput(*cotangents)
    own = _Shard(key, value, None if ids is None else ids[1], None if bits is None else bits.key)

    def turn(carry: Any, step: Array) -> tuple[Any, None]:
        shard, gradients = carry

        def add(gradients: tuple[Array, ...]) -> tuple[Array, ...]:
            options = _options(static, bits, shard)
            mask = _mask(static, ids, shard, step)
            part = chunked_gradients(query, shard.key, shard.value, mask, whole, cotangent, **options)
            return tuple(a + b for a, b in zip(gradients, part, strict=True))

        any_pair = _any_pair(static, query.shape[1], step)
        d_query, *of_keys = lax.cond(any_pair, add, lambda gradients: gradients, gradients)
        return (_to_next_device(shard), (d_query, *_to_next_device(tuple(of_keys)))), None

    zeros = tuple(jnp.zeros_like(x) for x in (query, key, value))
    zeros = vary_alike(*zeros, query)[:3]
    (_, gradients), _ = lax.scan(turn, (own, zeros), jnp.arange(lax.axis_size(AXIS)))
    return (*gradients, None, None)


_attend.defvjp(_forward, _backward)


def _to_next_device(tree: Any) -> Any:
    size = lax.axis_size(AXIS)
    return jax.tree.map(lambda x: lax.ppermute(x, AXIS, [(i, (i + 1) % size) for i in range(size)]), tree)


def _options(static: RingArgs, bits: DropoutBits | None, shard: _Shard) -> dict[str, Any]:
    both = None if bits is None or shard.bits is None else DropoutBits(bits.query, shard.bits)
    return {"scale": 1.0, "dropout": static.dropout, "dropout_bits": both, "precision": static.precision}


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

"""Evolved attention with the sequence split over the mesh axis "seq".

The exact rewrite of `attention.folded` needs two things of other devices: n rows of the neighbors wherever the
propagator M acts (on values, output, or queries and keys), and the keys and values of all devices, which travel around
the ring (`ring_attention`). A causal row evolves its last n weights among the 2n keys that end at it: these come from
the left neighbor.

    weights, key axis     ring(Q, K, Mᵀ V)           one halo of V
    weights, query axis   M ring(Q, K, V)            one halo of the output
    logits                ring(M Q, M K, V)          one halo of Q and one of K
    causal                join of ring(Q, K, Mᵀ V) over keys s <= t - n, and the band over K, V of 2n - 1 more rows

What does not fold, reactions and random features, collects the keys and values of all devices instead: O(T) memory for
them, and O(T/p) for all else.

    B batch, T tokens, N heads, K key heads, H head width, p devices, n steps
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Shaped

from pdeformer.attention import pde_attention
from pdeformer.attention.dispatch import EvolutionProblem, may_use_kernel, prepare, run, scale_coefficients
from pdeformer.attention.folded import (
    apply_propagator,
    base_attention,
    causal_band,
    conserves_mass,
    join,
    repeat_key_heads,
    scaled_float32,
)
from pdeformer.attention.keywords import keyword_options
from pdeformer.attention.materialized import EvolutionSpec
from pdeformer.attention.options import AttentionOptions, select_method, split_arrays
from pdeformer.attention.plain.kernel_choice import select_kernel
from pdeformer.attention.plain.kernel_interface import KernelSpec
from pdeformer.attention.types import (
    AttentionInputs,
    AttentionMask,
    AttentionOutput,
    DropoutBits,
    convert_ids,
)
from pdeformer.integrators.compilation import compile_once
from pdeformer.integrators.meshes import ambient_axes, attention_axes
from pdeformer.integrators.sequence_parallel import check_sequence_mesh, mirror_halo, sequence_shards
from pdeformer.pde import PDE, Diffusion, ReactionDiffusion, Wave, is_concrete
from pdeformer.sharding.ring_attention import RingArgs, RingInputs, ring_attention
from pdeformer.stencil import rows
from pdeformer.stencil.halo import AXIS, exchange_rows, exchange_segments

P = ParamSpec("P")


def _signature(options: Callable[P, Any]):
    def function(
        query: Array, key: Array, value: Array, pde: Any, mesh: Any, *args: P.args, **options: P.kwargs
    ) -> Array: ...

    return function


@keyword_options(AttentionOptions, _signature)
def pde_attention_sequence_parallel(
    query: Shaped[Array | np.ndarray, "..."],
    key: Shaped[Array | np.ndarray, "..."],
    value: Shaped[Array | np.ndarray, "..."],
    pde: Any,
    mesh: Mesh | AbstractMesh,
    options: AttentionOptions,
) -> Float[Array, "b t n h"]:
    """Compute `pde_attention` with the sequence split over the mesh axis "seq".

    Linear equations on softmax weights or logits, and plain attention, need O(T/p) memory on each of p devices: the
    keys travel around the ring of devices. A reaction or random features collect all keys and values. The batch stays
    split over "data" and "model", or over "data" and the heads over "model", if they divide them. Reverse mode is
    served once.

    Args:
        query: Shape (B, T, N, H), as in `pde_attention`.
        key: Shape (B, T, K, H): as many keys as queries.
        value: Shape (B, T, K, H).
        pde: The equation or None, as in `pde_attention`.
        mesh: A mesh with the axis "seq" whose size divides T, see `sharding.make_mesh`.
        options: The keyword arguments, fields of `AttentionOptions`. The method "materialized" is refused.

    Returns:
        What `pde_attention` returns, split as (rows, seq, heads, None).

    Raises:
        ValueError: As in `pde_attention`, the mesh has no axis "seq", T and S differ, or "seq" does not divide T.
        TypeError: An unknown keyword argument.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import Diffusion, sharding
        >>> mesh = sharding.make_mesh(data=1, seq=1)
        >>> query = key = jnp.zeros((1, 3, 1, 2))
        >>> value = jnp.array([1.0, 2.0, 6.0]).reshape(1, 3, 1, 1).repeat(2, axis=3)
        >>> attend = sharding.pde_attention_sequence_parallel
        >>> attend(query, key, value, Diffusion(0.25), mesh, steps=1)[0, :, 0, 0].tolist()
        [3.0, 3.0, 3.0]
    """
    return _split_attention(jnp.asarray(query), jnp.asarray(key), jnp.asarray(value), pde, mesh, options)


def _split_attention(
    query: Array, key: Array, value: Array, pde: Any, mesh: Mesh | AbstractMesh, options: AttentionOptions
) -> Array:
    keywords: Any = vars(options)
    jax.eval_shape(lambda: pde_attention(query, key, value, pde, **keywords))  # checks all arguments
    _check(query, key, options)
    if query.size == 0:
        return jnp.zeros(query.shape, value.dtype)
    check_sequence_mesh(mesh, query.shape[1])
    if isinstance(mesh, Mesh):
        place = NamedSharding(mesh, _specs(query, key, dict(mesh.shape)).tokens)
        query, key, value = (jax.device_put(x, place) if is_concrete(x) else x for x in (query, key, value))
    return _attend(query, key, value, pde, options, mesh)


def pde_attention_on_mesh(query: Array, key: Array, value: Array, pde: Any, **keywords: Any) -> Array:
    """Return `pde_attention`, with the sequence split if the ambient mesh can split it.

    It cannot without an axis "seq" of several devices, for sequences that this axis does not divide, for other keys
    than queries, and for the method "materialized".

    Args:
        query: Shape (B, T, N, H).
        key: Shape (B, S, K, H).
        value: Shape (B, S, K, H).
        pde: The equation or None.
        keywords: Those of `pde_attention`.

    Returns:
        The attention, (B, T, N, H).
    """
    if not splits_attention(query, key) or keywords.get("method") == "materialized":
        return pde_attention(query, key, value, pde, **keywords)
    jax.eval_shape(lambda: pde_attention(query, key, value, pde, **keywords))  # checks all arguments
    return _attend(query, key, value, pde, AttentionOptions(**keywords), None)


def splits_attention(query: Array, key: Array) -> bool:
    """Return whether the ambient mesh splits the sequence of this attention over several devices."""
    return sequence_shards(query.shape[1]) > 1 and key.shape[1] == query.shape[1] and query.size > 0


def _check(query: Array, key: Array, options: AttentionOptions) -> None:
    if query.shape[1] != key.shape[1]:
        raise ValueError(
            f"queries and keys are split alike, got T={query.shape[1]} and S={key.shape[1]}; use pde_attention for "
            "other keys than queries."
        )
    if options.method == "materialized":
        raise ValueError(
            "a split sequence has no materialized weights, got method='materialized'; use 'auto', or pde_attention."
        )


def _attend(query: Array, key: Array, value: Array, pde: Any, options: AttentionOptions, mesh: Any) -> Array:
    ids, key_ids = convert_ids(options.segment_ids, options.key_segment_ids, query, key)
    method = select_method(pde, options)
    scaled = scale_coefficients(pde, options, query, key, value)
    if options.is_causal and 2 * options.steps > key.shape[1]:
        method = "tiled" if options.method == "auto" else method
    static, arrays = split_arrays(replace(options, segment_ids=ids, key_segment_ids=key_ids, dt=1.0))
    kernel = None
    if method == "folded" and may_use_kernel(pde, options):
        kernel = _select_kernel(
            query, key, value, options, ambient_axes() if mesh is None else dict(mesh.shape)
        )
    return _attend_on_mesh(
        query, key, value, scaled, arrays, options=static, method=method, mesh=mesh, kernel=kernel
    )


def _select_kernel(
    query: Array, key: Array, value: Array, options: AttentionOptions, axes: dict[str, int]
) -> KernelSpec | None:
    """Return the kernel that serves the shards of one device."""
    rows, heads = attention_axes(query.shape[0], key.shape[2], axes)
    parts = math.prod(axes[name] for name in rows or ()), axes[AXIS], 1 if heads is None else axes[heads], 1
    shards = (
        jax.ShapeDtypeStruct(tuple(n // p for n, p in zip(x.shape, parts, strict=True)), x.dtype)
        for x in (query, key, value)
    )
    case: Any = dict(segmented=options.segment_ids is not None or options.key_segment_ids is not None)
    case |= dict(dropout=options.dropout, precision=options.precision)
    return select_kernel(*shards, is_causal=options.is_causal, window=options.window, **case)


class _Specs(NamedTuple):
    """How the arrays of an attention lie on a mesh."""

    tokens: PartitionSpec
    ids: PartitionSpec
    coefficients: PartitionSpec

    def of(self, inputs: AttentionInputs) -> Any:
        """Return the specs of the arrays of `inputs`."""
        tree: Any = (self.tokens, self.ids, PartitionSpec(*self.tokens[:3]))
        tokens, ids, bits = tree
        if inputs.mask.query_ids is None:
            ids = None
        both = None if inputs.dropout_bits is None else DropoutBits(tokens, bits)
        return AttentionInputs(tokens, tokens, tokens, AttentionMask(None, None, ids, ids), both)


def _specs(query: Array, key: Array, axes: dict[str, int]) -> _Specs:
    """Return the placement: rows as those of the residual stream, heads over "model" where rows leave it free."""
    rows, heads = attention_axes(query.shape[0], key.shape[2], axes)
    return _Specs(
        PartitionSpec(rows, AXIS, heads, None), PartitionSpec(rows, AXIS), PartitionSpec(None, heads)
    )


@compile_once("options", "method", "mesh", "kernel")
def _attend_on_mesh(
    query: Array,
    key: Array,
    value: Array,
    pde: Any,
    arrays: Any,
    *,
    options: AttentionOptions,
    method: str,
    mesh: Any,
    kernel: KernelSpec | None,
) -> Array:
    axes = ambient_axes() if mesh is None else dict(mesh.shape)
    options = replace(options, **arrays)
    ids: Any = (options.segment_ids, options.key_segment_ids)
    window, causal = options.window, options.is_causal
    mask = AttentionMask(None, None, *ids)
    spec, scaled, inputs = prepare(query, key, value, pde, options, mask, kernel)
    bounds = _Bounds.of(window, causal=causal)
    specs = _specs(query, key, axes)
    mapped = jax.shard_map(
        partial(_attend_shard, spec, bounds, method),
        mesh=mesh,
        in_specs=(jax.tree.map(lambda _: specs.coefficients, scaled), specs.of(inputs)),
        out_specs=specs.tokens,
        axis_names=frozenset(axes),
    )
    return mapped(scaled, inputs).astype(value.dtype)


class _Bounds(NamedTuple):
    """The smallest and the largest allowed s - t; None means no bound."""

    low: int | None
    high: int | None

    @classmethod
    def of(cls, window: int | None, *, causal: bool) -> "_Bounds":
        """Return the bounds of the options of `pde_attention`."""
        return cls(None if window is None else -window, 0 if causal else window)

    def shifted(self, by: Any) -> dict[str, Any]:
        """Return the bounds for keys that begin `by` tokens before the queries, as fields of a mask."""
        return {name: None if x is None else jnp.int32(x + by) for name, x in self._asdict().items()}


def _attend_shard(
    spec: EvolutionSpec, bounds: _Bounds, method: str, pde: PDE | None, inputs: AttentionInputs
) -> Array:
    inputs = inputs if pde is None else repeat_key_heads(spec, inputs)
    if method == "tiled" or isinstance(pde, ReactionDiffusion):
        return run(EvolutionProblem(spec, pde, _collect_keys(bounds, inputs)), method).output
    with jax.default_matmul_precision(spec.precision):
        output = _base(spec, bounds, inputs) if pde is None else _folded(spec, bounds, pde, inputs)
        return output.output


def _collect_keys(bounds: _Bounds, inputs: AttentionInputs) -> AttentionInputs:
    """Return the inputs with the keys, values, ids and bits of all devices."""
    collect = partial(lax.all_gather, axis_name=AXIS, axis=1, tiled=True)
    mask, bits = inputs.mask, inputs.dropout_bits
    shift = lax.axis_index(AXIS) * inputs.key.shape[1]
    key, value, key_ids = jax.tree.map(collect, (inputs.key, inputs.value, mask.key_ids))
    return inputs._replace(
        key=key,
        value=value,
        mask=mask._replace(key_ids=key_ids, **bounds.shifted(shift)),
        dropout_bits=None if bits is None else bits._replace(key=collect(bits.key)),
    )


def _base(spec: EvolutionSpec, bounds: _Bounds, inputs: AttentionInputs) -> AttentionOutput:
    """Compute attention without evolution over all keys."""
    if spec.random_features:
        return base_attention(spec, _collect_keys(bounds, inputs))
    query, key, value, mask, bits = inputs
    assert value is not None
    ids = None if mask.query_ids is None or mask.key_ids is None else (mask.query_ids, mask.key_ids)
    static = RingArgs(bounds.low, bounds.high, spec.dropout, spec.precision, spec.kernel)
    return ring_attention(static, RingInputs(query, key, value, ids, bits))


def _folded(spec: EvolutionSpec, bounds: _Bounds, pde: PDE, inputs: AttentionInputs) -> AttentionOutput:
    """Compute `attention.folded.folded_attention` on one shard."""
    pde = jax.tree.map(lambda x: x[:, :1], pde) if spec.shared else pde
    if spec.renormalize and not conserves_mass(spec, pde):
        return _renormalized(spec, bounds, pde, inputs)
    query, key, value, mask, _ = inputs
    assert value is not None
    propagate = partial(_propagate, spec, pde)
    by_key, by_query = (spec.axis in (name, "both") for name in ("key", "query"))
    if spec.target == "logits":
        query = propagate(query, mask.query_ids) if by_query else query
        key = propagate(key, mask.key_ids) if by_key else key
        return _base(spec, bounds, inputs._replace(query=query, key=key))
    evolved = inputs
    if by_key:
        evolved = inputs._replace(value=propagate(value, mask.key_ids, adjoint=True))
    if spec.causal:
        assert bounds.high is not None
        past = _base(spec, bounds._replace(high=bounds.high - spec.steps), evolved)
        return join(past, _band(spec, bounds, pde, inputs))
    output, lse = _base(spec, bounds, evolved)
    return AttentionOutput(propagate(output, mask.query_ids) if by_query else output, lse)


def _renormalized(spec: EvolutionSpec, bounds: _Bounds, pde: PDE, inputs: AttentionInputs) -> AttentionOutput:
    """Divide every row by its sum, which is its attention over a column of ones beside the values."""
    value: Any = inputs.value
    value = jnp.concatenate([value, jnp.ones_like(value[..., :1])], axis=-1)
    total, lse = _folded(replace(spec, renormalize=False), bounds, pde, inputs._replace(value=value))
    mass = total[..., -1:]
    return AttentionOutput(total[..., :-1] / jnp.where(mass == 0, 1, mass), lse)


def _propagate(
    spec: EvolutionSpec, pde: PDE, u: Float[Array, "b t n d"], ids: Array | None, *, adjoint: bool = False
) -> Float[Array, "b t n d"]:
    """Apply M or Mᵀ along the tokens of all devices, after one exchange with the neighbors."""
    batch, length, heads, width = u.shape
    flat, steps = u.reshape(batch, length, -1), spec.steps
    if ids is None and steps < length and isinstance(pde, Diffusion | Wave):
        slab, slab_ids = mirror_halo(exchange_rows(flat, steps, steps), steps, steps, "neumann"), None
    else:
        slab, slab_ids = exchange_segments(flat, ids, steps, steps)
    slab = slab.reshape(batch, -1, heads, width)
    return apply_propagator(spec, pde, slab, slab_ids, adjoint=adjoint)[:, steps : steps + length]


def _band(spec: EvolutionSpec, bounds: _Bounds, pde: PDE, inputs: AttentionInputs) -> AttentionOutput:
    """Compute the causal band of `attention.folded` over these keys and the 2n - 1 keys before them."""
    if spec.kernel is not None:
        inputs, spec = scaled_float32(spec.kernel.scale, inputs), replace(spec, kernel=None)
    query, key, value, mask, bits = inputs
    assert value is not None
    batch, length, heads, width = key.shape
    count = 2 * spec.steps - 1
    packed = jnp.concatenate([key, value], axis=-1).reshape(batch, length, -1)
    packed, ids = exchange_segments(packed, mask.key_ids, count, 0)
    packed = packed.reshape(batch, count + length, heads, -1)
    ids = jnp.broadcast_to(ids, packed.shape[:2])
    query_ids = (
        rows(ids[..., None], count, count + length)[..., 0] if mask.query_ids is None else mask.query_ids
    )
    if bits is not None:
        bits = bits._replace(key=exchange_rows(bits.key, count, 0))
    extended = AttentionMask(**bounds.shifted(count), query_ids=query_ids, key_ids=ids)
    return causal_band(
        spec, pde, AttentionInputs(query, packed[..., :width], packed[..., width:], extended, bits)
    )

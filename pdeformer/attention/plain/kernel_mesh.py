"""Kernels under `jax.vmap`, and on meshes that split the examples or the heads.

XLA cannot split a kernel by itself. Every device runs it on its own examples and key heads; tokens are gathered. On GPU
rules tell the compiler how, for every mesh. The compiler of TPUs reads no such rules. There the kernel runs under
`shard_map` over the automatic axes of the mesh, which must be known when the program is traced, as the ambient mesh or
that of an array, and have the names of this library. On any other mesh it is the chunked form. A mapped axis becomes
more examples.

    B batch, T query tokens, S key tokens, N heads, K key heads, H head width
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import mlir
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array

from pdeformer.attention.plain.kernel_interface import KernelSpec
from pdeformer.integrators.meshes import attention_axes, mesh_of

AXES = ("data", "seq", "model")
"""Names of axes of several devices on which it is known what is split: "data" and "model" split examples and heads."""


def on_every_device(
    function: Callable[..., tuple], chunks: Callable[..., tuple], spec: KernelSpec, *arrays: Array
) -> tuple[Array, ...]:
    """Run a function of `kernel_interface.Kernel`; mapped and split axes become its examples and heads.

    `chunks` computes the same in plain JAX.
    """
    return _mapped(function, chunks, spec)(*arrays)


@cache
def _mapped(
    function: Callable[..., tuple], chunks: Callable[..., tuple], spec: KernelSpec
) -> Callable[..., tuple]:
    @custom_vmap
    def call(*arrays: Array) -> tuple[Array, ...]:
        mesh = mesh_of(*arrays)
        kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
        if kinds and set(kinds.values()) == {AxisType.Manual}:
            return tuple(function(spec, *arrays))
        if spec.name != "mosaic":
            return _partitioned(function)(spec, *arrays)
        if mesh.size > 1:
            is_known = can_split(mesh) and AxisType.Explicit not in kinds.values()
            on_mesh = _shards(mesh, function, spec, *arrays) if is_known else partial(chunks, spec)
            return tuple(on_mesh(*arrays))
        if spec.interpret:
            return tuple(function(spec, *arrays))
        one, many = (jax.make_jaxpr(partial(f, spec))(*arrays) for f in (function, chunks))
        return tuple(_BY_DEVICES.bind(*arrays, one=one, many=many))

    def rule(size: int, is_mapped: Any, *arrays: Array) -> tuple[tuple[Array, ...], Any]:
        batch = arrays[0].shape[1 if is_mapped[0] else 0]
        arrays = tuple(
            x if mapped else jnp.broadcast_to(x, (size, *x.shape))
            for x, mapped in zip(arrays, is_mapped, strict=True)
        )
        results = call(*(x.reshape(size * batch, *x.shape[2:]) for x in arrays))
        results = tuple(x.reshape(size, batch, *x.shape[1:]) for x in results)
        return results, (True,) * len(results)

    call.def_vmap(rule)
    return call


def can_split(mesh: Any) -> bool:
    """Return whether it is known what every axis of several devices of a mesh splits, unless it is manual."""
    axes = zip(mesh.axis_names, mesh.axis_sizes, mesh.axis_types, strict=True)
    return all(kind == AxisType.Manual or size == 1 or name in AXES for name, size, kind in axes)


def _shards(
    mesh: Any, function: Callable[..., tuple], spec: KernelSpec, *arrays: Array
) -> Callable[..., tuple[Array, ...]]:
    """Return the kernel under `shard_map` over the automatic axes of a mesh."""
    kinds = zip(mesh.axis_names, mesh.axis_sizes, mesh.axis_types, strict=True)
    axes = {name: size for name, size, kind in kinds if kind == AxisType.Auto}
    rows, heads = attention_axes(arrays[0].shape[0], arrays[1].shape[2], axes)
    places = {
        2: PartitionSpec(rows, None),
        3: PartitionSpec(rows, heads, None),
        4: PartitionSpec(rows, None, heads, None),
    }
    run = partial(function, spec)
    results = jax.eval_shape(run, *arrays)
    return jax.shard_map(
        run,
        mesh=None if jax.sharding.get_abstract_mesh().axis_names else mesh,
        in_specs=tuple(places[x.ndim] for x in arrays),
        out_specs=tuple(places[x.ndim] for x in results),
        axis_names=frozenset(axes),
        check_vma=False,
    )


def _lower_by_devices(context: Any, *values: Any, one: Any, many: Any) -> Any:
    """Lower the program of one device, or that which XLA can split over several; here no mesh was known."""
    where = context.module_context.axis_context
    manual, mesh = getattr(where, "manual_axes", None), getattr(where, "mesh", None)
    whole = getattr(where, "num_devices", None) == 1
    if manual is not None and mesh is not None:
        whole = set(manual) == set(mesh.axis_names)
    chosen = jaxpr_as_fun(one if whole else many)
    return mlir.lower_fun(chosen, multiple_results=True)(context, *values)


_BY_DEVICES = Primitive("attention_by_devices")
_BY_DEVICES.multiple_results = True
_BY_DEVICES.def_impl(lambda *arrays, one, many: jaxpr_as_fun(one)(*arrays))
_BY_DEVICES.def_abstract_eval(lambda *avals, one, many: one.out_avals)
mlir.register_lowering(_BY_DEVICES, _lower_by_devices)


@cache
def _partitioned(function: Callable[..., tuple]) -> Callable[..., tuple]:
    @partial(custom_partitioning, static_argnums=(0,))
    def call(spec: KernelSpec, *arrays: Array) -> tuple[Array, ...]:
        return function(spec, *arrays)

    def partition(spec: KernelSpec, mesh: Any, arguments: Any, results: Any) -> Any:
        mesh = arguments[0].sharding.mesh
        batch, heads = _split_axes(mesh, arguments[0], arguments[1])

        def sharding(x: Any) -> NamedSharding:
            places = {2: (batch, None), 3: (batch, heads, None), 4: (batch, None, heads, None)}
            return NamedSharding(mesh, PartitionSpec(*places[len(x.shape)]))

        return (
            mesh,
            partial(function, spec),
            jax.tree.map(sharding, results),
            tuple(map(sharding, arguments)),
        )

    call.def_partition(partition=partition, sharding_rule=_rule)
    return call


def _split_axes(mesh: Any, query: Any, key: Any) -> tuple[Any, Any]:
    """Return the mesh axes that split the examples and the heads; None where they do not divide evenly."""

    def axes(x: Any, axis: int, size: int) -> Any:
        spec = tuple(x.sharding.spec) + (None,) * 4
        names = () if spec[axis] is None else spec[axis] if isinstance(spec[axis], tuple) else (spec[axis],)
        parts = 1
        for name in names:
            parts *= mesh.shape[name]
        return names if names and size % parts == 0 else None

    batch = axes(query, 0, query.shape[0])
    heads = axes(key, 2, key.shape[2])
    return batch, heads if heads is None or not set(heads) & set(batch or ()) else None


def _rule(spec: KernelSpec, mesh: Any, values: Any, results: Any) -> Any:
    """Return the rule of Shardy: examples and key heads may be split, nothing else."""
    del mesh
    shapes = [tuple(x.shape) for x in values]
    key_bits = (
        3 + 1 + sum(len(shape) == 2 for shape in shapes) if spec.dropout > 0 else None
    )  # behind the ids
    group = shapes[0][2] // max(shapes[1][2], 1)
    query_heads = "n" if group == 1 else "(n g)"
    query, key = f"b t {query_heads} h", "b s n h"
    names = [query, key, key]
    for shape in shapes[3:]:
        if len(shape) == 2:
            names.append("b t" if len(names) == 3 else "b s")
        elif len(names) == key_bits:
            names.append("b n s")
        else:
            names.append(query if len(shape) == 4 else f"b {query_heads} t")
    outputs = [query, f"b {query_heads} t"] if len(results) == 2 else [query, key, key]
    whole = ("t", "h", "s") if group == 1 else ("t", "g", "h", "s")  # in the order of their first use
    sizes = {} if group == 1 else {"g": group}
    rule = f"{', '.join(names)} -> {', '.join(outputs)}"
    return rule, {"need_replication_factors": _used(whole, rule), **sizes}


def _used(factors: tuple[str, ...], rule: str) -> tuple[str, ...]:
    return tuple(factor for factor in factors if factor in rule.replace(">", " ").split() or factor == "g")

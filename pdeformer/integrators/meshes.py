"""The structure of a program on meshes: serial loops, and meshes of explicit axes.

A loop over examples is fastest on one CPU. On a mesh whose axis splits the examples, each of its iterations would need
an all-gather, so all examples run side by side there.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType
from jaxtyping import Array


def on_mesh(x: Any) -> bool:
    """Return whether the compiler may split an array over several devices; inside `shard_map` it may not."""
    mesh = jax.typeof(x).sharding.mesh
    sizes = [
        size for size, kind in zip(mesh.axis_sizes, mesh.axis_types, strict=True) if kind != AxisType.Manual
    ]
    return any(size > 1 for size in sizes)


def ambient_axes() -> dict[str, int]:
    """Return the sizes of the automatic axes of the ambient mesh by their names; empty without an ambient mesh.

    `jax.set_mesh` and `jax.sharding.use_abstract_mesh` set it; inside `shard_map` its manual axes are left out.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = zip(mesh.axis_names, mesh.axis_sizes, mesh.axis_types, strict=True)
    return {name: size for name, size, kind in axes if kind == AxisType.Auto}


def row_axes(rows: int, axes: dict[str, int]) -> tuple[str, ...]:
    """Return the mesh axes that split the rows of a batch of activations: "data" and "model", "data" alone, or none.

    Where "data" is no axis, as inside a `shard_map` over it, "model" takes its place.

    Args:
        rows: the number of rows, which the product of the axes divides.
        axes: the sizes of the mesh axes by their names, as from `ambient_axes`.
    """
    both = tuple(name for name in ("data", "model") if name in axes)
    for names in (both, both[:-1]):
        if rows % math.prod(axes[name] for name in names) == 0:
            return names
    return ()


def attention_axes(
    rows: int, key_heads: int, axes: dict[str, int]
) -> tuple[tuple[str, ...] | None, str | None]:
    """Return the mesh axes that split the rows and the key heads of an attention; None leaves them whole.

    Rows lie as those of the residual stream, by `row_axes`. Where these leave "model" free, it splits the key heads
    with their groups of query heads, if it divides them.

    Args:
        rows: the number of rows.
        key_heads: the number of key heads.
        axes: the sizes of the mesh axes by their names.
    """
    names, model = row_axes(rows, axes), axes.get("model")
    free = model is not None and "model" not in names and key_heads % model == 0
    return names or None, "model" if free else None


def mesh_of(*arrays: Any) -> Any:
    """Return the abstract mesh of a program under construction: the ambient one, else one on which an array lies.

    It is empty if neither is known: `jax.jit` tells a program nothing of its `in_shardings`.
    """
    ambient = jax.sharding.get_abstract_mesh()
    meshes = (ambient, *(jax.typeof(x).sharding.mesh for x in arrays))
    return next((mesh for mesh in meshes if mesh.axis_names), ambient)


def serial_loops(x: Array) -> bool:
    """Return whether a loop over examples should take one after another: on CPU, but not `on_mesh`."""
    return jax.default_backend() == "cpu" and not on_mesh(x)


def map_in_groups(function: Callable[[Any], Any], xs: Any, most: int) -> Any:
    """Apply `function` along the first axis of a tree of arrays: groups side by side, one group after another.

    Args:
        function: maps a tree of arrays without that axis to another one.
        xs: the tree; all arrays have the same first axis.
        most: bound of the size of a group, which is a divisor of the axis and at least 1.
    """
    count = jax.tree.leaves(xs)[0].shape[0]
    size = max(size for size in range(1, max(1, min(most, count)) + 1) if count % size == 0)
    if size == 1:
        return jax.lax.map(function, xs)
    groups = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), xs)
    results = jax.lax.map(jax.vmap(function), groups)
    return jax.tree.map(lambda y: y.reshape(count, *y.shape[2:]), results)


def with_automatic_axes(function: Callable[..., Any], shardings: Any) -> Callable[..., Any]:
    """Return `function` with the explicit axes of a mesh turned automatic inside.

    Args:
        function: maps arrays to a tree of arrays.
        shardings: the sharding of every array of the result.

    Returns:
        The function; unchanged if no sharding has explicit axes.
    """
    kinds = [kind for sharding in jax.tree.leaves(shardings) for kind in sharding.mesh.axis_types]
    if AxisType.Explicit not in kinds:
        return function
    return jax.sharding.auto_axes(function, out_sharding=shardings)


def vary_alike(*arrays: Any) -> tuple[Any, ...]:
    """Mark all arrays as varying over the same manual axes, which `shard_map` demands of carries and of branches."""
    axes = [_varying_axes(x) for x in arrays]
    union = frozenset().union(*axes)
    return tuple(
        jax.lax.pcast(x, tuple(union - own), to="varying") if union - own else x
        for x, own in zip(arrays, axes, strict=True)
    )


def _varying_axes(x: Any) -> frozenset:
    aval: Any = jax.typeof(x)
    return aval.manual_axis_type.varying if hasattr(aval, "manual_axis_type") else aval.vma


def struct_like(x: Any, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """Return a shape and dtype that varies over the same manual axes as an array."""
    aval: Any = jax.typeof(x)
    name = "manual_axis_type" if hasattr(aval, "manual_axis_type") else "vma"
    return jax.ShapeDtypeStruct(shape, dtype, **{name: getattr(aval, name)})

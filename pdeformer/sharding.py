"""Placement of arrays on devices: the mesh, one table of rules for parameters, and batches over hosts.

Models do not refer to devices. The path of a parameter decides its placement: the first pattern of `RULES` that
matches the path applies, and a parameter without a match is replicated. The path of an optimizer moment contains
the path of its parameter, so the same rules place it beside the parameter.

Legend: B batch, D channels, F feed-forward width, L layers, N heads, H head width, V vocabulary.
"""

import logging
import math
import re
import warnings
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pdeformer.stencil.arguments import check_fits, check_integer

log = logging.getLogger(__name__)

AXES = ("data", "seq", "model")
"""The names of the mesh axes, in order."""

RULES: tuple[tuple[str, PartitionSpec], ...] = (
    # Blocks in a list, as blocks/0/...: the rules of stacked blocks below, without their axis L.
    (r"(^|/)blocks/\d+/.*(query|key|value|up)/kernel$", PartitionSpec(None, "model")),
    (r"(^|/)blocks/\d+/.*(query|key|value|up)/bias$", PartitionSpec("model")),
    (r"(^|/)blocks/\d+/.*(out|down)/kernel$", PartitionSpec("model")),
    # Blocks are stacked: axis 0 is L. Column-parallel: (L, D, N*H), or (L, D, N, H) over heads; (L, D, F).
    (r"(^|/)blocks/.*(query|key|value|up)/kernel$", PartitionSpec(None, None, "model")),
    (r"(^|/)blocks/.*(query|key|value|up)/bias$", PartitionSpec(None, "model")),
    # Row-parallel: (L, N*H, D), or (L, N, H, D); (L, F, D). One sum over "model" follows each.
    (r"(^|/)blocks/.*(out|down)/kernel$", PartitionSpec(None, "model")),
    # (V, D) is split over D, so that the lookup of any token stays on its device.
    (r"(^|/)embed/.*embedding$", PartitionSpec(None, "model")),
    (r"(^|/)head/kernel$", PartitionSpec(None, "model")),
    (r"(^|/)head/bias$", PartitionSpec("model")),
)
"""Pairs of a regular expression, searched in the parameter's path, and a `PartitionSpec`; the first match wins."""


def make_mesh(data: int = -1, model: int = 1, seq: int = 1) -> Mesh:
    """Make a mesh with the axes ("data", "seq", "model"), all of `AxisType.Auto`.

    One size may be -1, which means all devices that remain. On one host the product may be smaller than the
    number of devices: the mesh then uses the first devices. On several hosts it uses all devices, and "data" must
    be a multiple of the number of hosts.

    Args:
        data: the number of devices along "data", over which batches are split.
        model: the number of devices along "model", over which `RULES` split parameters.
        seq: the number of devices along "seq". No rule of this package uses this axis; it is for your own
            `PartitionSpec`s.

    Returns:
        The mesh.

    Raises:
        ValueError: a size is neither positive nor -1, two are -1, or the product does not fit the devices.

    Example:
        >>> from pdeformer import sharding
        >>> dict(sharding.make_mesh(data=1).shape)
        {'data': 1, 'seq': 1, 'model': 1}
    """
    sizes = {"data": data, "seq": seq, "model": model}
    for axis, size in sizes.items():
        check_integer(axis, size, minimum=None)
    arguments = f"(data={data}, model={model}, seq={seq})"
    if any(size != -1 and size < 1 for size in sizes.values()) or list(sizes.values()).count(-1) > 1:
        raise ValueError(
            f"mesh sizes are positive, at most one is -1, got {arguments}; set the others by hand."
        )
    devices, hosts = jax.device_count(), jax.process_count()
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if -1 in sizes.values() and devices % fixed:
        raise ValueError(
            f"-1 needs a number of devices divisible by the other axes, got {devices} devices and {fixed} "
            f"{arguments}; choose sizes whose product divides {devices}."
        )
    shape = tuple(devices // fixed if size == -1 else size for size in sizes.values())
    used = math.prod(shape)
    if used > devices or (hosts > 1 and used != devices):
        raise ValueError(
            f"a mesh cannot have more devices than there are, and on several hosts must have all of them, "
            f"got {used} of {devices} {arguments}; use data=-1 for all that remain."
        )
    if shape[0] % hosts:
        raise ValueError(
            f"the data axis must be a multiple of the hosts, since each host prepares its own rows, "
            f"got data={shape[0]} on {hosts} hosts; make model and seq smaller."
        )
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 3, devices=jax.devices()[:used])


def path_name(path: tuple[Any, ...]) -> str:
    """Return the name of a leaf: its keys joined by "/", as in `params/blocks/attention/query/kernel`.

    The leaf of an `nnx.Variable` has one key more, the attribute `value`, which is no part of the name. A parameter
    therefore has one name in `nnx.state(model)`, in `nnx.to_pure_dict` of it and in the state of an optimizer.

    Args:
        path: the keys of a leaf, as `jax.tree_util.tree_leaves_with_path` gives them.

    Returns:
        The name.

    Example:
        >>> import jax
        >>> [(path, _)] = jax.tree_util.tree_leaves_with_path({"head": {"kernel": 1.0}})
        >>> path_name(path)
        'head/kernel'
    """
    if len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator="/")


def spec_of(name: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Return the `PartitionSpec` of a parameter: that of the first matching rule, else replicated.

    A parameter is also replicated, and logged, if the mesh has no such axis, if a mesh axis does not divide the
    dimension it would split, or
    if the parameter has fewer dimensions than its rule.

    Args:
        name: the path of the parameter, see `path_name`.
        shape: the shape of the parameter.
        mesh: the mesh, see `make_mesh`.

    Returns:
        The spec; `PartitionSpec()` means replicated.

    Example:
        >>> spec_of("head/kernel", (8, 4), make_mesh(data=1))
        P(None, 'model')
    """
    spec = _rule_of(name)
    if len(spec) > len(shape):
        log.info("%s %s is replicated: the rule %s has more dimensions", name, shape, spec)
        return PartitionSpec()
    if any(axis is not None and axis not in mesh.shape for axis in spec):
        log.info(
            "%s %s is replicated: the mesh %s has no axis of its rule %s", name, shape, mesh.axis_names, spec
        )
        return PartitionSpec()
    for size, axis in zip(shape, spec, strict=False):
        if axis is not None and size % mesh.shape[axis]:
            log.info(
                "%s %s is replicated: %d is not divisible by %s=%d", name, shape, size, axis, mesh.shape[axis]
            )
            return PartitionSpec()
    return spec


def _rule_of(name: str) -> PartitionSpec:
    return next((spec for pattern, spec in RULES if re.search(pattern, name)), PartitionSpec())


def state_shardings(abstract_state: Any, mesh: Mesh) -> Any:
    """Return the `NamedSharding` of every leaf of a tree of shapes, by `RULES`.

    It warns, with the names of the leaves, if the mesh has devices along "model" and every leaf is replicated: no name
    matches a rule, or no shape fits.

    Args:
        abstract_state: a tree of arrays or shapes, as from `jax.eval_shape`, `nnx.state(model)` or the state of an
            optimizer.
        mesh: the mesh, see `make_mesh`.

    Returns:
        A tree of the same structure.

    Example:
        >>> import jax.numpy as jnp
        >>> tree = {"head": {"kernel": jnp.zeros((8, 4))}}
        >>> state_shardings(tree, make_mesh(data=1))["head"]["kernel"].spec
        P(None, 'model')
    """

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, spec_of(path_name(path), np.shape(leaf), mesh))

    shardings = jax.tree_util.tree_map_with_path(place, abstract_state)
    if mesh.shape.get("model", 1) > 1:
        _warn_of_replicated_leaves(shardings, mesh)
    return shardings


def _warn_of_replicated_leaves(shardings: Any, mesh: Mesh) -> None:
    """Warn if every leaf is replicated: no name matches a rule, or no shape fits the rule of its name."""
    leaves = jax.tree_util.tree_leaves_with_path(shardings)
    if not leaves or any(leaf.spec != PartitionSpec() for _, leaf in leaves):
        return
    names = [path_name(path) for path, _ in leaves]
    matches = [name for name in names if _rule_of(name) != PartitionSpec()]
    problem = f"other shapes at {_first_names(matches)}" if matches else f"the names {_first_names(names)}"
    warnings.warn(
        f"sharding.RULES split parameters by their names, in dimensions that model={mesh.shape['model']} divides, got "
        f"{problem}: every leaf is replicated. Use PartitionSpecs of your own, other sizes, or model=1.",
        stacklevel=3,
    )


def _first_names(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding that puts the full array on every device of the mesh.

    Args:
        mesh: the mesh, see `make_mesh`.

    Returns:
        The sharding.

    Example:
        >>> replicated_sharding(make_mesh(data=1)).spec
        P()
    """
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of a batch: the leading dimension is split over "data", the others are not split.

    Args:
        mesh: the mesh, see `make_mesh`.

    Returns:
        The sharding.

    Example:
        >>> batch_sharding(make_mesh(data=1)).spec
        P('data',)
    """
    _check_data_axis(mesh)
    return NamedSharding(mesh, PartitionSpec("data"))


def _check_data_axis(mesh: Mesh) -> None:
    if "data" not in mesh.shape:
        raise ValueError(
            f"a batch is split over the mesh axis 'data', got a mesh of {mesh.axis_names}; make it with make_mesh."
        )


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Make a tree of global arrays from the NumPy rows that this host has prepared.

    Args:
        batch: a tree of arrays of leading dimension B / hosts. Host h holds the rows from h·B/hosts up to
            (h+1)·B/hosts of the global batch of B rows.
        mesh: the mesh, see `make_mesh`.

    Returns:
        A tree of `jax.Array`s of leading dimension B, split over the axis "data".

    Raises:
        ValueError: the axis "data" does not divide B, a leaf is no array, or an integer does not fit those of JAX.

    Example:
        >>> import numpy as np
        >>> put_batch({"tokens": np.zeros((4, 6), np.int32)}, make_mesh(data=1))["tokens"].shape
        (4, 6)
    """
    _check_data_axis(mesh)
    hosts, shards = jax.process_count(), mesh.shape["data"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        if np.ndim(leaf) == 0 or not hasattr(leaf, "shape"):
            raise ValueError(
                f"a batch is a tree of arrays with a leading batch dimension, got {leaf!r} ({path_name(path)}); "
                "convert lists by np.asarray, and pass numbers of the whole batch apart from it."
            )
        if np.issubdtype(leaf.dtype, np.integer) and jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype:
            check_fits(path_name(path), np.asarray(leaf))
        rows = leaf.shape[0] * hosts
        if rows % shards:
            raise ValueError(
                f"the batch must divide evenly over the data axis, got {rows} rows on data={shards} "
                f"({path_name(path)}); change the batch size, or pad with rows of weight 0."
            )
    place = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(place, x), batch)


def __getattr__(name: str) -> Any:
    """Resolve a deprecated name, with a warning."""
    if name == "replicated":
        warnings.warn(
            "sharding.replicated is now sharding.replicated_sharding.", DeprecationWarning, stacklevel=2
        )
        return replicated_sharding
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

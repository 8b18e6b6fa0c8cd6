"""Where arrays live: the mesh, one table of rules for parameters, and batches spread over hosts.

Models know nothing of devices. A parameter is placed by its path: the first pattern of `RULES` that is found
in the path decides, and a parameter without a pattern is replicated. Optimizer moments contain the path of
their parameter in their own path, so they are placed beside it by the same rules.

Legend: B batch, D channels, F feed-forward width, L layers, N heads, H head width, V vocabulary.
"""

import logging
import math
import re
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

log = logging.getLogger(__name__)

AXES = ("data", "seq", "model")

RULES: tuple[tuple[str, PartitionSpec], ...] = (
    # Blocks are stacked: axis 0 is L. Column-parallel: (L, D, N*H), or (L, D, N, H) over heads; (L, D, F).
    (r"(^|/)blocks/.*(query|key|value|up)/kernel$", PartitionSpec(None, None, "model")),
    (r"(^|/)blocks/.*(query|key|value|up)/bias$", PartitionSpec(None, "model")),
    # Row-parallel: (L, N*H, D), or (L, N, H, D); (L, F, D). One sum over "model" follows each.
    (r"(^|/)blocks/.*(out|down)/kernel$", PartitionSpec(None, "model")),
    # (V, D) over the width: a lookup then stays on its device whatever the token.
    (r"(^|/)embed/.*embedding$", PartitionSpec(None, "model")),
    (r"(^|/)head/kernel$", PartitionSpec(None, "model")),
    (r"(^|/)head/bias$", PartitionSpec("model")),
)
"""(regular expression searched in the parameter's path, its `PartitionSpec`); the first match wins."""


def make_mesh(data: int = -1, model: int = 1, seq: int = 1) -> Mesh:
    """A mesh with the axes ("data", "seq", "model"), all `AxisType.Auto`.

    data, model, seq: devices along each axis; one of them may be -1, "all devices that remain". On one host
    the product may be smaller than the number of devices: the first ones are used. On several hosts the mesh
    takes all devices, and "data" is a multiple of the hosts.

    Raises ValueError if a size is neither positive nor -1, if two are -1, or if the product does not fit.
    """
    sizes = {"data": data, "seq": seq, "model": model}
    given = f"(data={data}, model={model}, seq={seq})"
    if any(size != -1 and size < 1 for size in sizes.values()) or list(sizes.values()).count(-1) > 1:
        raise ValueError(f"mesh sizes are positive, at most one is -1, got {given}; set the others by hand.")
    devices, hosts = jax.device_count(), jax.process_count()
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if -1 in sizes.values() and devices % fixed:
        raise ValueError(
            f"-1 needs a number of devices divisible by the other axes, got {devices} devices and {fixed} "
            f"{given}; choose sizes whose product divides {devices}."
        )
    shape = tuple(devices // fixed if size == -1 else size for size in sizes.values())
    used = math.prod(shape)
    if used > devices or (hosts > 1 and used != devices):
        raise ValueError(
            f"a mesh cannot have more devices than there are, and on several hosts must have all of them, "
            f"got {used} of {devices} {given}; use data=-1 for all that remain."
        )
    if shape[0] % hosts:
        raise ValueError(
            f"the data axis must be a multiple of the hosts, since each host prepares its own rows, "
            f"got data={shape[0]} on {hosts} hosts; make model and seq smaller."
        )
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 3, devices=jax.devices()[:used])


def path_name(path: tuple[Any, ...]) -> str:
    """The name of a leaf: its keys joined by "/", as in `params/blocks/attention/query/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def spec_of(name: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """The `PartitionSpec` of the parameter `name`: the first rule found in it, else replicated.

    Replicated, too, and logged, is a parameter with a ruled dimension that the mesh axis does not divide or
    with fewer dimensions than its rule.
    """
    spec = next((spec for pattern, spec in RULES if re.search(pattern, name)), PartitionSpec())
    if len(spec) > len(shape):
        log.info("%s %s is replicated: the rule %s has more dimensions", name, shape, spec)
        return PartitionSpec()
    for size, axis in zip(shape, spec, strict=False):
        if axis is not None and size % mesh.shape[axis]:
            log.info(
                "%s %s is replicated: %d is not divisible by %s=%d", name, shape, size, axis, mesh.shape[axis]
            )
            return PartitionSpec()
    return spec


def state_shardings(abstract_state: Any, mesh: Mesh) -> Any:
    """The `NamedSharding` of every leaf of a tree of shapes (as from `jax.eval_shape`), by `RULES`."""

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, spec_of(path_name(path), leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, abstract_state)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Examples (the leading dimension) over "data", the rest whole."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """A tree of global arrays from the NumPy rows that this host has prepared.

    batch: a tree of arrays of leading dimension B / hosts: host h holds the rows from h*B/hosts up to
    (h+1)*B/hosts of the global batch of B.

    Raises ValueError if B is not divisible by the "data" axis.
    """
    hosts, ways = jax.process_count(), mesh.shape["data"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        rows = leaf.shape[0] * hosts
        if rows % ways:
            raise ValueError(
                f"the batch must divide evenly over the data axis, got {rows} rows on data={ways} "
                f"({path_name(path)}); change the batch size, or pad with rows of weight 0."
            )
    place = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(place, x), batch)

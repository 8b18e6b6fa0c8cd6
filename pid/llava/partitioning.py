"""Placement of parameters and samples on a mesh: one table of rules over the axes "data" and "model".

Query, key, value, gate and up maps are split over their outputs, out and down maps over their inputs. The embedding
is split over its rows and the output map over its columns. Norms, projector and vision tower are replicated, since
they are small. Image tiles are split over "data" like everything that belongs to samples.

B batch, D channels, F feed-forward width, L layers, V vocabulary
"""

import logging
import math
import re
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

log = logging.getLogger(__name__)

RULES: tuple[tuple[str, PartitionSpec], ...] = (
    # (L, D, N·H), (L, D, K·H) and (L, D, F); (L, N·H, D) and (L, F, D); (V, D); (D, V)
    (r"^(language/)?blocks/(query|key|value|gate|up)/kernel$", PartitionSpec(None, None, "model")),
    (r"^(language/)?blocks/(out|down)/kernel$", PartitionSpec(None, "model")),
    (r"^(language/)?embed/embedding$", PartitionSpec("model")),
    (r"^(language/)?head/kernel$", PartitionSpec(None, "model")),
)
"""(regular expression for the path of a parameter, its `PartitionSpec`). The first match wins, else replicated."""


@dataclass(frozen=True)
class MeshShape:
    """Number of devices along each axis of a mesh.

    Raises:
        ValueError: an axis has no device.

    Example:
        >>> from pid import llava
        >>> llava.MeshShape(data=2, model=4).abstract().size
        8
    """

    data: int = 1
    """Devices that share the samples of a batch."""
    model: int = 1
    """Devices that share the weight matrices."""

    def __post_init__(self) -> None:
        """Check that every axis has a device."""
        if min(self.data, self.model) < 1:
            raise ValueError(
                f"an axis of a mesh has at least one device, got data={self.data}, model={self.model}; use 1 for "
                f"an axis that is not split."
            )

    def abstract(self) -> AbstractMesh:
        """The mesh without devices, which suffices to count bytes and to lower programs."""
        return AbstractMesh((self.data, self.model), ("data", "model"), axis_types=(AxisType.Auto,) * 2)

    def check_devices(self) -> None:
        """Check that data × model devices of this host, or all devices of all hosts, form the mesh.

        Raises:
            ValueError: this host has fewer, and all hosts together have another number.
        """
        size, devices = self.data * self.model, jax.local_device_count()
        if size > devices and size != jax.device_count():
            hosts = (
                "one host"
                if jax.process_count() == 1
                else f"one host, or all {jax.device_count()} of all hosts"
            )
            raise ValueError(
                f"a mesh has data x model devices of {hosts}, got data={self.data}, model={self.model} for {devices} "
                f"devices; lower --mesh.data or --mesh.model."
            )

    def concrete(self) -> Mesh:
        """The mesh of the first data × model devices of this host; of all hosts if it takes more than this one has.

        With several hosts every process makes the same mesh, loads the same model onto it and calls the same functions.

        Raises:
            ValueError: this host has fewer devices, and all hosts together have another number.
        """
        self.check_devices()
        shape, size = (self.data, self.model), self.data * self.model
        if size > jax.local_device_count():
            devices = mesh_utils.create_device_mesh(shape, jax.devices(), allow_split_physical_axes=True)
            return Mesh(devices, ("data", "model"))
        devices = jax.local_devices()[:size]
        return jax.make_mesh(shape, ("data", "model"), axis_types=(AxisType.Auto,) * 2, devices=devices)


def partition_spec(name: str, shape: tuple[int, ...], mesh: Mesh | AbstractMesh) -> PartitionSpec:
    """The `PartitionSpec` of the parameter `name` by `RULES`.

    A parameter whose size is not divisible by the mesh is replicated, and this is logged.
    """
    spec = next((spec for pattern, spec in RULES if re.search(pattern, name)), PartitionSpec())
    for size, axis in zip(shape, spec, strict=False):
        if axis is not None and size % mesh.shape[axis]:
            log.info("%s %s is replicated: %d is not divisible by %d", name, shape, size, mesh.shape[axis])
            return PartitionSpec()
    return spec


def shardings(params: Any, mesh: Mesh | AbstractMesh) -> Any:
    """The `NamedSharding` of every leaf of a dictionary of parameters or of their shapes.

    Raises:
        ValueError: the mesh lacks the axis "data" or "model".
    """
    if missing := {"data", "model"} - set(mesh.axis_names):
        raise ValueError(
            f"a mesh has the axes data and model, got {mesh.axis_names} without {sorted(missing)}; "
            f"use jax.make_mesh((1, n), ('data', 'model'))."
        )

    def sharding(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, partition_spec(name, leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(sharding, params)


def bytes_per_device(params: Any, mesh: Mesh | AbstractMesh) -> int:
    """The bytes of parameters that each device of a mesh holds.

    Args:
        params: a dictionary of parameters, or of their shapes as `jax.ShapeDtypeStruct`.
        mesh: a mesh with the axes "data" and "model"; it may be abstract.

    Returns:
        The number of bytes, the same for every device.

    Raises:
        ValueError: the mesh lacks the axis "data" or "model".

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pid import llava
        >>> params = {"embed": {"embedding": jax.ShapeDtypeStruct((1024, 64), jnp.bfloat16)}}
        >>> llava.bytes_per_device(params, llava.MeshShape(model=8).abstract())
        16384
    """
    sizes = jax.tree.map(
        lambda leaf, place: math.prod(place.shard_shape(leaf.shape)) * np.dtype(leaf.dtype).itemsize,
        params,
        shardings(params, mesh),
    )
    return sum(jax.tree.leaves(sizes))


def input_sharding(name: str, mesh: Mesh | AbstractMesh) -> NamedSharding:
    """The sharding of a field of a batch: samples over "data", the knockout mask replicated."""
    return NamedSharding(mesh, PartitionSpec() if name == "knockout_mask" else PartitionSpec("data"))


def spans_hosts(sharding: Sharding) -> bool:
    """Whether arrays of this sharding lie on devices of several processes."""
    return len({device.process_index for device in sharding.device_set}) > 1


def _put(array: Any, sharding: NamedSharding) -> jax.Array:
    if not spans_hosts(sharding):
        return jax.device_put(array, sharding)
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def put_inputs(inputs: Any, model_sharding: Sharding) -> Any:
    """Copy a batch to the devices of the model if these form a mesh, else return it unchanged.

    On a mesh of several hosts, each with the same batch, a host copies the samples of its own devices.

    Raises:
        ValueError: the samples do not divide evenly over "data".
    """
    if not isinstance(model_sharding, NamedSharding):
        return inputs
    mesh, samples = model_sharding.mesh, inputs.ids.shape[0]
    if samples % mesh.shape["data"]:
        raise ValueError(
            f"a batch divides evenly over data={mesh.shape['data']}, got {samples} samples; repeat some samples to "
            f"fill it up."
        )
    arrays = {
        name: None if array is None else _put(array, input_sharding(name, mesh))
        for name, array in inputs._asdict().items()
    }
    return inputs._replace(**arrays)

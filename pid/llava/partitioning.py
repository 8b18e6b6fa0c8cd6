"""Where a model lies: one table of rules over the axes "data" and "model" of a mesh.

Query, key, value, gate and up maps are split over their outputs, out and down maps over their inputs; the embedding
over its rows and the output map over its columns. Norms, projector and vision tower are whole everywhere: they are
small, and tiles are split over "data" like all that belongs to samples.

B batch, D channels, F feed-forward width, L layers, V vocabulary
"""

import logging
import math
import re
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

log = logging.getLogger(__name__)

RULES: tuple[tuple[str, PartitionSpec], ...] = (
    # (L, D, N·H), (L, D, K·H) and (L, D, F); (L, N·H, D) and (L, F, D); (V, D); (D, V)
    (r"^(language/)?blocks/(query|key|value|gate|up)/kernel$", PartitionSpec(None, None, "model")),
    (r"^(language/)?blocks/(out|down)/kernel$", PartitionSpec(None, "model")),
    (r"^(language/)?embed/embedding$", PartitionSpec("model")),
    (r"^(language/)?head/kernel$", PartitionSpec(None, "model")),
)
"""(regular expression for the parameter's path, its `PartitionSpec`); the first match wins, else replicated."""


@dataclass(frozen=True)
class MeshShape:
    """How many devices lie along each axis of a mesh.

    Raises:
        ValueError: an axis without a device.
    """

    data: int = 1
    """Ways to split the samples."""
    model: int = 1
    """Ways to split the maps."""

    def __post_init__(self):
        if min(self.data, self.model) < 1:
            raise ValueError(
                f"an axis of a mesh has at least one device, got data={self.data}, model={self.model}; leave "
                f"out what is not split."
            )

    def abstract(self) -> AbstractMesh:
        """The mesh without devices, to count and to lower for."""
        return AbstractMesh((self.data, self.model), ("data", "model"), axis_types=(AxisType.Auto,) * 2)

    def concrete(self) -> Mesh:
        """The mesh of the first devices of this host."""
        devices = jax.local_devices()[: self.data * self.model]
        return jax.make_mesh(
            (self.data, self.model), ("data", "model"), axis_types=(AxisType.Auto,) * 2, devices=devices
        )


def spec_of(name: str, shape: tuple[int, ...], mesh: Mesh | AbstractMesh) -> PartitionSpec:
    """The `PartitionSpec` of the parameter `name` by `RULES`; replicated, and logged, what does not divide."""
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

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, spec_of(name, leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, params)


def bytes_per_device(params: Any, mesh: Mesh | AbstractMesh) -> int:
    """The bytes of parameters that each device of the mesh holds."""
    sizes = jax.tree.map(
        lambda leaf, place: math.prod(place.shard_shape(leaf.shape)) * np.dtype(leaf.dtype).itemsize,
        params,
        shardings(params, mesh),
    )
    return sum(jax.tree.leaves(sizes))


def place_of_input(name: str, mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Where a field of a batch lies: samples over "data", the table of cut edges whole everywhere."""
    return NamedSharding(mesh, PartitionSpec() if name == "block" else PartitionSpec("data"))


def put(inputs: Any, beside: Sharding) -> Any:
    """The batch where the model is: samples over "data" if that is a mesh, else as it was.

    Raises:
        ValueError: the samples do not divide evenly over "data".
    """
    if not isinstance(beside, NamedSharding):
        return inputs
    mesh, samples = beside.mesh, inputs.ids.shape[0]
    if samples % mesh.shape["data"]:
        raise ValueError(
            f"a batch divides evenly over data={mesh.shape['data']}, got {samples} samples; fill it up with "
            f"repeated ones."
        )
    placed = {
        name: None if array is None else jax.device_put(array, place_of_input(name, mesh))
        for name, array in inputs._asdict().items()
    }
    return inputs._replace(**placed)

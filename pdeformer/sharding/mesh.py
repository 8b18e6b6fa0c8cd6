"""The mesh: its axes, and which device stands where in it.

Neighbors along "model" communicate in every layer, neighbors along "seq" in every stencil and attention, neighbors
along "data" once a step. On a TPU slice, `jax.experimental.mesh_utils` therefore lays the last axes along the links of
its torus, and splits a link's axis where a size asks for it. Such a layout may put the devices of one row of "data" on
several hosts; the batch takes account of that, see `host_rows`. Several slices are joined over "data" first, since the
network between them is the slowest, then over "seq" and "model". Elsewhere devices stand in their own order, host by
host.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from pdeformer.stencil.arguments import check_integer

AXES = ("data", "seq", "model")
"""The names of the mesh axes, in order."""


def make_mesh(data: int = -1, model: int = 1, seq: int = 1) -> Mesh:
    """Make a mesh with the axes ("data", "seq", "model"), all of `AxisType.Auto`.

    One size may be -1, which means all devices that remain. On one host the product may be smaller than the
    number of devices: the mesh then uses the first devices. On several hosts it uses all devices. Any axis may span
    hosts; each host then prepares the rows `host_rows(B, mesh)`.

    Args:
        data: the number of devices along "data", over which batches are split.
        model: the number of devices along "model", over which `RULES` split parameters.
        seq: the number of devices along "seq", over which the tokens of the residual stream are split.

    Returns:
        The mesh.

    Raises:
        ValueError: a size is neither positive nor -1, two are -1, the product does not fit the devices, or the network
            of the devices has no layout of these sizes.

    Example:
        >>> from pdeformer import sharding
        >>> dict(sharding.make_mesh(data=1).shape)
        {'data': 1, 'seq': 1, 'model': 1}
    """
    return mesh_of_devices(jax.devices(), data, model, seq)


def mesh_of_devices(devices: Sequence[Any], data: int = -1, model: int = 1, seq: int = 1) -> Mesh:
    """Make the mesh of some devices, as those of a topology that is not attached; see `make_mesh`."""
    shape = _resolve_sizes(len(devices), data, model, seq)
    used, hosts = math.prod(shape), len({device.process_index for device in devices})
    if used > len(devices) or (hosts > 1 and used != len(devices)):
        raise ValueError(
            f"a mesh cannot have more devices than there are, and on several hosts must have all of them, "
            f"got {used} of {len(devices)} (data={data}, model={model}, seq={seq}); use data=-1 for all that remain."
        )
    return Mesh(arrange_devices(devices[:used], shape), AXES, axis_types=(AxisType.Auto,) * 3)


def _resolve_sizes(devices: int, data: int, model: int, seq: int) -> tuple[int, ...]:
    """Return the sizes along `AXES`, with the number of devices that remain in place of -1."""
    sizes = {"data": data, "seq": seq, "model": model}
    for axis, size in sizes.items():
        check_integer(axis, size, minimum=None)
    arguments = f"(data={data}, model={model}, seq={seq})"
    if any(size != -1 and size < 1 for size in sizes.values()) or list(sizes.values()).count(-1) > 1:
        raise ValueError(
            f"mesh sizes are positive, at most one is -1, got {arguments}; set the others by hand."
        )
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if -1 in sizes.values() and devices % fixed:
        raise ValueError(
            f"-1 needs a number of devices divisible by the other axes, got {devices} devices and {fixed} "
            f"{arguments}; choose sizes whose product divides {devices}."
        )
    return tuple(devices // fixed if size == -1 else size for size in sizes.values())


def arrange_devices(devices: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Return all devices once, as an array of this shape, laid out along the network between them.

    Raises:
        ValueError: the slices of the devices differ in size, or the network has no layout of this shape.
    """
    slices = Counter(getattr(device, "slice_index", 0) for device in devices)
    if len(set(slices.values())) > 1:
        raise ValueError(
            f"a mesh over several slices needs slices of equal size, got {dict(slices)} devices by slice; leave out "
            f"the slices that differ."
        )
    between = _split_between_slices(shape, len(slices))
    inside = tuple(size // outer for size, outer in zip(shape, between, strict=True))
    try:
        if len(slices) == 1:
            layout = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
        else:
            layout = mesh_utils.create_hybrid_device_mesh(
                inside, between, devices, allow_split_physical_axes=True
            )
    except (AssertionError, NotImplementedError, ValueError) as error:
        raise ValueError(
            f"a mesh must fit the network of its devices, got {dict(zip(AXES, shape, strict=True))} on "
            f"{len(devices)} devices of kind {devices[0].device_kind} ({error}); choose powers of two, or all devices."
        ) from error
    if sorted(device.id for device in layout.flat) != sorted(device.id for device in devices):
        raise ValueError(
            f"a mesh has every device once, got a layout of {shape} that repeats some; choose other sizes."
        )
    return layout


def _split_between_slices(shape: tuple[int, ...], slices: int) -> tuple[int, ...]:
    """Return how many slices there are along each axis: over "data" as many as its size allows, then "seq", "model"."""
    between = []
    for size in shape:
        between.append(math.gcd(size, slices))
        slices //= between[-1]
    return tuple(between)

"""The mesh: axes and layout of devices."""

import math

import jax
from jax.sharding import AxisType, Mesh

from pdeformer.stencil.arguments import check_integer

AXES = ("data", "seq", "model")
"""The names of the mesh axes, in order."""


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

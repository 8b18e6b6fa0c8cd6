"""Stand-ins for the devices of accelerators that are not attached, with the coordinates that a layout asks for."""

import dataclasses
import itertools
from typing import Any

KINDS = {"v5e": "TPU v5 lite", "v6e": "TPU v6 lite", "v5p": "TPU v5"}
# Chips of one host along each axis of the torus.
HOST_BOUNDS = {
    "v5e": (2, 2),
    "v6e": (2, 2),
    "v5p": (2, 2, 1),
}


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a layout reads of a device."""

    id: int
    process_index: int
    coords: tuple[int, int, int]
    slice_index: int
    device_kind: str
    core_on_chip: int = 0
    platform: str = "tpu"


def chips(name: str, slices: int = 1) -> list[Chip]:
    """Return the chips of a topology, as "v5e:4x4": their ids run along the torus, their order is host by host."""
    kind, _, sizes = name.partition(":")
    shape, bounds = tuple(map(int, sizes.split("x"))), HOST_BOUNDS[kind]
    hosts = itertools.product(
        *(range(size // bound) for size, bound in zip(shape[::-1], bounds[::-1], strict=True))
    )
    host_of = {place: index for index, place in enumerate(hosts)}
    result = []
    for slice_index, place in itertools.product(range(slices), itertools.product(*map(range, shape[::-1]))):
        host = host_of[tuple(x // bound for x, bound in zip(place, bounds[::-1], strict=True))]
        x, y, z = (*place[::-1], 0)[:3]
        result.append(
            Chip(len(result), slice_index * len(host_of) + host, (x, y, z), slice_index, KINDS[kind])
        )
    return sorted(result, key=lambda chip: (chip.process_index, chip.id))


def tpu_topology(name: str, slices: int = 1) -> list[Any]:
    """Return the devices of a topology from libtpu."""
    from jax.experimental import topologies

    return list(topologies.get_topology_desc(platform="tpu", topology_name=name, num_slices=slices).devices)

"""Devices of machines that are not attached, and meshes of them."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils, topologies
from jax.sharding import AxisType, Mesh

from experiments.aot.targets import Target
from pdeformer.sharding import AXES

H100 = """gpu_device_info {
  cuda_compute_capability { major: 9 } core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  l2_cache_size: 52428800 memory_bandwidth: 3352320000000 device_memory_size: 84929347584 }
platform_name: "CUDA" dnn_version_info { major: 9 minor: 8 } runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3" """
"""The card as a GpuTargetConfigProto."""


def devices(target: Target) -> list[Any]:
    """Return the devices of a machine, which can only be compiled for."""
    if target.platform == "gpu":
        topology = topologies.get_topology_desc(
            platform="cuda", topology_name="", target_config=H100, topology=target.topology
        )
    else:
        one = {"chips_per_host_bounds": (1, 1, 1)} if target.count == 1 else {}
        topology = topologies.get_topology_desc(platform="tpu", topology_name=target.topology, **one)
    return list(topology.devices)


def mesh_of(devices: Sequence[Any], data: int, model: int = 1, seq: int = 1) -> Mesh:
    """Return a mesh with the axes of `pdeformer.sharding`, as `make_mesh` lays them out on attached devices.

    Raises:
        ValueError: the axes do not have as many devices as there are.
    """
    shape = (data, seq, model)
    if data * seq * model != len(devices):
        raise ValueError(
            f"a mesh has all devices of a machine, got {shape} for {len(devices)}; change the mesh of the case."
        )
    grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 3)


def abstract(tree: Any, shardings: Any) -> Any:
    """Return the shapes of a tree with these shardings: a tree of the same structure, or one for all leaves."""
    if isinstance(shardings, jax.sharding.Sharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree, shardings
    )

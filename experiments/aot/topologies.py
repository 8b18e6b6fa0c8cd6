"""Devices of machines that are not attached."""

from typing import Any

import jax
from jax.experimental import topologies

from experiments.aot.targets import Target

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


def abstract(tree: Any, shardings: Any) -> Any:
    """Return the shapes of a tree with these shardings: a tree of the same structure, or one for all leaves."""
    if isinstance(shardings, jax.sharding.Sharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree, shardings
    )

"""The kernels compile for devices that are not attached; one subprocess each, because a compiler may abort."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

TPU = """
topology = topologies.get_topology_desc(platform="tpu", topology_name="{name}:2x2")
platform = "tpu"
"""
GPU = '''
target = """gpu_device_info {{
  cuda_compute_capability {{ major: {name} }} core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_core: 167936 shared_memory_per_block_optin: 166912
  l2_cache_size: 41943040 memory_bandwidth: 1555000000000 device_memory_size: 42298834944 }}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 8 }} runtime_version {{ major: 12 minor: 8 }}
device_description_str: "NVIDIA GPU" """
topology = topologies.get_topology_desc(
    platform="cuda", topology_name="", target_config=target, topology="1x1x1"
)
platform = "gpu"
'''
PROGRAM = """
from functools import partial
import jax, jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from pdeformer import Diffusion, evolve
{topology}
jax.default_backend = lambda: platform
device = SingleDeviceSharding(topology.devices[0])
u = jax.ShapeDtypeStruct((2, 1029, 130), jnp.{dtype}, sharding=device)
ids = jax.ShapeDtypeStruct((2, 1029), jnp.int32, sharding=device)
scalar, per_channel = (jax.ShapeDtypeStruct(s, jnp.float32, sharding=device) for s in ((), (130,)))

def both(u, alpha, ids=None, causal=False):
    f = lambda u, alpha: evolve(u, Diffusion(alpha), steps=8, segment_ids=ids, causal=causal, method="kernel")
    y, pull = jax.vjp(f, u, alpha)
    return y, pull(y)

platforms = ("cuda" if platform == "gpu" else "tpu",)
calls = [(both, u, scalar), (both, u, per_channel), (both, u, scalar, ids), (both, u, per_channel, ids)]
causal = partial(both, causal=True)
calls += [(causal, u, per_channel), (causal, u, scalar, ids), (causal, u, per_channel, ids)]
for f, *x in calls:
    text = jax.jit(f).trace(*x).lower(lowering_platforms=platforms).compile().as_text()
    assert text.count("tpu_custom_call" if platform == "tpu" else "xla.gpu.triton") >= 2
"""
CASES = [
    *(
        (TPU.format(name=name), "libtpu", dtype)
        for name in ("v5e", "v6e")
        for dtype in ("bfloat16", "float32")
    ),
    *((GPU.format(name=name), "jax_plugins.xla_cuda12", "bfloat16") for name in ("8", "9")),
]


def _has(module):
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("topology", "module", "dtype"), CASES, ids=["v5e", "v5e f32", "v6e", "v6e f32", "A100", "H100"]
)
def test_kernels_compile_for_a_device_that_is_not_attached(topology, module, dtype):
    if not _has(module):
        pytest.skip(f"needs {module}")
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "XLA_FLAGS": "--xla_gpu_enable_triton_gemm=false",
    }
    program = PROGRAM.format(topology=topology, dtype=dtype)
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]

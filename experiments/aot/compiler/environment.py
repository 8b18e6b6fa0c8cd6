"""Variables of the environment of a process that compiles for machines that are not attached."""

import os

from experiments.aot.compiler.schedule import FLAGS

VARIABLES = {
    "JAX_PLATFORMS": "cpu",  # what runs, runs here; also skips the check for a CUDA driver
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # entries of absent devices cannot be read again
    "JAX_NUM_CPU_DEVICES": "1",
    "TPU_SKIP_MDS_QUERY": "1",  # never asks the cloud where it is
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several processes may compile at a time
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
GPU_FLAGS = "--xla_gpu_enable_triton_gemm=false"
"""Without a device nothing can be tuned, and the compiler finds no tiles for some products."""


def environment(platform: str, dump: str | None = None) -> dict[str, str]:
    """Return the environment of a process that compiles for a platform.

    Args:
        platform: "tpu" or "gpu".
        dump: the folder for the schedules of kernels, None for none.
    """
    variables = {**os.environ, **VARIABLES}
    variables.pop("XLA_FLAGS", None)  # such as the devices that a test pretends to have
    if platform == "gpu":
        variables["XLA_FLAGS"] = GPU_FLAGS
    if dump is not None:
        variables["LIBTPU_INIT_ARGS"] = FLAGS.format(folder=dump)
    return variables

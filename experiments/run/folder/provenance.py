"""Facts on which the bits of a result depend: versions, code, devices, cores, flags."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("pdeformer", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
STREAMS = {
    "jax_enable_x64": "JAX_ENABLE_X64",
    "jax_default_prng_impl": "JAX_DEFAULT_PRNG_IMPL",
    "jax_threefry_partitionable": "JAX_THREEFRY_PARTITIONABLE",
    "jax_random_seed_offset": "JAX_RANDOM_SEED_OFFSET",
}
"""Option of JAX -> its environment variable. They change every number, or every random one."""
ROUNDING = (
    *("jax_default_matmul_precision", "jax_disable_most_optimizations", "jax_optimization_level"),
    *("jax_numpy_dtype_promotion", "jax_threefry_gpu_kernel_lowering"),
)
"""Options of JAX that can change the last bits."""
VARIABLES = (
    *("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"),
)
"""Environment variables that can change the last bits."""
WITHOUT_EFFECT = ("orbax-checkpoint",)
"""Facts that cannot change a number."""


def versions() -> dict[str, Any]:
    """Return the versions of Python and of the libraries, and the devices."""
    numbers = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            numbers[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            numbers[name] = "not installed"
    device = jax.devices()[0]
    devices = {"platform": device.platform, "device": device.device_kind, "devices": jax.device_count()}
    return numbers | devices | {"processes": jax.process_count()}


def environment() -> dict[str, Any]:
    """Return everything on this machine that can change the bits of a result."""
    machine = {"code": _code(), "machine": platform.machine(), "cpu": _cpu(), "cores": _cores()}
    options = {name: jax.config.values.get(name) for name in (*STREAMS, *ROUNDING)}
    return versions() | machine | options | {name: os.environ.get(name) for name in VARIABLES}


def name_differences(first: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the facts that differ, as "cores 4 (first start 2)". A fact that one side lacks is not compared."""
    return [
        f"{name} {now[name]} (first start {first[name]})"
        for name in first
        if name in now and name not in WITHOUT_EFFECT and now[name] != first[name]
    ]


def check_streams(first: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise ValueError if an option differs that changes every number of the run."""
    for option, variable in STREAMS.items():
        if option in first and first[option] != now[option]:
            raise ValueError(
                f"{variable} must be as at the first start of a run, got {now[option]}, and {first[option]} at the "
                f"first start of {folder}; set {variable}={first[option]}, or use another --out."
            )


def processor() -> tuple[str, str]:
    """Return architecture and model of the processor."""
    return platform.machine(), _cpu()


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> str:
    """Return the model of the processor, since another one may have other vector instructions."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@functools.cache
def _code() -> str:
    """Return the commit of a source checkout, with a mark for changed files, or the version of the package."""
    root = Path(__file__).resolve().parents[3]
    if (root / ".git").exists():
        options = [f"--{option}" for option in ("always", "dirty", "abbrev=40", "exclude=*")]
        command = ["git", "-C", str(root), "describe", *options]
        try:
            return subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    try:
        return importlib.metadata.version("pdeformer")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"

"""Several processes that work on one run."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.run.host_watch import watch_hosts


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Several processes that work together. Start each with the same command and the same --out."""

    join: bool = False
    """Join the other processes. On TPU pods, Slurm and Open MPI, JAX detects the three values below automatically."""
    coordinator: str | None = None
    """Address and port of process 0."""
    count: int | None = None
    """Number of processes."""
    index: int | None = None
    """Index of this process, from 0."""


def join_hosts(hosts: Hosts, out: Path | None) -> None:
    """Join the other processes, if there are any. Raises ValueError without a run folder to share."""
    if not (hosts.join or hosts.coordinator):
        return
    if out is None:
        raise ValueError(
            "several hosts share one run folder, got no --out; pass the same --out to all of them."
        )
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if not jax.distributed.is_initialized():
        jax.distributed.initialize(hosts.coordinator, hosts.count, hosts.index)
        watch_hosts(hosts.coordinator)


def is_first() -> bool:
    """Return whether this is process 0, which writes the files that all processes share."""
    return jax.process_index() == 0


def barrier() -> None:
    """Wait until all hosts have reached this call."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("experiments.run")


def broadcast_from_first(flag: bool) -> bool:  # noqa: FBT001  the only argument
    """Return the flag of process 0 on every process."""
    return flag if jax.process_count() == 1 else bool(multihost_utils.broadcast_one_to_all(np.int32(flag)))


def call_on_first(function: Callable[[], int | None]) -> int:
    """Call a function on process 0, and return its number (0 for None) on every process.

    Raises OSError or ValueError of the function on process 0, and a ValueError that says so on the others.
    """
    number, error = 0, None
    if is_first():
        try:
            number = function() or 0
        except (OSError, ValueError) as exception:
            error = exception
    if jax.process_count() > 1:
        failed, number = multihost_utils.broadcast_one_to_all(np.array([error is not None, number], np.int32))
        if failed and error is None:
            raise ValueError("the processes of a run go on together, and process 0 stopped; see its message.")
    if error is not None:
        raise error
    return int(number)

"""Several processes that work on one run."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.run.host_watch import watch_hosts

X = TypeVar("X")


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Several processes that work together. Start each with the same command and the same --out."""

    join: bool = False
    """Join the other processes. On TPU pods, Slurm and Open MPI, JAX detects the three values below automatically."""
    coordinator: str | None = None
    """Address and port of process 0, for example 10.0.0.1:1234. With it, --hosts.join is not needed."""
    count: int | None = None
    """Number of processes."""
    index: int | None = None
    """Index of this process, from 0."""

    def __post_init__(self) -> None:
        """Raise ValueError unless the processes can join each other."""
        if self.count is not None and self.count < 1:
            raise ValueError(f"hosts are one or more processes, got {self.count}; change --hosts.count.")
        if self.index is not None and not 0 <= self.index < (self.count or self.index + 1):
            raise ValueError(
                f"processes are numbered from 0 to --hosts.count - 1, got {self.index} of {self.count}; change "
                f"--hosts.index."
            )
        if self.coordinator is not None:
            self._check_coordinator(self.coordinator)
        elif not self.join and (self.count, self.index) != (None, None):
            raise ValueError(
                f"processes need an address to join each other, got --hosts.count {self.count} and --hosts.index "
                f"{self.index} without one; add --hosts.coordinator HOST:PORT, or --hosts.join on a cluster."
            )

    def _check_coordinator(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ValueError(
                f"the coordinator is an address and a port, got {address!r}; write for example --hosts.coordinator "
                f"{host or port or '10.0.0.1'}:1234."
            )
        if not self.join and None in (self.count, self.index):
            raise ValueError(
                f"processes with a coordinator have a number and an index, got count={self.count} and "
                f"index={self.index}; add --hosts.count and --hosts.index, or --hosts.join on a cluster."
            )

    @property
    def several(self) -> bool:
        """Whether this process joins others."""
        return self.join or self.coordinator is not None


def start_devices() -> None:
    """Start the devices of this process, so that a platform that is not there is refused before anything long."""
    jax.devices()


def join_hosts(hosts: Hosts, out: Path | None) -> None:
    """Join the other processes, if there are any. Raises ValueError without a shared run folder, or if that fails."""
    if not hosts.several:
        return
    if out is None:
        raise ValueError(
            "several hosts share one run folder, got no --out; pass the same --out to all of them."
        )
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(hosts.coordinator, hosts.count, hosts.index)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"the processes must join each other, got {reason}; check --hosts.coordinator, --hosts.count and "
            f"--hosts.index, or that --hosts.join runs on a cluster."
        ) from error
    watch_hosts(hosts.coordinator)


def is_first() -> bool:
    """Return whether this is process 0, which writes the files that all processes share."""
    return jax.process_index() == 0


def barrier() -> None:
    """Wait until all hosts have reached this call."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("experiments.run")


def broadcast_from_first(number: int) -> int:
    """Return the number of process 0 on every process."""
    return number if jax.process_count() == 1 else int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def call_on_first(function: Callable[[], X]) -> X | None:
    """Call a function on process 0, and return its result there, None on the others.

    Raises OSError or ValueError of the function on process 0, and a ValueError that says so on the others.
    """
    result, error = None, None
    if is_first():
        try:
            result = function()
        except (OSError, ValueError) as exception:
            error = exception
    if broadcast_from_first(error is not None):
        raise error or ValueError(
            "the processes of a run go on together, and process 0 stopped; see its message."
        )
    return result

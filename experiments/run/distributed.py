"""Several processes that work on one run."""

import dataclasses
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.run.termination.host_watch import watch_hosts

X = TypeVar("X")
SHARED_PATIENCE = 4.0
"""Seconds in which a file of process 0 becomes visible to all hosts that share its folder."""


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


def join_hosts(hosts: Hosts, out: Path | None, shared: Mapping[str, Path] | None = None) -> None:
    """Join the other processes, if there are any.

    Args:
        hosts: how.
        out: the run folder.
        shared: option -> other folder that all hosts share.

    Raises:
        ValueError: there is no run folder, a folder is not shared by all hosts, or they cannot join each other.
    """
    if not hosts.several:
        return
    if out is None:
        raise ValueError(
            "several hosts share one run folder, got no --out; pass the same --out to all of them."
        )
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # noqa: FBT003  it would take SIGTERM from our handlers
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
    for option, folder in ({"--out": out} | dict(shared or {})).items():
        check_shared(option, folder.absolute())


def are_joined() -> bool:
    """Return whether this process has joined others. Unlike JAX's count of processes, this starts no device."""
    return jax.distributed.is_initialized()


def introduce_process(mesh: Mapping[str, int] | None = None) -> None:
    """Print one line on standard error, by which the logs of all hosts can be told apart.

    Args:
        mesh: axis -> devices along it; None if the program has no mesh.
    """
    devices = jax.device_count()
    shape = f", mesh {' '.join(f'{name}={size}' for name, size in mesh.items())}" if mesh else ""
    print(
        f"process {jax.process_index()} of {jax.process_count()}, {devices} device{'s' * (devices != 1)}{shape}",
        file=sys.stderr,
        flush=True,
    )


def check_shared(option: str, folder: Path) -> None:
    """Raise ValueError on all hosts unless they see the same folder. It need not exist, as long as one above it does.

    Process 0 writes a small file there for a moment, and all look for it.

    Args:
        option: name of the option, for the message.
        folder: absolute path.
    """
    levels = broadcast_from_first(_levels_below(folder))
    number = broadcast_from_first(secrets.randbelow(2**31))
    places = [folder, *folder.parents]
    path = (places[levels] if levels < len(places) else folder) / f".shared-{number:08x}.part"
    try:
        call_on_first(lambda: path.touch())
        visible = multihost_utils.process_allgather(np.bool_(_appears(path)))
    finally:
        if is_first():
            path.unlink(missing_ok=True)
    if not np.all(visible):
        blind = ", ".join(str(index) for index in np.flatnonzero(~np.asarray(visible)))
        raise ValueError(
            f"several hosts share one folder, got {option} {folder}, where process {blind} of {jax.process_count()} "
            f"does not see the files of process 0; use a folder on a disk that all hosts mount, such as NFS, "
            f"Filestore or Lustre."
        )


def _levels_below(folder: Path) -> int:
    """Return how many levels a folder is below the first one that exists."""
    return next(level for level, path in enumerate((folder, *folder.parents)) if path.is_dir())


def _appears(path: Path) -> bool:
    """Return whether a file is there, after some patience with the caches of network file systems."""
    deadline = time.monotonic() + SHARED_PATIENCE
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


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

"""A capture by several hosts whose devices hold one model: all run the same batches, and the first host writes.

Every process calls `capture` with the same arguments. What the store already has is read by the first host and sent to
the others, so that all take the same rows.
"""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from pid.llava.partitioning import spans_hosts


def check_takes_all_hosts(sharding: Sharding) -> None:
    """Raise ValueError if a model lies on the devices of several processes, but not of all."""
    hosts = {device.process_index for device in sharding.device_set}
    if len(hosts) > 1 and len(hosts) != jax.process_count():
        raise ValueError(
            f"a mesh has devices of one host or of all, got those of {len(hosts)} of {jax.process_count()} processes; "
            f"make it by llava.MeshShape(data=…, model=…).concrete()."
        )


def from_first_host(make: Callable[[], Any]) -> Any:
    """Call `make` on the first host and return its result, of the types of JSON, on all.

    Raises:
        ValueError: `make` raised it, or an OSError, on the first host. It is raised on all, so that none waits.
    """
    content, failure = b"", None
    if jax.process_index() == 0:
        try:
            content = json.dumps({"result": make()}).encode()
        except (OSError, ValueError) as error:
            content, failure = json.dumps({"error": str(error)}).encode(), error
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    bytes_of_first = np.frombuffer(content.ljust(size, b" "), np.uint8)
    message = json.loads(np.asarray(multihost_utils.broadcast_one_to_all(bytes_of_first), np.uint8).tobytes())
    if failure is not None:
        raise failure
    if "error" in message:
        raise ValueError(message["error"])
    return message["result"]


def replicated(sharding: Sharding) -> Callable[[Any], Any]:
    """Make a function that gives every host a copy of arrays; it returns them as they are if one host has them."""
    if not isinstance(sharding, NamedSharding) or not spans_hosts(sharding):
        return lambda arrays: arrays
    return jax.jit(lambda arrays: arrays, out_shardings=NamedSharding(sharding.mesh, PartitionSpec()))


def wait_for_all_hosts(name: str) -> None:
    """Return when every process has called this."""
    multihost_utils.sync_global_devices(name)

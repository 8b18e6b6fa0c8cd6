"""Placement of arrays on devices: the mesh, one table of rules for parameters, batches over hosts, activations.

Files, each importing only those above it:

mesh             `make_mesh`: the axes "data", "seq" and "model", laid out along the network between the devices
partition_rules  `RULES`: the path of a parameter decides its placement
global_batches   the rows of a batch that a host prepares, and the global arrays made of them
residual_stream  the placement of activations on the ambient mesh
ring_blocks      the static band of keys of every shard of a ring
ring_attention   attention over a split sequence: the keys travel around the ring of devices
sequence_attention  evolved attention over a split sequence

Models do not refer to devices. The path of a parameter decides its placement: the first pattern of `RULES` that
matches the path applies, and a parameter without a match is replicated. The path of an optimizer moment contains
the path of its parameter, so the same rules place it beside the parameter.
"""

import warnings
from typing import Any

from pdeformer.integrators.sequence_parallel import evolve_sequence_parallel as evolve_sequence_parallel
from pdeformer.sharding.global_batches import batch_sharding as batch_sharding
from pdeformer.sharding.global_batches import host_rows as host_rows
from pdeformer.sharding.global_batches import put_batch as put_batch
from pdeformer.sharding.mesh import AXES as AXES
from pdeformer.sharding.mesh import make_mesh as make_mesh
from pdeformer.sharding.partition_rules import RULES as RULES
from pdeformer.sharding.partition_rules import path_name as path_name
from pdeformer.sharding.partition_rules import replicated_sharding as replicated_sharding
from pdeformer.sharding.partition_rules import spec_of as spec_of
from pdeformer.sharding.partition_rules import state_shardings as state_shardings
from pdeformer.sharding.residual_stream import collect_tables as collect_tables
from pdeformer.sharding.residual_stream import constrain_residual as constrain_residual
from pdeformer.sharding.residual_stream import residual_spec as residual_spec
from pdeformer.sharding.sequence_attention import (
    pde_attention_sequence_parallel as pde_attention_sequence_parallel,
)

__all__ = [
    "AXES",
    "RULES",
    "batch_sharding",
    "collect_tables",
    "constrain_residual",
    "evolve_sequence_parallel",
    "host_rows",
    "make_mesh",
    "path_name",
    "pde_attention_sequence_parallel",
    "put_batch",
    "replicated_sharding",
    "residual_spec",
    "spec_of",
    "state_shardings",
]


def __getattr__(name: str) -> Any:
    """Resolve a deprecated name, with a warning."""
    if name == "replicated":
        warnings.warn(
            "sharding.replicated is now sharding.replicated_sharding.", DeprecationWarning, stacklevel=2
        )
        return replicated_sharding
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

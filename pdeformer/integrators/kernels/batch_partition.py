"""A kernel on a mesh: every device computes its own sequences and channels, and all tokens of them.

The compiler cannot split a kernel. On GPU rules tell it how, for every mesh. The compiler for TPU reads no such rules;
there the kernel runs under `shard_map`, which must know the axis of the batch: it is the axis "data", as everywhere in
this library. Either way a batch over devices needs no collective but the sum of the derivative in a coefficient that
the devices share.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array

DATA = "data"  # the axis of a mesh over which the library splits a batch


def splits_over_data(state: Array) -> bool:
    """Return whether a mesh has an axis "data" that divides the sequences of a state, and none that splits tokens."""
    mesh = jax.typeof(state).sharding.mesh
    sizes, kinds = dict(mesh.shape), set(mesh.axis_types)
    sequences = math.prod(state.shape[:-2])
    return (
        AxisType.Manual not in kinds
        and sequences % sizes.get(DATA, sequences + 1) == 0
        and sizes.get("seq", 1) == 1
    )


def map_over_data(
    kernel: Callable[..., Any], *, states: int, segmented: bool, back: bool
) -> Callable[..., Any]:
    """Return a kernel that runs under `shard_map` with the sequences split over the axis "data".

    Arguments are those of `partition_batch`.
    """

    def call(static: Any, *arrays: Array) -> Any:
        def run(*arrays: Array) -> Any:
            output = kernel(static, *arrays)
            return (jax.lax.psum(output[0], DATA), output[1]) if back else output

        whole, split = PartitionSpec(), PartitionSpec(DATA)
        edges = [split if arrays[-1].shape[0] > 1 else whole] if segmented else []
        return jax.shard_map(
            run,
            mesh=jax.typeof(arrays[1]).sharding.mesh,
            in_specs=(whole, *[split] * states, *edges),
            out_specs=(whole, split) if back else split,
            check_vma=False,
        )(*arrays)

    return call


def partition_batch(
    kernel: Callable[..., Any], *, states: int, segmented: bool, back: bool
) -> Callable[..., Any]:
    """Return a kernel that the compiler splits along sequences and channels.

    Args:
        kernel: maps static arguments, alpha `(1,)` or `(D,)`, `states` states `(B, T, D)` and, if `segmented`, edges
            `(B or 1, T)` to one state; if `back`, to ᾱ and a state.
        states: the number of states.
        segmented: whether it takes edges.
        back: whether it returns ᾱ, which is summed over the devices.
    """

    def without_defaults(static: Any, *arrays: Array) -> Any:  # a default would count as one more array
        return kernel(static, *arrays)

    split = custom_partitioning(without_defaults, static_argnums=(0,))

    def partition(static: Any, mesh: Any, operands: Any, results: Any) -> Any:
        del results
        alpha, state = operands[0], operands[1]
        mesh = state.sharding.mesh if mesh is None else mesh
        batch, _, channels = (*state.sharding.spec, None, None, None)[:3]
        own_channels = channels if alpha.shape[0] > 1 else None
        specs = [PartitionSpec(own_channels), *[PartitionSpec(batch, None, channels)] * states]
        if segmented:
            specs.append(PartitionSpec(batch if operands[-1].shape[0] > 1 else None, None))
        summed = [axis for axis in (batch, None if own_channels else channels) if axis is not None]

        def run(*arrays: Array) -> Any:
            output = kernel(static, *arrays)
            if not back:
                return output
            alpha_bar, u_bar = output
            for axis in summed:
                alpha_bar = jax.lax.psum(alpha_bar, axis)
            return alpha_bar, u_bar

        shardings = [NamedSharding(mesh, spec) for spec in specs]
        result = (shardings[0], shardings[1]) if back else shardings[1]
        return mesh, run, result, tuple(shardings)

    def infer(static: Any, mesh: Any, operands: Any, results: Any) -> Any:
        return partition(static, mesh, operands, results)[2]

    def rule(static: Any, mesh: Any, operand_types: Any, result_types: Any) -> tuple[str, dict]:
        del static, mesh, result_types
        alpha = "d" if operand_types[0].shape[0] > 1 else "a"
        edges = ["b t" if operand_types[-1].shape[0] > 1 else "e t"] if segmented else []
        inputs = ", ".join([alpha, *["b t d"] * states, *edges])
        return f"{inputs} -> {alpha + ', ' if back else ''}b t d", {"need_replication_factors": ("t",)}

    split.def_partition(partition=partition, infer_sharding_from_operands=infer, sharding_rule=rule)
    return split

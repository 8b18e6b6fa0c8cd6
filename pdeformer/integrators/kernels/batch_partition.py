"""A kernel on a mesh: every device computes its own sequences and channels, and all tokens of them.

The compiler cannot split a kernel. These rules tell it how, so that a batch over devices needs no collective but the
sum of the derivative in a coefficient that the devices share.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array


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

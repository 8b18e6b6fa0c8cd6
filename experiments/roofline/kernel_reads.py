"""Bytes that Pallas kernels of a TPU move beyond one read of every operand and one write of every result.

The pipeline around a kernel fetches a block whenever its index changes from one grid step to the next. Blocks that
overlap, such as the halo of a stencil, and blocks that come back, such as the keys of attention, are fetched again.
Where an index depends on data, every grid step counts as a fetch.
"""

import math
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun, jaxprs_in_params

from experiments.roofline.matrix_flops import executions


def repeated_bytes(jaxpr: ClosedJaxpr | Jaxpr, *, unknown_trips: float = 1.0) -> float:
    """Return the bytes that the kernels of a traced program move repeatedly, on one device.

    Args:
        jaxpr: the traced program, such as `jax.jit(f).trace(x).jaxpr`.
        unknown_trips: how often a loop runs whose trips depend on the data.
    """
    total = 0.0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        if equation.primitive.name == "pallas_call":
            total += _repeated_by_kernel(equation.params["grid_mapping"])
            continue
        is_shared = equation.primitive.name == "shard_map"  # its shapes are those of one device
        times = 1 if is_shared else executions(equation, unknown_trips)
        for inner in jaxprs_in_params(equation.params):
            total += times * repeated_bytes(inner, unknown_trips=unknown_trips)
    return total


def _repeated_by_kernel(mapping: Any) -> int:
    return sum(_repeated_of_operand(block, mapping) for block in mapping.block_mappings)


def _repeated_of_operand(block: Any, mapping: Any) -> int:
    """Return the bytes of an operand or result beyond its size; 0 if the kernel itself moves what it needs."""
    if "any" in str(block.transformed_block_aval).lower().split("{")[0]:
        return 0
    width = np.dtype(block.array_aval.dtype).itemsize
    elements = math.prod(getattr(size, "block_size", 1) for size in block.block_shape)
    whole = math.prod(block.array_aval.shape)
    return max(0, elements * fetches(block.index_map_jaxpr, mapping.grid) - whole) * width


def fetches(index_map: ClosedJaxpr, grid: tuple[int, ...]) -> int:
    """Return how many blocks a grid fetches, in row-major order: steps at which the index differs from the last one."""
    steps = math.prod(grid)
    indices, rest = index_map.jaxpr.invars[: len(grid)], set(index_map.jaxpr.invars[len(grid) :])
    uses_data = any(
        variable in rest for e in index_map.jaxpr.eqns for variable in e.invars if _is_variable(variable)
    )
    if uses_data or steps <= 1:
        return steps
    names = index_map.jaxpr.debug_info.with_unknown_names()  # those of the operands would be too many
    pure = ClosedJaxpr(index_map.jaxpr.replace(invars=indices, debug_info=names), index_map.consts)
    points = np.indices(grid, np.int32).reshape(len(grid), -1)
    blocks = jax.vmap(jaxpr_as_fun(pure))(*points)
    table = np.stack([np.broadcast_to(np.asarray(column), steps) for column in blocks])
    return 1 + int(np.any(table[:, 1:] != table[:, :-1], axis=0).sum())


def _is_variable(value: Any) -> bool:
    return not hasattr(value, "val")

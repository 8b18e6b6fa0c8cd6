"""Compile one case in this process, and read what it costs from the compiled program."""

import math
import time
from typing import Any

import jax

from experiments import roofline
from experiments.aot.cases.case import Case, Workload
from experiments.aot.compiler import schedule
from experiments.aot.compiler.backend import traced_for
from experiments.aot.targets import TARGETS, Target
from experiments.aot.topologies import devices

Row = dict[str, Any]


def measure(case: Case, dump: str | None = None) -> Row:
    """Return the row of a case.

    Its `status` is "compiled", or "does not fit" if the compiler refuses it for its memory. Any other failure raises.

    Args:
        case: the case.
        dump: the folder in which the compiler of a TPU writes the schedules of kernels, None without them.
    """
    target, start = TARGETS[case.target], time.perf_counter()
    with traced_for(target.platform):
        workload = case.build(devices(target))
        traced = workload.function.trace(*workload.arguments, **workload.static)
        try:
            compiled = traced.lower().compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return {"status": "does not fit", "reason": str(error).splitlines()[0][:300]}
    row = cost(traced, compiled, workload, target)
    if dump is not None:
        row["kernel_cycles"] = schedule.kernel_cycles(row["kernel_steps"], dump)
        row["cycles"] += row["kernel_cycles"]
    return {"status": "compiled", "compile_seconds": time.perf_counter() - start, **row}


def cost(traced: Any, compiled: Any, workload: Workload, target: Target) -> Row:
    """Return memory, traffic, operations and collectives of a compiled program, per device."""
    trips = workload.unknown_trips
    totals = roofline.total(compiled.as_text(), unknown_trips=trips)
    flops = roofline.matrix_flops(traced.jaxpr, unknown_trips=trips)
    count = len({device for place in _shardings(compiled) if place for device in place.device_set})
    by_kind = {kind: number / count for kind, number in flops.items()}
    least = least_bytes(traced, compiled)
    return {
        **memory(compiled),
        "least_bytes": least,
        "moved_bytes": totals.bytes,
        "loaded_bytes": totals.loaded_bytes,
        "bytes_ratio": totals.bytes / least,
        "flops": sum(by_kind.values()),
        "flops_by_kind": by_kind,
        "cycles": totals.cycles,
        "collectives": dict(totals.collectives),
        "collective_bytes_by_kind": dict(totals.collective_bytes),
        "collective_bytes": sum(totals.collective_bytes.values()),
        "collective_permutes": totals.collectives["collective-permute"],
        "kernels": dict(totals.custom_calls),
        "kernel_steps": dict(totals.kernel_steps),
        "loops_of_unknown_length": totals.unknown_loops,
    }


def memory(compiled: Any) -> Row:
    """Return the bytes of memory on one device: arguments + outputs + temporaries - what the first two share."""
    plan = compiled.memory_analysis()
    parts = {
        "argument_bytes": plan.argument_size_in_bytes,
        "output_bytes": plan.output_size_in_bytes,
        "temporary_bytes": plan.temp_size_in_bytes,
        "shared_bytes": plan.alias_size_in_bytes,
    }
    arguments, outputs, temporaries, shared = parts.values()
    return parts | {"total_bytes": arguments + outputs + temporaries - shared}


def least_bytes(traced: Any, compiled: Any) -> int:
    """Return the bytes of the arguments that are used and of the results, on one device, without padding."""
    leaves = jax.tree.leaves((compiled.args_info, traced.out_info))
    return sum(
        math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf, place in zip(leaves, _shardings(compiled), strict=True)
        if place is not None
    )


def _shardings(compiled: Any) -> list[Any]:
    """Return the sharding of every argument and result; None for an argument that the program does not use."""
    places = (compiled.input_shardings, compiled.output_shardings)
    return jax.tree.leaves(places, is_leaf=lambda leaf: leaf is None)

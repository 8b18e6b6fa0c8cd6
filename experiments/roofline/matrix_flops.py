"""Floating-point operations of the matrix products that a traced program asks for, by type and precision.

They are counted before compilation, so they are the same for every device, and a kernel counts like any other code:
its body times its grid. What a kernel skips, such as masked blocks, counts too. Nothing but products and convolutions
counts.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxprs_in_params


def matrix_flops(jaxpr: ClosedJaxpr | Jaxpr, *, unknown_trips: float = 1.0) -> Counter[str]:
    """Return the operations of all devices together, as a map from the kind of a product to their number.

    A kind is the type of the operands, and for float32 its precision: "bfloat16", "float32 default", "float32 highest".

    Args:
        jaxpr: the traced program, such as `jax.jit(f).trace(x).jaxpr`.
        unknown_trips: how often a loop runs whose trips depend on the data.
    """
    total: Counter[str] = Counter()
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name = equation.primitive.name
        if name == "dot_general":
            total[_kind(equation)] += _dot_flops(equation)
        elif name == "conv_general_dilated":
            total[_kind(equation)] += _convolution_flops(equation)
        elif name == "cond":
            branches = [
                matrix_flops(branch, unknown_trips=unknown_trips) for branch in equation.params["branches"]
            ]
            total += max(branches, key=lambda branch: sum(branch.values()))
        else:
            times = executions(equation, unknown_trips)
            for inner in programs_in(equation):
                for kind, flops in matrix_flops(inner, unknown_trips=unknown_trips).items():
                    total[kind] += times * flops  # type: ignore[operator]  a mean number of trips is no integer
    return total


def programs_in(equation: Any) -> Iterator[ClosedJaxpr | Jaxpr]:
    """Yield the programs that an equation runs: those among its parameters, and that of a primitive of ours.

    A `LinearMap` of `pdeformer.integrators` is one primitive whose rule is a jitted function.
    """
    yield from jaxprs_in_params(equation.params)
    rule = equation.primitive.impl
    if isinstance(rule, jax.stages.Wrapped):
        shapes = [jax.ShapeDtypeStruct(x.aval.shape, x.aval.dtype) for x in equation.invars]
        yield rule.trace(*shapes, **equation.params).jaxpr


def executions(equation: Any, unknown_trips: float) -> float:
    """Return how often, on all devices, an equation runs the programs among its parameters."""
    params = equation.params
    match equation.primitive.name:
        case "scan":
            return params["length"]
        case "while":
            return unknown_trips
        case "pallas_call":
            return math.prod(params["grid_mapping"].grid)
        case "shard_map":
            return math.prod(params["mesh"].shape[axis] for axis in params["newly_manual_axes"])
    return 1


def _kind(equation: Any) -> str:
    dtype = equation.invars[0].aval.dtype.name
    precision = equation.params.get("precision")
    if dtype != "float32":
        return dtype
    first = precision[0] if isinstance(precision, tuple) else precision
    return (
        f"{dtype} {first.name.lower() if isinstance(first, lax.Precision) else 'default'}"  # or an algorithm
    )


def _dot_flops(equation: Any) -> int:
    """Return 2 · (elements of the result) · (contracted elements)."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


def _convolution_flops(equation: Any) -> int:
    """Return 2 · (elements of the result) · (elements of the kernel per output channel)."""
    numbers = equation.params["dimension_numbers"]
    kernel = equation.invars[1].aval.shape
    channels = kernel[numbers.rhs_spec[0]]
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // channels

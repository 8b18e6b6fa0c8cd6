"""Peak rates of the machine at hand, measured, and the share of them that a program reaches.

A program takes at least max(operations / rate of products, least bytes / bandwidth), where the least bytes are those of
its arguments and results. Its share is this time over its own.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

REPEATS = 8
LARGE = {"elements": 2**26, "rows": 8192}
"""Sizes for accelerators: an array of 256 MiB, which no cache holds, and square matrices."""
SMALL = {"elements": 2**26, "rows": 2048}
"""Sizes for a CPU."""
KINDS: dict[str, tuple[Any, Any]] = {
    "float32 default": (jnp.float32, None),
    "float32 highest": (jnp.float32, jax.lax.Precision.HIGHEST),
    "bfloat16": (jnp.bfloat16, None),
}
"""Kinds of products, as `experiments.roofline.matrix_flops` names them: type and precision."""


class Machine(NamedTuple):
    """Measured peak rates of a device."""

    bandwidth: float
    """Bytes per second, read and written by a scaled copy in place."""
    rates: dict[str, float]
    """Kind of product → operations per second."""

    def least_seconds(self, flops: dict[str, float], least_bytes: float) -> float:
        """Return the least time of a program; NaN if the rate of a kind of product is not known."""
        products = sum(count / self.rates.get(kind, math.nan) for kind, count in flops.items())
        return max(products, least_bytes / self.bandwidth) if products == products else math.nan

    def describe(self) -> str:
        """Return the rates in words."""
        products = ", ".join(f"{kind} {rate / 1e9:,.0f}" for kind, rate in self.rates.items())
        return f"copy {self.bandwidth / 1e9:.1f} GB/s; products in G operations/s: {products}"


def measure_machine(*, elements: int | None = None, rows: int | None = None) -> Machine:
    """Measure the default device.

    Args:
        elements: size of the array that is copied, float32. None takes the size for this kind of device.
        rows: rows of the square matrices. None takes the size for this kind of device.
    """
    is_cpu = jax.default_backend() == "cpu"
    sizes = SMALL if is_cpu else LARGE
    elements, rows = elements or sizes["elements"], rows or sizes["rows"]
    kinds = {name: kind for name, kind in KINDS.items() if not (is_cpu and name == "bfloat16")}
    return Machine(
        bandwidth=2 * 4 * elements / _copy_seconds(elements),
        rates={name: 2 * rows**3 / _product_seconds(rows, *kind) for name, kind in kinds.items()},
    )


def _copy_seconds(elements: int) -> float:
    step = jax.jit(lambda x: x * 1.0001, donate_argnums=0)  # in place: no time for new pages
    x = step(jnp.ones(elements))

    def copy() -> None:
        nonlocal x
        x = jax.block_until_ready(step(x))

    return _shortest(copy)


def _product_seconds(rows: int, dtype: Any, precision: Any) -> float:
    a = jnp.ones((rows, rows), dtype)
    product = jax.jit(partial(jnp.matmul, precision=precision))
    return _shortest(lambda: jax.block_until_ready(product(a, a)))


def _shortest(call: Callable[[], Any]) -> float:
    """Return the shortest of several times, after a first call that compiles."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)

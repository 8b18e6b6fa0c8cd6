"""What a program computes, without running it: shapes of its arrays, and products of matrices on a TPU.

No TPU is needed: a program is lowered for one, and one pass of bfloat16 is emulated by rounding the operands.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import jax
import jax._src.lax.lax as lax_module
import jax.numpy as jnp

PRODUCT = re.compile(r"stablehlo\.(?:dot_general|convolution)[^\n]*")
LOW = (None, "default", "bfloat16", jax.lax.Precision.DEFAULT)


def short_products(function, *arguments, **options):
    """Return the products of float32 operands that a TPU would compute without all digits, and the number of all."""
    with mock.patch.object(jax, "default_backend", return_value="tpu"):
        traced = jax.jit(function, **options).trace(*arguments)
        text = traced.lower(lowering_platforms=("tpu",)).as_text()
    lines = PRODUCT.findall(text)
    operands = [line.rpartition(" : ")[2].partition("->")[0] for line in lines]
    short = [
        line
        for line, own in zip(lines, operands, strict=True)
        if "xf32" in own and "HIGHEST, HIGHEST" not in line
    ]
    return short, len(lines)


@contextmanager
def one_bfloat16_pass():
    """Round the operands of products of float32 to bfloat16, unless their precision says otherwise."""
    exact = jax.lax.dot_general

    def rounded(a, b, dimension_numbers, precision=None, preferred_element_type=None, **options):
        used = jax.config.values["jax_default_matmul_precision"] if precision is None else precision
        used = used[0] if isinstance(used, tuple) else used
        if used in LOW and a.dtype == b.dtype == jnp.float32:
            a, b = (x.astype(jnp.bfloat16).astype(jnp.float32) for x in (a, b))
        return exact(a, b, dimension_numbers, precision, preferred_element_type, **options)

    jax.clear_caches()
    with (
        mock.patch.object(jax.lax, "dot_general", rounded),
        mock.patch.object(lax_module, "dot_general", rounded),
    ):
        yield
    jax.clear_caches()


def shapes(jaxpr: Any) -> Iterator[tuple[int, ...]]:
    """Yield the shape of every array that a jaxpr computes, also inside its loops and branches."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars if hasattr(variable.aval, "shape"))
        parameters = list(equation.params.values())
        for inner in jax.tree.leaves(parameters, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from shapes(getattr(inner, "jaxpr", inner))

"""Eager calls that compile once for each shape; a caller that is traced for `jit` stages the same program as before.

JAX compiles an eager loop again at every call if its body is a new closure. Inside a program nothing has to be
compiled, and a nested `jit` would only be one more function in it.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import jax
from jax.core import Tracer
from jax.interpreters.partial_eval import DynamicJaxprTracer

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def compile_once(*static_argnames: str) -> Callable[[FunctionT], FunctionT]:
    """Return a decorator: eager calls and their transformations run under `jax.jit`, traced calls directly.

    Args:
        static_argnames: the names of the arguments that are hashable and no arrays.
    """

    def decorate(function: Any) -> Any:
        compiled = jax.jit(function, static_argnames=static_argnames)

        @wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            is_staged = any(map(_is_staged, jax.tree.leaves((arguments, keywords))))
            return (function if is_staged else compiled)(*arguments, **keywords)

        return call

    return decorate


def _is_staged(x: Any) -> bool:
    """Return whether a value is part of a program under construction, below any `grad`, `jvp` or `vmap`."""
    while isinstance(x, Tracer) and not isinstance(x, DynamicJaxprTracer):
        x = getattr(x, "primal", getattr(x, "val", None))
    return isinstance(x, DynamicJaxprTracer)

"""Options of XLA for programs that run for seconds, so that compiling them takes most of the time."""

import os
from typing import Literal

import jax

OPTION = "xla_backend_optimization_level"


def fast_compilation(level: Literal[0, 1] = 1) -> dict[str, int]:
    """Return options for `jax.jit` on a CPU, none elsewhere; the same option in XLA_FLAGS is stronger.

    Args:
        level: 1 compiles in half of the time or less and runs as fast here; 0 compiles in a quarter and runs at half
            the speed.
    """
    is_default = OPTION not in os.environ.get("XLA_FLAGS", "")
    return {OPTION: level} if is_default and jax.default_backend() == "cpu" else {}

"""The dtypes in which a model holds its parameters and computes."""

from typing import Any

import jax.numpy as jnp

DTYPES = ("float32", "bfloat16")
ON_ACCELERATORS = (*DTYPES, "float16")


def compute_dtype(dtype: Any, platform: str) -> Any:
    """The dtype, by name or as an object of NumPy, JAX or torch, if a model computes in it on `platform`.

    float16 needs products that the CPU does not have.

    Raises:
        ValueError: the dtype is another one.
    """
    allowed = DTYPES if platform == "cpu" else ON_ACCELERATORS
    is_name = isinstance(dtype, str) or type(dtype).__module__ == "torch"
    name = str(dtype).removeprefix("torch.")
    try:
        name = jnp.dtype(name if is_name else dtype).name
    except TypeError:
        name = repr(dtype)
    if dtype is None or name not in allowed:
        raise ValueError(
            f"a model computes in {' or '.join(allowed)} on {platform}, got dtype={'None' if dtype is None else name}; "
            f"choose one of them."
        )
    return jnp.dtype(name) if is_name else dtype

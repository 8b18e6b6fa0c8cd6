"""Whole numbers, numbers and random keys as users pass them: Python, NumPy or JAX, concrete."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def whole_number(rule: str, value: Any, remedy: str) -> int:
    """Return a whole number as a Python integer; 200.0 and 0-d arrays are whole numbers, truth values are not.

    Args:
        rule: what the value must be, as a sentence.
        value: the value.
        remedy: what to do instead.

    Raises:
        ValueError: it is no whole number.

    Example:
        >>> import numpy as np
        >>> from pid.interface.scalars import whole_number
        >>> whole_number("draws must be a whole number", np.float64(200), "200 is usual")
        200
    """
    number = _scalar(value)
    if number is None or not math.isfinite(number) or number != int(number):
        raise ValueError(f"{rule}, got {_show(value)}; {remedy}.")
    return int(number)


def real_number(rule: str, value: Any, remedy: str) -> float:
    """Return a real number as a Python float; 0-d arrays are numbers, truth values are not.

    Args:
        rule: what the value must be, as a sentence.
        value: the value.
        remedy: what to do instead.

    Raises:
        ValueError: it is no number.

    Example:
        >>> import numpy as np
        >>> from pid.interface.scalars import real_number
        >>> real_number("a level must be a number", np.float32(0.5), "0.9 is usual")
        0.5
    """
    number = _scalar(value)
    if number is None:
        raise ValueError(f"{rule}, got {_show(value)}; {remedy}.")
    return float(number)


def _scalar(value: Any) -> int | float | None:
    """Return a Python number, or None if the value is no concrete one."""
    if isinstance(value, Tracer):
        return None
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        if np.ndim(value) != 0 or not jnp.issubdtype(value.dtype, np.number) or np.iscomplexobj(value):
            return None
        return np.asarray(value).item()
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _show(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def random_key(key: Any) -> jax.Array:
    """Return a random key of JAX from a key, the raw data of a key, or an integer seed.

    Args:
        key: `jax.random.key(0)`, `jax.random.PRNGKey(0)`, or 0.

    Returns:
        A key of shape ().

    Raises:
        ValueError: it is neither.

    Example:
        >>> import jax
        >>> from pid.interface.scalars import random_key
        >>> bool(random_key(7) == jax.random.key(7))
        True
    """
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if key.shape == ():
            return key
    elif isinstance(key, np.ndarray | jax.Array) and key.ndim == 1 and key.dtype == np.uint32:
        if key.shape == jax.random.key_data(jax.random.key(0)).shape:
            return jax.random.wrap_key_data(jnp.asarray(key))
    elif not isinstance(key, float):
        seed = _scalar(key)
        if isinstance(seed, int) and -(2**31) <= seed < 2**32:
            return jax.random.key(seed)
        if isinstance(seed, int) and -(2**63) <= seed < 2**63:
            with jax.enable_x64(new_val=True):  # else only the lower 32 bits count
                return jax.random.key(seed)
    raise ValueError(
        f"key must be one random key of JAX or an integer seed, got {_show(key)}; pass key=jax.random.key(0)."
    )

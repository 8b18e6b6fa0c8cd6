"""Conversions and checks of arguments that `evolve`, attention and the layers share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Integer


def convert_segment_ids(segment_ids: Any) -> Integer[Array, "*b t"]:
    """Convert segment ids to an array; booleans become 1 (token) and 0 (padding).

    Args:
        segment_ids: integers or booleans: an array of JAX or NumPy, or a nested list.

    Returns:
        The ids, int32 unless the array is traced or of 64 bits with x64 enabled.

    Raises:
        ValueError: the ids are not integers, or a value does not fit the integers of JAX, which would wrap it to
            another id or to padding.

    Example:
        >>> convert_segment_ids([[True, True, False]]).tolist()
        [[1, 1, 0]]
    """
    ids = segment_ids if isinstance(segment_ids, jax.Array) else np.asarray(segment_ids)
    if ids.dtype == bool or (ids.size == 0 and isinstance(segment_ids, list | tuple)):
        return jnp.asarray(ids, jnp.int32)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(
            f"segment_ids must be integers or booleans, got dtype {ids.dtype}; convert them, for example by "
            "ids.astype(int)."
        )
    if np.can_cast(ids.dtype, np.int32):  # nothing to look at: an array stays on its devices
        return jnp.asarray(ids, jnp.int32)
    if isinstance(ids, Tracer):
        return ids
    ids = np.asarray(ids)
    dtype = jnp.asarray(0).dtype if ids.dtype.itemsize > 4 else jnp.dtype(jnp.int32)
    if ids.size and (ids.max() > jnp.iinfo(dtype).max or ids.min() < jnp.iinfo(dtype).min):
        raise ValueError(
            f"segment_ids must fit {dtype}, got values from {ids.min()} to {ids.max()}; renumber them, for example by "
            "np.unique(ids, return_inverse=True)[1] + 1."
        )
    return jnp.asarray(ids, dtype)


def check_floating(function: str, **arrays: Array) -> None:
    """Check that arrays are real floating numbers.

    Args:
        function: the name of the function that needs them.
        arrays: the arrays by name.

    Raises:
        ValueError: one is not.
    """
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"{function} needs real floating numbers, got {name} of dtype {array.dtype}; convert it, for example "
                f"by {name}.astype(jnp.float32)."
            )


def resolve_causal(**values: bool | None) -> bool:
    """Return the value of an option that has two names, `is_causal` and `causal`.

    Args:
        values: the value of the main name, and that of the other name; None means that it is left out.

    Raises:
        ValueError: the main one is True and the other one False.
    """
    (name, value), (other_name, other) = values.items()
    if other is None:
        return bool(value)
    if value and not other:
        raise ValueError(
            f"{name} and {other_name} are two names of one option, got {name}={value} and {other_name}={other}; "
            "give one of them."
        )
    return bool(other)

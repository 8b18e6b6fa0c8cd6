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
    ids = _to_array("segment_ids", segment_ids)
    if ids.dtype == bool or (ids.size == 0 and isinstance(segment_ids, list | tuple)):
        return jnp.asarray(ids, jnp.int32)
    return convert_integers("segment_ids", ids, kind="integers or booleans")


def convert_integers(name: str, values: Any, *, kind: str = "integers") -> Integer[Array, "*b"]:
    """Convert integers to an array of JAX; no value wraps.

    Args:
        name: the name of the argument.
        values: an array of JAX or NumPy, or a nested list.
        kind: what the argument must be, for the message.

    Returns:
        The array, int32 unless it is traced or of 64 bits with x64 enabled.

    Raises:
        ValueError: the values are not integers, or one does not fit the integers of JAX.
    """
    ids = _to_array(name, values)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(
            f"{name} must be {kind}, got dtype {ids.dtype}; convert them, for example by ids.astype(int)."
        )
    if np.can_cast(ids.dtype, np.int32):  # nothing to look at: an array stays on its devices
        return jnp.asarray(ids, jnp.int32)
    if isinstance(ids, Tracer):
        return ids
    ids = np.asarray(ids)
    return jnp.asarray(ids, check_fits(name, ids))


def check_fits(name: str, values: Integer[np.ndarray, "*b"]) -> Any:
    """Check that integers fit those of JAX, and return their dtype: int32, or int64 for long ones with x64 enabled.

    Raises:
        ValueError: one does not fit, and would wrap to another number.
    """
    dtype = jnp.asarray(0).dtype if values.dtype.itemsize > 4 else jnp.dtype(jnp.int32)
    if values.size and (values.max() > jnp.iinfo(dtype).max or values.min() < jnp.iinfo(dtype).min):
        raise ValueError(
            f"{name} must fit {dtype}, got values from {values.min()} to {values.max()}; renumber them, for example by "
            "np.unique(ids, return_inverse=True)[1] + 1."
        )
    return dtype


def _to_array(name: str, values: Any) -> Any:
    try:
        return values if isinstance(values, jax.Array) else np.asarray(values)
    except ValueError as error:  # a ragged list
        raise ValueError(
            f"{name} must be a rectangular array, got rows of different lengths; pad them."
        ) from error


def check_floating(function: str, **arrays: Any) -> None:
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


def fit_segment_ids(segment_ids: Any, shape: tuple[int, ...]) -> Integer[Array, "*b t"]:
    """Convert segment ids that broadcast to the tokens of a state, of `shape` (..., T).

    Args:
        segment_ids: integers or booleans, see `convert_segment_ids`.
        shape: the shape of the state without its channels.

    Returns:
        The ids, of their own shape.

    Raises:
        ValueError: their shape does not fit, or `convert_segment_ids` refuses them.
    """
    ids = convert_segment_ids(segment_ids)
    pairs = zip(ids.shape[::-1], shape[::-1], strict=False)
    fits = 1 <= ids.ndim <= len(shape) and ids.shape[-1] == shape[-1] and all(a in (1, b) for a, b in pairs)
    if not fits:
        raise ValueError(
            f"segment_ids must broadcast against the leading axes and tokens of u, {shape}, got shape {ids.shape}; "
            "insert axes of size 1 where they differ."
        )
    return ids


def check_number(name: str, value: Any, *, scalar: bool = False) -> None:
    """Check that a value is a real number or an array of real numbers, traced or not.

    Args:
        name: the name of the argument.
        value: the value. Strings, booleans, None, complex numbers and lists are no real numbers.
        scalar: whether it must have no axes, and be finite if it is concrete.

    Raises:
        ValueError: it is not.

    Example:
        >>> check_number("alpha", 0.1)
        >>> check_number("alpha", "0.1")
        Traceback (most recent call last):
        ...
        ValueError: alpha must be a real number or an array of them, got '0.1'; convert it, by float or jnp.asarray.
    """
    dtype: Any = getattr(value, "dtype", type(value))
    is_real = (
        dtype is int
        or dtype is float
        or jnp.issubdtype(dtype, np.floating)
        or jnp.issubdtype(dtype, np.integer)
    )
    is_array = isinstance(value, int | float | np.generic | np.ndarray | jax.Array)
    if not (is_real and is_array):
        kind = "a real number" if scalar else "a real number or an array of them"
        raise ValueError(f"{name} must be {kind}, got {value!r}; convert it, by float or jnp.asarray.")
    if scalar and np.ndim(value):
        raise ValueError(f"{name} must be a scalar, got shape {np.shape(value)}; pass one number for all.")
    if scalar and not is_traced(value) and not np.isfinite(np.asarray(value, np.float64)):
        raise ValueError(f"{name} must be finite, got {value}; pass another number.")


def static_number(name: str, value: Any) -> float:
    """Return a real number that the program is compiled for; arrays without axes are converted.

    Args:
        name: the name of the argument.
        value: the number, which is not traced.

    Raises:
        ValueError: it is traced, or no finite real number.
    """
    if is_traced(value):
        raise ValueError(
            f"{name} must be known when the program is compiled, got a traced value; make it a static argument of jit."
        )
    check_number(name, value, scalar=True)
    return float(value)


def check_integer(name: str, value: Any, *, minimum: int | None = 1) -> None:
    """Check that a value is a Python or NumPy integer, of at least `minimum` unless that is None.

    Raises:
        ValueError: it is not.
    """
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or (minimum is not None and value < minimum):
        bound = "" if minimum is None else f" >= {minimum}"
        raise ValueError(
            f"{name} must be a Python integer{bound}, got {value!r}; convert it, for example by int()."
        )


def check_random_key(name: str, key: Any) -> None:
    """Check that a value is one random key, of `jax.random.key` or of `jax.random.PRNGKey`.

    Raises:
        ValueError: it is not.
    """
    dtype, shape = getattr(key, "dtype", None), np.shape(key) if hasattr(key, "shape") else None
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    raw = dtype == np.uint32 and shape in ((2,), (4,))  # threefry and rbg
    if not (typed and shape == () or raw):
        value = repr(key) if dtype is None else f"dtype {dtype} and shape {shape}"
        raise ValueError(
            f"{name} must be one random key, got {value}; pass jax.random.key(0), or split a key."
        )


def check_dtype(name: str, dtype: Any) -> None:
    """Check that a dtype is None or a real floating type.

    Raises:
        ValueError: it is not.
    """
    try:
        floating = dtype is None or jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        floating = False
    if not floating:
        raise ValueError(
            f"{name} must be a real floating type, got {dtype!r}; use jnp.float32 or jnp.bfloat16."
        )


def check_flag(name: str, value: Any) -> bool:
    """Return a Python bool, from a bool of Python or NumPy.

    Raises:
        ValueError: it is another value, or traced.
    """
    if not isinstance(value, bool | np.bool_):
        text = "a traced value" if is_traced(value) else repr(value)
        raise ValueError(
            f"{name} must be a Python bool, known when the program is compiled, got {text}; pass True or False."
        )
    return bool(value)


def is_traced(value: Any) -> bool:
    """Return whether a value is traced by a transformation of JAX."""
    return isinstance(value, Tracer)


def resolve_causal(**values: Any) -> bool:
    """Return the value of an option that has two names, `is_causal` and `causal`.

    Args:
        values: the value of the main name, and that of the other name; None means that it is left out.

    Raises:
        ValueError: the main one is True and the other one False, or one is no bool.
    """
    (name, value), (other_name, other) = (
        (name, None if value is None else check_flag(name, value)) for name, value in values.items()
    )
    if other is None:
        return bool(value)
    if value and not other:
        raise ValueError(
            f"{name} and {other_name} are two names of one option, got {name}={value} and {other_name}={other}; "
            "give one of them."
        )
    return bool(other)

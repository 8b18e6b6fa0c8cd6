"""The choices of a model and of a forward pass, checked before anything is traced: dtype, states and groups."""

from collections.abc import Iterable
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np

from pid.llava.tokens import MAX_TYPE, TokenType

Collect = Literal["all", "pooled", "logits"]

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


def check_collect(collect: Any) -> None:
    """Raise ValueError if `collect` is not one of the choices."""
    if collect not in get_args(Collect):
        raise ValueError(
            f"collect is one of {', '.join(map(repr, get_args(Collect)))}, got {collect!r}; name one."
        )


def as_groups(groups: Any) -> tuple[int, ...]:
    """Groups of tokens as a tuple of numbers; a single type is one group.

    Raises:
        ValueError: there are none, or one is not a type above PAD.
    """
    several = tuple(groups) if isinstance(groups, Iterable) and not isinstance(groups, str) else (groups,)
    is_valid = all(
        isinstance(group, int | np.integer)
        and not isinstance(group, bool)
        and TokenType.PAD < group <= MAX_TYPE
        for group in several
    )
    if not several or not is_valid:
        numbers = tuple(int(group) if isinstance(group, int) else group for group in several)
        raise ValueError(
            f"groups are different types above PAD=0, got {numbers}; name each once, as TokenType."
        )
    return tuple(map(int, several))

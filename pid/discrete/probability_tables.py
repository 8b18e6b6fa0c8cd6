"""Checks of tables of probabilities p(t, x, y), and their information.

All functions take leading batch axes; the last three axes are target, x and y.
"""

from typing import Any, NamedTuple

import numpy as np
from jax.core import Tracer
from jaxtyping import Float

from pid.interface.ranges import MAX_INT

SUM_TOLERANCE = 1e-6
"""A table may sum to 1 ± this; it is then divided by its sum."""
NEGATIVE_TOLERANCE = 1e-12
"""An entry may be this far below 0; it then counts as 0."""

Table = Float[np.ndarray, "*b T X Y"]


class TableInformation(NamedTuple):
    """The three mutual informations of tables, in nats."""

    x: Float[np.ndarray, " n"]
    """I(T;X)."""

    y: Float[np.ndarray, " n"]
    """I(T;Y)."""

    joint: Float[np.ndarray, " n"]
    """I(T;X,Y)."""


def check_table(p: Any) -> Table:
    """Convert tables of probabilities to float64, with sums of exactly 1 up to rounding.

    Raises:
        ValueError: a traced array, fewer than three axes or an empty one, entries that are no real numbers, not finite
            or negative, a sum other than 1 (counts are referred to `from_counts`).
    """
    array = check_axes(p, "p")
    if not np.all(np.isfinite(array)):
        raise ValueError(
            f"p must be finite, got {_count(~np.isfinite(array))} entries that are NaN or infinite; replace them, 0 is "
            f"right for what never occurs."
        )
    sums = array.sum((-3, -2, -1))
    if np.any(array < -NEGATIVE_TOLERANCE):
        raise ValueError(f"p must have no negative entries, got {array.min():.3g}; pass probabilities.")
    wrong = np.abs(sums - 1) > SUM_TOLERANCE
    if np.any(wrong):
        worst = float(np.ravel(sums)[np.argmax(np.ravel(wrong))])
        remedy = (
            "these look like counts: pass them to from_counts, or divide them by their sum"
            if worst > 1 and np.array_equal(array, np.round(array))
            else "divide p by p.sum((-3, -2, -1), keepdims=True)"
        )
        raise ValueError(f"p must sum to 1 over its last three axes, got {worst:.6g}; {remedy}.")
    array = np.maximum(array, 0)
    return array / array.sum((-3, -2, -1), keepdims=True)


def check_axes(p: Any, name: str) -> Float[np.ndarray, "*b T X Y"]:
    """Convert a table to float64 and check its axes and kind.

    Raises:
        ValueError: a traced array, fewer than three axes or an empty one, entries that are no real numbers.
    """
    if isinstance(p, Tracer):
        raise ValueError(
            f"{name} must be a concrete array, got a traced one; call the function outside jit and vmap."
        )
    if np.ma.is_masked(p):
        raise ValueError(
            f"{name} must have no masked entries, got a masked array; fill them by {name}.filled(0)."
        )
    array = np.asarray(p)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must have real numbers, got dtype {array.dtype}; pass an array of floats.")
    if array.ndim < 3:
        raise ValueError(
            f"{name} must have at least three axes (target, x, y), got shape {array.shape}; a variable that does not "
            f"exist has an axis of length 1."
        )
    if 0 in array.shape[-3:] or array.size > MAX_INT:
        raise ValueError(
            f"{name} must have 1 to {MAX_INT} entries and no empty axis, got shape {array.shape}; pass one table at "
            f"least, or fewer at once."
        )
    return array.astype(np.float64)


def table_information(p: Float[np.ndarray, "n T X Y"]) -> TableInformation:
    """Compute I(T;X), I(T;Y) and I(T;X,Y) of tables, in nats, without negative values."""
    target = entropy(p.sum((-2, -1)), 1)
    pairs = [(p.sum(-1), p.sum((-3, -1))), (p.sum(-2), p.sum((-3, -2)))]
    x, y = (target + entropy(source, 1) - entropy(pair, 2) for pair, source in pairs)
    joint = target + entropy(p.sum(-3), 2) - entropy(p, 3)
    x, y = np.maximum(x, 0), np.maximum(y, 0)
    return TableInformation(x, y, np.maximum(joint, np.maximum(x, y)))


def entropy(p: Float[np.ndarray, "n ..."], axes: int) -> Float[np.ndarray, " n"]:
    """Compute the entropy of probabilities along the last `axes` axes, in nats."""
    return -np.sum(xlogy(p, p), axis=tuple(range(-axes, 0)))


def xlogy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Compute x log y, with 0 log 0 = 0."""
    return x * np.log(np.where(x > 0, y, 1))


def _count(mask: np.ndarray) -> int:
    return int(np.count_nonzero(mask))

"""Samples of labels to a table of counts, in an order that does not depend on the names of the labels."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from pid.discrete.probability_tables import check_axes
from pid.interface.ranges import MAX_INT

MAX_CELLS = 2**24
MANY_NUMBERS = 20
"""A floating variable with more different values than this, and more than a fifth of the samples, is continuous."""


class CountTable(NamedTuple):
    """Counts of the joint values of target, x and y, with the labels of each axis.

    Example:
        >>> from pid import discrete
        >>> table = discrete.count_table(["cat", "dog", "cat"], [0, 1, 0], [5, 5, 6])
        >>> table.target, table.counts.shape, int(table.counts.sum())
        (('cat', 'dog'), (2, 2, 2), 3)
    """

    counts: Int[np.ndarray, "T X Y"]
    """Number of samples of each combination."""

    target: tuple
    """Labels of the first axis."""

    x: tuple
    """Labels of the second axis."""

    y: tuple
    """Labels of the third axis."""


def count_table(target: Any, x: Any, y: Any) -> CountTable:
    """Count how often each combination of labels occurs.

    Args:
        target: `(n,)` labels of any hashable kind (integers, texts, numbers with few values), or rows `(n, d)` that
            count as one joint label each.
        x: labels of the first source, likewise.
        y: labels of the second source, likewise.

    Returns:
        CountTable, the labels of each axis in the order of their first occurrence.

    Raises:
        ValueError: variables of different length, without samples, with missing values, continuous ones, or with too
            many combinations.

    Example:
        >>> from pid import discrete
        >>> discrete.count_table([0, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 1]).counts.tolist()
        [[[1, 0], [0, 1]], [[0, 1], [1, 0]]]
    """
    variables = {"target": target, "x": x, "y": y}
    codes, labels = zip(*(_encode(name, values) for name, values in variables.items()), strict=True)
    lengths = {name: len(code) for name, code in zip(variables, codes, strict=True)}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"target, x and y must have equally many samples, got {lengths}; pass one row a sample."
        )
    shape = tuple(map(len, labels))
    if np.prod(shape, dtype=float) > MAX_CELLS:
        raise ValueError(
            f"target, x and y must have at most {MAX_CELLS} combinations, got {shape[0]} x {shape[1]} x {shape[2]}; "
            f"merge rare labels or use fewer bins."
        )
    flat = np.ravel_multi_index(codes, shape)
    counts = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
    return CountTable(counts, *labels)


def _encode(name: str, values: Any) -> tuple[Int[np.ndarray, " n"], tuple]:
    """Return the code of each sample, and the labels in the order of their first occurrence."""
    array = values if isinstance(values, np.ndarray) else _to_array(values)
    if np.ma.is_masked(array):
        raise ValueError(f"{name} must have no masked values, got a masked array; drop those samples.")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise ValueError(
            f"{name} must hold labels (n,), or rows (n, d) of them, with one sample at least, got shape {array.shape}; "
            f"pass one row a sample."
        )
    _check_missing(name, array)
    n = len(array)
    if array.dtype.kind == "O":
        keys = array.tolist() if array.ndim == 1 else list(map(tuple, array.tolist()))
        codes, labels = _encode_objects(name, keys)
    else:
        unique, first, inverse = np.unique(array, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(len(order), int)
        rank[order] = np.arange(len(order))
        codes = rank[inverse.reshape(-1)]
        labels = tuple(unique[order].tolist() if array.ndim == 1 else map(tuple, unique[order].tolist()))
    if array.dtype.kind == "f" and len(labels) > max(MANY_NUMBERS, n / 5):
        raise ValueError(
            f"{name} must have few different values, got {len(labels)} in {n} samples; pass "
            f"bin_equal_counts({name}, bins), or use pid.estimate for continuous variables."
        )
    return codes, labels


def _to_array(values: Any) -> np.ndarray:
    """Convert to an array without turning numbers into texts: a list of several types stays one of objects."""
    if hasattr(values, "to_numpy"):
        return values.to_numpy()
    if hasattr(values, "__array__"):
        return np.asarray(values)
    listing = list(values)
    if len({type(value) for value in listing}) == 1 and not isinstance(listing[0], tuple):
        array = np.asarray(listing)
        if array.ndim > 0:
            return array
    array = np.empty(len(listing), object)
    array[:] = listing
    return array


def _check_missing(name: str, array: np.ndarray) -> None:
    if array.dtype.kind in "fcmM":
        missing = np.isnan(array) if array.dtype.kind in "fc" else np.isnat(array)
    elif array.dtype.kind == "O":
        missing = np.array([value is None or value != value for value in array.ravel().tolist()], bool)
    else:
        return
    if np.any(missing):
        raise ValueError(
            f"{name} must have no missing values, got {np.count_nonzero(missing)}; drop those samples, or give them a "
            f"label of their own."
        )


def _encode_objects(name: str, keys: list) -> tuple[Int[np.ndarray, " n"], tuple]:
    codes: dict = {}
    try:
        indices = [codes.setdefault(key, len(codes)) for key in keys]
    except TypeError:
        kind = next(type(key).__name__ for key in keys if type(key).__hash__ is None)
        raise ValueError(
            f"{name} must have hashable labels, got a {kind}; pass texts, numbers or tuples."
        ) from None
    return np.array(indices), tuple(codes)


def check_counts(counts: Any) -> Int[np.ndarray, "T X Y"]:
    """Convert one table of counts to integers, without the values that never occur.

    Raises:
        ValueError: counts that are negative, no whole numbers, without a sample, or not of three axes.
    """
    array = check_axes(counts, "counts")
    if array.ndim != 3:
        raise ValueError(
            f"counts must be one table of three axes, got shape {array.shape}; call once for each table."
        )
    if not np.all(np.isfinite(array)) or np.any(array < 0) or np.any(array != np.round(array)):
        raise ValueError(
            f"counts must be whole numbers, 0 or more, got entries from {np.min(array):.6g} to {np.max(array):.6g}; "
            f"pass how often each combination occurred, and probabilities to decompose."
        )
    if not 2 <= array.sum() <= MAX_INT:
        raise ValueError(
            f"counts must add up to 2 samples at least, got {array.sum():.0f}; pass more samples."
        )
    occurring = array.astype(np.int64)
    for axis in range(3):
        occurring = np.compress(occurring.any(tuple({0, 1, 2} - {axis})), occurring, axis)
    return canonical(occurring)


def canonical(counts: Int[np.ndarray, "T X Y"]) -> Int[np.ndarray, "T X Y"]:
    """Sort each axis of a table by counts alone, so that renumbered tables become equal.

    Values are colored by their counts together with the colors of the other axes, until the colors no longer change.
    One of several values of equal color then gets a color of its own, and so on.
    """
    cells, weights = np.argwhere(counts), counts[counts > 0]
    colors = [np.zeros(size, int) for size in counts.shape]
    while True:
        colors = _refine(colors, cells, weights)
        tied = [
            (axis, color) for axis in range(3) for color, n in Counter(colors[axis].tolist()).items() if n > 1
        ]
        if not tied:
            break
        axis, color = min(tied)
        chosen = int(np.argmax(colors[axis] == color))
        colors[axis] = 2 * colors[axis] + 1
        colors[axis][chosen] -= 1
    return counts[np.ix_(*(np.argsort(color) for color in colors))]


def _refine(colors: list[np.ndarray], cells: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Color the values of every axis by the colors and counts of their cells until nothing changes."""
    number = -1
    while number != (number := sum(len(np.unique(color)) for color in colors)):
        for axis in range(3):
            others = [other for other in range(3) if other != axis]
            columns = [weights, *(colors[other][cells[:, other]] for other in others)]
            order = np.lexsort((*columns, cells[:, axis]))
            rows = np.stack(columns, 1)[order]
            starts = np.searchsorted(cells[order, axis], np.arange(len(colors[axis])))
            groups = np.split(rows, starts[1:])
            keys = [(int(color), group.tolist()) for color, group in zip(colors[axis], groups, strict=True)]
            ranks = {repr(key): rank for rank, key in enumerate(sorted(keys))}
            colors[axis] = np.array([ranks[repr(key)] for key in keys])
    return colors

"""Numbers to symbols: bins of equal counts or of equal width."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

MAX_BINS = 2**20


def bin_equal_counts(x: Any, bins: int) -> Int[np.ndarray, " n"]:
    """Sort numbers into bins that hold about equally many of them.

    A number with m smaller and k equal ones among n goes to bin ⌊bins (m + (k + 1) / 2 - ½) / n⌋, the bin of its mean
    rank. Equal numbers are never split, so that bins may be unequal, or empty and left out, where values repeat.

    Args:
        x: `(n,)` finite numbers.
        bins: number of bins, from 2 to the number of different values.

    Returns:
        Bins `(n,)`, integers from 0, ascending with x.

    Raises:
        ValueError: numbers that are not one-dimensional, real and finite; bins out of range.

    Example:
        >>> from pid import discrete
        >>> discrete.bin_equal_counts([0.1, 5.0, 0.2, 9.0, 0.3, 7.0], bins=2).tolist()
        [0, 1, 0, 1, 0, 1]
        >>> discrete.bin_equal_counts([0, 0, 0, 0, 1, 2], bins=3).tolist()
        [0, 0, 0, 0, 1, 1]
    """
    values, count = _check(x, bins)
    _, inverse, repeats = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(repeats) - (repeats + 1) / 2  # from 0
    bin_of_value = np.floor((mean_rank + 0.5) * count / len(values) * (1 - 1e-12)).astype(int)
    return np.unique(bin_of_value, return_inverse=True)[1][inverse]


def bin_equal_width(x: Any, bins: int) -> Int[np.ndarray, " n"]:
    """Sort numbers into bins of equal width between the smallest and the largest.

    Number x goes to bin ⌊bins (x - min) / (max - min)⌋, the largest into the last one. Bins may be empty.

    Args:
        x: `(n,)` finite numbers.
        bins: number of bins, from 2 to the number of different values.

    Returns:
        Bins `(n,)`, integers from 0 to bins - 1, ascending with x.

    Raises:
        ValueError: numbers that are not one-dimensional, real and finite; bins out of range.

    Example:
        >>> from pid import discrete
        >>> discrete.bin_equal_width([0.0, 0.4, 0.6, 10.0], bins=2).tolist()
        [0, 0, 0, 1]
    """
    values, count = _check(x, bins)
    low, high = values.min(), values.max()
    span = high / 2 - low / 2
    position = (values / 2 - low / 2) / span
    return np.minimum((position * count).astype(int), count - 1)


def _check(x: Any, bins: int) -> tuple[Float[np.ndarray, " n"], int]:
    values = np.asarray(x)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise ValueError(
            f"x must be a one-dimensional array of numbers, got shape {values.shape} of {values.dtype}; bin each "
            f"column alone, and pass the columns together to estimate."
        )
    values = values.astype(np.float64)
    if not np.all(np.isfinite(values)):
        wrong = np.count_nonzero(~np.isfinite(values))
        raise ValueError(
            f"x must be finite, got {wrong} values that are NaN or infinite; drop those samples."
        )
    different = len(np.unique(values))
    if (
        isinstance(bins, bool)
        or not isinstance(bins, int | np.integer)
        or not 2 <= bins <= min(different, MAX_BINS)
    ):
        raise ValueError(
            f"bins must be a whole number from 2 to the number of different values ({different}), got {bins!r}; "
            f"{'x is constant and has no information' if different < 2 else 'pass fewer bins'}."
        )
    return values, int(bins)

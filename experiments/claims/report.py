"""Lines of the table (claim, measurement, verdict), and formats of the numbers in them."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Line(NamedTuple):
    """One claim, the measured numbers, and the verdict."""

    claim: str
    measured: str
    verdict: str


def spread(values: Float[np.ndarray, " seeds"]) -> str:
    """Format mean ± standard deviation over seeds, or the mean alone for one seed."""
    values = np.asarray(values)
    sd = f" ± {values.std(ddof=1):.2g}" if values.size > 1 else ""
    return f"{values.mean():.3g}{sd}"


def count(ratios: Float[np.ndarray, " seeds"]) -> str:
    """Format in how many seeds the numerator is larger or smaller: 'larger in 2 of 3 seeds'."""
    ratios = np.asarray(ratios)
    larger, smaller = int(np.sum(ratios > 1)), int(np.sum(ratios < 1))
    majority = f"larger in {larger}" if larger >= smaller else f"smaller in {smaller}"
    return f"{majority} of {ratios.size} seeds"


def opinion(ratios: Float[np.ndarray, " seeds"]) -> str:
    """Judge the claim that a quantity gets smaller, by a two-sided sign test at 5 % on its ratios by seed."""
    ratios = np.asarray(ratios)
    larger, smaller = int(np.sum(ratios > 1)), int(np.sum(ratios < 1))
    n = larger + smaller
    if 2 * sum(math.comb(n, k) for k in range(min(larger, smaller) + 1)) / 2**n > 0.05:
        return "no difference beyond chance" if ratios.size >= 6 else "too few seeds to tell"
    return "supported here" if np.median(ratios) < 1 else "the opposite here"

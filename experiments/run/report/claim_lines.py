"""Lines of the table (claim, measurement, verdict), and formats of the numbers in them.

Variants share seeds, so a ratio or a difference is paired by seed, and its interval covers the choice of the seeds.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.run.report.paired import LEVEL, Difference, mean_difference, mean_ratio


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


def ratio(ratios: Float[np.ndarray, " seeds"]) -> str:
    """Format the geometric mean of paired ratios with its 95 % interval; one seed has none.

    Ratios that are not all positive have their arithmetic mean.
    """
    value, low, high = _interval(ratios)
    return f"× {value:.3g} [-, one seed]" if math.isnan(low) else f"× {value:.3g} [{low:.4g}, {high:.4g}]"


def _interval(ratios: Float[np.ndarray, " seeds"]) -> Difference:
    return mean_ratio(ratios) if np.all(np.asarray(ratios) > 0) else mean_difference(ratios)


def percent_lower(shares: Float[np.ndarray, " seeds"]) -> str:
    """Format the mean of paired shares of 1 in percent, with its 95 % interval; one seed has none."""
    value, low, high = (100 * number for number in mean_difference(shares))
    return f"{value:.3g} % [-, one seed]" if math.isnan(low) else f"{value:.3g} % [{low:.4g}, {high:.4g}]"


def is_above_zero(shares: Float[np.ndarray, " seeds"]) -> bool:
    """Return whether the interval of a mean over seeds is above 0; one seed has none."""
    return mean_difference(shares).sign > 0


def count(ratios: Float[np.ndarray, " seeds"]) -> str:
    """Format in how many seeds the numerator is larger or smaller: 'larger in 2 of 3 seeds'."""
    ratios = np.asarray(ratios)
    larger, smaller = int(np.sum(ratios > 1)), int(np.sum(ratios < 1))
    majority = f"larger in {larger}" if larger >= smaller else f"smaller in {smaller}"
    return f"{majority} of {ratios.size} seeds"


def opinion(ratios: Float[np.ndarray, " seeds"]) -> str:
    """Judge the claim that a quantity gets smaller, by its ratios by seed.

    A claim needs a two-sided sign test at 5 %, and an interval of the ratio that excludes 1.
    """
    ratios = np.asarray(ratios)
    larger, smaller = int(np.sum(ratios > 1)), int(np.sum(ratios < 1))
    n = larger + smaller
    _, low, high = _interval(ratios)
    is_clear = low > 1 or high < 1
    if not is_clear or 2 * sum(math.comb(n, k) for k in range(min(larger, smaller) + 1)) / 2**n > 1 - LEVEL:
        return "no difference beyond chance" if ratios.size >= 6 else "too few seeds to tell"
    return "supported here" if np.median(ratios) < 1 else "the opposite here"


def interval(values: Float[np.ndarray, " seeds"], digits: int = 3) -> str:
    """Format a mean over seeds with its 95 % interval; values that are not finite are counted instead."""
    values = np.asarray(values, float)
    if not np.all(np.isfinite(values)):
        return f"not finite in {int(np.sum(~np.isfinite(values)))} of {values.size} seeds"
    mean = mean_difference(values)
    if np.isnan(mean.low):
        return f"{mean.value:.{digits}g} [-, one seed]"
    return f"{mean.value:.{digits}g} [{mean.low:.{digits}g}, {mean.high:.{digits}g}]"


def power_of_ten(values: Float[np.ndarray, " seeds"]) -> str:
    """Format positive values by their geometric mean and its interval, as powers of ten."""
    if not np.all(np.isfinite(values)):
        return interval(values)
    low, high, mean = (mean_difference(np.log10(values))[i] for i in (1, 2, 0))
    return f"10^{mean:.2f} [{low:.2f}, {high:.2f}]"


def by_sign(difference: Difference, above: str, below: str) -> str:
    """Return the word for the sign of a paired difference whose interval excludes 0."""
    words = {1: above, -1: below, 0: "no difference beyond chance"}
    return "one seed cannot tell" if np.isnan(difference.low) else words[difference.sign]

"""Check of the tails: heavier ones make every second moment, and so every information, noisier than Gaussian ones.

For an elliptical distribution of D coordinates with kurtosis

    1 + κ = E [(zᵀ S⁻¹ z)²] / (D (D + 2)),    κ = 0 for a Gaussian

the asymptotic covariance of the sample correlations is 1 + κ times that of Gaussian samples. Information does not
depend on scales, so its bias grows by 1 + κ and its standard deviation by √(1 + κ): n samples count as n / (1 + κ).

    n samples, D coordinates
"""

import math

import numpy as np

from pid.interface.flags import Flag

SIGNIFICANT = 4.0
"""Standard errors above which the kurtosis differs from a Gaussian one."""


SCORE_VARIANCE = 0.1
"""Smallest variance of a direction of rank scores that is looked at.

The score of the largest of n Gaussian samples has an error of about 0.4. In a direction of less variance, which exists
where the information is high, these errors alone look like heavy tails. A common scale shows in all directions.
"""


def variance_inflation(z: np.ndarray, *, least_variance: float = 0.0) -> float:
    """Compute 1 + κ of the coordinates (n, D) if it is significantly above 1, else 1.

    Args:
        z: coordinates (n, D).
        least_variance: smallest variance of a principal component of the standardized coordinates that counts;
            `SCORE_VARIANCE` for rank scores.

    Reference:
        Mardia, "Measures of multivariate skewness and kurtosis", Biometrika 1970; Tyler, "Robustness and efficiency
        properties of scatter matrices", Biometrika 1983.
    """
    n, d = z.shape
    if n <= d + 1:
        return 1.0
    centered = z - z.mean(axis=0)
    deviation = centered.std(axis=0)
    left, values, _ = np.linalg.svd(centered / np.where(deviation > 0, deviation, 1), full_matrices=False)
    left = left[:, (values > 1e-9 * values[0]) & (values**2 >= least_variance * n)]
    d = left.shape[1]
    kurtosis = float(np.mean((n * np.sum(left**2, axis=1)) ** 2))
    expected = d * (d + 2) * (n - 1) / (n + 1)
    score = (kurtosis - expected) / math.sqrt(8 * d * (d + 2) / n)
    return kurtosis / expected if score > SIGNIFICANT else 1.0


def tail_flags(inflation: float, n: int, freedom: float | None) -> list[Flag]:
    """Return a flag about heavy tails.

    Args:
        inflation: variance inflation that bias and intervals use.
        n: number of samples.
        freedom: degrees of freedom of the t copula whose scores were used; None if the coordinates stay as they are.
    """
    if inflation == 1:
        return []
    model = (
        f"bias and intervals are those of {n / inflation:.0f} samples; gaussianize='copula' treats them better"
        if freedom is None
        else f"scores of Student's t with {freedom:g} degrees of freedom and Tyler's scatter were used"
    )
    text = (
        f"the coordinates have heavier tails together than a Gaussian: {model}; what a common scale of the samples "
        f"tells is not part of the information; look for outliers or groups of samples."
    )
    return [Flag(text, "doubt", "heavy tails")]

"""Shrinkage of a correlation matrix towards the identity, for few samples.

    S ← (1 - ρ) S + ρ (tr S / d) 1

n samples of d centered coordinates, S = Zᵀ Z / n
"""

import numpy as np


def shrinkage_intensity(z: np.ndarray, method: str) -> float:
    """Compute ρ in [0, 1] for centered samples z, (n, d).

    ledoit_wolf: the consistent estimate of E|S - Σ|² / E|S - m 1|², with m = tr S / d.
                 [Ledoit & Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004]
    oas:         ((1 - 2/d) tr S² + tr² S) / ((n + 1 - 2/d) (tr S² - tr² S / d)).
                 [Chen, Wiesel, Eldar & Hero, "Shrinkage algorithms for MMSE covariance estimation", 2010]
    """
    n, d = z.shape
    s = z.T @ z / n
    trace, square = np.trace(s), np.sum(s * s)
    spread = square - trace**2 / d
    if spread <= 0:
        return 1.0
    if method == "oas":
        return float(min(1, ((1 - 2 / d) * square + trace**2) / ((n + 1 - 2 / d) * spread)))
    noise = (np.sum(np.sum(z * z, axis=1) ** 2) / n - square) / n
    return float(min(1, noise / spread))


def shrink(s: np.ndarray, rho: float) -> np.ndarray:
    """Compute (1 - ρ) S + ρ (tr S / d) 1."""
    d = s.shape[-1]
    return (1 - rho) * s + rho * np.trace(s) / d * np.eye(d)

"""Heavy tails of an elliptical copula: scores of Student's t instead of normal scores, and rows of equal radius.

Tails of a Gaussian copula are independent far out. Where they are not, normal scores bend the dependence and lose
information. For the copula of a multivariate t distribution with ν degrees of freedom, the scores

    z_j = F_ν⁻¹(Φ(s_j)),    s normal scores, F_ν Student's distribution function

are elliptical again, and their scatter S is estimated at any tails by Tyler's M-estimator, the solution of

    S = D/n Σ_i z_i z_iᵀ / (z_iᵀ S⁻¹ z_i)

that is the second moment of the rows w_i = z_i √(D / z_iᵀ S⁻¹ z_i). ν maximizes the likelihood of the copula.

    n samples, D coordinates
"""

import numpy as np
from scipy.special import gammaln, ndtr
from scipy.special import stdtrit as student_quantile

FREEDOMS = (2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 30.0)
"""Degrees of freedom ν that are tried."""
ITERATIONS = 100
TOLERANCE = 1e-9


def tyler_rows(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows w with radius √D under Tyler's scatter of z, (n, D), and the scatter, of trace D.

    Args:
        z: centered coordinates (n, D) of full rank, n > D.

    Reference:
        Tyler, "A distribution-free M-estimator of multivariate scatter", Annals of Statistics 1987.
    """
    n, d = z.shape
    scatter = z.T @ z
    scatter *= d / np.trace(scatter)
    for _ in range(ITERATIONS):
        rows = z * np.sqrt(d / np.maximum(_square_radius(z, scatter), 1e-300))[:, None]
        updated = rows.T @ rows / n
        updated *= d / np.trace(updated)
        change = np.abs(updated - scatter).max()
        scatter = updated
        if change < TOLERANCE:
            break
    return rows, scatter


def _square_radius(z: np.ndarray, scatter: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", z @ np.linalg.inv(scatter), z)


def student_rows(scores: np.ndarray) -> tuple[np.ndarray, float]:
    """Return rows whose second moment is the scatter of an elliptical copula, and its degrees of freedom ν.

    Args:
        scores: rank-Gaussian scores (n, D) of full rank, n > D.
    """
    probabilities = ndtr((scores - scores.mean(axis=0)) / scores.std(axis=0))
    best: tuple[float, np.ndarray, float] | None = None
    for freedom in FREEDOMS:
        z = student_quantile(freedom, probabilities)
        rows, scatter = tyler_rows(z)
        likelihood = copula_log_likelihood(z, scatter, freedom)
        if best is None or likelihood > best[0]:
            best = (likelihood, rows, freedom)
    assert best is not None
    return best[1], best[2]


def copula_log_likelihood(z: np.ndarray, scatter: np.ndarray, freedom: float) -> float:
    """Compute Σ_i log c(z_i), c the density of the t copula at coordinates z with t marginals, in nats."""
    n, d = z.shape
    scale = np.sqrt(np.diag(scatter))
    corr = scatter / scale / scale[:, None]
    joint = -0.5 * (freedom + d) * np.sum(np.log1p(_square_radius(z, corr) / freedom))
    marginal = 0.5 * (freedom + 1) * np.sum(np.log1p(z**2 / freedom))
    constant = (
        gammaln((freedom + d) / 2)
        + (d - 1) * gammaln(freedom / 2)
        - d * gammaln((freedom + 1) / 2)
        - 0.5 * np.linalg.slogdet(corr)[1]
    )
    return float(joint + marginal + n * constant)

"""Heavy tails of an elliptical copula: Tyler's fixed point, SciPy's likelihood, known degrees of freedom."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from pid.features import elliptical
from pid.features.normal_scores import normal_scores

N, D = 900, 6
CORR = 0.6 ** np.abs(np.subtract.outer(np.arange(D), np.arange(D)))


def student(freedom, *, n=N, seed=0):
    """Draw rows of a multivariate t distribution; infinite freedom gives a Gaussian."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, D)) @ np.linalg.cholesky(CORR).T
    return rows if np.isinf(freedom) else rows * np.sqrt(freedom / rng.chisquare(freedom, size=(n, 1)))


def correlation(scatter):
    scale = np.sqrt(np.diag(scatter))
    return scatter / scale / scale[:, None]


def test_tylers_scatter_is_the_fixed_point():
    z = student(2)
    rows, scatter = elliptical.tyler_rows(z)
    radius = np.einsum("ij,jk,ik->i", z, np.linalg.inv(scatter), z)
    np.testing.assert_allclose(scatter, D / N * (z / radius[:, None]).T @ z, atol=1e-8)
    np.testing.assert_allclose(rows.T @ rows / N, scatter, atol=1e-8)
    np.testing.assert_allclose(np.einsum("ij,jk,ik->i", rows, np.linalg.inv(scatter), rows), D, rtol=1e-6)
    assert np.trace(scatter) == pytest.approx(D)


def test_the_length_of_a_row_does_not_count():
    z = student(np.inf)
    lengths = np.random.default_rng(1).exponential(size=(N, 1))
    np.testing.assert_allclose(elliptical.tyler_rows(lengths * z)[0], elliptical.tyler_rows(z)[0], atol=1e-7)


def test_a_linear_map_of_the_rows_is_one_of_the_scatter():
    z, mixing = student(3), np.random.default_rng(2).normal(size=(D, D))
    mapped = mixing @ elliptical.tyler_rows(z)[1] @ mixing.T
    scatter = elliptical.tyler_rows(z @ mixing.T)[1]
    np.testing.assert_allclose(scatter, mapped * D / np.trace(mapped), atol=1e-6)


def multivariate_t_logpdf(z, freedom):
    density: Any = stats.multivariate_t  # its annotations say that it is discrete
    return density(shape=CORR, df=freedom).logpdf(z)


@pytest.mark.parametrize("freedom", [2.0, 5.0, 30.0])
def test_the_likelihood_is_that_of_the_joint_over_the_marginal_densities(freedom):
    z = student(5, n=50)
    joint = np.sum(multivariate_t_logpdf(z, freedom))
    marginal = np.sum(stats.t.logpdf(z, freedom))
    value = elliptical.copula_log_likelihood(
        z, 2.5 * CORR, freedom
    )  # the scale of the scatter does not count
    assert value == pytest.approx(joint - marginal, rel=1e-10)


@pytest.mark.parametrize(
    ("freedom", "bounds"), [(2.0, (2, 2.5)), (3.0, (2.5, 4)), (5.0, (4, 7)), (np.inf, (30, 30))]
)
def test_degrees_of_freedom_and_scatter_are_recovered(freedom, bounds):
    for seed in range(3):
        warped = np.exp(0.2 * np.clip(student(freedom, seed=seed), -50, 50))
        rows, estimated = elliptical.student_rows(normal_scores(warped))
        assert bounds[0] <= estimated <= bounds[1]
        np.testing.assert_allclose(correlation(rows.T @ rows), CORR, atol=0.12)

"""The check of the tails: Mardia's kurtosis, and its flag."""

import numpy as np
import pytest

from pid.features.tails import tail_flags, variance_inflation

N, D = 900, 6


def gaussian(seed, n=N, d=D):
    return np.random.default_rng(seed).normal(size=(n, d))


def student(freedom, seed=0, n=N, d=D):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.sqrt(freedom / rng.chisquare(freedom, size=(n, 1)))


def test_inflation_is_mardias_kurtosis_over_that_of_a_gaussian():
    z = student(5)
    deviation = z - z.mean(axis=0)
    inverse = np.linalg.inv(deviation.T @ deviation / N)
    kurtosis = np.mean(np.einsum("ij,jk,ik->i", deviation, inverse, deviation) ** 2)
    expected = kurtosis / (D * (D + 2) * (N - 1) / (N + 1))
    assert variance_inflation(z) == pytest.approx(expected, rel=1e-10)


def test_inflation_of_a_t_distribution_is_known():
    """For ν degrees of freedom it is (ν - 2) / (ν - 4)."""
    values = [variance_inflation(student(12, seed, n=20_000)) for seed in range(4)]
    assert np.mean(values) == pytest.approx(10 / 8, rel=0.05)


@pytest.mark.parametrize(("n", "d"), [(200, 1), (200, 30), (900, 6), (900, 100)])
def test_gaussian_samples_have_no_heavy_tails(n, d):
    assert all(variance_inflation(gaussian(seed, n, d)) == 1 for seed in range(30))


def test_linear_maps_and_collinear_columns_change_nothing():
    z = student(5)
    mixing = np.random.default_rng(1).normal(size=(D, D))
    for mapped in (z @ mixing, np.hstack([z, z @ mixing])):
        assert variance_inflation(mapped) == pytest.approx(variance_inflation(z), rel=1e-9)


def test_more_coordinates_than_samples_are_not_tested():
    assert variance_inflation(student(3, n=8, d=8)) == 1


def test_heavy_tails_are_doubted():
    assert tail_flags(1.0, N, None) == []
    (plain,) = tail_flags(2.0, N, None)
    (replaced,) = tail_flags(1.3, N, 5.0)
    assert plain.weight == replaced.weight == "doubt"
    assert "those of 450 samples" in plain
    assert "5 degrees of freedom" in replaced

"""Gaussian variables: information, entropy, the bias of estimates from samples, random covariances."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pid.gaussian import (
    covariance,
    entropy,
    information_bias,
    log_determinant_bias,
    mutual_information,
    sample,
    sample_covariance,
    wishart,
)
from tests.helpers import pid_oracle as oracle

pytestmark = pytest.mark.core

SHAPES = ((1, 1, 1), (2, 3, 4), (5, 1, 2), (3, 6, 6), (8, 8, 8))


@pytest.mark.parametrize("dims", SHAPES)
def test_information_is_that_of_the_determinants(dims):
    cov = oracle.sample_system(np.random.default_rng(0), dims)
    np.testing.assert_allclose(
        mutual_information(cov, dims), oracle.mutual_informations(cov, dims), atol=1e-12
    )


@pytest.mark.parametrize("name", sorted(oracle.known_answers()))
def test_information_of_known_systems(name):
    cov, dims, truth = oracle.known_answers()[name]
    mi = mutual_information(cov, dims)
    np.testing.assert_allclose(mi, [truth["mi_x"], truth["mi_y"], truth["mi_joint"]], atol=1e-12)


def test_information_in_nats_is_ln_2_times_that_in_bits():
    cov = oracle.sample_system(np.random.default_rng(1), (2, 2, 2))
    bits, nats = mutual_information(cov, (2, 2, 2)), mutual_information(cov, (2, 2, 2), base=math.e)
    np.testing.assert_allclose(nats, np.array(bits) * math.log(2), rtol=1e-14)


def test_information_does_not_depend_on_units():
    cov = oracle.sample_system(np.random.default_rng(2), (2, 3, 2))
    units = np.array([1e6, 1e-6, 1, 1e6, 1e-3, 1e-6, 1e3])
    np.testing.assert_allclose(
        mutual_information(cov * np.outer(units, units), (2, 3, 2)),
        mutual_information(cov, (2, 3, 2)),
        atol=1e-11,
    )


def test_entropy_of_a_gaussian(x64):
    """½ log2 (2πe)^d det S."""
    cov = jnp.array([[4.0, 1.0], [1.0, 2.0]])
    assert entropy(cov) == pytest.approx(0.5 * math.log2((2 * math.pi * math.e) ** 2 * 7), abs=1e-12)
    assert entropy(jnp.eye(1), base=math.e) == pytest.approx(0.5 * math.log(2 * math.pi * math.e), abs=1e-12)


def test_information_is_entropy_less_conditional_entropy(x64):
    cov = oracle.sample_system(np.random.default_rng(3), (3, 2, 2))
    m, x, _ = oracle.parts((3, 2, 2))
    left = entropy(jnp.asarray(cov[np.ix_(m, m)])) - entropy(jnp.asarray(oracle.conditional(cov, m, x)))
    assert float(left) == pytest.approx(float(mutual_information(cov, (3, 2, 2)).x), abs=1e-12)


@pytest.mark.parametrize(
    ("n", "d", "pair", "joint"),
    [(300, 5, 0.061, None), (300, 50, 7.3, None), (900, 20, 0.328, 0.665), (900, 50, 2.127, 4.39),
     (900, 100, 9.06, 19.4), (10_000, 100, 0.729, None)],
)  # fmt: skip
def test_bias_of_information_from_samples(n, d, pair, joint, x64):
    """The values are for independent variables, in bits, with the digits of the reference table."""
    bias = information_bias((d, d, d), n)
    if pair is not None:
        assert float(bias.x) == pytest.approx(pair, rel=0.01)
    if joint is not None:
        assert float(bias.joint) == pytest.approx(joint, rel=0.01)
    assert float(bias.x) == float(bias.y)


def test_bias_of_one_log_variance(x64):
    """(n-1) s² / σ² ~ χ²(n-1), and E log χ²(ν) = ψ(ν/2) + log 2."""
    n = 11
    expected = stats.chi2(n - 1).expect(np.log) - math.log(n - 1)
    assert float(log_determinant_bias(1, n)) == pytest.approx(expected, abs=1e-9)
    assert float(log_determinant_bias(0, n)) == 0


def test_bias_counts_the_common_directions_of_the_sources_once(x64):
    plain, copied = information_bias((3, 4, 4), 100), information_bias((3, 4, 4, 4), 100)
    assert float(copied.joint) == pytest.approx(float(plain.x), abs=1e-12)


def test_drawn_covariances_have_the_bias_of_sampled_ones(x64):
    """Means of log det Ŝ - log det S over Bartlett draws and over samples are within four standard errors of b(d)."""
    n, dims = 40, (2, 2, 2)
    cov = jnp.asarray(oracle.sample_system(np.random.default_rng(4), dims))
    keys = jax.random.split(jax.random.key(0), 2000)
    factor = jnp.linalg.cholesky(cov)
    draws = jax.lax.map(lambda k: sample_covariance(k, factor, n - 1), keys)
    sampled = jax.lax.map(lambda k: jnp.cov(sample(k, cov, n), rowvar=False), keys)
    for covs in (draws, sampled):
        logs = np.linalg.slogdet(np.asarray(covs))[1] - np.linalg.slogdet(cov)[1]
        error = logs.std() / len(keys) ** 0.5
        assert abs(logs.mean() - float(log_determinant_bias(6, n))) < 4 * error
        spread = np.asarray(covs).std(axis=0) / len(keys) ** 0.5
        assert np.all(np.abs(np.asarray(covs).mean(axis=0) - np.asarray(cov)) < 5 * spread)


def test_drawn_entries_vary_as_wishart_entries_do(x64):
    """Var Ŝ_ij = (S_ij² + S_ii S_jj) / ν."""
    nu, cov = 25, np.array([[2.0, 0.5], [0.5, 1.0]])
    keys = jax.random.split(jax.random.key(1), 20_000)
    factor = jnp.linalg.cholesky(jnp.asarray(cov))
    draws = np.asarray(jax.lax.map(lambda k: sample_covariance(k, factor, nu), keys))
    expected = (cov**2 + np.outer(np.diag(cov), np.diag(cov))) / nu
    np.testing.assert_allclose(draws.var(axis=0), expected, rtol=0.06)  # four standard errors of a variance


@pytest.mark.parametrize("freedom", [0.5, 1.0, 2.0, 9.0, 870.0])
def test_chi_square_variates_have_their_distribution(freedom, x64):
    draws = wishart.sample_chi_square(jax.random.key(0), jnp.full(4000, freedom))
    assert stats.kstest(np.asarray(draws), stats.chi2(freedom).cdf).pvalue > 1e-3


def test_information_under_a_trace_keeps_its_dtype():
    cov = jnp.asarray(oracle.sample_system(np.random.default_rng(5), (2, 2, 2)), jnp.float32)
    traced = jax.jit(lambda c: mutual_information(c, (2, 2, 2)))(cov)
    assert traced.joint.dtype == jnp.float32
    np.testing.assert_allclose(traced, mutual_information(cov, (2, 2, 2)), atol=1e-4)


REFUSED = {
    "four dims": (np.eye(4), (1, 1, 1, 1), "three positive integers"),
    "zero dims": (np.eye(3), (0, 1, 2), "three positive integers"),
    "dims that do not add up": (np.eye(4), (1, 1, 1), r"shape \(..., 3, 3\), got \(4, 4\)"),
    "not square": (np.ones((3, 4)), (1, 1, 1), "must have shape"),
    "not finite": (np.diag([1.0, np.nan, 1]), (1, 1, 1), "must be finite"),
    "not symmetric": (np.eye(3) + np.eye(3, k=1) * 1e-9, (1, 1, 1), "symmetric, got entries that differ by 1e-09"),
    "indefinite": (np.eye(3) + 1.5 * np.eye(3, k=1) + 1.5 * np.eye(3, k=-1), (1, 1, 1), "positive semidefinite"),
    "negative variance": (np.diag([1.0, 1, -1]), (1, 1, 1), "positive semidefinite"),
    "complex": (np.eye(3) * 1j, (1, 1, 1), "real and floating"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_refusals(case):
    cov, dims, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        mutual_information(cov, dims)


def test_a_refusal_names_the_system_of_a_batch():
    covs = np.stack([np.eye(3)] * 6).reshape(2, 3, 3, 3)
    covs[1, 2, 0, 1] = covs[1, 2, 1, 0] = 1.5
    with pytest.raises(
        ValueError, match=r"smallest eigenvalue of -0.5 on the correlation scale in system \(1, 2\)"
    ):
        mutual_information(covs, (1, 1, 1))


def test_rounding_is_not_refused():
    cov = np.array([[1.0, 0.5, 0.5], [0.5, 1, 1 + 5e-10], [0.5, 1 + 5e-10, 1]])  # eigenvalue -5e-10
    assert float(mutual_information(cov, (1, 1, 1)).joint) == pytest.approx(0.5 * math.log2(4 / 3), abs=1e-6)


@pytest.mark.parametrize("base", [1, 0.5, float("nan")])
def test_refused_bases(base):
    with pytest.raises(ValueError, match="base must be a number above 1"):
        mutual_information(np.eye(3), (1, 1, 1), base=base)


def test_bias_needs_more_samples_than_dimensions():
    with pytest.raises(ValueError, match="n=20 and 24 dimensions"):
        information_bias((8, 8, 8), 20)


def test_tolerances_are_those_of_the_dtype():
    assert covariance.tolerance_of(np.float64).asymmetry == 1e-10
    assert covariance.tolerance_of(jnp.float32).negative_eigenvalue == 1e-4


def test_the_former_name_of_a_bound_works_and_warns():
    with pytest.warns(DeprecationWarning, match=r"log_determinant_bias\(most=...\) is now called max_d="):
        value = log_determinant_bias(3, 50, most=4)  # pyright: ignore[reportCallIssue]
    assert value == log_determinant_bias(3, 50, max_d=4)

"""Values that are at least 0 are never printed as negative rounding, and real negative values are not hidden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pid
from pid.gaussian import covariance, systems
from pid.gaussian.systems import InformationMeasure


def independent(d, seed):
    """A target that is independent of both sources; every exact value is 0."""
    rng = np.random.default_rng(seed)
    target, sources = rng.normal(size=(d, 2 * d)), rng.normal(size=(2 * d, 2 * d))
    cov = np.zeros((3 * d, 3 * d))
    cov[:d, :d], cov[d:, d:] = target @ target.T, sources @ sources.T
    return cov


def degraded(d, seed):
    """x = m + n_1, and y a noisy function of x: U_y = S = 0."""
    rng = np.random.default_rng(seed)
    root, gain = rng.normal(size=(2, d, d))
    prior = root @ root.T / d + np.eye(d) / 10
    x = prior + 0.3 * np.eye(d)
    y = gain @ x @ gain.T + np.eye(d)
    return np.block([[prior, prior, prior @ gain.T], [prior, x, x @ gain.T], [gain @ prior, gain @ x, y]])


@pytest.mark.parametrize("d", [1, 4, 12])
@pytest.mark.parametrize("make", [independent, degraded])
def test_nothing_is_negative_by_rounding(make, d):
    covs = np.stack([make(d, seed) for seed in range(20)])
    dims = (d, d, d)
    for measure in ("broja", "mmi"):
        result = np.array(pid.decompose(covs, dims, measure=measure))
        assert result.min() == 0
        assert not np.signbit(result).any()
    assert np.array(pid.mutual_information(covs, dims)).min() >= 0
    assert np.array(pid.conditional_information(covs, dims)).min() >= 0
    assert np.min(pid.mutual_information(covs[:, : 2 * d, : 2 * d], (d, d))) >= 0


@pytest.mark.parametrize("make", [independent, degraded])
def test_certificates_have_no_negative_gap_by_rounding(make):
    proof = pid.certificate(np.stack([make(4, seed) for seed in range(20)]), (4, 4, 4))
    assert min(np.min(proof.gap), np.min(proof.primal), np.min(proof.dual), np.min(proof.union)) >= 0
    assert np.max(proof.gap) < 1e-9


def test_only_rounding_is_clipped(x64):
    values = jnp.array([-3e-16, -1e-13, -1e-9, -1e-6, 0.0, 1e-17, 2.0, jnp.inf, jnp.nan])
    clipped = systems.clip_rounding(values, jnp.asarray(0.1), 9)
    np.testing.assert_array_equal(clipped, [0, 0, -1e-9, -1e-6, 0, 1e-17, 2, np.inf, np.nan])
    worst = systems.clip_rounding(values, jnp.asarray(1e-12), 9)
    np.testing.assert_array_equal(worst[:4], [0, 0, 0, -1e-6])


class Entry(InformationMeasure):
    """One entry of the correlation matrix, which may have any sign."""

    def from_cholesky(self, corr):
        return corr[0, 1:2], jnp.ones((), corr.dtype)

    def from_eigh(self, corr):
        return corr[0, 1:2]

    def gradient(self, corr):
        return jnp.zeros((1, *corr.shape), corr.dtype).at[0, 0, 1].set(0.5).at[0, 1, 0].set(0.5)


@pytest.mark.parametrize(("entry", "value"), [(-1e-16, 0), (-1e-3, -1e-3), (-1e-11, -1e-11), (1e-16, 1e-16)])
def test_the_clip_leaves_real_negative_values_and_all_derivatives(entry, value, x64):
    measure = Entry((1, 1, 1), covariance.DOUBLE)
    cov = jnp.eye(3).at[0, 1].set(entry).at[1, 0].set(entry)
    for function in (systems.evaluate, systems.evaluate_leading_axes):
        assert float(function(measure, cov).values[0]) == value
    assert float(systems.evaluate_batch(measure, cov[None]).values[0, 0]) == value
    gradient = jax.grad(lambda c: systems.evaluate(measure, c).values[0])(cov)
    np.testing.assert_array_equal(gradient, measure.gradient(cov)[0])


def test_the_plugin_of_an_estimate_is_not_negative():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    target, y = x + rng.normal(size=x.shape), x @ rng.normal(size=(3, 3))
    result = pid.estimate(target, x, y, reduce=None, gaussianize="none", ci=None, null=None, key=0)
    assert min(map(float, (*result.pid, *result.plugin))) >= 0

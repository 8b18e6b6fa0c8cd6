"""Ends of intervals and limits of the null: order statistics by their definition, a value inside its interval."""

from typing import Any

import jax
import numpy as np
import pytest
from scipy.signal import lfilter

from pid import Bootstrap, Shuffle, decompose, estimate, layerwise
from pid.estimators.intervals import order_statistics
from tests.helpers import pid_oracle as oracle
from tests.pid.gaussian_samples import KEY, PLAIN, draw, to_array


@pytest.mark.parametrize(("count", "level", "k"), [(99, 0.9, 5), (19, 0.9, 1), (10, 0.9, 1), (199, 0.95, 5)])
def test_a_limit_is_the_order_statistic_of_its_level(count, level, k):
    values = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))[:, None]
    low, high = order_statistics(values, level)
    assert (low, high) == (k, count + 1 - k)


def test_one_further_value_exceeds_the_limit_as_stated():
    values = np.random.default_rng(0).exponential(size=(100, 40_000))
    low, high = order_statistics(values[:99], 0.9)
    assert np.mean(values[99] > high) == pytest.approx(0.05, abs=0.005)
    assert np.mean(values[99] < low) == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize(
    ("debias", "kind"), [("wishart", "parametric"), ("thinned", "parametric"), ("thinned", "paired")]
)
def test_a_value_is_inside_its_interval(debias, kind):
    """Systems at the edge of what is possible: independent, equal, and one source only."""
    rng = np.random.default_rng(0)
    target, noise_x, noise_y = rng.normal(size=(3, 3, 120, 3))
    gains = np.array([[0, 0], [1, 1], [2, 0]])[:, :, None, None]
    x, y = gains[:, 0] * target + noise_x, gains[:, 1] * target + noise_y
    ci = Bootstrap(40, kind=kind)
    result = layerwise(target, x, y, debias=debias, ci=ci, null=None, key=jax.random.key(0), **PLAIN)
    assert result.ci is not None
    assert np.all(to_array(result.ci.low) <= to_array(result.pid))
    assert np.all(to_array(result.pid) <= to_array(result.ci.high))


def equally_good(layers, n=300, d=8):
    """Both sources are equally good in every direction: the plug-in calls noise unique information."""
    target, noise_x, noise_y = np.random.default_rng(0).normal(size=(3, layers, n, d))
    truth = decompose(oracle.channel_system(1.5 * np.eye(d), 1.5 * np.eye(d)), (d, d, d))
    return (target, 1.5 * target + noise_x, 1.5 * target + noise_y), truth


def flagged(estimate):
    return sum(flag.kind == "known bias" for flag in estimate.flags)


@pytest.mark.parametrize(("debias", "count"), [("wishart", 19), ("bootstrap", 11)])
def test_a_known_bias_larger_than_its_interval_is_said(debias, count):
    samples, _ = equally_good(20)
    options: dict[str, Any] = {**PLAIN, "debias": debias, "null": None, "key": KEY}
    assert flagged(layerwise(*samples, **options)) >= count
    without: dict[str, Any] = options | {"ci": None}
    assert flagged(layerwise(*samples, **without)) == 0


def test_a_bias_that_is_removed_is_not_said():
    samples, truth = equally_good(20)
    thinned = layerwise(*samples, null=None, key=KEY, **PLAIN)
    assert thinned.ci is not None
    assert flagged(thinned) == 0
    for name in ("unique_x", "unique_y", "synergy"):
        low, high = (np.asarray(getattr(end, name)) for end in thinned.ci)
        right = float(getattr(truth, name))
        assert np.mean((low <= right + 1e-12) & (right <= high)) >= 0.8


def test_a_small_bias_is_not_said():
    """Sources of unequal gain have no directions that are selected by noise."""
    (target, x, noise), _ = equally_good(20, n=900, d=4)
    y = 0.5 * target + np.random.default_rng(1).normal(size=noise.shape)
    assert flagged(layerwise(target, x, y, debias="wishart", null=None, key=KEY, **PLAIN)) == 0


@pytest.mark.parametrize("heavy", [False, True])
def test_intervals_of_informations_are_centered_on_their_values(heavy):
    """Parametric draws have neither the loss of rank scores nor the bias of heavy tails."""
    known = oracle.structured_system(12)
    samples = draw(known.cov, (12, 12, 12), 300, repeats=8)
    if heavy:
        scale = 1 / np.sqrt(np.random.default_rng(0).chisquare(5, size=(8, 300, 1)))
        samples = tuple(scale * variable for variable in samples)
    result = layerwise(*samples, gaussianize="none" if heavy else "copula", reduce=None, null=None, key=KEY)
    assert result.ci is not None
    for name in ("mi_x", "mi_y", "mi_joint"):
        low, high = (np.asarray(getattr(end, name)) for end in result.ci)
        middle = np.mean((low + high) / 2 - getattr(result.pid, name))
        assert abs(middle) < 0.08 * np.mean(high - low)


def autoregressive(rng, n, d, phi=0.9):
    return lfilter([1], [1, -phi], rng.normal(size=(n + 300, d)), axis=0)[300:] * (1 - phi**2) ** 0.5


def series(rng, n=900):
    """Signal and noises are series of one autocorrelation."""
    g, h = np.array([1.5, 1, 0, 0.5]), np.array([1, 0, 1, 0.5])
    target = autoregressive(rng, n, 4)
    return target, g * target + autoregressive(rng, n, 4), h * target + autoregressive(rng, n, 4)


@pytest.mark.exhaustive
def test_intervals_of_a_series_cover():
    """All seven numbers under AR(.9), where 900 samples count as about 100."""
    g, h = np.diag([1.5, 1, 0, 0.5]), np.diag([1, 0, 1, 0.5])
    truth = to_array(decompose(oracle.channel_system(g, h), (4, 4, 4)))
    inside = []
    for seed in range(60):
        result = estimate(
            *series(np.random.default_rng(seed)),
            reduce=None,
            ci=Bootstrap(kind="paired", block="auto"),
            null=Shuffle(19, kind="circular"),
            key=seed,
        )
        assert result.ci is not None
        inside.append((to_array(result.ci.low) <= truth) & (truth <= to_array(result.ci.high)))
    coverage = np.mean(inside, axis=0)
    assert np.all(coverage > 0.8 - 2 * (0.8 * 0.2 / 60) ** 0.5), coverage
    assert np.mean(coverage[:7]) > 0.84


@pytest.mark.exhaustive
@pytest.mark.parametrize("freedom", [np.inf, 5.0, 3.0])
def test_intervals_of_the_default_choices_cover(freedom):
    """All seven numbers of a Gaussian system, and of t samples with its scatter."""
    g, h = np.diag([2, 1.5, 0, 0]), np.diag([2, 0, 1.5, 0])
    truth = to_array(decompose(oracle.channel_system(g, h), (4, 4, 4)))
    rng = np.random.default_rng(0)
    target, noise_x, noise_y = rng.normal(size=(3, 100, 900, 4))
    scale = 1.0 if np.isinf(freedom) else np.sqrt(freedom / rng.chisquare(freedom, size=(100, 900, 1)))
    samples = (scale * target, scale * (target @ g + noise_x), scale * (target @ h + noise_y))
    result = layerwise(*samples, null=None, key=KEY)
    assert result.ci is not None
    coverage = np.mean((to_array(result.ci.low) <= truth) & (truth <= to_array(result.ci.high)), axis=0)
    assert np.all(np.abs(coverage - 0.9) < 0.05 + 2 * 0.03), coverage

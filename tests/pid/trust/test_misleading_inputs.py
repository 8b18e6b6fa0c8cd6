"""Inputs on which a Gaussian decomposition misleads: the right value, or a verdict that says so."""

from typing import Any

import numpy as np
import pytest

import pid
from experiments.pid_gaussian.systems import structured
from pid.estimators.config import DEFAULTS
from pid.estimators.results import FIELDS
from pid.measures import decompose

FAST: Any = {"ci": None, "null": None}


def kinds(estimate, weight="unusable"):
    return {flag.kind for flag in estimate.reasons if flag.weight == weight}


def joint(estimate):
    return float(estimate.pid.mi_joint)


# Reductions.


def white_features():
    """README's example: four of 64 features of each source reach the target; 4 bits."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 900, 64))
    return np.hstack([x[:, :4], y[:, :4]]) + rng.normal(size=(900, 8)), x, y


@pytest.fixture(scope="module")
def without_reduction():
    return pid.estimate(*white_features(), key=0, reduce=None, ci=pid.Bootstrap(draws=40), null=None)


def test_the_default_reduction_of_white_features_keeps_the_information():
    estimate = pid.estimate(*white_features(), key=0, **FAST)
    assert 3.5 <= joint(estimate) <= 4.3
    assert estimate.verdict == "sound"


def test_without_reduction_the_interval_has_the_truth(without_reduction):
    assert without_reduction.ci.low.mi_joint <= 4.0 <= without_reduction.ci.high.mi_joint


def test_every_value_lies_in_its_own_interval(without_reduction):
    for field in FIELDS:
        low, value, high = (
            getattr(part, field)
            for part in (without_reduction.ci.low, without_reduction.pid, without_reduction.ci.high)
        )
        assert low <= value <= high, field


def test_components_of_white_features_are_refused():
    estimate = pid.estimate(*white_features(), key=0, reduce=pid.PCA(8), **FAST)
    assert kinds(estimate) == {"dropped information"}
    assert any("% of the variance" in flag for flag in estimate.flags)


def small_signal():
    """Eight large factors and a signal of small variance in 256 features; 2 · ½ log 5 = 2.32 bits."""
    rng = np.random.default_rng(0)
    factors, signal = 10 * rng.normal(size=(900, 8)), rng.normal(size=(900, 2))
    mixing = np.linalg.qr(rng.normal(size=(256, 256)))[0]
    x = np.hstack([factors, signal]) @ mixing[:10] + 0.05 * rng.normal(size=(900, 256))
    return signal + 0.5 * rng.normal(size=(900, 2)), x, rng.normal(size=(900, 4))


def test_a_signal_of_small_variance_is_kept_by_default_and_missed_by_components():
    assert 2.05 <= float(pid.estimate(*small_signal(), key=0, **FAST).pid.mi_x) <= 2.45
    estimate = pid.estimate(*small_signal(), key=0, reduce=pid.PCA(8), **FAST)
    assert joint(estimate) < 0.2
    assert kinds(estimate) == {"dropped information"}


def test_noise_of_64_features_has_no_information():
    rng = np.random.default_rng(1)
    data = [tuple(rng.normal(size=(900, d)) for d in (8, 64, 64)) for _ in range(4)]
    stacked = [np.stack(parts) for parts in zip(*data, strict=True)]
    estimate = pid.layerwise(*stacked, key=0, **FAST)
    for field in FIELDS:
        assert abs(np.mean(getattr(estimate.pid, field))) < 0.05, field


# Marginals and outliers.


def gaussian(n, seed=0):
    """A jointly Gaussian system of 2, 4 and 4 coordinates, and its decomposition."""
    rng = np.random.default_rng(seed)
    mixing = np.vstack([np.eye(2, 10), np.hstack([rng.normal(size=(8, 2)), np.eye(8)])])
    samples = rng.normal(size=(n, 10)) @ mixing.T
    return np.split(samples, [2, 6], axis=1), decompose(mixing @ mixing.T, (2, 4, 4))


WARPS = {"cube": lambda z: z**3, "sinh": lambda z: np.sinh(2 * z), "exp": lambda z: np.exp(z / 2)}


@pytest.mark.parametrize("name", list(WARPS))
def test_warps_of_every_coordinate_change_at_most_3_percent(name):
    samples, truth = gaussian(4000)
    estimate = pid.estimate(*map(WARPS[name], samples), key=0, **FAST)
    assert joint(estimate) == pytest.approx(float(truth.mi_joint), rel=0.03)
    assert estimate.verdict == "sound"


def test_normal_scores_cost_a_gaussian_sample_at_most_3_hundredths_of_a_bit():
    losses = []
    for seed in range(4):
        samples, _ = gaussian(900, seed)
        losses.append(
            joint(pid.estimate(*samples, key=0, gaussianize="none", **FAST))
            - joint(pid.estimate(*samples, key=0, **FAST))
        )
    assert np.mean(losses) < 0.03


@pytest.mark.parametrize(
    ("noise", "gaussianize", "reasons"),
    [
        (0.1, "copula", set()),
        (0.03, "copula", {"high information"}),
        (0.03, "none", set()),
    ],
)
def test_high_information_is_no_heavy_tail_and_what_scores_lose_is_said(noise, gaussianize, reasons):
    rng = np.random.default_rng(0)
    mixing = np.vstack([np.eye(2, 8), np.hstack([rng.normal(size=(6, 2)), noise * np.eye(6)])])
    samples = np.split(rng.normal(size=(900, 8)) @ mixing.T, [2, 5], axis=1)
    truth = decompose(mixing @ mixing.T, (2, 3, 3))
    estimate = pid.estimate(*samples, key=0, gaussianize=gaussianize, **FAST)
    assert {flag.kind for flag in estimate.reasons} == reasons
    assert joint(estimate) == pytest.approx(float(truth.mi_joint), rel=0.15 if reasons else 0.03)


@pytest.mark.parametrize("count", [1, 5])
def test_samples_far_out_change_nothing_by_default(count):
    samples, _ = gaussian(900)
    before = pid.estimate(*samples, key=0, ci=pid.Bootstrap(draws=40), null=None)
    moved = [part.copy() for part in samples]
    for part in moved:
        part[:count] *= 1e4
    after = pid.estimate(*moved, key=0, **FAST)
    assert before.ci is not None
    assert before.ci.low.mi_joint < joint(after) < before.ci.high.mi_joint or after.verdict != "sound"


@pytest.mark.parametrize("count", [1, 5])
def test_samples_far_out_are_said_without_normal_scores(count):
    samples, _ = gaussian(900)
    for part in samples:
        part[:count] *= 1e4
    estimate = pid.estimate(*samples, key=0, gaussianize="none", **FAST)
    assert "heavy tails" in {flag.kind for flag in estimate.reasons}


def test_a_t_distribution_is_said():
    samples, _ = gaussian(900)
    scale = np.sqrt(3 / np.random.default_rng(1).chisquare(3, size=(900, 1)))
    estimate = pid.estimate(*(part * scale for part in samples), key=0, **FAST)
    assert "heavy tails" in {flag.kind for flag in estimate.reasons}


def test_intervals_of_a_t_distribution_cover():
    """All seven numbers of 60 data sets with 3 degrees of freedom; the truth is that of the scatter matrix."""
    gains = structured.gains(4)
    target, x, y = structured.sample(gains, 60, 900, 7)
    scale = np.sqrt(3 / np.random.default_rng(1).chisquare(3, size=(60, 900, 1)))
    result = pid.layerwise(scale * target, scale * x, scale * y, null=None, checks=False, key=0)
    truth = structured.truth(gains)
    assert result.ci is not None
    inside = [
        (getattr(result.ci.low, field) <= getattr(truth, field))
        & (getattr(truth, field) <= getattr(result.ci.high, field))
        for field in FIELDS
    ]
    coverage = np.mean(inside, axis=1)
    assert np.all(coverage > 0.85 - 3 * (0.85 * 0.15 / 60) ** 0.5), coverage
    assert np.mean(coverage) > 0.85


# Labels.


def test_two_labels_are_one_bit():
    rng = np.random.default_rng(0)
    label, x = rng.integers(0, 2, 2000), rng.normal(size=(2000, 8))
    x[:, 0] += 6 * label
    y = rng.normal(size=(2000, 3))
    for gaussianize in ("copula", "none"):
        estimate = pid.estimate(label[:, None], x, y, key=0, gaussianize=gaussianize, **FAST)
        assert joint(estimate) == pytest.approx(1.0, abs=0.02)


def test_numbers_of_labels_mean_nothing():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 900)
    x = rng.normal(size=(900, 4)) + 2 * np.eye(4)[label]
    y = rng.normal(size=(900, 2))
    values = [
        joint(pid.estimate(np.array(order)[label][:, None], x, y, key=0, **FAST))
        for order in ([0, 1, 2, 3], [2, 0, 3, 1], [10, -5, 7, 0])
    ]
    np.testing.assert_allclose(values, values[0], atol=1e-12)
    assert 0.8 < values[0] < 2.0


# Samples that depend on each other.


def autoregressive(phi, d, rng):
    z = rng.normal(size=(900, d))
    for t in range(1, 900):
        z[t] += phi * z[t - 1]
    return z


@pytest.mark.parametrize(
    ("phi", "verdicts"), [(0.9, {"not to be used"}), (0.5, {"doubtful", "not to be used"})]
)
def test_series_are_said(phi, verdicts):
    rng = np.random.default_rng(0)
    series = [autoregressive(phi, 4, rng) for _ in range(3)]
    estimate = pid.estimate(*series, key=0, **FAST)
    assert estimate.verdict in verdicts
    assert "dependent samples" in {flag.kind for flag in estimate.reasons}


def test_with_blocks_independent_series_are_not_above_the_null():
    rng = np.random.default_rng(0)
    series = [autoregressive(0.9, 4, rng) for _ in range(3)]
    choices = {"ci": pid.Bootstrap(20, kind="paired", block="auto"), "null": pid.Shuffle(19, kind="circular")}
    estimate = pid.estimate(*series, key=0, **choices)
    assert estimate.null is not None
    assert estimate.ci is not None
    assert joint(estimate) <= estimate.null.high.mi_joint
    assert estimate.ci.low.mi_joint < 0.1


# Dependence that a Gaussian model cannot see.


def bent(name):
    rng = np.random.default_rng(0)
    if name == "parabola":
        x = rng.normal(size=(2000, 1))
        return x**2 + 0.01 * rng.normal(size=(2000, 1)), x
    phase = rng.uniform(0, 2 * np.pi, (2000, 1))
    noise = 0.1 * rng.normal(size=(2, 2000, 1))
    return np.sin(phase) + noise[0], np.cos(phase) + noise[1]


@pytest.mark.parametrize(("name", "least"), [("parabola", 1.0), ("ring", 0.8)])
def test_bent_dependence_is_refused_with_both_numbers(name, least):
    y = np.random.default_rng(1).normal(size=(2000, 2))
    target, x = bent(name)
    estimate = pid.estimate(target, x, y, key=0, **FAST)
    assert joint(estimate) < 0.05
    [flag] = [flag for flag in estimate.reasons if flag.kind == "nonlinear dependence"]
    assert flag.weight == "unusable"
    assert f"Gaussian {joint(estimate):.2f} bits" in flag
    assert float(flag.split("nearest neighbors ")[1].split(" bits")[0]) > least


# Choices, intervals and null.


@pytest.mark.parametrize("choice", [{"measure": "mmi"}, {"debias": "wishart"}, {"reduce": pid.PCA(8)}])
def test_estimates_that_were_not_made_alike_are_not_compared(choice):
    samples, _ = gaussian(64)
    same = {"ci": pid.Bootstrap(4, kind="paired"), "null": None, "measure": "broja"}
    base, other = (pid.estimate(*samples, key=0, **{**same, **changes}) for changes in ({}, choice))
    with pytest.raises(ValueError, match="made alike"):
        pid.compare(base, other)


def test_equally_good_sources_have_no_unique_information_by_default():
    rng = np.random.default_rng(0)
    target, *noise = rng.normal(size=(3, 4, 900, 8))
    x, y = (1.5 * target + part for part in noise)
    estimate = pid.layerwise(target, x, y, key=0, **FAST)
    identity = np.eye(8)
    cov = np.kron([[1, 1.5, 1.5], [1.5, 3.25, 2.25], [1.5, 2.25, 3.25]], identity)
    truth = decompose(cov, (8, 8, 8))
    for field in FIELDS:
        error = np.mean(getattr(estimate.pid, field)) - float(getattr(truth, field))
        assert abs(error) < 0.12, field


def test_the_recommended_configuration_is_the_default():
    assert pid.recommended_config() == DEFAULTS


def test_the_limit_of_the_null_is_exceeded_as_often_as_it_says():
    target, x, y = np.random.default_rng(0).normal(size=(3, 100, 64, 2))
    null = pid.Shuffle(draws=39)
    estimate = pid.layerwise(target, x, y, key=0, debias="wishart", ci=None, null=null)
    assert estimate.null is not None
    assert null.tail == pytest.approx(0.05)
    exceeded = np.mean(np.asarray(estimate.pid.mi_joint) > np.asarray(estimate.null.high.mi_joint))
    assert exceeded <= 0.05 + 3 * (0.05 * 0.95 / 100) ** 0.5

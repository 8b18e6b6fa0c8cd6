"""Information about labels: bounded by the entropy, right where it is known, blind to the names of the labels."""

import jax
import numpy as np
import pytest

import pid
from pid.discrete.label_prediction import METHODS, estimate_labels

KEY = jax.random.key(0)
N = 2000


def estimate(labels, x, y, **options):
    return estimate_labels(labels, x, y, key=KEY, **options)


def mixture(num_labels, distance, d=8, seed=0):
    """Labels, samples whose means are labels' means at a distance, and the exact information by Monte Carlo."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(num_labels, d))
    means *= distance / np.linalg.norm(means[0] - means[1])
    labels = rng.integers(0, num_labels, N)
    x = means[labels] + rng.normal(size=(N, d))
    logs = -0.5 * np.sum(np.square(x[:, None] - means[None]), axis=-1)
    posterior = logs[np.arange(N), labels] - np.logaddexp.reduce(logs, axis=1)
    return labels, x, np.log2(num_labels) + np.mean(posterior) / np.log(2)


def test_labels_six_deviations_apart_are_one_bit():
    labels, x, _ = mixture(2, 6.0)
    y = np.random.default_rng(1).normal(size=(N, 8))
    result = estimate(labels, x, y)
    assert abs(result.mi_x - 1) < 0.02
    assert abs(result.mi_joint - 1) < 0.02
    assert result.mi_y < 0.02
    assert abs(float(result.pid.unique_x) - 1) < 0.03
    assert max(result.mi_x, result.mi_joint) <= result.entropy


@pytest.mark.parametrize(("num_labels", "distance"), [(2, 1.5), (4, 2.7), (4, 1.5)])
def test_partial_information_is_that_of_the_exact_posterior(num_labels, distance):
    labels, x, truth = mixture(num_labels, distance)
    result = estimate(labels, x, x[:, :1])
    assert abs(result.mi_x - truth) < 0.04
    assert float(result.ci.low.mi_x) <= truth <= float(result.ci.high.mi_x)


def test_renumbering_and_renaming_change_nothing():
    labels, x, _ = mixture(4, 2.7)
    labels, x = labels[:600], x[:600]
    y = x[:, ::-1] + np.random.default_rng(2).normal(size=x.shape)
    plain = estimate(labels, x, y, draws=50)
    permuted = np.array([2, 0, 3, 1])[labels] * 10 - 7
    names = np.array(["cat", "ape", "dog", "bee"])[labels]
    for renamed in (permuted, names[:, None]):
        result = estimate(renamed, x, y, draws=50)
        for a, b in ((plain.pid, result.pid), (plain.ci.low, result.ci.low), (plain.ci.high, result.ci.high)):
            np.testing.assert_allclose(np.array(a), np.array(b), rtol=0, atol=1e-12)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_exclusive_or_is_one_bit_of_synergy(noise):
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2, (2, N))
    x, y = bits[:, :, None] * 2.0 - 1 + noise * rng.normal(size=(2, N, 1))
    result = estimate(bits[0] ^ bits[1], x, y)
    assert abs(float(result.pid.synergy) - 1) < 0.03
    assert result.mi_x < 0.01
    assert result.mi_y < 0.01


def test_copies_are_redundant():
    labels, x, _ = mixture(3, 8.0)
    result = estimate(labels, x, x + 0.1)
    assert abs(float(result.pid.redundancy) - result.entropy) < 0.02
    assert float(result.pid.synergy) < 0.01


def test_noise_tells_nothing_about_labels():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 500, 64))
    result = estimate(rng.integers(0, 3, 500), x, y)
    assert max(result.mi_x, result.mi_y, result.mi_joint) < 0.02


def test_labels_that_change_the_variance_alone_are_read_by_the_mixture():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, N)
    x = (1 + 3 * labels)[:, None] * rng.normal(size=(N, 2))
    result = estimate(labels, x, rng.normal(size=(N, 2)))
    assert result.methods[0] in (METHODS[0], METHODS[2])
    assert result.mi_x > 0.3


def test_atoms_add_up_and_intervals_contain_the_values():
    labels, x, _ = mixture(3, 2.0)
    result = estimate(labels, x[:, :4], x[:, 4:])
    pid = result.pid
    np.testing.assert_allclose(pid.redundancy + pid.unique_x, pid.mi_x)
    np.testing.assert_allclose(pid.redundancy + pid.unique_y, pid.mi_y)
    np.testing.assert_allclose(pid.redundancy + pid.unique_x + pid.unique_y + pid.synergy, pid.mi_joint)
    values, low, high = (np.array(p) for p in (pid, result.ci.low, result.ci.high))
    assert np.all((low <= values) & (values <= high) & (values > -1e-12))
    assert result.num_labels == 3


def test_equal_keys_give_equal_results():
    labels, x, _ = mixture(2, 1.5)
    first, second = (estimate(labels, x, x[:, :2], draws=20) for _ in range(2))
    assert first._replace(draws=second.draws) == second
    np.testing.assert_array_equal(first.draws, second.draws)


def test_draws_scatter_about_the_estimate_and_within_its_interval():
    labels, x, _ = mixture(2, 1.5)
    result = estimate(labels, x, x[:, :2], draws=400)
    assert abs(np.mean(result.draws.mi_x) - result.mi_x) < 0.005
    share = np.mean((result.ci.low.mi_x <= result.draws.mi_x) & (result.draws.mi_x <= result.ci.high.mi_x))
    assert share == pytest.approx(0.9, abs=0.02)


def test_estimates_of_one_target_are_compared_by_the_same_samples():
    labels, x, _ = mixture(2, 1.5)
    noise = np.random.default_rng(2).normal(size=x.shape)
    options = {"key": KEY, "kinds": {"target": "categorical"}, "ci": pid.Bootstrap(100, kind="paired")}
    base, other = (pid.estimate(labels[:, None], z, noise, **options) for z in (x, x + 0.1 * noise))
    change = pid.compare(base, other)
    assert base.ci is not None
    assert change.ci.high.mi_x - change.ci.low.mi_x < 0.5 * (base.ci.high.mi_x - base.ci.low.mi_x)
    gaussian = pid.estimate(x[:, :1], x, noise, key=KEY, ci=pid.Bootstrap(100, kind="paired"))
    with pytest.raises(ValueError, match="same resamples"):
        pid.compare(base, gaussian)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros(40), "at least 2 labels, got 1"),
        (np.r_[np.zeros(35), np.ones(5)], "at least 10 samples of each label, got 1 of 2 labels with fewer"),
        (np.arange(39) % 2, "same samples"),
        (np.zeros((40, 2)), r"labels must have shape \(n,\)"),
    ],
)
def test_labels_that_cannot_be_predicted_are_refused(labels, words):
    x = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(ValueError, match=words):
        estimate(labels, x, x)

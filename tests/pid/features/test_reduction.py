"""Reductions: what they keep, what they drop, and the information of what is dropped."""

import jax
import numpy as np
import pytest

from pid import PCA, CrossFittedRegression
from pid.features import reduction
from pid.features.regression import make_folds
from tests.helpers import pid_oracle as oracle

N = 900
DEFAULT = CrossFittedRegression()
FOLDS = make_folds(jax.random.key(0), N, DEFAULT.folds)


def weak_signal(width=64, seed=0):
    """The target is in features of small variance beside features of large variance that tell nothing."""
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(N, 2))
    x, y = rng.normal(size=(2, N, width)) * 3
    x[:, :2], y[:, :2] = target + rng.normal(size=(2, N, 2))
    return target, x, y


def centered(columns):
    return tuple(c - c.mean(axis=0) for c in columns)


def reduce(columns, choice: PCA | CrossFittedRegression = DEFAULT):
    columns = centered(columns)
    if isinstance(choice, PCA):
        return reduction.reduce_by_components(columns, choice)[0]
    target, _ = reduction.reduce_target(columns[0], choice)
    return reduction.reduce_by_regression(columns, target, choice, FOLDS)


def test_information_of_known_systems():
    cov = oracle.channel_system(np.diag([2.0, 1, 0.5]), np.diag([0.5, 1, 2]))
    z = np.random.default_rng(0).normal(size=(20_000, 9)) @ np.linalg.cholesky(cov).T
    exact = 0.5 * np.log2(np.linalg.det(cov[:3, :3]) * np.linalg.det(cov[3:, 3:]) / np.linalg.det(cov))
    assert reduction.joint_information(z[:, :3], z[:, 3:]) == pytest.approx(exact, abs=0.03)


def test_information_of_independent_samples_is_zero_on_the_mean():
    values = [
        reduction.joint_information(
            *np.split(np.random.default_rng(seed).normal(size=(100, 20)), [5], axis=1)
        )
        for seed in range(100)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / 10
    assert np.min(values) < 0 < np.max(values)


def test_information_by_cholesky_is_that_by_eigenvalues(monkeypatch):
    rng = np.random.default_rng(0)
    target = rng.normal(size=(200, 3))
    sources = np.hstack([target + rng.normal(size=(200, 3)), rng.normal(size=(200, 20))])
    by_cholesky = reduction.joint_information(target, sources)
    monkeypatch.setattr(reduction, "SOUND_PIVOT", np.inf)
    assert by_cholesky == pytest.approx(reduction.joint_information(target, sources), abs=1e-10)
    assert by_cholesky > 1


def test_collinear_columns_count_once():
    target, x = np.split(np.random.default_rng(0).normal(size=(200, 5)), [2], axis=1)
    single = reduction.joint_information(target, x)
    assert reduction.joint_information(target, np.hstack([x, x @ np.ones((3, 1))])) == pytest.approx(
        single, abs=0.05
    )


def test_explained_variance_is_that_of_a_regression():
    columns = np.random.default_rng(0).normal(size=(50, 6)) @ np.diag([3, 2, 1, 1, 1, 1])
    deviation = columns - columns.mean(axis=0)
    coordinates = columns[:, :2] @ np.array([[1, 2], [0, 1.0]])
    design = coordinates - coordinates.mean(axis=0)
    rest = deviation - design @ np.linalg.lstsq(design, deviation, rcond=None)[0]
    expected = 1 - np.sum(rest**2) / np.sum(deviation**2)
    assert reduction.explained_variance(columns, coordinates) == pytest.approx(expected, abs=1e-12)
    assert reduction.explained_variance(columns, columns) == 1


def test_few_features_stay_as_they_are():
    columns = centered(weak_signal(16))
    reduced = reduce(columns)
    for before, after in zip(columns, (reduced.target, reduced.x, reduced.y), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-12)
    assert reduction.dropped_information(columns, reduced, FOLDS).dropped == 0


def test_a_signal_of_small_variance_is_kept():
    target, x, y = weak_signal()
    complete = reduction.joint_information(target, np.hstack([x[:, :2], y[:, :2]]))
    by_default, by_components = (reduce((target, x, y), choice) for choice in (DEFAULT, PCA(8)))
    shares = [
        reduction.joint_information(r.target, np.hstack([r.x, r.y])) / complete
        for r in (by_default, by_components)
    ]
    assert shares[0] > 0.85
    assert shares[1] < 0.1


def test_what_was_dropped_is_measured():
    columns = centered(weak_signal())
    complete = reduction.joint_information(columns[0], np.hstack([columns[1][:, :2], columns[2][:, :2]]))
    dropped = [
        reduction.dropped_information(columns, reduce(columns, choice), FOLDS).dropped / complete
        for choice in (DEFAULT, PCA(8))
    ]
    assert dropped[0] < 0.1
    assert dropped[1] > 0.8


def test_independent_samples_have_no_information_beyond_chance():
    rng = np.random.default_rng(0)
    values = [reduction.joint_information(*rng.normal(size=(2, 300, 6))) for _ in range(200)]
    assert np.std(values) == pytest.approx(np.sqrt(2 * 36) / (2 * 300 * np.log(2)), rel=0.15)
    assert not any(reduction.beyond_chance(value, 300, 6, 6) for value in values)
    assert reduction.beyond_chance(0.2, 300, 6, 6) == 0.2


def test_what_was_dropped_of_a_wide_target_is_measured():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(N, 40)) * np.r_[np.full(8, 5.0), np.ones(32)]
    x, y = (target[:, 8:16] + rng.normal(size=(N, 8)) for _ in range(2))
    columns = centered((target, x, y))
    assert reduction.dropped_information(columns, reduce(columns), FOLDS).dropped_target > 1
    columns = centered((target, rng.normal(size=(N, 8)), rng.normal(size=(N, 8))))
    assert reduction.dropped_information(columns, reduce(columns), FOLDS).dropped_target < 0.1


def test_nothing_is_found_in_noise():
    joint = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        reduced = reduce((rng.normal(size=(N, 4)), rng.normal(size=(N, 64)), rng.normal(size=(N, 64))))
        joint.append(reduction.joint_information(reduced.target, np.hstack([reduced.x, reduced.y])))
    assert abs(np.mean(joint)) < 0.05

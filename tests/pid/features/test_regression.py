"""Cross-fitted regression: against explicit ridge regressions that leave one fold out, and what it must not use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pid import CrossFittedRegression
from pid.features import regression
from pid.features.reduction import joint_information

N, M, FOLDS = 90, 3, 6
KEY = jax.random.key(0)


def center(a):
    return a - a.mean(axis=0)


def dense(d, *, n=N, seed=0):
    """Every feature predicts the target equally well."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * np.linspace(0.5, 2, d)
    target = x @ rng.normal(size=(d, M)) / d**0.5 + rng.normal(size=(n, M))
    return center(target), center(x)


def sparse(d=60, *, n=180, seed=0):
    """Only the first three features predict the target."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return center(x[:, :M] + rng.normal(size=(n, M))), center(x)


def folds_of(n=N):
    return regression.make_folds(KEY, n, FOLDS)


def predict(target, *sources, program=regression.cross_fitted_predictions):
    arrays = tuple(jnp.asarray(source) for source in sources)
    result = program(jnp.asarray(target), arrays, folds_of(len(target)))
    return [np.asarray(part) for part in result.parts], float(result.error)


def best_penalty(target, x):
    """Minimize n RSS / (n - df)² over the grid, with explicit hat matrices."""
    n, d = x.shape
    penalties = regression.GRID * np.trace(x.T @ x / n) / d
    errors = []
    for penalty in penalties:
        hat = x @ np.linalg.solve(x.T @ x / n + penalty * np.eye(d), x.T / n)
        rss = np.sum((target - hat @ target) ** 2)
        errors.append(n * rss / (n - np.trace(hat)) ** 2)
    return penalties[np.argmin(errors)]


def leave_out_each_fold(target, x):
    """Predict each fold by a ridge regression on all other samples."""
    n, d = x.shape
    penalty, prediction = best_penalty(target, x), np.zeros_like(target)
    for fold in folds_of(n):
        rows = fold[fold < n]
        rest = np.setdiff1d(np.arange(n), rows)
        gram = x[rest].T @ x[rest] / n + penalty * np.eye(d)
        prediction[rows] = x[rows] @ np.linalg.solve(gram, x[rest].T @ target[rest] / n)
    return prediction


@pytest.mark.parametrize("n", [90, 91, 7])
def test_folds_hold_every_sample_once(n):
    folds = folds_of(n)
    assert folds.shape == (FOLDS, -(-n // FOLDS))
    assert sorted(folds[folds < n]) == list(range(n))
    assert np.all(folds <= n)


@pytest.mark.parametrize("d", [5, 60, 89, 91, 200])
def test_a_prediction_is_the_ridge_regression_without_its_fold(x64, d):
    target, x = dense(d)
    (prediction,), error = predict(target, x)
    expected = leave_out_each_fold(target, x)
    np.testing.assert_allclose(prediction, expected, atol=1e-9)
    assert error == pytest.approx(np.mean((target - expected) ** 2), abs=1e-9)


@pytest.mark.parametrize("n", [N, N - 1])  # with folds of equal and of different sizes
def test_both_forms_are_equal(x64, n):
    target, x = dense(30, n=n)
    sources = x[:, :12], x[:, 12:]
    from_features, error = predict(target, *sources, program=regression.predict_by_features)
    from_samples, other_error = predict(target, *sources, program=regression.predict_by_samples)
    for a, b in zip(from_features, from_samples, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert error == pytest.approx(other_error, abs=1e-12)


@pytest.mark.parametrize("d", [60, 200])
def test_parts_of_the_sources_add_up_to_the_prediction(x64, d):
    target, x = dense(d)
    parts, _ = predict(target, x[:, : d // 3], x[:, d // 3 :])
    (whole,), _ = predict(target, x)
    np.testing.assert_allclose(parts[0] + parts[1], whole, atol=1e-9)


@pytest.mark.parametrize("samples", [dense(20), dense(200), sparse(n=N)], ids=["narrow", "wide", "sparse"])
def test_the_target_of_a_fold_does_not_change_its_coefficients(x64, samples):
    """Only λ, and the choice of penalties for each feature, see all samples; a small change moves neither."""
    target, x = samples
    rows = folds_of()[2]
    changed = target.copy()
    changed[rows] += 0.01 * np.random.default_rng(1).normal(size=(len(rows), M))
    (before,), (after,) = predict(target, x)[0], predict(changed, x)[0]
    np.testing.assert_allclose(after[rows], before[rows], atol=1e-10)
    others = np.setdiff1d(np.arange(N), rows)
    assert np.abs(after[others] - before[others]).max() > 1e-5


def test_the_scale_of_the_target_does_not_count(x64):
    target, x = sparse()
    (prediction,), _ = predict(target, x)
    np.testing.assert_allclose(predict(5 * target, x)[0][0], 5 * prediction, atol=1e-9)


def test_few_informative_features_are_found_by_penalties_of_their_own(x64):
    target, x = sparse()
    (prediction,), error = predict(target, x)
    ridge_error = np.mean((target - leave_out_each_fold(target, x)) ** 2)
    assert error == pytest.approx(np.mean((target - prediction) ** 2))
    assert 0.9 < error < (1 - regression.MIN_GAIN) * ridge_error


@pytest.mark.parametrize("d", [64, 600])
def test_no_information_is_invented(x64, d):
    gains = []
    for seed in range(10):
        target, x = np.split(np.random.default_rng(seed).normal(size=(300, M + d)), [M], axis=1)
        (prediction,), _ = predict(center(target), center(x))
        gains.append(joint_information(target, prediction))
    assert abs(np.mean(gains)) < 0.02


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_features": 0}, "max_features >= 1, got 0"),
        ({"components": 0}, "components >= 1, got 0"),
        ({"folds": 1}, "at least two folds, got 1"),
    ],
)
def test_impossible_choices_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        CrossFittedRegression(**options)

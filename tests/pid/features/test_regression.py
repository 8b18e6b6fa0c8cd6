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
    count = () if program is regression.cross_fitted_predictions else (len(target),)
    return program(target, sources, folds_of(len(target)), *count)


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


def leave_out_each_fold(target, x, columns=slice(None), *, unit=False):
    """Predict each fold by a ridge regression on all other samples.

    Only the features `columns` are used for the prediction, with `unit` divided by its deviation in the other samples.
    """
    n, d = x.shape
    penalty, prediction = best_penalty(target, x), np.zeros_like(target)
    for fold in folds_of(n):
        rows = fold[fold < n]
        rest = np.setdiff1d(np.arange(n), rows)
        gram = x[rest].T @ x[rest] / n + penalty * np.eye(d)
        own = np.linalg.solve(gram, x[rest].T @ target[rest] / n)[columns]
        scale = np.sqrt(np.sum((x[rest][:, columns] @ own) ** 2, axis=0) / n) if unit else 1
        prediction[rows] = x[rows][:, columns] @ own / scale
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
    result = predict(target, x)
    expected = leave_out_each_fold(target, x)
    np.testing.assert_allclose(result.prediction, expected, atol=1e-9)
    assert float(result.error) == pytest.approx(np.mean((target - expected) ** 2), abs=1e-9)


@pytest.mark.parametrize("n", [N, N - 1])  # with folds of equal and of different sizes
def test_both_forms_are_equal(x64, n):
    target, x = dense(30, n=n, seed=1)
    sources = x[:, :12], x[:, 12:]
    results = [
        predict(target, *sources, program=program)
        for program in (regression.predict_by_features, regression.predict_by_samples)
    ]
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("width", [20, 60])  # all by features, or both sources together by samples
def test_subsets_of_the_sources_are_regressions_of_their_own(x64, width):
    target, x = dense(2 * width)
    sources = x[:, :width], x[:, width:]
    subsets = ((1,), (0, 1))
    results = regression.predictions_by_subsets(target, sources, folds_of(), subsets)
    for subset, result in zip(subsets, results, strict=True):
        alone = predict(target, *(sources[i] for i in subset))
        for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_matrix_without_a_cholesky_factor_is_solved_by_lu(x64):
    """One feature of moment 2, and one of moment -1, which rounding alone would leave negative."""
    gram, cross, total = jnp.diag(jnp.array([2.0, -1.0])), jnp.ones((2, 1)), jnp.ones(1)
    moments = regression.Moments(gram, 0 * gram[None], cross, 0 * cross[None], total, 0 * total[None])
    ridge, relevance = (np.asarray(b)[0, :, 0] for b in regression.fold_coefficients(moments, 1))
    assert 1 / ridge[0] - 2 == pytest.approx(1 / ridge[1] + 1, abs=1e-9)  # one penalty
    assert np.isfinite(relevance).all()


@pytest.mark.parametrize("d", [60, 200])
def test_parts_have_unit_variance_in_the_samples_of_each_fit(x64, d):
    target, x = dense(d)
    x_columns, y_columns = slice(d // 3), slice(d // 3, None)
    parts = predict(target, x[:, x_columns], x[:, y_columns]).parts
    for part, columns in zip(parts, (x_columns, y_columns), strict=True):
        expected = leave_out_each_fold(target, x, columns, unit=True)
        np.testing.assert_allclose(part, expected, atol=1e-9)


@pytest.mark.parametrize("d", [60, 200])
def test_rows_that_fill_up_the_samples_change_nothing(x64, d):
    target, x = dense(d)
    program = regression.predict_by_features if d <= N else regression.predict_by_samples
    for a, b in zip(
        *map(jax.tree.leaves, (predict(target, x), predict(target, x, program=program))), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("samples", [dense(20), dense(200), sparse(n=N)], ids=["narrow", "wide", "sparse"])
def test_the_target_of_a_fold_does_not_change_its_coefficients(x64, samples):
    """Only λ, and the choice of penalties for each feature, see all samples; a small change moves neither."""
    target, x = samples
    rows = folds_of()[2]
    changed = target.copy()
    changed[rows] += 0.01 * np.random.default_rng(1).normal(size=(len(rows), M))
    before, after = (np.asarray(predict(t, x).prediction) for t in (target, changed))
    np.testing.assert_allclose(after[rows], before[rows], atol=1e-10)
    others = np.setdiff1d(np.arange(N), rows)
    assert np.abs(after[others] - before[others]).max() > 1e-5


def test_the_scale_of_the_target_does_not_count(x64):
    target, x = sparse()
    small, large = predict(target, x), predict(5 * target, x)
    np.testing.assert_allclose(large.prediction, 5 * small.prediction, atol=1e-9)
    np.testing.assert_allclose(large.parts[0], small.parts[0], atol=1e-9)


def test_few_informative_features_are_found_by_penalties_of_their_own(x64):
    target, x = sparse()
    result = predict(target, x)
    error = float(result.error)
    ridge_error = np.mean((target - leave_out_each_fold(target, x)) ** 2)
    assert error == pytest.approx(np.mean((target - np.asarray(result.prediction)) ** 2))
    assert 0.9 < error < (1 - regression.MIN_GAIN) * ridge_error


@pytest.mark.parametrize("d", [64, 600])
def test_no_information_is_invented(x64, d):
    gains = []
    for seed in range(10):
        target, x = np.split(np.random.default_rng(seed).normal(size=(300, M + d)), [M], axis=1)
        result = predict(center(target), center(x))
        gains.append(joint_information(target, np.asarray(result.parts[0])))
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

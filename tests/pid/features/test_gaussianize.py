"""Standardization, PCA and rank-Gaussian scores: by hand, laws, NumPy and SciPy oracles, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pid.features.gaussianize import PCA, count_components, principal_components, rank_gaussian, standardize
from pid.features.normal_scores import normal_scores


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def correlated(n, d, seed=0):
    """Sample rows whose covariance has distinct eigenvalues."""
    x = random(n, d, seed=seed) * np.linspace(1, 3, d) @ np.linalg.qr(random(d, d, seed=seed + 1))[0]
    return x - x.mean(axis=0)


def test_standardize_by_hand(x64):
    # 1, 3 and 5: mean 3, variance (4 + 0 + 4) / 3
    result = standardize(jnp.asarray([[1.0, 7.0], [3.0, 7.0], [5.0, 7.0]]))
    np.testing.assert_allclose(result.values[:, 0], np.asarray([-2, 0, 2]) / np.sqrt(8 / 3), rtol=1e-15)
    np.testing.assert_array_equal(result.values[:, 1], np.zeros(3))
    np.testing.assert_array_equal(result.constant, [False, True])
    np.testing.assert_allclose(result.mean, [3, 7])
    np.testing.assert_allclose(result.scale, [np.sqrt(8 / 3), 1])


@pytest.mark.parametrize("value", [0.1, 1e8, -3e-9, 0.0])
def test_a_constant_column_is_found_although_its_mean_is_rounded(value):
    result = standardize(jnp.full((10_001, 1), value, jnp.float32))
    assert result.constant[0]
    assert not jnp.any(result.values)


def test_standardize_keeps_what_varies_beside_a_large_offset():
    x = random(1000, 1)
    shifted = standardize(jnp.asarray(x + 1000, jnp.float32)).values
    np.testing.assert_allclose(shifted, (x - x.mean()) / x.std(), atol=2e-4)


def test_standardize_inverts(x64):
    x = jnp.asarray(correlated(40, 3) + 5)
    values, mean, scale, _ = standardize(x)
    np.testing.assert_allclose(mean[None] + scale[None] * values, x, rtol=1e-13)


def test_half_precision_is_widened():
    assert standardize(jnp.ones((3, 1), jnp.bfloat16)).values.dtype == jnp.float32


def test_principal_components_by_hand(x64):
    # covariance [[2, 1], [1, 2]]: eigenvalues 3 and 1 along (1, 1) and (1, -1)
    a, b = np.sqrt(3), 1.0
    x = np.asarray([[a, a], [-a, -a], [b, -b], [-b, b]])
    pca = principal_components(jnp.asarray(x), 2)
    np.testing.assert_allclose(pca.variances, [3, 1], rtol=1e-14)
    np.testing.assert_allclose(np.abs(pca.directions), np.full((2, 2), np.sqrt(0.5)), rtol=1e-14)
    np.testing.assert_allclose(pca.total, 4)


@pytest.mark.parametrize(("n", "d"), [(50, 6), (6, 50), (20, 20)])
def test_principal_components_are_those_of_the_svd(n, d, x64):
    x, k = correlated(n, d), 4
    left, values, right = np.linalg.svd(x, full_matrices=False)
    pca = principal_components(jnp.asarray(x), k)
    np.testing.assert_allclose(pca.variances, values[:k] ** 2 / n, rtol=1e-10)
    signs = np.sign(np.sum(pca.directions * right[:k].T, axis=0))
    np.testing.assert_allclose(pca.directions, right[:k].T * signs, atol=1e-9)
    np.testing.assert_allclose(pca.scores, left[:, :k] * values[:k] * signs, atol=1e-9)
    np.testing.assert_allclose(pca.total, np.sum(values**2) / n, rtol=1e-12)


def test_gram_and_covariance_forms_agree_to_the_sign(x64):
    x = jnp.asarray(correlated(9, 12, seed=3))
    wide = principal_components(x, 5)  # 9 < 12: the Gram matrix
    tall = principal_components(jnp.concatenate([x, x]), 5)  # the same covariance from 18 rows
    for name in ("variances", "directions", "total", "present"):
        np.testing.assert_allclose(getattr(wide, name), getattr(tall, name), atol=1e-10)
    np.testing.assert_allclose(tall.scores[:9], wide.scores, atol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(40, 5), (5, 40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whitened_scores_have_unit_covariance_and_absent_directions_are_zero(n, d, dtype, x64):
    x = random(n, 2) @ random(2, d, seed=1)
    pca = principal_components(jnp.asarray(x - x.mean(axis=0), dtype), 4, whiten=True)
    np.testing.assert_array_equal(pca.present, [True, True, False, False])
    expected = np.diag([1.0, 1, 0, 0])
    np.testing.assert_allclose(pca.scores.T @ pca.scores / n, expected, atol=1e-4)
    assert not jnp.any(pca.directions[:, 2:])
    assert pca.scores.dtype == dtype


def test_the_largest_loading_is_positive():
    directions = principal_components(jnp.asarray(correlated(50, 6), jnp.float32), 6).directions
    largest = np.argmax(np.abs(directions), axis=0)
    assert np.all(np.asarray(directions)[largest, np.arange(6)] > 0)


def test_more_components_than_exist_gives_those_that_exist():
    assert principal_components(jnp.asarray(correlated(50, 6)), 8).scores.shape == (50, 6)
    assert principal_components(jnp.asarray(correlated(5, 6)), 8).scores.shape == (5, 5)


def test_components_for_a_share_by_hand():
    variances = jnp.asarray([6.0, 3.0, 1.0])
    total = jnp.asarray(10.0)
    counts = [int(count_components(variances, total, s)) for s in (0.5, 0.6, 0.61, 0.9, 0.95, 1.0)]
    assert counts == [1, 1, 2, 2, 3, 3]
    assert count_components(variances, jnp.asarray(20.0), 0.9) == 3  # all there are


def test_reduction_of_layers_in_one_program_is_that_of_each():
    layers = jnp.asarray(np.stack([correlated(30, 5, seed=s) for s in range(3)]), jnp.float32)
    batched = jax.jit(lambda a: jax.lax.map(lambda x: principal_components(x, 2), a))(layers)
    for i, x in enumerate(layers):
        np.testing.assert_allclose(batched.scores[i], principal_components(x, 2).scores, atol=1e-5)


def test_rank_gaussian_by_hand(x64):
    # ranks 2, 1, 3: positions 1/2, 1/6, 5/6
    z = stats.norm.ppf(5 / 6)
    expected = np.asarray([0, -z, z]) / np.sqrt(2 * z**2 / 3)
    np.testing.assert_allclose(rank_gaussian(jnp.asarray([[5.0], [-1.0], [7.0]]))[:, 0], expected, atol=1e-14)


def test_rank_gaussian_is_the_normal_quantile_of_average_ranks(x64):
    x = np.round(random(200, 3), 1)  # with ties
    scores = stats.norm.ppf((stats.rankdata(x, axis=0) - 0.5) / 200)
    expected = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    np.testing.assert_allclose(rank_gaussian(jnp.asarray(x)), expected, atol=1e-12)


@pytest.mark.parametrize("warp", [np.exp, np.cbrt, lambda x: x**3, lambda x: 5 * x - 2])
def test_an_increasing_map_of_a_column_changes_nothing(warp, x64):
    x = np.round(random(500, 2), 3)
    np.testing.assert_array_equal(rank_gaussian(jnp.asarray(warp(x))), rank_gaussian(jnp.asarray(x)))


def test_a_decreasing_map_changes_the_sign(x64):
    x = jnp.asarray(random(100, 2))
    np.testing.assert_allclose(rank_gaussian(-x), -rank_gaussian(x), atol=1e-12)


def test_gaussian_columns_barely_change():
    x = standardize(jnp.asarray(random(5000, 2), jnp.float32)).values
    assert np.sqrt(np.mean((rank_gaussian(x) - x) ** 2)) < 0.04


def test_a_constant_column_has_score_zero():
    assert not jnp.any(rank_gaussian(jnp.ones((50, 1))))


def test_copula_scores_recover_the_information_of_warped_coordinates():
    x = random(10_000, 1)
    y = x + random(10_000, 1, seed=1)
    scores = rank_gaussian(jnp.asarray(np.hstack([x**3, np.cbrt(y)]), jnp.float32))
    # four standard errors, (1 - r²) / √n = .005
    np.testing.assert_allclose(np.corrcoef(scores.T)[0, 1], np.sqrt(0.5), atol=0.02)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(components=8, variance=0.9), "exactly one"),
        (dict(components=None), "exactly one"),
        (dict(components=0), "components >= 1, got 0"),
        (dict(components=None, variance=95.0), "0 < variance <= 1, a share of the total, got 95.0"),
        (dict(components=None, variance=0.0), "0 < variance <= 1"),
    ],
)
def test_a_reduction_that_means_nothing_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        PCA(**fields)


def test_no_components_are_refused():
    with pytest.raises(ValueError, match="k >= 1, got 0"):
        principal_components(jnp.ones((3, 2)), 0)


def test_scores_on_the_host_are_those_on_the_device(x64):
    """With ties, constant columns and without."""
    rng = np.random.default_rng(0)
    x = np.stack(
        [rng.normal(size=50), rng.integers(0, 4, 50), np.ones(50), np.exp(rng.normal(size=50))], axis=1
    )
    np.testing.assert_allclose(normal_scores(x), rank_gaussian(x), atol=1e-12)

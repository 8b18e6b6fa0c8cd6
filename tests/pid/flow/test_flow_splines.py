"""Splines of a flow: knots, slopes, tails, ties, and agreement with distrax."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pid.flow.spline import MIN_BIN, MIN_SLOPE, Knots, Spline, free_knots, gaussian_knots, sort_columns
from tests.pid.flow.cases import random

# jitted, because one compilation takes less time than dispatching every operation
apply_spline = jax.jit(lambda knots, x: Spline(knots).forward_and_log_det(x))
gaussian_knots_jit, free_knots_jit = (jax.jit(f, static_argnums=1) for f in (gaussian_knots, free_knots))


def test_a_free_spline_is_that_of_distrax(x64):
    raw, x = jnp.asarray(random(7, 3, 14)), jnp.asarray(3 * random(7, 3, seed=1))
    ours = apply_spline(free_knots_jit(raw, 5.0), x)
    zero = jnp.zeros((7, 3, 1))
    theirs = distrax.RationalQuadraticSpline(
        jnp.concatenate([raw[..., :10], zero, raw[..., 10:], zero], axis=-1),
        -5.0,
        5.0,
        boundary_slopes="identity",
        min_bin_size=10 * MIN_BIN,
        min_knot_slope=MIN_SLOPE,
    ).forward_and_log_det(x)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_zeros_give_the_identity_and_so_does_everything_beyond_the_reach(x64):
    x = jnp.linspace(-9, 9, 61)
    y, log_slope = apply_spline(free_knots_jit(jnp.zeros((61, 23)), 5.0), x)
    np.testing.assert_allclose(y, x, atol=1e-12)
    np.testing.assert_allclose(log_slope, 0, atol=1e-12)
    outside = jnp.where(jnp.abs(x) > 5, x, 6)
    y, log_slope = apply_spline(free_knots_jit(jnp.asarray(random(61, 23)), 5.0), outside)
    np.testing.assert_allclose(y, outside, atol=1e-12)
    np.testing.assert_allclose(log_slope, 0, atol=1e-12)


def test_a_spline_passes_through_its_knots_with_their_slopes(x64):
    knots = Knots(*(jnp.asarray(v) for v in ([0.0, 1.0, 3.0], [-1.0, 2.0, 2.5], [2.0, 1.0, 0.5])))
    y, log_slope = apply_spline(knots, jnp.asarray([0.0, 1.0, 3.0, -1.0, 5.0]))
    np.testing.assert_allclose(y, [-1, 2, 2.5, -3, 3.5], atol=1e-14)  # straight lines outside
    np.testing.assert_allclose(jnp.exp(log_slope), [2, 1, 0.5, 2, 0.5], rtol=1e-14)


def test_fitted_knots_join_quantiles_to_normal_quantiles(x64):
    s = random(500, 2) ** 3
    knots = gaussian_knots_jit(jnp.asarray(s), 16)
    assert knots.y[0, 0] == pytest.approx(stats.norm.ppf(3 / 500))
    expected = np.quantile(s, stats.norm.cdf(knots.y[0]), axis=0, method="hazen").T
    np.testing.assert_allclose(knots.x, expected, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_are_sorted_as_numpy_sorts_them(dtype, x64):
    ends = np.array([[0.0, -0.0, np.inf, -np.inf, 1e-40, -1e-40, 3e38, -3e38]]).T * np.ones((1, 2))
    columns = np.concatenate([random(40, 2), ends, random(40, 2)[:5].repeat(2, 0)]).astype(dtype)
    np.testing.assert_array_equal(jax.jit(sort_columns)(columns), np.sort(columns, axis=0))


def test_fitted_splines_make_marginals_normal_and_keep_the_order():
    s = jnp.asarray(np.exp(random(2000, 1)), jnp.float32)
    z, _ = apply_spline(gaussian_knots_jit(s, 16), s)
    assert stats.kstest(np.asarray(z)[:, 0], "norm").statistic < 0.02
    np.testing.assert_array_equal(jnp.argsort(z, axis=0), jnp.argsort(s, axis=0))


def test_columns_with_ties_have_finite_increasing_splines():
    s = jnp.asarray(np.round(random(300, 1)), jnp.float32)
    knots = gaussian_knots_jit(s, 16)
    z, log_slope = apply_spline(knots, s)
    assert jnp.all(jnp.diff(knots.x) > 0)
    assert jnp.all(jnp.isfinite(z))
    assert jnp.all(jnp.isfinite(log_slope))

"""Bijections of one variable, their Jacobians, and the likelihood of pairs."""

from functools import partial
from math import log, pi

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pid.features.gaussianize import rank_gaussian
from pid.flow.bijection import fit_marginals, forward, init_bijection, init_params, inverse
from pid.flow.config import PER_PAIR, SHARED
from pid.flow.ica import independent_directions
from pid.flow.likelihood import VariableLatents, fit_bases, log_likelihood, profiled_loss
from tests.pid.flow.cases import random

# jitted, because one compilation takes less time than dispatching every operation
fit_marginals_jit = jax.jit(fit_marginals)
forward_jit, inverse_jit = (jax.jit(f, static_argnums=2) for f in (forward, inverse))


def random_bijection(d, couplings, seed=0):
    """Make a bijection fitted to skewed rows, with random parameters far from the identity."""
    rows = jnp.asarray(np.exp(0.5 * random(200, d, seed=seed)))
    start = untrained(rows, couplings, 8, 4, 8, seed)
    params = jax.tree.map(lambda a: a + 0.3 * random(*a.shape, seed=seed + 1), start.params)
    matrix = jnp.asarray(np.eye(d) + 0.3 * random(d, d, seed=seed + 2))
    rotated = start._replace(
        params=params, directions=matrix, log_det_directions=jnp.linalg.slogdet(matrix)[1]
    )
    return fit_marginals_jit(rotated, rows), rows[:20]


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def untrained(rows, couplings, hidden, bins, knots, seed):
    return init_bijection(rows, init_params(rows, couplings, hidden, bins, jax.random.key(seed)), knots)


# bijections


@pytest.mark.parametrize(("d", "couplings"), [(1, 2), (2, 1), (5, 3)])
def test_a_bijection_comes_back(d, couplings, x64):
    bijection, rows = random_bijection(d, couplings)
    wide_rows = jnp.concatenate([rows, 10 * rows - 20])  # includes the straight tails
    np.testing.assert_allclose(
        inverse_jit(bijection, forward_jit(bijection, wide_rows, 3.0)[0], 3.0), wide_rows, atol=1e-8
    )


@pytest.mark.parametrize(("d", "couplings"), [(1, 2), (2, 1), (5, 3)])
def test_the_log_determinant_is_that_of_the_jacobian(d, couplings, x64):
    bijection, rows = random_bijection(d, couplings)
    _, log_det = forward_jit(bijection, rows, 3.0)
    jacobian = jax.jit(jax.vmap(jax.jacfwd(lambda v: forward(bijection, v[None], 3.0)[0][0])))(rows)
    np.testing.assert_allclose(log_det, jnp.linalg.slogdet(jacobian)[1], atol=1e-9)


def test_an_untrained_bijection_is_the_copula():
    rows = jnp.asarray(np.exp(0.7 * random(2000, 3)), jnp.float32)
    z, _ = forward_jit(fit_marginals_jit(untrained(rows, 2, 8, 4, 16, 0), rows), rows, 5.0)
    scores = rank_gaussian(rows)
    inside = np.abs(scores) < 2.5  # beyond this there are only a few rows
    # a spline of 16 bins interpolates the quantiles of 2,000 rows
    np.testing.assert_allclose(z[inside], scores[inside], atol=0.1)
    np.testing.assert_allclose(np.std(z - scores, axis=0), 0, atol=0.02)


def test_padding_stays_zero_and_adds_nothing_to_the_jacobian():
    rows = jnp.asarray(np.exp(0.5 * random(200, 3)), jnp.float32)
    wide = jnp.pad(rows, ((0, 0), (0, 2)))
    mix = jnp.asarray(0.3 * random(5, 5, seed=1), jnp.float32)
    results = []
    for variable in (rows, wide):
        start = untrained(variable, 0, 8, 4, 8, 0)
        width = variable.shape[1]
        params = start.params._replace(mix=mix[:width, :width])
        results.append(forward_jit(fit_marginals_jit(start._replace(params=params), variable), variable, 5.0))
    (narrow, log_det), (padded, wide_log_det) = results
    np.testing.assert_allclose(padded[:, :3], narrow, atol=1e-5)
    np.testing.assert_array_equal(padded[:, 3:], 0)
    np.testing.assert_allclose(wide_log_det, log_det, atol=1e-5)


def test_independent_directions_undo_a_mixture():
    sources = np.stack([random(4000) ** 3, np.cbrt(random(4000, seed=1)), random(4000, seed=2)], axis=1)
    mixing = random(3, 3, seed=3)
    mixed = sources / sources.std(axis=0) @ mixing.T
    directions = independent_directions(jnp.asarray(mixed - mixed.mean(axis=0), jnp.float32))
    gains = np.abs(directions @ mixing)
    # the sampling error of 4,000 rows
    np.testing.assert_allclose(np.sort(gains, axis=0)[-1], 1, atol=0.05)  # one source each, up to order
    np.testing.assert_allclose(np.sort(gains, axis=0)[:-1], 0, atol=0.15)


def test_independent_directions_are_white():
    u = random(500, 4) @ random(4, 4, seed=1)
    u -= u.mean(axis=0)
    directions = np.asarray(independent_directions(jnp.asarray(u, jnp.float32)))
    # float32, and a polar factor by iteration
    np.testing.assert_allclose(directions @ np.cov(u.T, ddof=0) @ directions.T, np.eye(4), atol=1e-3)


# likelihood


def random_latents(n=50, dims=(1, 2, 2, 1), seed=0):
    return tuple(
        VariableLatents(jnp.asarray(random(n, d, seed=seed + d)), jnp.asarray(random(n, seed=i)))
        for i, d in enumerate(dims)
    )


@pytest.mark.parametrize("pairs", [SHARED, PER_PAIR])
def test_the_likelihood_is_that_of_two_normals_and_their_jacobians(pairs, x64):
    variables = random_latents()
    bases = fit_bases(variables, pairs)
    expected = np.zeros(50)
    for (i, j), base in zip(pairs, bases, strict=True):
        z = np.hstack([variables[i].values, variables[j].values])
        normal = stats.multivariate_normal(base.mean, np.asarray(base.factor @ base.factor.T))  # pyright: ignore[reportArgumentType]
        expected += normal.logpdf(z) + variables[i].log_det + variables[j].log_det
        np.testing.assert_allclose(base.factor @ base.factor.T, np.cov(z.T, ddof=0), atol=2e-4)  # the ridge
    np.testing.assert_allclose(log_likelihood(variables, bases, pairs), expected, rtol=1e-12)


def test_the_profiled_loss_is_the_likelihood_under_the_best_gaussian(x64):
    variables = random_latents(n=500)
    constant = 6 / 2 * (1 + log(2 * pi))  # two pairs of three dimensions
    likelihood = jnp.mean(log_likelihood(variables, fit_bases(variables, SHARED), SHARED))
    # the quadratic form is 3 per pair, except for a ridge of 1e-4
    np.testing.assert_allclose(profiled_loss(variables, SHARED) + constant, -likelihood, atol=1e-3)


def test_the_shared_target_counts_twice_and_hears_both_sources(x64):
    variables = random_latents()

    def slope(pairs):
        return jax.grad(lambda target: profiled_loss((target, *variables[1:]), pairs))(variables[0])

    with_x, with_y, shared, per_pair = (slope(p) for p in (((0, 1),), ((0, 2),), SHARED, PER_PAIR))
    np.testing.assert_allclose(shared.values, with_x.values + with_y.values, atol=1e-12)
    np.testing.assert_allclose(shared.log_det, -2 / 50, atol=1e-12)
    np.testing.assert_allclose(per_pair.values, with_x.values, atol=1e-12)
    np.testing.assert_allclose(per_pair.log_det, -1 / 50, atol=1e-12)
    assert np.max(np.abs(with_y.values)) > 1e-3

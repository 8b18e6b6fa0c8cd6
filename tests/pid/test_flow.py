"""Separable flows: splines, bijections and Jacobians, likelihood, training, cross-fitting."""

from functools import partial
from math import log, pi
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pid.flow import SeparableFlow, cross_fit, cross_fitting
from pid.flow.bijection import calibrate, forward, inverse, standardizing, untrained
from pid.flow.ica import independent_directions
from pid.flow.likelihood import PER_PAIR, SHARED, Latents, bases, log_likelihood, profiled_loss
from pid.flow.spline import LEAST, Knots, Spline, ascending, free_knots, gaussian_knots
from pid.gaussianize import rank_gaussian

SMALL = SeparableFlow(couplings=2, bins=4, hidden=8, steps=160, coupling_steps=20, rounds=8, folds=3)
TINY = SeparableFlow(couplings=1, bins=4, knots=8, hidden=4, steps=4, coupling_steps=4, rounds=2)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def warped_system(seed, n, dims, *, rotate):
    """x = Hx m + noise, y = Hy m + noise, then m, y -> cube root, x -> cube, then a rotation of each if `rotate`.

    Entries of Hx and Hy, m and the noises are N(0, 1). Returns the target, x, y, and the covariance before the
    warps, whose mutual information is that of the data. [Zhao et al. 2025]
    """
    generator = np.random.default_rng(seed)
    dm, dx, dy = dims
    hx, hy = generator.normal(size=(dx, dm)), generator.normal(size=(dy, dm))
    m = generator.normal(size=(n, dm))
    x = m @ hx.T + generator.normal(size=(n, dx))
    y = m @ hy.T + generator.normal(size=(n, dy))
    mixing = np.vstack([np.eye(dm), hx, hy])
    cov = mixing @ mixing.T + np.diag([0.0] * dm + [1.0] * (dx + dy))
    warped = [np.cbrt(m), x**3, np.cbrt(y)]
    if rotate:
        warped = [v @ np.linalg.qr(generator.normal(size=(v.shape[1],) * 2))[0] for v in warped]
    return (*warped, cov)


def gaussian_system(seed, n, dims):
    m, x, y, cov = warped_system(seed, n, dims, rotate=False)
    return m**3, np.cbrt(x), y**3, cov


def informations(cov, dims):
    """I(M; X), I(M; Y), I(M; X, Y) in bits."""
    m, x, y = np.split(np.arange(sum(dims)), np.cumsum(dims)[:-1])

    def size(*parts):
        chosen = np.concatenate(parts)
        return np.linalg.slogdet(cov[np.ix_(chosen, chosen)])[1]

    return np.asarray([(size(m) + size(*s) - size(m, *s)) / 2 / log(2) for s in ((x,), (y,), (x, y))])


def measured(*variables):
    rows = [np.asarray(v, np.float64).reshape(-1, v.shape[-1]) for v in variables]
    return informations(np.cov(np.hstack(rows).T), [v.shape[1] for v in rows])


def single(*variables) -> Any:
    return tuple(jnp.asarray(v, jnp.float32) for v in variables)


def layered(*variables) -> Any:
    return tuple(v[None] for v in single(*variables))


# whole programs, which compile far sooner than operation after operation
calibrated = jax.jit(calibrate)
through, back = (jax.jit(f, static_argnums=2) for f in (forward, inverse))
splined = jax.jit(lambda knots, x: Spline(knots).forward_and_log_det(x))
fitted_knots, free = (jax.jit(f, static_argnums=1) for f in (gaussian_knots, free_knots))


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def some_bijection(d, couplings, seed=0):
    """A bijection fitted to skew rows, every trained number random: far from the identity."""
    rows = jnp.asarray(np.exp(0.5 * random(200, d, seed=seed)))
    start = plain(rows, couplings, 8, 4, 8, seed)
    trained = jax.tree.map(lambda a: a + 0.3 * random(*a.shape, seed=seed + 1), start.trained)
    matrix = jnp.asarray(np.eye(d) + 0.3 * random(d, d, seed=seed + 2))
    turned = start._replace(trained=trained, start=matrix, log_start=jnp.linalg.slogdet(matrix)[1])
    return calibrated(turned, rows), rows[:20]


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def plain(rows, couplings, hidden, bins, knots, seed):
    return standardizing(rows, untrained(rows, couplings, hidden, bins, jax.random.key(seed)), knots)


# splines


def test_a_free_spline_is_that_of_distrax(x64):
    raw, x = jnp.asarray(random(7, 3, 14)), jnp.asarray(3 * random(7, 3, seed=1))
    ours = splined(free(raw, 5.0), x)
    none = jnp.zeros((7, 3, 1))
    theirs = distrax.RationalQuadraticSpline(
        jnp.concatenate([raw[..., :10], none, raw[..., 10:], none], axis=-1),
        -5.0,
        5.0,
        boundary_slopes="identity",
        min_bin_size=10 * LEAST,
        min_knot_slope=LEAST,
    ).forward_and_log_det(x)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_zeros_give_the_identity_and_so_does_everything_beyond_the_reach(x64):
    x = jnp.linspace(-9, 9, 61)
    y, log_slope = splined(free(jnp.zeros((61, 23)), 5.0), x)
    np.testing.assert_allclose(y, x, atol=1e-12)
    np.testing.assert_allclose(log_slope, 0, atol=1e-12)
    far = jnp.where(jnp.abs(x) > 5, x, 6)
    y, log_slope = splined(free(jnp.asarray(random(61, 23)), 5.0), far)
    np.testing.assert_allclose(y, far, atol=1e-12)
    np.testing.assert_allclose(log_slope, 0, atol=1e-12)


def test_a_spline_passes_through_its_knots_with_their_slopes(x64):
    knots = Knots(*(jnp.asarray(v) for v in ([0.0, 1.0, 3.0], [-1.0, 2.0, 2.5], [2.0, 1.0, 0.5])))
    y, log_slope = splined(knots, jnp.asarray([0.0, 1.0, 3.0, -1.0, 5.0]))
    np.testing.assert_allclose(y, [-1, 2, 2.5, -3, 3.5], atol=1e-14)  # straight lines outside
    np.testing.assert_allclose(jnp.exp(log_slope), [2, 1, 0.5, 2, 0.5], rtol=1e-14)


def test_fitted_knots_join_quantiles_to_normal_quantiles(x64):
    s = random(500, 2) ** 3
    knots = fitted_knots(jnp.asarray(s), 16)
    assert knots.y[0, 0] == pytest.approx(stats.norm.ppf(3 / 500))
    expected = np.quantile(s, stats.norm.cdf(knots.y[0]), axis=0, method="hazen").T
    np.testing.assert_allclose(knots.x, expected, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_are_sorted_as_numpy_sorts_them(dtype, x64):
    ends = np.array([[0.0, -0.0, np.inf, -np.inf, 1e-40, -1e-40, 3e38, -3e38]]).T * np.ones((1, 2))
    columns = np.concatenate([random(40, 2), ends, random(40, 2)[:5].repeat(2, 0)]).astype(dtype)
    np.testing.assert_array_equal(jax.jit(ascending)(columns), np.sort(columns, axis=0))


def test_fitted_splines_make_marginals_normal_and_keep_the_order():
    s = jnp.asarray(np.exp(random(2000, 1)), jnp.float32)
    z, _ = splined(fitted_knots(s, 16), s)
    assert stats.kstest(np.asarray(z)[:, 0], "norm").statistic < 0.02
    np.testing.assert_array_equal(jnp.argsort(z, axis=0), jnp.argsort(s, axis=0))


def test_columns_with_ties_have_finite_increasing_splines():
    s = jnp.asarray(np.round(random(300, 1)), jnp.float32)
    knots = fitted_knots(s, 16)
    z, log_slope = splined(knots, s)
    assert jnp.all(jnp.diff(knots.x) > 0)
    assert jnp.all(jnp.isfinite(z))
    assert jnp.all(jnp.isfinite(log_slope))


# bijections


@pytest.mark.parametrize(("d", "couplings"), [(1, 2), (2, 1), (5, 3)])
def test_a_bijection_comes_back(d, couplings, x64):
    bijection, rows = some_bijection(d, couplings)
    far = jnp.concatenate([rows, 10 * rows - 20])  # the straight tails too
    np.testing.assert_allclose(back(bijection, through(bijection, far, 3.0)[0], 3.0), far, atol=1e-8)


@pytest.mark.parametrize(("d", "couplings"), [(1, 2), (2, 1), (5, 3)])
def test_the_log_determinant_is_that_of_the_jacobian(d, couplings, x64):
    bijection, rows = some_bijection(d, couplings)
    _, ours = through(bijection, rows, 3.0)
    jacobian = jax.jit(jax.vmap(jax.jacfwd(lambda v: forward(bijection, v[None], 3.0)[0][0])))(rows)
    np.testing.assert_allclose(ours, jnp.linalg.slogdet(jacobian)[1], atol=1e-9)


def test_an_untrained_bijection_is_the_copula():
    rows = jnp.asarray(np.exp(0.7 * random(2000, 3)), jnp.float32)
    z, _ = through(calibrated(plain(rows, 2, 8, 4, 16, 0), rows), rows, 5.0)
    scores = rank_gaussian(rows)
    inside = np.abs(scores) < 2.5  # beyond, a handful of rows
    np.testing.assert_allclose(z[inside], scores[inside], atol=0.1)
    np.testing.assert_allclose(np.std(z - scores, axis=0), 0, atol=0.02)


def test_padding_stays_zero_and_adds_nothing_to_the_jacobian():
    rows = jnp.asarray(np.exp(0.5 * random(200, 3)), jnp.float32)
    wide = jnp.pad(rows, ((0, 0), (0, 2)))
    mix = jnp.asarray(0.3 * random(5, 5, seed=1), jnp.float32)
    found = []
    for some in (rows, wide):
        start = plain(some, 0, 8, 4, 8, 0)
        width = some.shape[1]
        trained = start.trained._replace(mix=mix[:width, :width])
        found.append(through(calibrated(start._replace(trained=trained), some), some, 5.0))
    (narrow, log_det), (padded, wide_log_det) = found
    np.testing.assert_allclose(padded[:, :3], narrow, atol=1e-5)
    np.testing.assert_array_equal(padded[:, 3:], 0)
    np.testing.assert_allclose(wide_log_det, log_det, atol=1e-5)


def test_independent_directions_undo_a_mixture():
    sources = np.stack([random(4000) ** 3, np.cbrt(random(4000, seed=1)), random(4000, seed=2)], axis=1)
    mixing = random(3, 3, seed=3)
    mixed = sources / sources.std(axis=0) @ mixing.T
    directions = independent_directions(jnp.asarray(mixed - mixed.mean(axis=0), jnp.float32))
    gains = np.abs(directions @ mixing)
    np.testing.assert_allclose(np.sort(gains, axis=0)[-1], 1, atol=0.05)  # one source each, up to order
    np.testing.assert_allclose(np.sort(gains, axis=0)[:-1], 0, atol=0.15)


def test_independent_directions_are_white():
    u = random(500, 4) @ random(4, 4, seed=1)
    u -= u.mean(axis=0)
    directions = np.asarray(independent_directions(jnp.asarray(u, jnp.float32)))
    np.testing.assert_allclose(directions @ np.cov(u.T, ddof=0) @ directions.T, np.eye(4), atol=1e-3)


# likelihood


def some_latents(n=50, dims=(1, 2, 2, 1), seed=0):
    return tuple(
        Latents(jnp.asarray(random(n, d, seed=seed + d)), jnp.asarray(random(n, seed=i)))
        for i, d in enumerate(dims)
    )


@pytest.mark.parametrize("pairs", [SHARED, PER_PAIR])
def test_the_likelihood_is_that_of_two_normals_and_their_jacobians(pairs, x64):
    variables = some_latents()
    fitted = bases(variables, pairs)
    expected = np.zeros(50)
    for (i, j), base in zip(pairs, fitted, strict=True):
        z = np.hstack([variables[i].values, variables[j].values])
        normal = stats.multivariate_normal(base.mean, np.asarray(base.factor @ base.factor.T))  # pyright: ignore[reportArgumentType]
        expected += normal.logpdf(z) + variables[i].log_det + variables[j].log_det
        np.testing.assert_allclose(base.factor @ base.factor.T, np.cov(z.T, ddof=0), atol=2e-4)  # the ridge
    np.testing.assert_allclose(log_likelihood(variables, fitted, pairs), expected, rtol=1e-12)


def test_the_profiled_loss_is_the_likelihood_under_the_best_gaussian(x64):
    variables = some_latents(n=500)
    constant = 6 / 2 * (1 + log(2 * pi))  # two pairs of three dimensions
    likelihood = jnp.mean(log_likelihood(variables, bases(variables, SHARED), SHARED))
    # the quadratic form is 3 per pair less a ridge of 1e-4
    np.testing.assert_allclose(profiled_loss(variables, SHARED) + constant, -likelihood, atol=1e-3)


def test_the_shared_target_counts_twice_and_hears_both_sources(x64):
    variables = some_latents()

    def slope(pairs):
        return jax.grad(lambda target: profiled_loss((target, *variables[1:]), pairs))(variables[0])

    with_x, with_y, shared, per_pair = (slope(p) for p in (((0, 1),), ((0, 2),), SHARED, PER_PAIR))
    np.testing.assert_allclose(shared.values, with_x.values + with_y.values, atol=1e-12)
    np.testing.assert_allclose(shared.log_det, -2 / 50, atol=1e-12)
    np.testing.assert_allclose(per_pair.values, with_x.values, atol=1e-12)
    np.testing.assert_allclose(per_pair.log_det, -1 / 50, atol=1e-12)
    assert np.max(np.abs(with_y.values)) > 1e-3


# one fit


@pytest.mark.parametrize("shared", [True, False])
def test_a_fit_has_one_map_per_variable_or_one_per_pair(shared, x64):
    # dimensions 1 too, and float64 arrays about: training stays in float32
    m, x, y, _ = warped_system(0, 200, (1, 2, 1), rotate=True)
    flow = SeparableFlow(**{**vars(TINY), "shared_target": shared})
    fitted = flow.fit(*(jnp.asarray(v) for v in (m, x, y)), key=jax.random.key(0))
    latents = fitted.transform(*(jnp.asarray(v) for v in (m, x, y)))
    assert len(fitted.model.bijections) == (3 if shared else 4)
    assert (latents.target_y is None) == shared
    assert latents.x.dtype == jnp.float32
    back = fitted.inverse(latents)
    for a, b in zip(back[:3], (m, x, y), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-2)
    assert fitted.course.shape == (6,)


def test_log_prob_is_a_density_in_the_units_of_the_data():
    m, x, y, _ = warped_system(0, 300, (1, 1, 1), rotate=False)
    fitted = SeparableFlow(couplings=0, steps=2, rounds=1).fit(
        *single(m, x, 3 * y + 1), key=jax.random.key(0)
    )
    # with m and y held at one value, the density of x is log_prob up to a constant: compare two points with
    # the Jacobian by finite differences
    points = single(np.full((2, 1), 0.3), np.asarray([[0.5], [0.7]]), np.full((2, 1), 1.2))
    (base, _), step = fitted.model.bases, 1e-2
    nearby = fitted.transform(points[0], points[1] + step, points[2])
    latents = fitted.transform(*points)
    slope = (nearby.x - latents.x)[:, 0] / step
    normal = stats.multivariate_normal(base.mean, np.asarray(base.factor @ base.factor.T))  # pyright: ignore[reportArgumentType]
    expected = normal.logpdf(np.hstack([latents.target, latents.x])) + np.log(slope)
    difference = fitted.log_prob(*points)
    np.testing.assert_allclose(difference[1] - difference[0], expected[1] - expected[0], atol=0.05)


def test_a_fit_does_not_read_the_rows_it_is_judged_by(x64):
    m, x, y, _ = warped_system(0, 200, (1, 2, 1), rotate=True)  # as above: one program for both
    order = jax.random.permutation(jax.random.split(jax.random.key(0))[0], 200)
    judged = np.asarray(order)[:40]
    other = [np.array(v) for v in (m, x, y)]
    for v in other:
        v[judged] += 5.0
    first, second = (TINY.fit(*single(*v), key=jax.random.key(0)) for v in ((m, x, y), other))
    assert first.held_out.flow != second.held_out.flow
    np.testing.assert_array_equal(first.course, second.course)
    mine, theirs = (f.transform(*single(m, x, y)) for f in (first, second))
    if bool(first.beats_copula) == bool(second.beats_copula):
        np.testing.assert_array_equal(mine.x, theirs.x)


# cross-fitting


def test_the_copula_is_enough_for_warped_coordinates():
    dims = (2, 16, 16)
    m, x, y, cov = warped_system(0, 10_000, dims, rotate=False)
    found = measured(*(rank_gaussian(v) for v in single(m, x, y)))
    np.testing.assert_allclose(found, informations(cov, dims), rtol=0.03)


@pytest.fixture(scope="module")
def rotated():
    """Two layers of rotated, warped data, and cross-fitted latents."""
    systems = [warped_system(seed, 900, (3, 3, 3), rotate=True) for seed in (1, 2)]
    data: Any = tuple(jnp.stack([jnp.asarray(s[i], jnp.float32) for s in systems]) for i in range(3))
    return systems, data, cross_fit(SMALL, *data, keys=keys(2))


@pytest.mark.slow
def test_a_flow_recovers_what_a_rotation_hides_from_the_copula(rotated):
    systems, _, fitted = rotated
    assert jnp.all(fitted.beats_copula)
    for layer, (*variables, cov) in enumerate(systems):
        truth = informations(cov, (3, 3, 3))
        found = measured(*(v[layer] for v in fitted.latents[:3]))
        copula = measured(*(rank_gaussian(v) for v in single(*variables)))
        assert np.all(found > 0.88 * truth), (found, truth)
        assert np.all(found < truth + 0.1), (found, truth)
        assert found[2] > copula[2] + 0.2


def test_one_program_serves_all_layers_of_a_shape_and_none_depends_on_the_others(rotated):
    _, data, _ = rotated
    fitted = cross_fit(TINY, *data, keys=keys(2))
    size = cross_fitting._layer._cache_size  # pyright: ignore[reportAttributeAccessIssue]
    before = size()
    swapped = cross_fit(TINY, *(v[::-1] for v in data), keys=keys(2)[::-1])
    assert size() == before
    np.testing.assert_array_equal(swapped.latents.x[::-1], fitted.latents.x)
    assert bool(jnp.any(swapped.latents.x != fitted.latents.x))


MIXED = SeparableFlow(couplings=0, knots=8, steps=20, rounds=2, folds=2, shared_target=False)


def test_layers_of_different_widths_share_a_program_and_the_padding_stays_zero():
    narrow, wide = (
        layered(*warped_system(1, 400, dims, rotate=False)[:3]) for dims in ((2, 3, 2), (3, 4, 3))
    )
    widths = [v.shape[-1] for v in wide]
    padded = [
        jnp.concatenate([jnp.pad(a, ((0, 0), (0, 0), (0, width - a.shape[-1]))), b])
        for a, b, width in zip(narrow, wide, widths, strict=True)
    ]
    together = cross_fit(MIXED, *padded, keys=keys(2))
    size = cross_fitting._layer._cache_size  # pyright: ignore[reportAttributeAccessIssue]
    before = size()
    apart = [cross_fit(MIXED, *data, keys=keys(2)[at : at + 1]) for at, data in enumerate((narrow, wide))]
    assert size() == before + 1  # of the narrow alone
    for at, one in enumerate(apart):
        assert bool(one.beats_copula[0]) == bool(together.beats_copula[at])
        np.testing.assert_allclose(together.held_out.gain[at], one.held_out.gain[0], atol=1e-3)
        np.testing.assert_allclose(together.ks[at], one.ks[0], atol=2e-3)
        np.testing.assert_allclose(together.alignment[at], one.alignment[0], atol=1e-3)
        for joint, alone in zip(together.latents, one.latents, strict=True):
            assert joint is not None
            assert alone is not None
            own = alone.shape[-1]
            np.testing.assert_allclose(joint[at, :, :own], alone[0], atol=0.02)
            np.testing.assert_array_equal(joint[at, :, own:], 0)
    inside = padded[0].at[0].set(padded[0][0, :, ::-1])  # zeros to the left
    with pytest.raises(ValueError, match="1 constant in target"):
        cross_fit(MIXED, inside, *padded[1:], keys=keys(2))
    with pytest.raises(ValueError, match="1 constant in target"):  # couplings want no padding
        cross_fit(TINY, *padded, keys=keys(2))


def test_gaussian_data_stay_as_the_copula_has_them(rotated):
    systems = [gaussian_system(seed, 900, (3, 3, 3)) for seed in (1, 2)]
    data: Any = tuple(jnp.stack([jnp.asarray(s[i], jnp.float32) for s in systems]) for i in range(3))
    fitted = cross_fit(SMALL, *data, keys=keys(2))
    for layer in (0, 1):
        found = measured(*(v[layer] for v in fitted.latents[:3]))
        np.testing.assert_allclose(found, measured(*(v[layer] for v in data)), atol=0.05)
        if not fitted.beats_copula[layer]:
            np.testing.assert_allclose(fitted.latents.x[layer], rank_gaussian(data[1][layer]), atol=1e-5)
    assert not jnp.all(fitted.beats_copula)


def test_independent_variables_stay_independent_under_a_flow_that_is_used(rotated):
    _, (target, x, y), _ = rotated
    shuffled = (target, x[:, np.random.default_rng(0).permutation(900)], y[::-1])
    fitted = cross_fit(SMALL, *shuffled, keys=keys(2))
    assert jnp.all(fitted.beats_copula)
    for layer in (0, 1):
        found = measured(*(v[layer] for v in fitted.latents[:3]))
        # the plug-in estimate of three and six dimensions from 900 rows: 9 and 18 / (2 · 900 ln 2), mean; twice it
        assert np.all(found < 2 * np.asarray([0.0072, 0.0072, 0.0144])), found


def test_what_a_fold_holds_does_not_touch_the_map_of_its_rows():
    m, x, y, _ = warped_system(0, 240, (2, 2, 2), rotate=True)
    flow = SeparableFlow(**{**vars(TINY), "folds": 3})
    order = jnp.arange(240)
    part = jax.jit(
        lambda *rows: cross_fitting.held_part(flow, rows, order, jnp.asarray(1), jax.random.key(0))
    )

    def moved(row):
        return part(*single(*(v + 3.0 * (np.arange(240) == row)[:, None] for v in (m, x, y))))

    plain, inside, outside = part(*single(m, x, y)), moved(85), moved(5)  # fold 1 holds rows 80 to 159
    kept = np.arange(80) != 5
    for before, after, other in zip(plain.latents, inside.latents, outside.latents, strict=True):
        np.testing.assert_array_equal(before[kept], after[kept])
        assert np.any(before[5] != after[5])
        assert np.any(before[kept] != other[kept])


def test_alignment_undoes_any_linear_map_of_a_folds_latents(x64):
    z, rows = random(300, 3), random(300, 3) ** 3
    held, other = random(20, 3, seed=1), random(3, 3, seed=2)
    ours, canonical = cross_fitting.align(*(jnp.asarray(v) for v in (z, held, rows)))
    theirs, same = cross_fitting.align(*(jnp.asarray(v) for v in (z @ other + 7, held @ other + 7, rows)))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)  # a ridge of 1e-6 stands between
    np.testing.assert_allclose(canonical, same, atol=1e-4)
    assert 0.8 < canonical < 1


@pytest.mark.exhaustive
def test_a_flow_recovers_sixteen_rotated_dimensions():
    dims = (2, 16, 16)
    *data, cov = warped_system(0, 10_000, dims, rotate=True)
    fitted = cross_fit(SeparableFlow(), *layered(*data), keys=keys(1))
    assert measured(*fitted.latents[:3])[2] > 0.85 * informations(cov, dims)[2]


# refusals


def ones(n, d):
    return jnp.asarray(random(n, d), jnp.float32)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((90, 2), (90, 2), (90, 2)), "at least 100 samples and 10 per dimension of a pair, got 90"),
        (((150, 8), (150, 8), (150, 8)), "got 150 samples of 16 dimensions"),
        (((200, 2), (201, 2), (200, 2)), "same samples, got shapes"),
    ],
)
def test_too_few_or_unequal_samples_are_refused(shapes, words):
    with pytest.raises(ValueError, match=words):
        TINY.fit(*(ones(*s) for s in shapes), key=jax.random.key(0))


def test_values_no_map_can_be_fitted_to_are_refused():
    good = ones(200, 2)
    with pytest.raises(ValueError, match="NaN or infinity in x; drop those samples"):
        TINY.fit(good, good.at[3, 1].set(jnp.nan), good, jax.random.key(0))
    with pytest.raises(ValueError, match="got 1 constant in y; drop them"):
        TINY.fit(good, good, good.at[:, 1].set(2.0), jax.random.key(0))


def test_a_key_per_layer_is_asked_for():
    data = (ones(200, 2)[None],) * 3
    with pytest.raises(ValueError, match="one key per layer, got 2 keys for 1 layers"):
        cross_fit(TINY, *data, keys=keys(2))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("couplings", -1, "couplings >= 0, got -1"),
        ("bins", 1, "bins >= 2"),
        ("folds", 1, "folds >= 2"),
        ("learning_rate", 0.0, "learning_rate > 0"),
        ("holdout", 0.9, "0.05 <= holdout <= 0.5, got 0.9"),
    ],
)
def test_a_configuration_out_of_range_is_refused(field, value, words):
    with pytest.raises(ValueError, match=words):
        SeparableFlow(**{field: value})

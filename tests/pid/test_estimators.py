"""From samples to PID: laws, corrections, intervals and nulls against NumPy twins and known systems, refusals."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pid import (
    PCA,
    PID,
    Bootstrap,
    SeparableFlow,
    Shuffle,
    aggregate,
    compare,
    decompose,
    estimate,
    layerwise,
    paper_config,
    recommended_config,
    trajectory_correlation,
)
from pid.estimators import bias_correction, bootstrap, gaussian_features, shrinkage, wishart_thinning
from pid.flow import CrossFit, FlowLatents
from pid.gaussian import information_bias, log_determinant_bias, wishart
from pid.measures.decomposition import make_measure
from tests.helpers import pid_oracle as oracle

KEY = jax.random.key(3)
PLAIN: dict[str, Any] = {"reduce": None, "gaussianize": "none"}
QUIET: dict[str, Any] = {"ci": None, "null": None}
DIMS = (3, 3, 3)
ATOMS = ("redundancy", "unique_x", "unique_y", "synergy")
INFORMATION = ("mi_x", "mi_y", "mi_joint")


def draw(cov, dims, n, *, seed=0, repeats=None):
    """Samples of target, x and y: (n, d), or (repeats, n, d)."""
    rng = np.random.default_rng(seed)
    lead = (n,) if repeats is None else (repeats, n)
    rows = rng.normal(size=(*lead, len(cov))) @ np.linalg.cholesky(cov).T
    return np.split(rows, np.cumsum(dims)[:2], axis=-1)


def small(n=400, seed=0):
    cov = oracle.channel_system(np.diag([2.0, 1, 0.5]), np.diag([0.5, 1, 2]))
    return draw(cov, DIMS, n, seed=seed)


def layered(layers=3, n=400):
    target, x, y = small(n)
    rng = np.random.default_rng(1)
    noisy = np.stack([x + 0.5 * layer * rng.normal(size=x.shape) for layer in range(layers)])
    return target, noisy, y


def numbers(pid):
    return np.stack([np.asarray(field) for field in pid], axis=-1)


# --- laws


def test_the_plugin_is_the_decomposition_of_the_sample_covariance():
    samples = small()
    found = estimate(*samples, **PLAIN, **QUIET, key=KEY)
    cov = np.cov(np.concatenate(samples, axis=1), rowvar=False)
    np.testing.assert_allclose(numbers(found.plugin), numbers(decompose(cov, DIMS)), atol=1e-10)
    assert (found.n, found.dims, found.flags) == (400, DIMS, ())


@pytest.mark.parametrize("debias", ["none", "wishart", "bootstrap", "thinned"])
@pytest.mark.parametrize("measure", ["broja", "mmi"])
def test_corrected_atoms_add_up_and_are_not_negative(debias, measure):
    found = estimate(*small(), **PLAIN, debias=debias, measure=measure, null=None, key=KEY)
    p = found.pid
    assert float(p.redundancy + p.unique_x) == pytest.approx(float(p.mi_x), abs=1e-12)
    assert float(p.redundancy + p.unique_y) == pytest.approx(float(p.mi_y), abs=1e-12)
    assert float(sum(p[:4])) == pytest.approx(float(p.mi_joint), abs=1e-12)
    assert np.min(numbers(p)) > -1e-12
    if measure == "mmi":
        assert min(p.unique_x, p.unique_y) == 0
    assert found.ci is not None
    assert np.all(numbers(found.ci.low) <= numbers(p) + 1e-12)
    assert np.all(numbers(found.ci.high) >= numbers(p) - 1e-12)


@pytest.mark.parametrize("debias", ["wishart", "thinned"])
def test_a_layer_is_estimated_as_it_would_be_alone(debias):
    target, x, y = layered()
    together = layerwise(target, x, y, **PLAIN, debias=debias, key=KEY)
    alone = estimate(target, x[1], y, **PLAIN, debias=debias, key=KEY)
    assert together.ci is not None
    assert together.null is not None
    assert together.draws is not None
    assert alone.ci is not None
    assert alone.null is not None
    assert alone.draws is not None
    for layers, one in (
        (together.pid, alone.pid),
        (together.ci.low, alone.ci.low),
        (together.ci.high, alone.ci.high),
        (together.null.high, alone.null.high),
    ):
        np.testing.assert_allclose(numbers(layers)[1], numbers(one), atol=1e-12)
    np.testing.assert_allclose(together.draws.union[:, 1], alone.draws.union, atol=1e-12)


def test_equal_keys_give_equal_results_and_others_do_not():
    samples = small()
    a, b, c = (estimate(*samples, **PLAIN, null=None, key=jax.random.key(k)) for k in (0, 0, 1))
    assert a.ci is not None
    assert b.ci is not None
    assert c.ci is not None
    np.testing.assert_array_equal(numbers(a.ci.low), numbers(b.ci.low))
    assert np.all(numbers(a.ci.low) != numbers(c.ci.low))
    np.testing.assert_array_equal(numbers(a.pid), numbers(c.pid))


def test_increasing_maps_of_coordinates_change_nothing_for_the_copula():
    target, x, y = small()
    warped = estimate(np.cbrt(target), x**3, np.sinh(y), reduce=None, **QUIET, key=KEY)
    plain = estimate(target, x, y, reduce=None, **QUIET, key=KEY)
    np.testing.assert_allclose(numbers(warped.pid), numbers(plain.pid), atol=1e-12)


# --- corrections


def test_wishart_correction_by_hand():
    plugin = np.array([0.5, 0.3, 0.2, 0.4, 0.8, 0.7, 1.4, 1.0])
    found = PID(*bias_correction.wishart(plugin, np.array([0.1, 0.2, 0.35]), "broja"))
    union = 1.0 * (1.4 - 0.35) / 1.4
    np.testing.assert_allclose([found.mi_x, found.mi_y, found.mi_joint], [0.7, 0.5, 1.05], atol=1e-15)
    assert float(found.union) == pytest.approx(union)
    assert float(found.unique_x) == pytest.approx(union - 0.5)
    assert float(found.redundancy) == pytest.approx(0.7 + 0.5 - union)


def test_corrected_information_stays_in_its_bounds():
    plugin = np.array([0.05, 0.05, 0.0, 0.01, 0.1, 0.05, 0.11, 0.1])
    found = PID(*bias_correction.wishart(plugin, np.array([0.02, 0.2, 0.3]), "broja"))
    np.testing.assert_allclose(
        [found.mi_x, found.mi_y, found.mi_joint, found.union], [0.08, 0, 0.08, 0.08], atol=1e-15
    )
    assert found.redundancy == 0


def test_mmi_is_the_function_of_the_corrected_informations():
    plugin = np.array([0.7, 0.1, 0.0, 0.6, 0.8, 0.7, 1.4, 0.8])
    found = PID(*bias_correction.wishart(plugin, np.array([0.2, 0.05, 0.1]), "mmi"))
    np.testing.assert_allclose([found.redundancy, found.unique_x, found.unique_y], [0.6, 0, 0.05], atol=1e-15)
    assert float(found.synergy) == pytest.approx(1.3 - 0.65)


def test_bootstrap_correction_takes_away_the_bias_of_the_draws():
    plugin = np.array([0.5, 0.3, 0.2, 0.4, 0.8, 0.7, 1.4, 1.0])
    draws = plugin + np.array([[0.0, 0, 0, 0, 0.1, 0.1, 0.2, 0.15], [0.0, 0, 0, 0, 0.3, 0.1, 0.2, 0.05]])
    found = PID(*bias_correction.by_draws(plugin, draws, "broja"))
    np.testing.assert_allclose(
        [found.mi_x, found.mi_y, found.mi_joint, found.union], [0.6, 0.6, 1.2, 0.9], atol=1e-15
    )


def test_thinned_union_is_the_mean_information_plus_half_the_unique_parts():
    plugin = np.array([0.5, 0.3, 0.2, 0.4, 0.8, 0.7, 1.4, 1.0])
    found = PID(*bias_correction.by_thinning(plugin, np.array([0.1, 0.2, 0.35]), np.array([0.2, 0.25])))
    assert float(found.union) == pytest.approx(0.6 + 0.2)
    np.testing.assert_allclose(
        wishart_thinning.atoms(np.array([0.7, 0.5, 1.05]), 0.2),
        [found.redundancy, found.unique_x, found.unique_y, found.synergy, found.union],
        atol=1e-15,
    )


def test_a_split_covariance_is_two_independent_wishart_ones(x64):
    """νS = W₁ + W₂: log-determinants of both have the bias of their own degrees of freedom, and no correlation."""
    d, nu, repeats = 4, 60, 4000
    parts = wishart_thinning.sizes(d, nu)
    assert parts is not None

    def one(key):
        whole, split = jax.random.split(key)
        root = wishart.sample_bartlett(whole, d, nu)
        beta = wishart_thinning._beta(wishart_thinning._wishart_factors(split, 1, d, nu, float)[0])[1]
        first = root @ beta @ root.T
        second = root @ root.T - first
        return jnp.stack(
            [jnp.linalg.slogdet(w)[1] for w in (first / parts.uneven, second / (nu - parts.uneven))]
        )

    logs = np.asarray(jax.lax.map(one, jax.random.split(KEY, repeats)))
    errors = logs.std(axis=0) / repeats**0.5
    expected = [float(log_determinant_bias(d, n + 1)) for n in (parts.uneven, nu - parts.uneven)]
    assert np.all(np.abs(logs.mean(axis=0) - expected) < 4 * errors)
    assert abs(np.corrcoef(logs.T)[0, 1]) < 4 / repeats**0.5


def test_the_plugin_of_thinning_is_half_the_unique_parts():
    samples = small()
    found = estimate(*samples, **PLAIN, debias="none", **QUIET, key=KEY)
    cov = np.cov(np.concatenate(samples, axis=1), rowvar=False)
    plan = bootstrap.Plan(quantity_of(DIMS), two_targets=False, n=400)
    both = bootstrap.in_bits(
        wishart_thinning.of_estimate, plan, cov[None], np.ones((1, 9), bool), np.array([DIMS]), KEY
    )
    assert both[0, 1] == pytest.approx(float(found.plugin.unique_x + found.plugin.unique_y) / 2, abs=1e-9)


def quantity_of(dims):
    return make_measure("broja", dims, np.float64)


def test_information_is_within_a_tenth_of_a_bit_at_900_samples_and_30_dimensions():
    cov, dims, truth = oracle.structured_system(30)
    found = layerwise(*draw(cov, dims, 900, repeats=20), **PLAIN, **QUIET, key=KEY)
    for name in INFORMATION:
        assert float(getattr(found.pid, name).mean()) == pytest.approx(truth[name], abs=0.1), name
        assert float(getattr(found.plugin, name).mean()) > truth[name] + 0.4, name


@pytest.mark.parametrize("d", [10, 20])
def test_independent_data_have_no_atoms(d):
    dims = (d, d, d)
    found = layerwise(*draw(np.eye(3 * d), dims, 900, repeats=20), **PLAIN, **QUIET, key=KEY)
    for name in (*ATOMS, *INFORMATION):
        assert float(getattr(found.pid, name).mean()) < 0.05, name


@pytest.mark.slow
def test_thinning_takes_the_bias_of_the_atoms_away():
    """Structured system, d = 12, n = 900: within .06 bits (four standard errors), where "wishart" leaves .15."""
    cov, dims, truth = oracle.structured_system(12)
    samples = draw(cov, dims, 900, repeats=40)
    thinned, scaled = (
        layerwise(*samples, **PLAIN, **QUIET, debias=debias, key=KEY) for debias in ("thinned", "wishart")
    )
    for name in ATOMS:
        assert float(getattr(thinned.pid, name).mean()) == pytest.approx(truth[name], abs=0.06), name
        assert abs(float(getattr(scaled.pid, name).mean()) - truth[name]) > 0.1, name


@pytest.mark.slow
def test_intervals_of_information_cover_as_stated():
    """200 repeats: 90 % within three standard errors of a share."""
    cov, dims, truth = oracle.structured_system(12)
    hits = []
    for part in range(4):
        found = layerwise(
            *draw(cov, dims, 900, repeats=50, seed=part), **PLAIN, null=None, key=jax.random.key(part)
        )
        assert found.ci is not None
        hits.append(
            [
                (getattr(found.ci.low, name) <= truth[name]) & (truth[name] <= getattr(found.ci.high, name))
                for name in INFORMATION
            ]
        )
    coverage = np.mean(np.concatenate(hits, axis=1), axis=1)
    assert np.all(np.abs(coverage - 0.9) < 3 * (0.09 / 200) ** 0.5), coverage


# --- resampling against NumPy


def test_paired_draws_decompose_resampled_samples(x64):
    samples = small(n=50)
    z = np.concatenate(samples, axis=1)[None]
    plan = bootstrap.Plan(quantity_of(DIMS), two_targets=False, n=50)
    values = bootstrap.in_bits(bootstrap.paired, plan, z, np.ones((1, 9), bool), KEY, 3)
    draws = np.asarray(jax.random.randint(jax.random.split(KEY, 1)[0], (150,), 0, 50)).reshape(3, 50)
    for value, rows in zip(values, draws, strict=True):
        cov = np.cov(z[0][rows], rowvar=False)
        np.testing.assert_allclose(value[0], numbers(decompose(cov, DIMS)), atol=1e-10)


def test_shuffles_permute_the_target_alone(x64):
    samples = small(n=50)
    z = np.concatenate(samples, axis=1)[None]
    cov = np.cov(z[0], rowvar=False)
    plan = bootstrap.Plan(quantity_of(DIMS), two_targets=False, n=50)
    values = bootstrap.in_bits(bootstrap.shuffled, plan, z, cov[None], np.ones((1, 9), bool), KEY, 2)
    for value, key in zip(values, jax.random.split(jax.random.split(KEY, 1)[0], 2), strict=True):
        order = np.asarray(jax.random.permutation(key, 50))
        moved = np.concatenate([samples[0][order], *samples[1:]], axis=1)
        np.testing.assert_allclose(
            value[0], numbers(decompose(np.cov(moved, rowvar=False), DIMS)), atol=1e-10
        )


def test_parametric_draws_scatter_about_the_plugin_as_samples_do():
    """Standard deviations over draws, and over samples of the system itself, within four standard errors of them."""
    cov = oracle.channel_system(np.diag([2.0, 1, 0.5]), np.diag([0.5, 1, 2]))
    one = estimate(*small(n=2000), **PLAIN, debias="none", ci=Bootstrap(draws=400), null=None, key=KEY)
    many = layerwise(*draw(cov, DIMS, 2000, repeats=200), **PLAIN, debias="none", **QUIET, key=KEY)
    assert one.draws is not None
    a, b = numbers(one.draws).std(axis=0), numbers(many.pid).std(axis=0)
    np.testing.assert_allclose(a, b, rtol=4 * (1 / 800 + 1 / 400) ** 0.5)


def test_missing_coordinates_of_a_layer_change_nothing():
    """A layer with fewer directions than another equals itself alone in all that is not random."""
    target, x, y = small()
    flat = np.stack([x, np.concatenate([x[:, :2], x[:, :1] + x[:, 1:2]], axis=1)])
    together = layerwise(target, flat, y, **PLAIN, ci=None, null=None, key=KEY)
    alone = estimate(target, flat[1], y, **PLAIN, ci=None, null=None, key=KEY)
    assert together.dims == (DIMS, (3, 2, 3))
    np.testing.assert_allclose(numbers(together.pid)[1], numbers(alone.pid), atol=1e-10)
    assert together.flags == (f"layer 1: {alone.flags[0]}",)
    assert "1 of 3 directions do not exist" in alone.flags[0]


def test_one_program_serves_all_estimates_of_a_shape():
    estimate(*small(), **PLAIN, key=KEY)
    programs = [bootstrap.observed, bootstrap.parametric, bootstrap.shuffled]
    sizes = [p._cache_size() for p in programs]  # pyright: ignore[reportAttributeAccessIssue]
    estimate(*small(seed=5), **PLAIN, key=jax.random.key(9))
    assert sizes == [p._cache_size() for p in programs]  # pyright: ignore[reportAttributeAccessIssue]


# --- null, comparison, trajectories


def test_the_null_lies_below_what_is_there():
    found = estimate(*small(), **PLAIN, ci=None, null=Shuffle(draws=20), key=KEY)
    assert found.null is not None
    assert float(found.null.high.mi_joint) < 0.1 < float(found.pid.mi_joint)


PAIRED: dict[str, Any] = {**PLAIN, "ci": Bootstrap(draws=100, kind="paired"), "null": None}


def test_equal_sides_differ_by_nothing():
    base, other = (layerwise(*layered(), **PAIRED, key=KEY) for _ in range(2))
    found = compare(base, other)
    for pid in (found.difference, *found.ci):
        np.testing.assert_array_equal(numbers(pid), 0)


def test_paired_intervals_are_tighter_than_those_of_each_side():
    target, x, y = small()
    rng = np.random.default_rng(0)
    base = estimate(target, x, y, **PAIRED, key=KEY)
    other = estimate(target, x + 0.3 * rng.normal(size=x.shape), y, **PAIRED, key=KEY)
    found = compare(base, other)
    assert base.ci is not None
    width = found.ci.high.mi_x - found.ci.low.mi_x
    assert width < 0.7 * (base.ci.high.mi_x - base.ci.low.mi_x)
    assert found.ci.high.mi_x < 0
    assert float(found.difference.mi_x) == pytest.approx(float(other.pid.mi_x - base.pid.mi_x), abs=1e-12)


def test_comparisons_of_what_was_not_paired_are_refused():
    base = estimate(*small(), **PAIRED, key=KEY)
    others = {
        "'parametric' for other": estimate(*small(), **PLAIN, null=None, key=KEY),
        "None for other": estimate(*small(), **PLAIN, **QUIET, key=KEY),
        "key=": estimate(*small(), **PAIRED, key=jax.random.key(0)),
        "n 400 and 300": estimate(*small(n=300), **PAIRED, key=KEY),
        "layers": layerwise(*layered(), **PAIRED, key=KEY),
    }
    for words, other in others.items():
        with pytest.raises(ValueError, match=words):
            compare(base, other)


def layers_of(*rows):
    return PID(*np.array(rows, float).T)


def test_correlation_of_trajectories_by_hand():
    a = layers_of([1, 0, 0, 1, 1, 1, 2, 1], [2, 0, 1, 1, 2, 3, 4, 3], [3, 0, 5, 1, 3, 8, 9, 8])
    b = layers_of([2, 1, 0, 1, 1, 1, 2, 1], [4, 2, -1, 1, 2, 3, 4, 3], [6, 3, -5, 1, 3, 8, 9, 8])
    found = trajectory_correlation(a, b)
    assert float(found.redundancy) == pytest.approx(1)
    assert float(found.unique_y) == pytest.approx(-1)
    assert np.isnan(found.unique_x)
    with pytest.raises(ValueError, match="at least three layers"):
        trajectory_correlation(layers_of([1] * 8, [2] * 8), layers_of([1] * 8, [2] * 8))


def test_aggregates_are_the_last_the_mean_and_the_sum():
    a = layers_of([1] * 8, [2] * 8, [6] * 8)
    found = [float(aggregate(a, how).union) for how in ("final", "mean_layers", "sum_layers")]
    assert found == [6, 3, 9]
    with pytest.raises(ValueError, match="how must be one of final, mean_layers, sum_layers, got 'mean'"):
        aggregate(a, "mean")
    with pytest.raises(ValueError, match="use `layerwise`"):
        aggregate(PID(*[np.ones(())] * 8), "final")


# --- reduction, Gaussianization, shrinkage


def test_fixed_components_are_the_default():
    rng = np.random.default_rng(0)
    target, x, y = (rng.normal(size=(300, d)) for d in (12, 20, 5))
    found = estimate(target, x, y, **QUIET, key=KEY)
    assert found.dims == (8, 8, 5)
    assert any("y: only 5 of the 8 components" in flag for flag in found.flags)


def test_more_features_than_samples_are_reduced_by_the_gram_matrix():
    rng = np.random.default_rng(0)
    low = rng.normal(size=(60, 2))
    target, x = low @ rng.normal(size=(2, 200)), low @ rng.normal(size=(2, 300)) + rng.normal(size=(60, 300))
    found = estimate(target, x, x[:, :90], reduce=PCA(2), **QUIET, key=KEY)
    assert found.dims == (2, 2, 2)
    assert float(found.pid.mi_x) > 3


def test_components_by_variance_are_capped_at_a_third_of_the_samples():
    rng = np.random.default_rng(0)
    target, x, y = rng.normal(size=(3, 60, 40))
    found = estimate(target, x, y, reduce=PCA(None, 0.95), debias="none", **QUIET, key=KEY)
    assert np.sum(found.dims) <= 20
    assert any("n/3 in all" in flag for flag in found.flags)
    assert any("not corrected, and the joint information is too high by" in flag for flag in found.flags)


def test_constant_and_repeated_features_are_left_out_and_said():
    target, x, y = small()
    wide = np.concatenate([x, x[:, :1] * 2, np.ones((400, 2))], axis=1)
    found = estimate(target, wide, y, **PLAIN, **QUIET, key=KEY)
    np.testing.assert_allclose(
        numbers(found.pid), numbers(estimate(target, x, y, **PLAIN, **QUIET, key=KEY).pid), atol=1e-9
    )
    assert found.dims == DIMS
    assert "x: 2 of 6 features are constant and were dropped." in found.flags
    assert any("x: 1 of 4 directions do not exist" in flag for flag in found.flags)


def test_equal_sources_are_redundant():
    target, x, _ = small()
    found = estimate(target, x, x, **PLAIN, key=KEY)
    np.testing.assert_allclose([found.pid.unique_x, found.pid.unique_y, found.pid.synergy], 0, atol=1e-9)
    assert float(found.pid.mi_joint) == pytest.approx(float(found.pid.mi_x), abs=1e-9)


@pytest.mark.parametrize("debias", ["none", "wishart", "bootstrap", "thinned"])
@pytest.mark.parametrize("measure", ["broja", "mmi"])
def test_a_copied_target_is_infinite_and_said(measure, debias):
    target, x, y = small()
    copying = np.concatenate([x, target[:, :1]], axis=1)
    found = estimate(target, copying, y, **PLAIN, measure=measure, debias=debias, key=KEY)
    assert np.isinf([found.pid.unique_x, found.pid.mi_x, found.pid.mi_joint]).all()
    assert np.isfinite([found.pid.redundancy, found.pid.mi_y]).all()
    assert found.ci is not None
    assert np.isfinite([found.ci.low.redundancy, found.ci.high.mi_y]).all()
    assert any("is a function of x: the information is infinite" in flag for flag in found.flags)


@pytest.mark.parametrize("how", ["ledoit_wolf", "oas"])
def test_shrinkage_serves_fewer_samples_than_dimensions(how):
    rng = np.random.default_rng(0)
    target = rng.normal(size=(20, 8))
    x, y = target + rng.normal(size=(20, 8)), rng.normal(size=(20, 8))
    found = estimate(target, x, y, **PLAIN, shrinkage=how, debias="none", **QUIET, key=KEY)
    assert np.isfinite(numbers(found.pid)).all()
    assert float(found.pid.mi_x) > float(found.pid.mi_y)
    assert any("shrinkage" in flag for flag in found.flags)


def test_shrinkage_intensities_are_their_definitions():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(30, 6)) * np.arange(1, 7)
    n, d = z.shape
    s = z.T @ z / n
    mean = np.trace(s) / d
    spread = np.sum((s - mean * np.eye(d)) ** 2)
    noise = sum(np.sum((np.outer(row, row) - s) ** 2) for row in z) / n**2
    assert shrinkage.intensity(z, "ledoit_wolf") == pytest.approx(min(noise / spread, 1))
    square, trace = np.trace(s @ s), np.trace(s)
    oas = ((1 - 2 / d) * square + trace**2) / ((n + 1 - 2 / d) * (square - trace**2 / d))
    assert shrinkage.intensity(z, "oas") == pytest.approx(min(oas, 1))
    np.testing.assert_allclose(np.trace(shrinkage.shrunk(s, 0.3)), np.trace(s))


TINY_FLOW = SeparableFlow(couplings=0, steps=20, rounds=2, folds=2, knots=8)


@pytest.mark.slow
def test_flows_are_an_option_of_the_estimate():
    target, x, y = (part[:, :2] for part in small())
    shared = estimate(target, x, y, reduce=None, gaussianize=TINY_FLOW, **QUIET, key=KEY)
    plain = estimate(target, x, y, reduce=None, **QUIET, key=KEY)
    np.testing.assert_allclose(numbers(shared.pid), numbers(plain.pid), atol=0.05)
    flow = dataclasses.replace(TINY_FLOW, shared_target=False)
    paper: dict[str, Any] = {**paper_config(), "gaussianize": flow, "reduce": None}
    found = estimate(target, x, y, **paper, key=KEY)
    assert min(found.pid.unique_x, found.pid.unique_y) == 0
    assert float(found.pid.mi_joint) >= max(found.pid.mi_x, found.pid.mi_y)


@pytest.mark.parametrize("couplings", [0, 1])
def test_layers_of_different_widths_are_padded_for_a_flow_without_couplings(monkeypatch, couplings):
    """The flow here gives back what it is given, the second target turned over."""
    shapes = []

    def given_back(flow, target, x, y, keys):
        shapes.append([v.shape for v in (target, x, y)])
        rest: Any = [jnp.ones(len(keys))] * 4
        return jax.tree.map(np.asarray, CrossFit(FlowLatents(target, x, y, -target), *rest))

    monkeypatch.setattr(gaussian_features, "cross_fit", given_back)
    draw = np.random.default_rng(0)
    reduced = [[draw.normal(size=(20, k)) for k in widths] for widths in ((2, 2), (3, 17), (1, 4))]
    flow = SeparableFlow(couplings=couplings, shared_target=False)
    flags = [[], []]
    found = gaussian_features._by_flow(flow, reduced, KEY, flags)
    for part, before in zip(found, [reduced[0], reduced[0], *reduced[1:]], strict=True):
        for ours, true in zip(part, before, strict=True):
            np.testing.assert_allclose(ours, true * (-1 if part is found[1] else 1), rtol=1e-6)
    apart = [[(1, 20, k) for k in widths] for widths in ((2, 3, 1), (2, 17, 4))]
    assert shapes == (apart if couplings else [[(2, 20, 16), (2, 20, 32), (2, 20, 16)]])
    assert flags == [[], []]


def test_the_named_configurations_are_choices_of_the_estimate():
    found = estimate(*small(), **recommended_config(), key=KEY)
    assert found.ci is not None
    assert found.null is not None
    assert paper_config()["reduce"] == PCA(None, 0.95)
    assert paper_config()["measure"] == "mmi"
    assert paper_config()["gaussianize"] == SeparableFlow(shared_target=False)


def test_the_bias_of_few_samples_is_said():
    rng = np.random.default_rng(0)
    target, x, y = rng.normal(size=(3, 60, 8))
    corrected = estimate(target, x, y, **PLAIN, **QUIET, key=KEY)
    assert any("bits was taken from the joint information" in flag for flag in corrected.flags)
    plain = estimate(target, x, y, **PLAIN, debias="none", **QUIET, key=KEY)
    bias = float(information_bias((8, 8, 8), 60).joint)
    assert any(f"too high by {bias:.2f} bits at n=60" in flag for flag in plain.flags)
    thinned = estimate(target, x, y, **PLAIN, debias="thinned", **QUIET, key=KEY)
    assert any("too few to be split" in flag for flag in thinned.flags)


# --- refusals


def bad(**changes):
    target, x, y = small(n=60)
    given = {"target": target, "x": x, "y": y} | {
        k: v for k, v in changes.items() if k in ("target", "x", "y")
    }
    rest = {k: v for k, v in changes.items() if k not in given}
    return lambda: estimate(**given, **{**PLAIN, **QUIET, **rest}, key=KEY)


def test_refusals():
    hole = small(n=60)[1].copy()
    hole[7, 2] = np.nan
    wide = np.random.default_rng(0).normal(size=(60, 40))
    cases = {
        r"n=60 samples for 86 dimensions \(6, 40, 40\)": bad(target=wide[:, :6], x=wide, y=wide[::-1]),
        r"1 values of x that are not, the first at \(7, 2\)": bad(x=hole),
        "same samples": bad(y=hole[:50]),
        "at least 8 samples": bad(target=hole[:5], x=hole[:5], y=hole[:5]),
        r"shape \(n, d\)": bad(x=hole[:, 0]),
        "real numbers": bad(x=small(n=60)[1] * 1j),
        "constant features only": bad(x=np.ones((60, 3))),
        "debias must be one of none, wishart, bootstrap, thinned": bad(debias="gpid"),
        "measure must be one of broja, mmi": bad(measure="ccs"),
        "gaussianize must be one of none, copula, flow": bad(gaussianize="rank"),
        "got debias='wishart' with shrinkage='oas'": bad(shrinkage="oas"),
        "leaves no common target": bad(gaussianize=SeparableFlow(shared_target=False)),
        "parametric draws need more samples": bad(
            x=wide, y=wide[::-1], shrinkage="oas", debias="none", ci=Bootstrap()
        ),
    }
    for words, call in cases.items():
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError, match="the choices of an estimate are reduce, .* got draws"):
        layerwise(*layered(), draws=3, key=KEY)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ValueError, match="layerwise needs an axis of layers"):
        layerwise(*small(), key=KEY)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Bootstrap(draws=1), "at least two draws"),
        (lambda: Bootstrap(level=90), "between 0 and 1, got 90"),
        (lambda: Bootstrap(kind="m-out-of-n"), "kind must be one of parametric, paired"),
        (lambda: Shuffle(draws=0), "at least two shuffles"),
        (lambda: PCA(3, 0.9), "exactly one of components and variance"),
    ],
)
def test_refused_choices(make, words):
    with pytest.raises(ValueError, match=words):
        make()

"""Bias corrections: by hand, on systems with known information, and coverage of the intervals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pid import PID, Bootstrap, Shuffle, estimate, layerwise
from pid.estimators import (
    ParametricBootstrap,
    Uncorrected,
    Wishart,
    WishartThinning,
    bias_correction,
    bootstrap,
    wishart_thinning,
)
from pid.gaussian import log_determinant_bias, wishart
from tests.helpers import pid_oracle as oracle
from tests.pid.gaussian_samples import (
    ATOMS,
    DIMS,
    INFORMATION,
    KEY,
    PLAIN,
    QUIET,
    draw,
    measure_of,
    small,
    to_array,
)


def test_wishart_correction_by_hand():
    plugin = np.array([0.5, 0.3, 0.2, 0.4, 0.8, 0.7, 1.4, 1.0])
    result = PID(*bias_correction.subtract_wishart_bias(plugin, np.array([0.1, 0.2, 0.35]), "broja"))
    union = 1.0 * (1.4 - 0.35) / 1.4
    np.testing.assert_allclose([result.mi_x, result.mi_y, result.mi_joint], [0.7, 0.5, 1.05], atol=1e-15)
    assert float(result.union) == pytest.approx(union)
    assert float(result.unique_x) == pytest.approx(union - 0.5)
    assert float(result.redundancy) == pytest.approx(0.7 + 0.5 - union)


def test_corrected_information_stays_in_its_bounds():
    plugin = np.array([0.05, 0.05, 0.0, 0.01, 0.1, 0.05, 0.11, 0.1])
    result = PID(*bias_correction.subtract_wishart_bias(plugin, np.array([0.02, 0.2, 0.3]), "broja"))
    np.testing.assert_allclose(
        [result.mi_x, result.mi_y, result.mi_joint, result.union], [0.08, 0, 0.08, 0.08], atol=1e-15
    )
    assert result.redundancy == 0


def test_mmi_is_the_function_of_the_corrected_informations():
    plugin = np.array([0.7, 0.1, 0.0, 0.6, 0.8, 0.7, 1.4, 0.8])
    result = PID(*bias_correction.subtract_wishart_bias(plugin, np.array([0.2, 0.05, 0.1]), "mmi"))
    np.testing.assert_allclose(
        [result.redundancy, result.unique_x, result.unique_y], [0.6, 0, 0.05], atol=1e-15
    )
    assert float(result.synergy) == pytest.approx(1.3 - 0.65)


def test_bootstrap_correction_takes_away_the_bias_of_the_draws():
    plugin = np.array([0.5, 0.3, 0.2, 0.4, 0.8, 0.7, 1.4, 1.0])
    draws = plugin + np.array([[0.0, 0, 0, 0, 0.1, 0.1, 0.2, 0.15], [0.0, 0, 0, 0, 0.3, 0.1, 0.2, 0.05]])
    result = PID(*bias_correction.subtract_bootstrap_bias(plugin, draws, "broja"))
    np.testing.assert_allclose(
        [result.mi_x, result.mi_y, result.mi_joint, result.union], [0.6, 0.6, 1.2, 0.9], atol=1e-15
    )


def test_thinned_union_is_the_mean_information_plus_half_the_unique_parts():
    plugin = np.array([0.5, 0.3, 0.2, 0.4, 0.8, 0.7, 1.4, 1.0])
    result = PID(*bias_correction.replace_unique(plugin, np.array([0.1, 0.2, 0.35]), np.array([0.2, 0.25])))
    assert float(result.union) == pytest.approx(0.6 + 0.2)
    np.testing.assert_allclose(
        wishart_thinning.atoms_of(np.array([0.7, 0.5, 1.05]), 0.2),
        [result.redundancy, result.unique_x, result.unique_y, result.synergy, result.union],
        atol=1e-15,
    )


def test_a_split_covariance_is_two_independent_wishart_ones(x64):
    """νS = W₁ + W₂: both log-determinants have the bias of their own degrees of freedom, and are uncorrelated."""
    d, nu, repeats = 4, 60, 4000
    sizes = wishart_thinning.split_sizes(d, nu)
    assert sizes is not None

    def split_log_dets(key):
        full, split = jax.random.split(key)
        root = wishart.sample_bartlett(full, d, nu)
        beta = wishart_thinning.beta_variates(
            wishart_thinning.sample_split_factors(split, 1, d, nu, float)[0]
        )[1]
        first = root @ beta @ root.T
        second = root @ root.T - first
        return jnp.stack(
            [jnp.linalg.slogdet(w)[1] for w in (first / sizes.uneven, second / (nu - sizes.uneven))]
        )

    logs = np.asarray(jax.lax.map(split_log_dets, jax.random.split(KEY, repeats)))
    errors = logs.std(axis=0) / repeats**0.5
    expected = [float(log_determinant_bias(d, n + 1)) for n in (sizes.uneven, nu - sizes.uneven)]
    assert np.all(np.abs(logs.mean(axis=0) - expected) < 4 * errors)
    assert abs(np.corrcoef(logs.T)[0, 1]) < 4 / repeats**0.5


def test_the_plugin_of_thinning_is_half_the_unique_parts():
    samples = small()
    result = estimate(*samples, **PLAIN, debias="none", **QUIET, key=KEY)
    cov = np.cov(np.concatenate(samples, axis=1), rowvar=False)
    spec = bootstrap.BootstrapSpec(measure_of(DIMS), two_targets=False, n=400)
    values = bootstrap.run_in_bits(
        wishart_thinning.half_unique_values, spec, cov[None], np.ones((1, 9), bool), np.array([DIMS]), KEY
    )
    assert values[0, 1] == pytest.approx(float(result.plugin.unique_x + result.plugin.unique_y) / 2, abs=1e-9)


def test_information_is_within_a_tenth_of_a_bit_at_900_samples_and_30_dimensions():
    cov, dims, truth = oracle.structured_system(30)
    result = layerwise(*draw(cov, dims, 900, repeats=20), **PLAIN, **QUIET, checks=False, key=KEY)
    for name in INFORMATION:
        assert float(getattr(result.pid, name).mean()) == pytest.approx(truth[name], abs=0.1), name
        assert float(getattr(result.plugin, name).mean()) > truth[name] + 0.4, name


@pytest.mark.parametrize("d", [10, 20])
def test_independent_data_have_no_atoms(d):
    dims = (d, d, d)
    result = layerwise(*draw(np.eye(3 * d), dims, 900, repeats=20), **PLAIN, **QUIET, checks=False, key=KEY)
    for name in (*ATOMS, *INFORMATION):
        assert float(getattr(result.pid, name).mean()) < 0.05, name


@pytest.mark.slow
def test_thinning_takes_the_bias_of_the_atoms_away():
    """Structured system, d = 12, n = 900: the bias is below .06 bits (four standard errors); "wishart" leaves .15."""
    cov, dims, truth = oracle.structured_system(12)
    samples = draw(cov, dims, 900, repeats=40)
    thinned, scaled = (
        layerwise(*samples, **PLAIN, **QUIET, debias=debias, checks=False, key=KEY)
        for debias in ("thinned", "wishart")
    )
    for name in ATOMS:
        assert float(getattr(thinned.pid, name).mean()) == pytest.approx(truth[name], abs=0.06), name
        assert abs(float(getattr(scaled.pid, name).mean()) - truth[name]) > 0.1, name


@pytest.mark.slow
def test_intervals_of_information_cover_as_stated():
    """Over 200 repeats the coverage is 90 % within three standard errors."""
    cov, dims, truth = oracle.structured_system(12)
    hits = []
    for seed in range(4):
        result = layerwise(
            *draw(cov, dims, 900, repeats=50, seed=seed),
            **PLAIN,
            debias="wishart",
            checks=False,
            null=None,
            key=jax.random.key(seed),
        )
        assert result.ci is not None
        hits.append(
            [
                (getattr(result.ci.low, name) <= truth[name]) & (truth[name] <= getattr(result.ci.high, name))
                for name in INFORMATION
            ]
        )
    coverage = np.mean(np.concatenate(hits, axis=1), axis=1)
    assert np.all(np.abs(coverage - 0.9) < 3 * (0.09 / 200) ** 0.5), coverage


# --- the family


@pytest.mark.parametrize(
    "method", [Uncorrected(), Wishart(), ParametricBootstrap(), WishartThinning()], ids=lambda m: m.name
)
def test_a_method_and_its_short_name_give_the_same(method):
    samples, options = small(n=60), {**PLAIN, "ci": Bootstrap(4), "null": Shuffle(2)}
    a, b = (estimate(*samples, **options, debias=debias, key=KEY) for debias in (method, method.name))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_no_method_is_the_plugin():
    result = estimate(*small(n=60), **PLAIN, **QUIET, debias=None, key=KEY)
    np.testing.assert_array_equal(to_array(result.pid), to_array(result.plugin))


def test_a_method_with_shrinkage_is_refused():
    with pytest.raises(ValueError, match=r"got debias=Wishart\(\) with shrinkage='oas'"):
        estimate(*small(n=60), **PLAIN, **QUIET, debias=Wishart(), shrinkage="oas", key=KEY)

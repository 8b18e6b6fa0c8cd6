"""Bootstrap draws, shuffles and comparisons: against NumPy, on known systems, errors."""

from typing import Any

import jax
import numpy as np
import pytest

from pid import (
    PCA,
    PID,
    Bootstrap,
    Shuffle,
    Wishart,
    aggregate,
    compare,
    decompose,
    estimate,
    layerwise,
    load_estimate,
    save_estimate,
    trajectory_correlation,
)
from pid.estimators import bootstrap
from pid.features.resampling import INDEPENDENT, null_orders, permutations_on_host
from tests.helpers import pid_oracle as oracle
from tests.pid.gaussian_samples import DIMS, KEY, PLAIN, QUIET, draw, layered, measure_of, small, to_array

# --- resampling against NumPy


def test_paired_draws_decompose_resampled_samples(x64):
    samples = small(n=50)
    z = np.concatenate(samples, axis=1)[None]
    spec = bootstrap.BootstrapSpec(measure_of(DIMS), two_targets=False, n=50)
    values = bootstrap.run_in_bits(bootstrap.paired_values, spec, z, np.ones((1, 9), bool), KEY, 3)
    draws = np.asarray(jax.random.randint(jax.random.split(KEY, 1)[0], (150,), 0, 50)).reshape(3, 50)
    for value, rows in zip(values, draws, strict=True):
        cov = np.cov(z[0][rows], rowvar=False)
        np.testing.assert_allclose(value[0], to_array(decompose(cov, DIMS)), atol=1e-10)


@pytest.mark.parametrize("name", ["paired_values", "shuffled_values"])
def test_blocks_of_samples_change_nothing(x64, monkeypatch, name):
    z = np.concatenate(small(n=50), axis=1)[None]
    covs = [np.cov(z[0], rowvar=False)[None]] if name == "shuffled_values" else []
    spec = bootstrap.BootstrapSpec(measure_of(DIMS), two_targets=False, n=50)
    program = getattr(bootstrap, name)
    values = []
    for products in (bootstrap.MAX_PRODUCTS, 45 * 7):
        monkeypatch.setattr(bootstrap, "MAX_PRODUCTS", products)
        jax.clear_caches()
        values.append(bootstrap.run_in_bits(program, spec, z, *covs, np.ones((1, 9), bool), KEY, 3))
    np.testing.assert_allclose(*values, atol=1e-12)
    assert np.any(values[0] != 0)


@pytest.mark.parametrize(("name", "draws"), [("paired_values", 64), ("shuffled_values", 20)])
def test_memory_does_not_grow_with_the_number_of_products(x64, name, draws):
    """20,000 samples of 60 coordinates have 1,830 products each, 279 MiB in all."""
    n, size = 20_000, 60
    spec = bootstrap.BootstrapSpec(measure_of((20, 20, 20)), two_targets=False, n=n)
    shapes = [(1, n, size), *([(1, size, size)] if name == "shuffled_values" else [])]
    arrays = [jax.ShapeDtypeStruct(shape, float) for shape in shapes]
    masks = jax.ShapeDtypeStruct((1, size), bool)
    program = getattr(bootstrap, name).lower(spec, *arrays, masks, KEY, draws).compile()
    assert program.memory_analysis().temp_size_in_bytes < 100 * 2**20


def test_shuffles_permute_the_target_alone(x64):
    samples = small(n=50)
    z = np.concatenate(samples, axis=1)[None]
    cov = np.cov(z[0], rowvar=False)
    spec = bootstrap.BootstrapSpec(measure_of(DIMS), two_targets=False, n=50)
    values = bootstrap.run_in_bits(
        bootstrap.shuffled_values, spec, z, cov[None], np.ones((1, 9), bool), KEY, 2
    )
    orders = np.asarray(null_orders(jax.random.split(KEY, 1)[0], 50, 2))
    for value, order in zip(values, orders, strict=True):
        shuffled = np.concatenate([samples[0][order], *samples[1:]], axis=1)
        np.testing.assert_allclose(
            value[0], to_array(decompose(np.cov(shuffled, rowvar=False), DIMS)), atol=1e-10
        )


def test_orders_sorted_on_the_host_are_those_of_the_program(x64):
    """79 draws are two chunks of 40, the last draw left out."""
    keys, count = jax.random.split(KEY, 2), 40
    on_host = permutations_on_host(keys, 50, count)
    expected = np.stack([null_orders(key, 50, count) for key in keys])
    np.testing.assert_array_equal(on_host, expected)
    z = np.concatenate(small(n=50), axis=1)[None]
    cov = np.cov(z[0], rowvar=False)[None]
    spec = bootstrap.BootstrapSpec(measure_of(DIMS), two_targets=False, n=50)
    arguments = bootstrap.shuffled_values, spec, z, cov, np.ones((1, 9), bool), KEY, 79
    by_key = bootstrap.run_in_bits(*arguments)
    by_orders = bootstrap.run_in_bits(*arguments, INDEPENDENT, on_host)
    assert by_key.shape == (79, 1, 8)
    np.testing.assert_allclose(by_orders, by_key, atol=1e-12)


def test_parametric_draws_scatter_about_the_plugin_as_samples_do():
    """Standard deviations over draws and over samples of the system agree within four standard errors."""
    cov = oracle.channel_system(np.diag([2.0, 1, 0.5]), np.diag([0.5, 1, 2]))
    single = estimate(*small(n=2000), **PLAIN, debias="none", ci=Bootstrap(draws=400), null=None, key=KEY)
    repeats = layerwise(
        *draw(cov, DIMS, 2000, repeats=200), **PLAIN, debias="none", checks=False, **QUIET, key=KEY
    )
    assert single.draws is not None
    a, b = to_array(single.draws).std(axis=0), to_array(repeats.pid).std(axis=0)
    np.testing.assert_allclose(a, b, rtol=4 * (1 / 800 + 1 / 400) ** 0.5)


def test_missing_coordinates_of_a_layer_change_nothing():
    """A layer with fewer directions than another has the results of that layer alone, except for random ones."""
    target, x, y = small()
    flat = np.stack([x, np.concatenate([x[:, :2], x[:, :1] + x[:, 1:2]], axis=1)])
    options = {**PLAIN, "debias": "wishart", "ci": None, "null": None, "key": KEY}
    layered_result = layerwise(target, flat, y, **options)
    alone = estimate(target, flat[1], y, **options)
    assert layered_result.dims == (DIMS, (3, 2, 3))
    np.testing.assert_allclose(to_array(layered_result.pid)[1], to_array(alone.pid), atol=1e-10)
    assert layered_result.flags == (f"layer 1: {alone.flags[0]}",)
    assert "1 of 3 directions do not exist" in alone.flags[0]


def test_one_program_serves_all_estimates_of_a_shape():
    estimate(*small(), **PLAIN, key=KEY)
    programs = [bootstrap.plugin_values, bootstrap.parametric_values, bootstrap.shuffled_values]
    cache_sizes = [p._cache_size() for p in programs]  # pyright: ignore[reportAttributeAccessIssue]
    estimate(*small(seed=5), **PLAIN, key=jax.random.key(9))
    assert cache_sizes == [p._cache_size() for p in programs]  # pyright: ignore[reportAttributeAccessIssue]


# --- null, comparison, trajectories


def test_the_null_lies_below_what_is_there():
    result = estimate(*small(), **PLAIN, ci=None, null=Shuffle(draws=20), key=KEY)
    assert result.null is not None
    assert float(result.null.high.mi_joint) < 0.1 < float(result.pid.mi_joint)


PAIRED: dict[str, Any] = {**PLAIN, "ci": Bootstrap(draws=100, kind="paired"), "null": None}


def test_equal_sides_differ_by_nothing():
    base, other = (layerwise(*layered(), **PAIRED, key=KEY) for _ in range(2))
    result = compare(base, other)
    for pid in (result.difference, *result.ci):
        np.testing.assert_array_equal(to_array(pid), 0)


def test_paired_intervals_are_tighter_than_those_of_each_side():
    target, x, y = small()
    rng = np.random.default_rng(0)
    base = estimate(target, x, y, **PAIRED, key=KEY)
    other = estimate(target, x + 0.3 * rng.normal(size=x.shape), y, **PAIRED, key=KEY)
    result = compare(base, other)
    assert base.ci is not None
    width = result.ci.high.mi_x - result.ci.low.mi_x
    assert width < 0.7 * (base.ci.high.mi_x - base.ci.low.mi_x)
    assert result.ci.high.mi_x < 0
    assert float(result.difference.mi_x) == pytest.approx(float(other.pid.mi_x - base.pid.mi_x), abs=1e-12)


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


ALIKE = {
    "measure": "broja",
    "debias": "none",
    "reduce": PCA(2),
    "gaussianize": "copula",
}


@pytest.mark.parametrize("name", ALIKE)
def test_comparisons_of_what_was_not_made_alike_are_refused(name, tmp_path):
    options: dict[str, Any] = {
        **PAIRED,
        "measure": "mmi",
        "debias": "wishart",
        "ci": Bootstrap(4, kind="paired"),
    }
    base = estimate(*small(n=60), **options, key=KEY)
    other = estimate(*small(n=60), **{**options, name: ALIKE[name]}, key=KEY)
    save_estimate(tmp_path / "other", other)
    for side in (other, load_estimate(tmp_path / "other")):
        words = f"made alike, got {name} .* and .*; estimate both with the same choices"
        with pytest.raises(ValueError, match=words):
            compare(base, side)
    compare(base, other._replace(choices=()))  # a file of an earlier version does not say


def test_comparisons_of_equal_choices_in_other_words_are_served():
    def paired(**options):
        return estimate(*small(n=60), **{**PAIRED, "ci": Bootstrap(4, kind="paired"), **options}, key=KEY)

    compare(paired(debias="none"), paired(debias=None))
    compare(paired(debias="wishart"), paired(debias=Wishart(), null=Shuffle(2)))


def layers_of(*rows):
    return PID(*np.array(rows, float).T)


def test_correlation_of_trajectories_by_hand():
    a = layers_of([1, 0, 0, 1, 1, 1, 2, 1], [2, 0, 1, 1, 2, 3, 4, 3], [3, 0, 5, 1, 3, 8, 9, 8])
    b = layers_of([2, 1, 0, 1, 1, 1, 2, 1], [4, 2, -1, 1, 2, 3, 4, 3], [6, 3, -5, 1, 3, 8, 9, 8])
    result = trajectory_correlation(a, b)
    assert float(result.redundancy) == pytest.approx(1)
    assert float(result.unique_y) == pytest.approx(-1)
    assert np.isnan(result.unique_x)
    with pytest.raises(ValueError, match="at least three layers"):
        trajectory_correlation(layers_of([1] * 8, [2] * 8), layers_of([1] * 8, [2] * 8))


def test_aggregates_are_the_last_the_mean_and_the_sum():
    a = layers_of([1] * 8, [2] * 8, [6] * 8)
    result = [float(aggregate(a, how).union) for how in ("final", "mean_layers", "sum_layers")]
    assert result == [6, 3, 9]
    with pytest.raises(ValueError, match="how must be one of final, mean_layers, sum_layers, got 'mean'"):
        aggregate(a, "mean")
    with pytest.raises(ValueError, match="use `layerwise`"):
        aggregate(PID(*[np.ones(())] * 8), "final")

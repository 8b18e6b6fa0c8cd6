"""From samples to PID: laws of `estimate` and `layerwise`, named configurations, warnings, errors."""

import inspect

import jax
import numpy as np
import pytest
from threadpoolctl import threadpool_info

from pid import (
    PCA,
    Bootstrap,
    CrossFittedRegression,
    SeparableFlow,
    Shuffle,
    decompose,
    estimate,
    layerwise,
    paper_config,
    recommended_config,
)
from pid.estimators import bootstrap
from pid.gaussian import information_bias
from tests.pid.gaussian_samples import DIMS, KEY, PLAIN, QUIET, layered, small, to_array


def test_the_plugin_is_the_decomposition_of_the_sample_covariance():
    samples = small()
    result = estimate(*samples, **PLAIN, **QUIET, key=KEY)
    cov = np.cov(np.concatenate(samples, axis=1), rowvar=False)
    np.testing.assert_allclose(to_array(result.plugin), to_array(decompose(cov, DIMS)), atol=1e-10)
    assert (result.n, result.dims, result.flags) == (400, DIMS, ())


@pytest.mark.parametrize("debias", ["none", "wishart", "bootstrap", "thinned"])
@pytest.mark.parametrize("measure", ["broja", "mmi"])
def test_corrected_atoms_add_up_and_are_not_negative(debias, measure):
    result = estimate(*small(), **PLAIN, debias=debias, measure=measure, null=None, key=KEY)
    p = result.pid
    assert float(p.redundancy + p.unique_x) == pytest.approx(float(p.mi_x), abs=1e-12)
    assert float(p.redundancy + p.unique_y) == pytest.approx(float(p.mi_y), abs=1e-12)
    assert float(sum(p[:4])) == pytest.approx(float(p.mi_joint), abs=1e-12)
    assert np.min(to_array(p)) > -1e-12
    if measure == "mmi":
        assert min(p.unique_x, p.unique_y) == 0
    assert result.ci is not None
    assert np.all(to_array(result.ci.low) <= to_array(p) + 1e-12)
    assert np.all(to_array(result.ci.high) >= to_array(p) - 1e-12)


@pytest.mark.parametrize("debias", ["wishart", "thinned"])
def test_a_layer_is_estimated_as_it_would_be_alone(debias):
    target, x, y = layered()
    layered_result = layerwise(target, x, y, **PLAIN, debias=debias, key=KEY)
    alone = estimate(target, x[1], y, **PLAIN, debias=debias, key=KEY)
    assert layered_result.ci is not None
    assert layered_result.null is not None
    assert layered_result.draws is not None
    assert alone.ci is not None
    assert alone.null is not None
    assert alone.draws is not None
    for layers, single in (
        (layered_result.pid, alone.pid),
        (layered_result.ci.low, alone.ci.low),
        (layered_result.ci.high, alone.ci.high),
        (layered_result.null.high, alone.null.high),
    ):
        np.testing.assert_allclose(to_array(layers)[1], to_array(single), atol=1e-12)
    np.testing.assert_allclose(layered_result.draws.union[:, 1], alone.draws.union, atol=1e-12)


def test_blas_has_one_thread_during_an_estimate(monkeypatch):
    numbers = []

    def look(*args):
        numbers.append(
            {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
        )
        return plugin(*args)

    plugin = bootstrap.plugin
    monkeypatch.setattr(bootstrap, "plugin", look)
    before = threadpool_info()
    estimate(*small(), **PLAIN, **QUIET, key=KEY)
    assert numbers == [{1}]
    assert threadpool_info() == before


def test_equal_keys_give_equal_results_and_others_do_not():
    samples = small()
    a, b, c = (
        estimate(*samples, **PLAIN, debias="wishart", null=None, key=jax.random.key(k)) for k in (0, 0, 1)
    )
    assert a.ci is not None
    assert b.ci is not None
    assert c.ci is not None
    np.testing.assert_array_equal(to_array(a.ci.low), to_array(b.ci.low))
    assert np.all(to_array(a.ci.low) != to_array(c.ci.low))
    np.testing.assert_array_equal(to_array(a.pid), to_array(c.pid))


def test_increasing_maps_of_coordinates_change_nothing_for_the_copula():
    target, x, y = small()
    warped = estimate(np.cbrt(target), x**3, np.sinh(y), reduce=None, **QUIET, key=KEY)
    plain = estimate(target, x, y, reduce=None, **QUIET, key=KEY)
    np.testing.assert_allclose(to_array(warped.pid), to_array(plain.pid), atol=1e-12)


# --- configurations, warnings, refusals


@pytest.mark.parametrize("function", [estimate, layerwise], ids=lambda f: f.__name__)
def test_the_signature_shows_every_choice_with_its_default(function):
    parameters = inspect.signature(function).parameters
    choices = [
        "reduce",
        "gaussianize",
        "measure",
        "debias",
        "shrinkage",
        "ci",
        "null",
        "kinds",
        "checks",
        "groups",
    ]
    assert list(parameters) == ["target", "x", "y", *choices, "key"]
    defaults = [parameters[name].default for name in choices]
    kinds, checks, groups = None, True, None
    assert defaults == [
        *(CrossFittedRegression(), "copula", "broja", "thinned", None, Bootstrap(), Shuffle()),
        *(kinds, checks, groups),
    ]
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in [*choices, "key"])


def test_the_named_configurations_are_choices_of_the_estimate():
    result = estimate(*small(), **recommended_config(), key=KEY)
    assert result.ci is not None
    assert result.null is not None
    assert paper_config().get("reduce") == PCA(None, 0.95)
    assert paper_config().get("measure") == "mmi"
    assert paper_config().get("gaussianize") == SeparableFlow(shared_target=False)


def test_the_bias_of_few_samples_is_said():
    rng = np.random.default_rng(0)
    target, x, y = rng.normal(size=(3, 60, 8))
    corrected = estimate(target, x, y, **PLAIN, debias="wishart", **QUIET, key=KEY)
    assert any("bits was taken from the joint information" in flag for flag in corrected.flags)
    plain = estimate(target, x, y, **PLAIN, debias="none", **QUIET, key=KEY)
    bias = float(information_bias((8, 8, 8), 60).joint)
    assert any(f"too high by {bias:.2f} bits at n=60" in flag for flag in plain.flags)
    thinned = estimate(target, x, y, **PLAIN, debias="thinned", **QUIET, key=KEY)
    assert any("too few to be split" in flag for flag in thinned.flags)


def call_with(**changes):
    target, x, y = small(n=60)
    samples = {"target": target, "x": x, "y": y} | {
        k: v for k, v in changes.items() if k in ("target", "x", "y")
    }
    options = {k: v for k, v in changes.items() if k not in samples}
    return lambda: estimate(**samples, **{**PLAIN, **QUIET, **options}, key=KEY)


def test_refusals():
    with_nan = small(n=60)[1].copy()
    with_nan[7, 2] = np.nan
    wide = np.random.default_rng(0).normal(size=(60, 40))
    cases = {
        r"n=60 samples for 86 dimensions \(6, 40, 40\)": call_with(target=wide[:, :6], x=wide, y=wide[::-1]),
        r"1 values of x that are not, the first at \(7, 2\)": call_with(x=with_nan),
        "same samples": call_with(y=with_nan[:50]),
        "at least 8 samples": call_with(target=with_nan[:5], x=with_nan[:5], y=with_nan[:5]),
        r"shape \(n, d\)": call_with(x=with_nan[:, 0]),
        "real numbers": call_with(x=small(n=60)[1] * 1j),
        "constant features only": call_with(x=np.ones((60, 3))),
        "debias must be one of none, wishart, bootstrap, thinned": call_with(debias="gpid"),
        "measure must be one of broja, mmi": call_with(measure="ccs"),
        "gaussianize must be one of none, copula, flow, auto": call_with(gaussianize="rank"),
        "got debias='thinned' with shrinkage='oas'": call_with(shrinkage="oas"),
        "leaves no common target": call_with(gaussianize=SeparableFlow(shared_target=False)),
        "parametric draws need more samples": call_with(
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


def test_several_columns_of_labels_with_few_samples_of_each_row_are_no_label():
    rng = np.random.default_rng(0)
    target = rng.choice([0, 1, 8, 16], size=(400, 5))
    x, y = (target + rng.normal(size=(2, 400, 5))).astype(float)
    result = estimate(target, x, y, key=KEY, **QUIET)
    assert result.verdict == "not to be used"
    assert "looks categorical" in " ".join(result.reasons) or "look categorical" in " ".join(result.reasons)
    assert estimate(target, x, y, key=KEY, kinds={"target": "ordinal"}, **QUIET).verdict != "not to be used"
    with pytest.raises(ValueError, match="'target': 'ordinal'"):
        estimate(target, x, y, key=KEY, kinds={"target": "categorical"}, **QUIET)


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_source_of_labels_is_invariant_to_renumbering(name):
    """A source that is stated to be categorical becomes indicators, about which nothing is flagged."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    target = np.array([0.0, 2, -1])[labels][:, None] + rng.normal(size=(400, 1))
    other = rng.normal(size=(400, 2))
    results = []
    for numbers in ([0, 1, 2], [1, 0, 2]):
        samples = {"target": target, "x": other, "y": other} | {name: np.array(numbers)[labels][:, None]}
        results.append(estimate(**samples, kinds={name: "categorical"}, debias="wishart", **QUIET, key=KEY))
    np.testing.assert_allclose(to_array(results[0].pid), to_array(results[1].pid), atol=1e-9)
    assert float(getattr(results[0].pid, f"mi_{name}")) > 0.3
    assert not [flag for flag in results[0].flags if flag.kind == "kind of variable"]

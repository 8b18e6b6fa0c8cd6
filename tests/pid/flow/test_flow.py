"""Separable flows: one fit, errors, former names."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pid import flow as flow_module
from pid.flow import FlowConfig, SeparableFlow, cross_fit
from tests.helpers.sampling import sample
from tests.pid.flow.cases import (
    TINY,
    keys,
    random,
    to_float32,
    warped_system,
)

# one fit


@pytest.mark.parametrize("shared", sample([True, False], every=2))
def test_a_fit_has_one_map_per_variable_or_one_per_pair(shared, x64):
    # variables of one dimension too; inputs are float64, and training is in float32
    m, x, y, _ = warped_system(0, 200, (1, 2, 1), rotate=True)
    flow = SeparableFlow(**{**vars(TINY), "shared_target": shared})
    fitted = flow.fit(*(jnp.asarray(v) for v in (m, x, y)), key=jax.random.key(0))
    latents = fitted.transform(*(jnp.asarray(v) for v in (m, x, y)))
    assert len(fitted.model.bijections) == (3 if shared else 4)
    assert (latents.target_y is None) == shared
    assert latents.x.dtype == jnp.float32
    back = fitted.inverse(latents)
    for a, b in zip(back[:3], (m, x, y), strict=True):
        # the inverse of a float32 spline loses digits where the spline is steep
        np.testing.assert_allclose(a, b, atol=1e-2)
    assert fitted.validation_curve.shape == (6,)
    with pytest.warns(DeprecationWarning, match="FittedFlow.course is now called validation_curve"):
        assert fitted.course is fitted.validation_curve  # pyright: ignore[reportAttributeAccessIssue]


def test_log_prob_is_a_density_in_the_units_of_the_data():
    m, x, y, _ = warped_system(0, 300, (1, 1, 1), rotate=False)
    fitted = SeparableFlow(couplings=0, steps=2, rounds=1).fit(
        *to_float32(m, x, 3 * y + 1), key=jax.random.key(0)
    )
    # with m and y fixed at one value, the density of x is log_prob up to a constant: compare two points with
    # the Jacobian by finite differences
    points = to_float32(np.full((2, 1), 0.3), np.asarray([[0.5], [0.7]]), np.full((2, 1), 1.2))
    (base, _), step = fitted.model.bases, 1e-2
    nearby = fitted.transform(points[0], points[1] + step, points[2])
    latents = fitted.transform(*points)
    slope = (nearby.x - latents.x)[:, 0] / step
    normal = stats.multivariate_normal(base.mean, np.asarray(base.factor @ base.factor.T))  # pyright: ignore[reportArgumentType]
    expected = normal.logpdf(np.hstack([latents.target, latents.x])) + np.log(slope)
    difference = fitted.log_prob(*points)
    # the slope is a finite difference with a step of 1e-2
    np.testing.assert_allclose(difference[1] - difference[0], expected[1] - expected[0], atol=0.05)


def test_a_fit_does_not_read_the_rows_it_is_judged_by(x64):
    # shapes as above: one compiled program for both tests
    m, x, y, _ = warped_system(0, 200, (1, 2, 1), rotate=True)
    order = jax.random.permutation(jax.random.split(jax.random.key(0))[0], 200)
    test_rows = np.asarray(order)[:40]
    changed = [np.array(v) for v in (m, x, y)]
    for v in changed:
        v[test_rows] += 5.0
    first, second = (TINY.fit(*to_float32(*v), key=jax.random.key(0)) for v in ((m, x, y), changed))
    assert first.held_out.flow != second.held_out.flow
    np.testing.assert_array_equal(first.validation_curve, second.validation_curve)
    first_latents, second_latents = (f.transform(*to_float32(m, x, y)) for f in (first, second))
    if bool(first.beats_copula) == bool(second.beats_copula):
        np.testing.assert_array_equal(first_latents.x, second_latents.x)


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


# former names and what an import loads


@pytest.mark.parametrize("former", ["CrossFitted", "Fitted", "Gaussianized", "HeldOut", "crossfit"])
def test_former_names_of_the_room_still_work_and_warn(former):
    with pytest.warns(DeprecationWarning, match=f"pid.flow.{former} is now"):
        value = getattr(flow_module, former)
    assert value in {getattr(flow_module, name) for name in dir(flow_module) if not name.startswith("_")}


def test_former_names_of_fields_still_work_and_warn():
    fields: dict[str, Any] = {"reach": 3.0}
    with pytest.warns(DeprecationWarning, match=r"FlowConfig\(reach=...\) is now called tail_bound="):
        flow = SeparableFlow(**fields)
    assert flow == SeparableFlow(tail_bound=3.0)
    with pytest.warns(DeprecationWarning, match="SeparableFlow.reach is now called tail_bound"):
        assert flow.reach == 3.0  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.warns(DeprecationWarning, match="FlowConfig.rows is now called bijection_inputs"):
        assert flow.rows(*(jnp.zeros((1, n)) for n in (1, 2, 3)))[2].shape == (1, 3)


def test_a_flow_is_its_configuration_and_a_copy_keeps_its_class():
    flow = dataclasses.replace(SeparableFlow(), folds=3)
    assert isinstance(flow, FlowConfig)
    assert type(flow) is SeparableFlow
    assert (flow.folds, flow.steps) == (3, FlowConfig().steps)
    assert hash(flow) == hash(SeparableFlow(folds=3))


LOADED = """
import sys, types
package = types.ModuleType("pid")  # the subpackages without the exports of `pid`
package.__path__ = ["pid"]
sys.modules["pid"] = package
import pid.flow, pid.gaussian, pid.features.gaussianize, pid.measures
from pid.flow import FlowConfig
heavy = {"distrax", "flax", "optax", "tensorflow_probability", "scipy.optimize", "scipy.stats"}
print(sorted(heavy & set(sys.modules)))
"""


def test_covariances_and_configurations_load_neither_flows_nor_statistics():
    root = Path(__file__).resolve().parents[3]
    process = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=60, cwd=root, check=False
    )
    assert process.stdout.strip() == "[]", process.stderr

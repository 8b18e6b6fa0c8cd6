"""From samples to Gaussian features: reduction, copula, flow, missing directions, shrinkage."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pid import (
    PCA,
    SeparableFlow,
    estimate,
    paper_config,
)
from pid.estimators import gaussian_features
from pid.flow import CrossFit, FlowLatents
from pid.gaussian import shrinkage
from tests.helpers.sampling import sample
from tests.pid.gaussian_samples import (
    DIMS,
    KEY,
    PLAIN,
    QUIET,
    small,
    to_array,
)


def test_only_wide_variables_are_reduced():
    """A wide target keeps components, a wide source becomes a coordinate for each one of the target's."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 20)), rng.normal(size=(300, 16))
    target = np.concatenate([3 * (x[:, :8] + rng.normal(size=(300, 8))), rng.normal(size=(300, 16))], axis=1)
    result = estimate(target, x, y, **QUIET, key=KEY)
    assert result.dims == (8, 8, 16)
    assert any("kept of target 8 coordinates of 24 features" in flag for flag in result.flags)


def test_principal_components_do_not_rotate_what_fits():
    """Features that are no more than the components stay as they are, so that increasing maps change nothing."""
    target, x, y = small()
    fixed = estimate(target, x, y, reduce=PCA(8), **QUIET, key=KEY)
    assert (
        to_array(fixed.pid).tolist()
        == to_array(estimate(target, x, y, reduce=None, **QUIET, key=KEY).pid).tolist()
    )
    assert fixed.variance == (1.0, 1.0, 1.0)


def test_more_features_than_samples_are_reduced_by_the_gram_matrix():
    rng = np.random.default_rng(0)
    low = rng.normal(size=(60, 2))
    target, x = low @ rng.normal(size=(2, 200)), low @ rng.normal(size=(2, 300)) + rng.normal(size=(60, 300))
    result = estimate(target, x, x[:, :90], reduce=PCA(2), **QUIET, key=KEY)
    assert result.dims == (2, 2, 2)
    assert float(result.pid.mi_x) > 3


def test_components_by_variance_are_capped_at_a_third_of_the_samples():
    rng = np.random.default_rng(0)
    target, x, y = rng.normal(size=(3, 60, 40))
    result = estimate(target, x, y, reduce=PCA(None, 0.95), debias="none", **QUIET, key=KEY)
    assert np.sum(result.dims) <= 20
    assert any("n/3 in all" in flag for flag in result.flags)
    assert any("not corrected, and the joint information is too high by" in flag for flag in result.flags)


def test_constant_and_repeated_features_are_left_out_and_said():
    target, x, y = small()
    wide = np.concatenate([x, x[:, :1] * 2, np.ones((400, 2))], axis=1)
    options = {**PLAIN, **QUIET, "debias": "wishart", "key": KEY}
    result = estimate(target, wide, y, **options)
    np.testing.assert_allclose(
        to_array(result.pid), to_array(estimate(target, x, y, **options).pid), atol=1e-9
    )
    assert result.dims == DIMS
    assert "x: 2 of 6 features are constant and were dropped." in result.flags
    assert any("x: 1 of 4 directions do not exist" in flag for flag in result.flags)


def test_equal_sources_are_redundant():
    target, x, _ = small()
    result = estimate(target, x, x, **PLAIN, key=KEY)
    np.testing.assert_allclose([result.pid.unique_x, result.pid.unique_y, result.pid.synergy], 0, atol=1e-9)
    assert float(result.pid.mi_joint) == pytest.approx(float(result.pid.mi_x), abs=1e-9)


@pytest.mark.parametrize(
    ("measure", "debias"),
    sample(itertools.product(["broja", "mmi"], ["none", "wishart", "bootstrap", "thinned"]), every=3),
)
def test_a_copied_target_is_infinite_and_said(measure, debias):
    target, x, y = small()
    copying = np.concatenate([x, target[:, :1]], axis=1)
    result = estimate(target, copying, y, **PLAIN, measure=measure, debias=debias, key=KEY)
    assert np.isinf([result.pid.unique_x, result.pid.mi_x, result.pid.mi_joint]).all()
    assert np.isfinite([result.pid.redundancy, result.pid.mi_y]).all()
    assert result.ci is not None
    assert np.isfinite([result.ci.low.redundancy, result.ci.high.mi_y]).all()
    assert any("is a function of x: the information is infinite" in flag for flag in result.flags)


@pytest.mark.parametrize("how", ["ledoit_wolf", "oas"])
def test_shrinkage_serves_fewer_samples_than_dimensions(how):
    rng = np.random.default_rng(0)
    target = rng.normal(size=(20, 8))
    x, y = target + rng.normal(size=(20, 8)), rng.normal(size=(20, 8))
    result = estimate(target, x, y, **PLAIN, shrinkage=how, debias="none", **QUIET, key=KEY)
    assert np.isfinite(to_array(result.pid)).all()
    assert float(result.pid.mi_x) > float(result.pid.mi_y)
    assert any("shrinkage" in flag for flag in result.flags)


def test_shrinkage_intensities_are_their_definitions():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(30, 6)) * np.arange(1, 7)
    n, d = z.shape
    s = z.T @ z / n
    mean = np.trace(s) / d
    spread = np.sum((s - mean * np.eye(d)) ** 2)
    noise = sum(np.sum((np.outer(row, row) - s) ** 2) for row in z) / n**2
    assert shrinkage.shrinkage_intensity(z, "ledoit_wolf") == pytest.approx(min(noise / spread, 1))
    square, trace = np.trace(s @ s), np.trace(s)
    oas = ((1 - 2 / d) * square + trace**2) / ((n + 1 - 2 / d) * (square - trace**2 / d))
    assert shrinkage.shrinkage_intensity(z, "oas") == pytest.approx(min(oas, 1))
    np.testing.assert_allclose(np.trace(shrinkage.shrink(s, 0.3)), np.trace(s))


TINY_FLOW = SeparableFlow(couplings=0, steps=20, rounds=2, folds=2, knots=8)


@pytest.mark.exhaustive
def test_flows_are_an_option_of_the_estimate():
    target, x, y = (part[:, :2] for part in small())
    shared = estimate(target, x, y, reduce=None, gaussianize=TINY_FLOW, **QUIET, key=KEY)
    plain = estimate(target, x, y, reduce=None, **QUIET, key=KEY)
    # in bits: on Gaussian data a flow changes little
    np.testing.assert_allclose(to_array(shared.pid), to_array(plain.pid), atol=0.05)
    flow = dataclasses.replace(TINY_FLOW, shared_target=False)
    paper: dict[str, Any] = {**paper_config(), "gaussianize": flow, "reduce": None}
    result = estimate(target, x, y, **paper, key=KEY)
    assert min(result.pid.unique_x, result.pid.unique_y) == 0
    assert float(result.pid.mi_joint) >= max(result.pid.mi_x, result.pid.mi_y)


@pytest.mark.parametrize("couplings", [0, 1])
def test_layers_of_different_widths_are_padded_for_a_flow_without_couplings(monkeypatch, couplings):
    """The flow is replaced by the identity, with the second target negated."""
    shapes = []

    def identity_flow(flow, target, x, y, keys):
        shapes.append([v.shape for v in (target, x, y)])
        rest: Any = [jnp.ones(len(keys))] * 4
        return jax.tree.map(np.asarray, CrossFit(FlowLatents(target, x, y, -target), *rest))

    monkeypatch.setattr("pid.flow.cross_fit", identity_flow)
    draw = np.random.default_rng(0)
    reduced = [[draw.normal(size=(20, k)) for k in widths] for widths in ((2, 2), (3, 17), (1, 4))]
    flow = SeparableFlow(couplings=couplings, shared_target=False)
    flags = [[], []]
    result = gaussian_features.gaussianize_by_flow(flow, reduced, KEY, flags)
    for part, before in zip(result, [reduced[0], reduced[0], *reduced[1:]], strict=True):
        for ours, true in zip(part, before, strict=True):
            np.testing.assert_allclose(ours, true * (-1 if part is result[1] else 1), rtol=1e-6)
    separate = [[(1, 20, k) for k in widths] for widths in ((2, 3, 1), (2, 17, 4))]
    assert shapes == (separate if couplings else [[(2, 20, 16), (2, 20, 32), (2, 20, 16)]])
    assert flags == [[], []]

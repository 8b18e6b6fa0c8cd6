"""The five analyses of small classifiers: known answers, slow twins, and the section."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import stability
from experiments.stability.analyses import (
    analysis_section,
    attention_rows,
    bottleneck,
    corners,
    gradient_flow,
    information_flow,
    perturbations,
)
from experiments.stability.analyses.figures import draw_section
from pdeformer import simulator

SIZE = stability.Analyses(
    layers=2,
    width=8,
    heads=2,
    ffn=8,
    tokens=5,
    vocabulary=4,
    batch=16,
    steps=12,
    snapshots=3,
    rows=48,
    bins=(3,),
)
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def networks():
    """Tiny networks after a few steps."""
    return corners.train_corners(SIZE, SEEDS)


@pytest.fixture(scope="module")
def result(networks):
    """The section on them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis_section, "train_corners", lambda size, seeds: networks)
        return analysis_section.measure(SIZE, SEEDS)


def parameters_of(networks, norm, snapshot, residual, seed):
    return jax.tree.map(lambda x: jnp.asarray(x[norm, snapshot, residual, seed]), networks.parameters)


def loss(parameters, ids, norm, residual):
    return corners.loss_of(
        parameters, ids, corners.RESIDUALS[residual], corners.config_of(SIZE, corners.NORMS[norm])
    )[0]


# Training.


def test_snapshots_begin_at_step_0_and_end_at_the_last():
    assert corners.snapshot_steps(SIZE) == (0, 1, 12)
    assert corners.snapshot_steps(dataclasses.replace(SIZE, steps=3, snapshots=40)) == (0, 1, 2, 3)


def test_corners_share_initial_weights_and_the_loss_falls(networks):
    leaves = [np.asarray(leaf)[:, 0] for leaf in jax.tree.leaves(networks.parameters)]
    for leaf in leaves:
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1, :1], leaf.shape))
    assert not np.array_equal(leaves[0][0, 0, 0], leaves[0][0, 0, 1])
    assert np.all(networks.states.loss[:, -1, 0] < networks.states.loss[:, 0, 0])
    np.testing.assert_array_equal(networks.labels, networks.ids[:, :, 0])


@pytest.mark.parametrize(("norm", "residual"), [(0, 0), (1, 1)])
def test_states_and_accuracy_are_those_of_the_simulator(networks, norm, residual):
    parameters = parameters_of(networks, norm, -1, residual, 1)
    ids, config = networks.ids[1], corners.config_of(SIZE, corners.NORMS[norm])
    u = corners.embed(parameters, ids)
    coefficients = corners.coefficients_of(corners.RESIDUALS[residual])
    run = simulator.simulate(u, parameters.layers, config, coefficients, record=simulator.record_state)
    states = np.concatenate([u[None], run.records])
    observed = (slice(None), norm, -1, residual, 1)[1:]
    np.testing.assert_allclose(networks.states.pooled[observed], states.mean(2), rtol=1e-4, atol=1e-5)
    token = np.stack([states[:, row, place] for row, place in enumerate(networks.places[1])], axis=1)
    np.testing.assert_allclose(networks.states.token[observed], token, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        networks.states.loss[observed], loss(parameters, ids, norm, residual), rtol=1e-5
    )
    assert np.all(networks.places > 0)


def test_the_first_gradient_is_that_of_the_first_batch(networks):
    ids = corners.draw_ids(SIZE, 1, 1, SIZE.steps, SIZE.batch)[0]
    gradient = jax.grad(loss)(parameters_of(networks, 1, 0, 0, 1), ids, 1, 0).layers
    for layer in range(SIZE.layers):
        squares = sum(float(np.sum(np.square(leaf[layer]))) for leaf in jax.tree.leaves(gradient))
        np.testing.assert_allclose(networks.gradients[1, 0, 0, 1, layer], squares**0.5, rtol=1e-4)


# Information flow.


def test_a_probe_reads_separated_classes_and_nothing_from_noise():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    noise = rng.normal(size=(400, 6))
    assert information_flow.probe_accuracy(1e4 * np.eye(4)[labels] @ rng.normal(size=(4, 6)), labels, 4) == 1
    assert abs(information_flow.probe_accuracy(noise, labels, 4) - 0.25) < 0.12
    assert np.isnan(information_flow.probe_accuracy(np.full((400, 2), np.inf), labels, 4))


def test_token_information_is_that_of_correlated_gaussians_without_bias():
    rng = np.random.default_rng(1)
    first, noise = rng.normal(size=(2, 60, 400, 2))
    rho = 0.8
    after, alone = rho * first + (1 - rho**2) ** 0.5 * noise, rng.normal(size=first.shape)
    states = np.stack([first, after, alone, np.full_like(first, np.nan)], axis=1)
    bits = information_flow.token_information(states, 2)
    exact = -np.log2(1 - rho**2)  # two channels of half of it each
    np.testing.assert_allclose(bits[:, 1].mean(), exact, rtol=0.02)
    assert bits[:, 2].mean() < 0.01  # plug-in: 2 · 2 / (2 · 400 ln 2) = 0.007 bits, clipped at 0 from below
    assert np.all(np.isnan(bits[:, 3]))
    assert np.all(np.isnan(bits[:, 0]))


def test_states_that_became_equal_tell_nothing():
    states = np.stack([np.random.default_rng(0).normal(size=(1, 50, 4)), np.ones((1, 50, 4))], axis=1)
    np.testing.assert_allclose(information_flow.token_information(states, 2)[0, 1], 0)


# Attention.


def test_cosines_of_rows_are_those_of_a_loop(networks):
    rows = attention_rows.measure(networks)
    weights = networks.states.attention[1, -1, 0, 1].astype(float)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in zip(weights[0].reshape(-1, SIZE.tokens), weights[1].reshape(-1, SIZE.tokens), strict=True)
    ]
    np.testing.assert_allclose(rows.at("consecutive", residual=1.0)[1, 0], np.mean(cosines), rtol=1e-6)
    uniform = weights[0].sum(-1) / np.linalg.norm(weights[0], axis=-1) / SIZE.tokens**0.5
    np.testing.assert_allclose(rows.at("uniform")[1, 0], uniform.mean(), rtol=1e-6)
    entropy = -np.sum(weights[1] * np.log(weights[1]), axis=-1).mean()
    np.testing.assert_allclose(rows.at("entropy")[1, 1], entropy, rtol=1e-6)


def test_uniform_attention_has_cosine_1_everywhere_and_is_not_called_a_finding(networks):
    uniform = np.full_like(networks.states.attention, 1 / SIZE.tokens)
    rows = attention_rows.measure(
        dataclasses.replace(networks, states=networks.states._replace(attention=uniform))
    )
    np.testing.assert_allclose([rows.consecutive.min(), rows.permuted.min(), rows.uniform.min()], 1)
    lines = {line.claim: line for line in attention_rows.verdict(rows)}
    claim = next(line for name, line in lines.items() if "above 0.98 (trained" in name)
    assert claim.verdict == "supported here"
    against = next(
        line for name, line in lines.items() if "better than the uniform row does (trained" in name
    )
    assert against.verdict == "no difference beyond chance"


# Perturbations.


def test_growth_is_that_of_single_simulations(networks):
    growth = perturbations.measure(networks)
    parameters, config = parameters_of(networks, 1, -1, 0, 0), corners.config_of(SIZE, "pre")
    u = corners.embed(parameters, networks.ids[0, : perturbations.ROWS])

    def last(u):
        return simulator.simulate(u, parameters.layers, config).u

    jacobian = np.asarray(jax.jacobian(last)(u)).reshape(u.size, u.size)
    np.testing.assert_allclose(10 ** growth.at("jacobian")[0], np.linalg.norm(jacobian, 2), rtol=0.02)
    direction = np.random.default_rng((0, 4)).standard_normal(u.shape)
    direction /= np.linalg.norm(direction)
    moved = np.linalg.norm(jacobian @ direction.ravel())
    np.testing.assert_allclose(10 ** growth.at("tangent")[0, -1], moved, rtol=1e-3)
    length = SIZE.perturbations[-1] * np.linalg.norm(u)
    finite = np.linalg.norm(last(u + jnp.asarray(length * direction, u.dtype)) - last(u)) / length
    np.testing.assert_allclose(10 ** growth.at("finite")[0, -1, -1], finite, rtol=1e-3)
    np.testing.assert_allclose(growth.at("finite")[:, 0], growth.at("tangent"), atol=0.02)
    assert np.all(growth.jacobian >= growth.tangent[..., -1] - 1e-3)


# The section.


def test_every_line_has_a_verdict_and_every_figure_is_drawn(result):
    lines = analysis_section.verdict(result)
    assert len({line.claim for line in lines}) == len(lines)
    assert all(line.verdict and line.measured for line in lines)
    names = [name for name, figure in draw_section(result) if figure.axes]
    assert names == [
        f"analyses_{name}"
        for name in ("information", "attention", "bottleneck", "gradients", "perturbations")
    ]


def test_states_that_are_not_finite_are_missing_values_and_no_error(networks):
    broken = np.array(networks.states.pooled)
    broken[:, -1, 1, 0, -1] = np.inf
    observed = networks.states._replace(pooled=broken, token=np.full_like(networks.states.token, np.nan))
    broken = dataclasses.replace(networks, states=observed)
    flow, plane = information_flow.measure(broken), bottleneck.measure(broken)
    assert np.isnan(flow.label_accuracy[:, 1, 1, 0, -1]).all()
    assert np.isfinite(flow.label_accuracy[:, 1, 0]).all()
    assert np.isnan(plane.input_bits[:, :, -1, 1, 0, -1]).all()
    for line in (*information_flow.verdict(flow), *bottleneck.verdict(plane)):
        assert line.verdict


def test_a_gradient_of_0_is_no_ratio():
    norms = np.ones((2, 2, 2, 2, 3))
    norms[0, 0, 1, 0] = 0
    flow = gradient_flow.GradientFlow(norms, np.ones((2, 2, 2, 2)))
    assert np.isnan(flow.ratio(norm="none", stage=0, residual=0.0)[0])
    verdicts = [line.verdict for line in gradient_flow.verdict(flow)]
    assert verdicts.count("gradients are 0 or not finite") == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"width": 5, "heads": 1}, "even"), ({"components": 40}, "at most"), ({"neighbors": 600}, "less than")],
)
def test_sizes_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        stability.Config(analyses=stability.Analyses(**changes))

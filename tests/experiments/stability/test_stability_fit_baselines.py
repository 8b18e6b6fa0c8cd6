"""Baselines of the trajectory fit equal closed forms in NumPy, and R² is what it is by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.stability.trajectories import explained_variance, linear_maps
from experiments.stability.trajectories.linear_maps import (
    DIFFUSION,
    IDENTITY,
    LINEAR,
    LINEAR_PER_LAYER,
    MEAN,
)
from pdeformer import simulator
from pdeformer.simulator import Coefficients, SimulatorConfig


@pytest.fixture(scope="module")
def states():
    """A trajectory of three layers, five rows, six tokens and four channels."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 5, 6, 4)).cumsum(axis=0) + rng.normal(size=4)


def test_the_linear_map_is_that_of_least_squares_with_a_free_offset():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 3)) + 2, rng.normal(size=(40, 3))
    solution = np.linalg.lstsq(np.c_[x, np.ones(40)], y, rcond=None)[0]
    fitted = linear_maps.fit_linear_map(x, y, ridge=0)
    np.testing.assert_allclose(fitted.matrix, solution[:-1], atol=1e-12)
    np.testing.assert_allclose(fitted.offset, solution[-1], atol=1e-12)


def test_the_ridge_penalty_is_a_share_of_the_mean_scatter_and_leaves_the_offset_free():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 3)) + 2, rng.normal(size=(40, 3))
    penalty = 0.3 * np.trace(np.cov(x.T, bias=True) * 40) / 3
    rows = np.c_[np.sqrt(penalty) * np.eye(3), np.zeros(3)]  # they pull W, not b, to 0
    solution = np.linalg.lstsq(np.r_[np.c_[x, np.ones(40)], rows], np.r_[y, np.zeros((3, 3))], rcond=None)[0]
    fitted = linear_maps.fit_linear_map(x, y, ridge=0.3)
    np.testing.assert_allclose(np.r_[fitted.matrix, fitted.offset[None]], solution, atol=1e-12)
    np.testing.assert_allclose(fitted(x[:2]), np.c_[x[:2], np.ones(2)] @ solution, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_the_diffusion_is_the_term_of_the_simulator(states, causal):
    config = SimulatorConfig(layers=1, width=4, heads=2, ffn=4, causal=causal)
    c = Coefficients(attention=0.0, feed_forward=0.0, diffusion=1.0)
    u = jnp.asarray(states[0], jnp.float32)
    after = simulator.simulate(u, simulator.init_weights(config, jax.random.key(0)), config, c).u
    ours = linear_maps.second_difference(states[0], causal=causal)
    np.testing.assert_allclose(after - u, ours, atol=2e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_the_diffusivity_is_the_best_of_all_that_are_not_negative(states, causal):
    def error(d, trajectory):
        change = d * linear_maps.second_difference(trajectory[:-1], causal=causal)
        return np.sum(np.square(np.diff(trajectory, axis=0) - change))

    first = states[0]
    diffused = np.stack([first, first + 0.3 * linear_maps.second_difference(first, causal=causal)])
    assert linear_maps.fit_diffusivity(diffused, causal=causal) == pytest.approx(0.3, abs=1e-12)
    assert linear_maps.fit_diffusivity(diffused[::-1], causal=causal) == 0
    noisy = diffused + 0.1 * states[1:3]
    best = linear_maps.fit_diffusivity(noisy, causal=causal)
    assert all(error(best, noisy) < error(best + step, noisy) for step in (-1e-3, 1e-3))
    assert linear_maps.fit_diffusivity(np.ones((2, 1, 3, 2)), causal=causal) == 0


def test_every_baseline_predicts_what_its_name_says(states):
    baselines = linear_maps.fit_baselines(states)
    other = states[:, :2] + 1.0
    one = {name: linear_maps.predict_next(step, other) for name, step in baselines.steps.items()}
    np.testing.assert_array_equal(one[IDENTITY], other[:-1])
    np.testing.assert_allclose(one[MEAN][1, 0, 3], states[2].mean(axis=(0, 1)))
    change = baselines.diffusivity * linear_maps.second_difference(other[:-1], causal=False)
    np.testing.assert_allclose(one[DIFFUSION], other[:-1] + change)
    flat = states.reshape(4, -1, 4)
    third = linear_maps.fit_linear_map(flat[2], flat[3])
    np.testing.assert_allclose(one[LINEAR_PER_LAYER][2], third(other[2]))
    pooled = linear_maps.fit_linear_map(flat[:3].reshape(-1, 4), flat[1:].reshape(-1, 4))
    np.testing.assert_allclose(one[LINEAR][2], pooled(other[2]))


def test_a_rollout_reads_only_the_first_state(states):
    baselines = linear_maps.fit_baselines(states)
    changed = np.concatenate([states[:1], np.full_like(states[1:], np.nan)])
    for step in baselines.steps.values():
        rolled = linear_maps.roll_out(step, changed)
        np.testing.assert_array_equal(rolled, linear_maps.roll_out(step, states))
        np.testing.assert_array_equal(rolled[0], linear_maps.predict_next(step, states)[0])
        np.testing.assert_array_equal(rolled[1], step(rolled[0], 1))


# R².


def test_r2_by_hand():
    states = np.array([[1.0, 3.0], [2.0, 6.0], [2.0, 4.0]]).reshape(3, 1, 2, 1)
    predicted = np.array([[3.0, 6.0], [2.0, 3.0]]).reshape(2, 1, 2, 1)
    result = explained_variance.score(predicted, states[:-1], states)
    # States: errors 1 and 1, around the means 4 and 3 there are 8 and 2.
    np.testing.assert_allclose(result.r2_by_layer, [1 - 1 / 8, 1 - 1 / 2])
    np.testing.assert_allclose(result.r2, 1 - 2 / 10)
    # Increments 1 3 and 0 -2, around the means 2 and -1 there are 2 and 2.
    np.testing.assert_allclose(result.increment_r2_by_layer, [1 - 1 / 2, 1 - 1 / 2])
    np.testing.assert_allclose(result.increment_r2, 1 - 2 / 4)
    np.testing.assert_allclose(result.mse, 2 / 4)


def test_increments_of_a_rollout_are_those_of_the_predicted_trajectory():
    states = np.array([[1.0, 3.0], [2.0, 6.0], [2.0, 4.0]]).reshape(3, 1, 2, 1)
    predicted = states[1:] + np.array([0.0, 5.0]).reshape(2, 1, 1, 1)
    result = explained_variance.score_rollout(predicted, states)
    np.testing.assert_allclose(result.increment_r2_by_layer, [1, 1 - 50 / 2])
    np.testing.assert_allclose(
        explained_variance.score_rollout(states[1:] + 5.0, states).increment_r2_by_layer[1], 1
    )


def test_the_truth_has_1_the_mean_0_and_the_identity_nothing_of_the_increments(states):
    mean = np.broadcast_to(states[1:].mean(axis=(1, 2), keepdims=True), states[1:].shape)
    for predicted, expected in ((states[1:], 1), (mean, 0)):
        result = explained_variance.score(predicted, states[:-1], states)
        np.testing.assert_allclose([result.r2, *result.r2_by_layer], expected, atol=1e-12)
    identity = explained_variance.score(states[:-1], states[:-1], states)
    assert np.all(identity.increment_r2_by_layer <= 0)
    assert identity.r2 > 0


def test_predictions_that_are_not_finite_explain_minus_infinity(states):
    predicted = states[1:].copy()
    predicted[1, 0, 0, 0] = np.inf
    predicted[2, 0, 0, 0] = np.nan
    result = explained_variance.score_rollout(predicted, states)
    np.testing.assert_array_equal(result.r2_by_layer, [1, -np.inf, -np.inf])
    assert result.r2 == result.increment_r2 == -np.inf
    assert result.mse == np.inf

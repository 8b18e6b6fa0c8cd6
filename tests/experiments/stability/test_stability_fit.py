"""The fit of the simulator with shared weights: it recovers a planted one, and never reads what is held out."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import run
from experiments.stability import Fit, figures_fit
from experiments.stability.measurements import trajectory_fit
from experiments.stability.measurements.trajectory_fit import MODES, NETWORK
from experiments.stability.trajectories import linear_maps, recall_trajectories, shared_simulator
from experiments.stability.trajectories.linear_maps import DIFFUSION, IDENTITY, LINEAR
from experiments.stability.trajectories.shared_simulator import (
    KINDS,
    PARALLEL_PDE,
    PDE,
    ROLLED_PDE,
    STILL_PDE,
    FitParameters,
    Switches,
)
from experiments.stability.trajectories.vmapped_training import Schedule
from pdeformer import simulator
from pdeformer.simulator import Coefficients, SimulatorConfig

TINY = Fit(
    layers=2, width=8, heads=2, ffn=8, tokens=6, vocabulary=5, train_batch=8, train_steps=4, rows=6, test_rows=4,
    batch=4, steps=4, components=4,
)  # fmt: skip
PLANTED = SimulatorConfig(layers=3, width=8, heads=2, ffn=8, shared=True)
DIFFUSIVITY, STRENGTH = 0.2, 0.6


def planted_parameters():
    """A simulator with D = 0.2 and λ = 0.6."""
    raw = np.log(np.expm1(DIFFUSIVITY)) / shared_simulator.DIFFUSION_SCALE
    weights = simulator.init_weights(PLANTED, jax.random.key(5))
    return FitParameters(weights, jnp.float32(raw), jnp.float32(STRENGTH))


@pytest.fixture(scope="module")
def planted():
    """Trajectories of the planted simulator, 1 seed: (fit, test)."""
    c = Coefficients(attention=STRENGTH, diffusion=DIFFUSIVITY)
    first = jax.random.normal(jax.random.key(0), (160, 8, 8))
    weights = planted_parameters().weights
    records = simulator.simulate(first, weights, PLANTED, c, record=simulator.record_state).records
    states = np.asarray(jnp.concatenate([first[None], records]))[None]
    return states[:, :, :128], states[:, :, 128:]


def fit(states, test, *, steps=2):
    return shared_simulator.fit_simulator(
        states, test, PLANTED, (0,), schedule=Schedule(steps, 2e-2, 1), batch=8
    )


@pytest.fixture(scope="module")
def recovered(planted):
    fitted = fit(*planted, steps=1250)
    return fitted, trajectory_fit.compare(planted[0], planted[1], fitted, (0,))


# A planted simulator.


def test_the_fit_recovers_a_planted_simulator_that_no_baseline_explains(recovered):
    _, explained = recovered
    for name in ("r2", "increment_r2"):
        assert explained.at(name, PDE)[0] > 0.99
    assert explained.at("r2", PDE, 1)[0] > 0.99
    assert explained.at("r2", ROLLED_PDE, 1)[0] > 0.99
    assert explained.at("increment_r2", LINEAR)[0] < 0.9
    assert explained.at("increment_r2", STILL_PDE)[0] < explained.at("increment_r2", PDE)[0] - 0.01
    assert explained.at("increment_r2", PARALLEL_PDE)[0] < explained.at("increment_r2", PDE)[0]


def test_the_fit_recovers_the_planted_coefficients(recovered):
    fitted, explained = recovered
    strength = shared_simulator.attention_strength(planted_parameters(), PLANTED)
    index = list(KINDS).index(PDE)
    np.testing.assert_allclose(fitted.diffusivity[index], DIFFUSIVITY, rtol=0.03)
    np.testing.assert_allclose(fitted.attention[index], strength, rtol=0.1)
    assert fitted.diffusivity[list(KINDS).index(STILL_PDE)] == 0
    diffuses, explains = (trajectory_fit.judge_claims(explained, "planted")[i] for i in (4, 0))
    assert explains.verdict == "yes: nearly all of the increments"
    assert diffuses.verdict == "one seed cannot tell"


def test_predictions_are_those_of_the_simulator():
    parameters = planted_parameters()
    c = Coefficients(attention=STRENGTH, diffusion=DIFFUSIVITY)
    states = jax.random.normal(jax.random.key(1), (4, 2, 5, 8))
    predict = jax.jit(shared_simulator.predict, static_argnames="config")
    for sequential, splitting in ((1.0, "sequential"), (0.0, "parallel")):
        config = dataclasses.replace(PLANTED, splitting=splitting)
        whole = simulator.simulate(states[0], parameters.weights, config, c, record=simulator.record_state)
        rolled = predict(parameters, states, Switches(sequential, 1.0, 1.0), config=PLANTED)
        np.testing.assert_allclose(rolled, whole.records, atol=2e-5)
        one_step = predict(parameters, states, Switches(sequential, 0.0, 1.0), config=PLANTED)
        one_layer = dataclasses.replace(config, layers=1)
        for before, after in zip(states[:-1], one_step, strict=True):
            single = simulator.simulate(before, parameters.weights, one_layer, c).u
            np.testing.assert_allclose(after, single, atol=2e-5)


def test_the_strength_of_the_attention_does_not_depend_on_the_scale_of_the_weights():
    config = SimulatorConfig(layers=1, width=128, heads=4, ffn=8, shared=True)
    parameters = shared_simulator.init_parameters(config, jax.random.key(0))
    strength = shared_simulator.attention_strength(parameters, config)
    np.testing.assert_allclose(strength, 1, rtol=0.03)  # Xavier weights

    def scale(path, x):
        name = jax.tree_util.keystr(path)
        is_scaled = "'out'" in name or ("norm_attention" in name and "scale" in name)
        return -3 * x if is_scaled else x / 9 if "'value'" in name and "kernel" in name else x

    weights = jax.tree_util.tree_map_with_path(scale, parameters.weights)
    other = parameters._replace(weights=weights, attention=-2 * parameters.attention)
    np.testing.assert_allclose(shared_simulator.attention_strength(other, config), 2 * strength, rtol=1e-5)
    block = parameters.weights.block()
    maps = (np.eye(128) - 1 / 128) @ block.attention.value.kernel[...] @ block.attention.out.kernel[...]
    np.testing.assert_allclose(strength, np.linalg.norm(maps) / np.sqrt(128), rtol=1e-5)


def test_rows_that_are_held_out_never_enter_the_fit(planted):
    states, test = planted
    first, second = fit(states, test), fit(states, np.full_like(test, np.nan))
    for name in ("losses", "diffusivity", "attention"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert not np.isfinite(second.rollouts).any()
    changed = fit(np.flip(states, 2), test)  # other rows in the batches
    assert np.all(np.abs(changed.losses - first.losses) > 0)


def test_states_that_are_not_finite_are_a_result(planted):
    states, test = planted
    fitted = fit(np.full_like(states, np.inf), test)
    explained = trajectory_fit.compare(states, test, fitted, (0,))
    assert explained.at("r2", PDE)[0] == -np.inf
    assert trajectory_fit.judge_claims(explained, "")[0].verdict == "no: predictions are not finite"
    list(figures_fit.draw_fit(trajectory_fit.FitResult(explained, np.ones(1), None)))


# The section.


@pytest.fixture(scope="module")
def recorded():
    return recall_trajectories.record_trajectories(TINY, (0, 1))


@pytest.fixture(scope="module")
def section(recorded):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trajectory_fit, "record_trajectories", lambda size, seeds: recorded)
        return trajectory_fit.measure(TINY, (0, 1))


def test_the_network_itself_explains_everything_and_all_numbers_have_a_model(section):
    task = section.task
    for mode in range(len(MODES)):
        np.testing.assert_allclose(task.at("r2", NETWORK, mode), 1, atol=1e-9)
    assert task.models[:2] == (IDENTITY, linear_maps.MEAN)
    assert task.models[-len(KINDS) :] == tuple(KINDS)
    assert task.r2_by_layer.shape == (len(task.models), 2, 2, TINY.layers)
    # the first prediction of both modes reads the same state
    first = task.r2_by_layer[..., 0]
    np.testing.assert_allclose(first[:, 0], first[:, 1], atol=1e-5)
    assert np.all(task.at("increment_r2_by_layer", IDENTITY) <= 0)
    assert np.all(task.at("mse", DIFFUSION) > 0)
    np.testing.assert_allclose(task.plane[0, :, 0], task.plane[1, :, 0], atol=1e-5)


def test_a_section_has_a_line_per_claim_figures_and_json(section):
    lines = trajectory_fit.verdict(section)
    assert len(lines) == 6
    assert all(line.claim and line.measured and line.verdict for line in lines)
    names = [name for name, _ in figures_fit.draw_fit(section)]
    assert names == ["fit", "fit_trajectories"]
    assert run.to_json(section)["language"] is None


def test_states_are_those_of_the_network_on_rows_of_their_own(recorded):
    assert recorded.fit.shape == (2, 3, 6, 6, 8)
    assert recorded.test.shape == (2, 3, 4, 6, 8)
    np.testing.assert_allclose(recorded.next_states, recorded.test[:, 1:], atol=1e-5)
    keys = [recall_trajectories.row_key(0, stream) for stream in range(3)]
    rows = [np.asarray(recall_trajectories.draw_rows(TINY, 4, key)) for key in keys]
    assert len({row.tobytes() for row in rows}) == 3


@pytest.mark.parametrize(
    ("r2", "words"),
    [
        ([0.95, 0.96, 0.955], "yes: nearly all of the states"),
        ([0.5, 0.6, 0.55], "in part: 55% of the states"),
        ([-0.5, 0.6, 0.1], "no: not more of the states than their mean"),
        ([0.9, -np.inf, 0.9], "no: predictions are not finite"),
    ],
)
def test_a_verdict_follows_the_lower_end_of_the_interval(r2, words):
    assert trajectory_fit.extent(np.array(r2), "states") == words


def make_explained(**r2):
    """Results of three seeds, with these R² by name of the model and ± 0.01 by seed; identity and others have 0."""
    models = (*linear_maps.fit_baselines(np.random.default_rng(0).normal(size=(2, 3, 4, 2))).steps, *KINDS)
    values = np.array([[r2.get(name, 0.0) + np.array([-0.01, 0, 0.01])] * 2 for name in models])
    by_layer = np.repeat(values[..., None], 2, axis=-1)
    count = len(KINDS)
    return trajectory_fit.Explained(
        models=models,
        seeds=(0, 1, 2),
        r2_by_layer=by_layer,
        r2=values,
        increment_r2_by_layer=by_layer,
        increment_r2=values,
        mse=values,
        diffusivity_alone=np.zeros(3),
        diffusivity=np.ones((count, 3)),
        attention=np.ones((count, 3)),
        terms=np.ones((count, 3, 3)),
        losses=np.ones((count, 3, 1)),
        norms=np.ones((2, 3, 3)),
        plane=np.ones((2, 1, 3, 2)),
    )


def test_paired_differences_decide_between_models():
    per_layer = {"linear map per layer": 0.7, "linear map": 0.3}
    lines = trajectory_fit.judge_claims(make_explained(**{PDE: 0.5, STILL_PDE: 0.495, **per_layer}), "x")
    assert lines[2].verdict == "yes"
    assert lines[3].verdict == "better than one linear map; worse than a linear map per layer"
    assert lines[4].verdict == "no: measurably better with it, but by less than 0.01"
    lines = trajectory_fit.judge_claims(make_explained(**{PDE: 0.9, STILL_PDE: 0.3, IDENTITY: 0.6}), "x")
    assert lines[2].verdict == "yes, but the identity already explains most"
    assert lines[4].verdict == "yes"


@pytest.mark.parametrize(
    ("switches", "words"),
    [({"shared": False}, "shared=True, got False"), ({"norm": "post"}, "'pre' or 'none', got 'post'")],
)
def test_a_simulator_of_another_kind_is_refused(planted, switches, words):
    config = dataclasses.replace(PLANTED, **switches)
    with pytest.raises(ValueError, match=words):
        shared_simulator.fit_simulator(
            planted[0], planted[1], config, (0,), schedule=Schedule(1, 1e-2, 1), batch=1
        )

"""`GridTrainer`: all settings train at once as they would alone, on any number of devices, in one program."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.stability.measurements.trainability import make_points
from experiments.stability.networks import sequence_classifier
from experiments.stability.networks.grid_training import GridTrainer, Records, RunState, TrainingPoints
from experiments.stability.networks.sequence_tasks import Recall, ShortListOps
from pdeformer import diagnostics, sharding, train
from pdeformer.simulator import Coefficients, SimulatorConfig

STEPS, RATE, CLIP, WARMUP = 6, 0.02, 0.5, 3
CONFIG = SimulatorConfig(layers=2, width=8, heads=2, ffn=16, norm="pre")
TASK = Recall(vocabulary=5, tokens=6, batch=4)
OPTIMIZER = train.Optimizer(RATE, schedule="constant", warmup=WARMUP, clip=CLIP)
POINTS = make_points((1.0, 0.0), (1.0, 2.0), (0, 7), diffusivity=0.1, dt=0.5)


def make_trainer(mesh=None, config=CONFIG, task=TASK) -> GridTrainer:
    return GridTrainer(config, task, OPTIMIZER, STEPS, mesh)


@pytest.fixture(scope="module")
def trainer() -> GridTrainer:
    return make_trainer()


@pytest.fixture(scope="module")
def records(trainer) -> Records:
    return trainer(POINTS, None, "test").records


def point_of(points: TrainingPoints, index: int) -> TrainingPoints:
    return jax.tree.map(lambda x: x[index], points)


def norm(tree) -> float:
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(x, np.float64))) for x in jax.tree.leaves(tree))))


def train_alone(index: int) -> list[tuple[float, ...]]:
    """Train one point by a plain loop: AdamW with warm-up and clipping, written out."""
    point = point_of(POINTS, index)
    weights_key, batch_key = jax.random.split(jax.random.key(point.seed))
    parameters = sequence_classifier.init(CONFIG, 5, 5, weights_key, gain=float(point.gain))
    coefficients = Coefficients(residual=float(point.coefficients.residual), diffusion=0.1, dt=0.5)

    @jax.jit
    def loss_and_gradient(parameters, ids):
        def loss(parameters):
            logits, u = sequence_classifier.classify(parameters, ids, CONFIG, coefficients)
            nats = -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(ids)), ids[:, 0]])
            return nats, (
                jnp.mean(jnp.argmax(logits, -1) == ids[:, 0]),
                diagnostics.token_similarity(u).mean(),
            )

        return jax.value_and_grad(loss, has_aux=True)(parameters)

    leaves, structure = jax.tree.flatten(parameters)
    first, second = ([np.zeros(x.shape) for x in leaves] for _ in range(2))
    rows = []
    for step in range(STEPS):
        ids = jax.random.randint(jax.random.fold_in(batch_key, step), (4, 6), 0, 5)
        (loss, (accuracy, similarity)), grads = loss_and_gradient(jax.tree.unflatten(structure, leaves), ids)
        layers = grads.layers.params
        ends = (norm(jax.tree.map(lambda x, i=i: x[i], layers)) for i in (0, 1))
        rows.append((loss, accuracy, similarity, norm(grads), norm(grads.embedding), *ends))
        scale, rate = min(1.0, CLIP / norm(grads)), RATE * min(1.0, step / WARMUP)
        for i, g in enumerate(np.asarray(g, np.float64) * scale for g in jax.tree.leaves(grads)):
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g**2
            update = (first[i] / (1 - 0.9 ** (step + 1))) / (
                np.sqrt(second[i] / (1 - 0.999 ** (step + 1))) + 1e-8
            )
            leaves[i] = jnp.asarray(np.asarray(leaves[i]) - rate * update, jnp.float32)
    return [tuple(map(float, row)) for row in rows]


@pytest.mark.parametrize("index", [0, 3, 5])
def test_a_point_of_the_grid_trains_as_it_does_alone(records, index):
    alone = np.array(train_alone(index)).T
    for name, expected, values in zip(Records._fields, alone, records, strict=True):
        np.testing.assert_allclose(values[index], expected, rtol=2e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(records.loss[index], alone[0], atol=1e-5)


def test_settings_of_a_seed_share_weights_and_batches(records):
    same = dataclasses.replace(CONFIG)
    again = make_trainer(config=same)(
        make_points((1.0,), (2.0,), (7,), diffusivity=0.1, dt=0.5), None, "test"
    )
    np.testing.assert_allclose(again.records.loss[0], records.loss[3], rtol=1e-5)


def test_a_trainer_compiles_once(trainer, records):
    del records
    others = POINTS._replace(gain=POINTS.gain * 1.5)
    trainer(others, None, "test")
    assert trainer.program_count == 1


@pytest.mark.parametrize("devices", [2, 8])
def test_a_mesh_changes_nothing(records, devices):
    points = jax.tree.map(lambda x: x[:5], POINTS)  # not a multiple of the devices
    trainer = make_trainer(sharding.make_mesh(data=devices))
    run = trainer(points, None, "test")
    assert trainer.program_count == 1
    for values, expected in zip(run.records, records, strict=True):
        assert values.shape == (5, STEPS)
        np.testing.assert_allclose(values, expected[:5], rtol=1e-4, atol=1e-6)


def test_rows_of_listops_are_those_of_the_seed_on_any_mesh():
    task = ShortListOps(tokens=8, batch=4)
    rows, points = task.generate((0, 7), STEPS), make_points((1.0,), (1.0,), (0, 7))
    run, split = (
        make_trainer(mesh, task=task)(points, rows, "test") for mesh in (None, sharding.make_mesh(data=2))
    )
    np.testing.assert_allclose(run.records.loss, split.records.loss, rtol=1e-4)
    swapped = points._replace(stream=points.stream[::-1].copy())
    other = make_trainer(task=task)(swapped, rows, "test")
    assert np.all(np.abs(other.records.loss[:, 0] - run.records.loss[:, 0]) > 1e-6)


# States that are not finite.


def test_a_run_that_is_not_finite_ends_alone(trainer, records):
    gain = POINTS.gain.copy()
    gain[2] = 1e30
    run = trainer(POINTS._replace(gain=gain), None, "test")
    assert run.first_nonfinite.tolist() == [-1, -1, 0, -1, -1, -1, -1, -1]
    for values, expected in zip(run.records, records, strict=True):
        assert np.all(np.isnan(values[2]))
        others = np.arange(8) != 2
        np.testing.assert_array_equal(values[others], expected[others])
    assert trainer.program_count == 1


def test_parameters_stay_from_the_first_step_that_is_not_finite(trainer):
    point = point_of(jax.tree.map(jnp.asarray, POINTS), 0)
    update = jax.jit(trainer.update)
    run, records = update(trainer.first_state(point), point, None, jnp.int32(0))
    assert int(run.first_nonfinite) == -1
    assert np.isfinite(records.loss)
    run, _ = update(run, point, None, jnp.int32(1))  # the rate of the warm-up is not 0 any more
    parameters = run.parameters._replace(head=run.parameters.head.at[0, 0].set(jnp.inf))
    broken = RunState(parameters, run.optimizer, run.first_nonfinite)
    after, records = update(broken, point, None, jnp.int32(2))
    assert int(after.first_nonfinite) == 2
    assert all(np.isnan(x) for x in records)
    jax.tree.map(
        np.testing.assert_array_equal, (after.parameters, after.optimizer), (parameters, run.optimizer)
    )
    # the step is the first one, and a run that is finite again does not continue
    healed = RunState(run.parameters, after.optimizer, after.first_nonfinite)
    last, records = update(healed, point, None, jnp.int32(3))
    assert int(last.first_nonfinite) == 2
    assert np.isnan(records.loss)
    jax.tree.map(np.testing.assert_array_equal, last.parameters, run.parameters)

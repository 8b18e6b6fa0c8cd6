"""`GridTrainer`: all settings train at once as they would alone, on any number of devices, in one program."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import stability
from experiments.stability.measurements.trainability import (
    LISTOPS,
    Setting,
    first_parameters,
    make_points,
    make_trainer,
)
from experiments.stability.networks import sequence_classifier
from experiments.stability.networks.grid_training import Records, TrainingPoints, pack
from experiments.stability.networks.sequence_tasks import batch_of, join, listops_rows, recall_rows
from pdeformer import diagnostics, sharding
from pdeformer.simulator import Coefficients, SimulatorConfig

RATE, CLIP, SEEDS = 0.02, 0.5, (0, 7)
SIZE = stability.Training(
    depths=(2,), gains=(1.0, 2.0), tokens=6, width=8, heads=2, ffn=16, batch=4, steps=26, learning_rate=RATE, clip=CLIP
)  # fmt: skip
ALONE = 14  # steps of a plain loop: one more than the 13 of a chunk
SETTINGS = [
    *(Setting("pre", residual, gain, 2) for residual in (1.0, 0.0) for gain in (1.0, 2.0)),
    Setting("pre", 1.0, 1.0, 2, task=LISTOPS),
]
ROWS = join(recall_rows(SEEDS, 104, 16, 6), listops_rows(SEEDS, 104, 6))


@pytest.fixture(scope="module")
def parameters():
    return first_parameters(SIZE, SEEDS)


@pytest.fixture(scope="module")
def points(parameters) -> TrainingPoints:
    return make_points(SETTINGS, dataclasses.replace(SIZE, diffusivity=0.1, dt=0.5), 2, parameters)


@pytest.fixture(scope="module")
def trainer():
    return make_trainer(SETTINGS[0].program, SIZE)


@pytest.fixture(scope="module")
def records(trainer, points) -> Records:
    return trainer(points, ROWS, "test").records


def norm(tree) -> float:
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(x, np.float64))) for x in jax.tree.leaves(tree))))


def train_alone(setting: Setting, seed: int, stream: int) -> np.ndarray:
    """Train one network by a plain loop: AdamW, which is Adam here, with warm-up and clipping, written out."""
    config = SimulatorConfig(layers=2, width=8, heads=2, ffn=16, norm="pre")
    parameters = sequence_classifier.init(config, 16, 16, jax.random.key(seed), gain=setting.gain)
    coefficients = Coefficients(residual=setting.residual, diffusion=0.1, dt=0.5)

    @jax.jit
    def loss_and_gradient(parameters, batch):
        def loss(parameters):
            segments = batch.segment_ids
            logits = sequence_classifier.classify(parameters, batch.ids, config, coefficients, segments)
            u = sequence_classifier.last_state(parameters, batch.ids, config, coefficients, segments)
            nats = -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(4), batch.labels])
            accuracy = jnp.mean(jnp.argmax(logits, -1) == batch.labels)
            return nats, (accuracy, diagnostics.token_similarity(u, segments).mean())

        return jax.value_and_grad(loss, has_aux=True)(parameters)

    leaves, structure = jax.tree.flatten(parameters)
    first, second = ([np.zeros(x.shape) for x in leaves] for _ in range(2))
    rows = []
    for step in range(ALONE):
        batch = batch_of(ROWS, jnp.int32(stream), jnp.int32(step), 4)
        (loss, metrics), grads = loss_and_gradient(jax.tree.unflatten(structure, leaves), batch)
        ends = (norm(jax.tree.map(lambda x, i=i: x[i], grads.layers.params)) for i in (0, 1))
        rows.append((loss, *metrics, norm(grads), norm(grads.embedding), *ends))
        scale, rate = min(1.0, CLIP / norm(grads)), RATE * min(1.0, step / 2)
        for i, g in enumerate(np.asarray(g, np.float64) * scale for g in jax.tree.leaves(grads)):
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g**2
            size = np.sqrt(second[i] / (1 - 0.999 ** (step + 1))) + 1e-8
            update = first[i] / (1 - 0.9 ** (step + 1)) / size
            leaves[i] = jnp.asarray(np.asarray(leaves[i]) - rate * update, jnp.float32)
    return np.array([[float(x) for x in row] for row in rows]).T


@pytest.mark.parametrize(("index", "seed", "stream"), [(0, 0, 0), (7, 7, 1), (9, 7, 3)])
def test_a_point_of_the_grid_trains_as_it_does_alone(records, index, seed, stream):
    alone = train_alone(SETTINGS[index // 2], seed, stream)
    for (name, values), expected in zip(records._asdict().items(), alone, strict=True):
        np.testing.assert_allclose(values[index, :ALONE], expected, rtol=2e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(records.loss[index, :ALONE], alone[0], atol=1e-5)


def test_packed_parameters_are_the_parameters(parameters):
    one = jax.tree.map(lambda x: x[0], parameters)
    packed, unpack = pack(one)
    assert len(jax.tree.leaves(packed)) == 3
    assert packed.layers.shape[0] == 2
    jax.tree.map(np.testing.assert_array_equal, unpack(packed), one)


def test_a_trainer_compiles_once(trainer, points, records):
    del records
    trainer(points._replace(stream=points.stream[::-1].copy()), ROWS, "test")
    assert trainer.program_count == 1


def test_a_mesh_changes_nothing(points, records):
    some = jax.tree.map(lambda x: x[:5], points)  # not a multiple of the devices
    trainer = make_trainer(SETTINGS[0].program, SIZE, sharding.make_mesh(data=8))
    run = trainer(some, ROWS, "test")
    assert trainer.program_count == 1
    for values, expected in zip(run.records, records, strict=True):
        assert values.shape == (5, 26)
        np.testing.assert_allclose(values, expected[:5], rtol=1e-3, atol=1e-5)


def test_a_deep_network_begins_with_a_shallow_one(parameters):
    deep = first_parameters(dataclasses.replace(SIZE, depths=(1, 2, 3)), SEEDS)
    first = make_points(SETTINGS[:1], SIZE, 2, deep).parameters
    expected = jax.tree.map(lambda x: x[:2], parameters)  # gain 1, both seeds
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), first, expected)


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_first_order_in_the_program_of_the_second_is_the_parallel_euler_step(parameters, dt):
    size = dataclasses.replace(SIZE, dt=dt, diffusivity=0.1)
    first, second = (Setting("pre", 1.0, 1.0, 2, order, "parallel") for order in (1, 2))
    one = jax.tree.map(lambda x: jnp.asarray(x[0]), parameters)
    ids = jnp.asarray(ROWS.ids[0, :4])

    def last_state(order: int, coefficients: Coefficients):
        config = SimulatorConfig(layers=2, width=8, heads=2, ffn=16, order=order, splitting="parallel")
        return sequence_classifier.last_state(one, ids, config, coefficients)

    euler = last_state(1, Coefficients(dt=dt, diffusion=0.1))
    np.testing.assert_allclose(last_state(2, first.coefficients(size)), euler, atol=2e-5)
    leapfrog = last_state(2, Coefficients(dt=dt, diffusion=0.1))
    np.testing.assert_array_equal(last_state(2, second.coefficients(size)), leapfrog)
    assert np.max(np.abs(leapfrog - euler)) > 0.1


# States that are not finite.


def test_a_run_that_is_not_finite_ends_alone(trainer, points, records):
    head = points.parameters.head.copy()
    head[2] = np.inf
    run = trainer(points._replace(parameters=points.parameters._replace(head=head)), ROWS, "test")
    assert run.first_nonfinite.tolist() == [-1, -1, 0, *[-1] * 7]
    for values, expected in zip(run.records, records, strict=True):
        assert np.all(np.isnan(values[2]))
        others = np.arange(10) != 2
        np.testing.assert_array_equal(values[others], expected[others])
    assert trainer.program_count == 1


def test_parameters_stay_from_the_first_step_that_is_not_finite(trainer, points):
    point = jax.tree.map(lambda x: jnp.asarray(x[0]), points)
    update = jax.jit(trainer.update)
    run, records = update(trainer.start(point), point, ROWS, jnp.int32(0))
    assert int(run.first_nonfinite) == -1
    assert np.isfinite(records.loss)
    run, _ = update(run, point, ROWS, jnp.int32(1))  # the rate of the warm-up is not 0 any more
    assert np.any(run.parameters.head != point.parameters.head)
    broken = run._replace(parameters=run.parameters._replace(head=run.parameters.head.at[0, 0].set(jnp.inf)))
    after, records = update(broken, point, ROWS, jnp.int32(2))
    assert int(after.first_nonfinite) == 2
    assert all(np.isnan(x) for x in records)
    unchanged = (broken.parameters, broken.optimizer)
    jax.tree.map(np.testing.assert_array_equal, (after.parameters, after.optimizer), unchanged)
    # a run that could go on stays where it ended, and the step is the first one
    healed = after._replace(parameters=run.parameters)
    last, records = update(healed, point, ROWS, jnp.int32(3))
    assert int(last.first_nonfinite) == 2
    assert np.isnan(records.loss)
    jax.tree.map(np.testing.assert_array_equal, last.parameters, run.parameters)


def test_a_gradient_whose_norm_overflows_ends_a_run(trainer, points):
    point = jax.tree.map(lambda x: jnp.asarray(x[0]), points)
    run = trainer.start(point)
    run = run._replace(parameters=run.parameters._replace(head=run.parameters.head * 1e30))
    after, _ = jax.jit(trainer.update)(run, point, ROWS, jnp.int32(4))
    assert int(after.first_nonfinite) == 4

"""The tasks and the classifier of the trainings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data import listops
from experiments.stability.networks import sequence_classifier
from experiments.stability.networks.sequence_tasks import Batch, ListOpsRows, Recall, ShortListOps
from pdeformer.simulator import Coefficients, SimulatorConfig

KEY = jax.random.key(3)
STREAM, STEP = jnp.int32(0), jnp.int32(2)


def draw_recall(task: Recall, key=KEY, step=STEP) -> Batch:
    return jax.device_get(task.draw(None, STREAM, key, step))


def test_the_class_of_a_recall_row_is_its_first_token():
    task = Recall(vocabulary=5, tokens=7, batch=400)
    batch = draw_recall(task)
    assert batch.ids.shape == (400, 7)
    np.testing.assert_array_equal(batch.labels, batch.ids[:, 0])
    assert batch.segment_ids is None
    counts = np.stack([np.bincount(column, minlength=5) for column in batch.ids.T])
    assert np.all(np.abs(counts - 80) < 5 * np.sqrt(80 * 0.8))  # uniform at every position
    assert task.classes == 5


def test_a_recall_batch_is_that_of_its_seed_and_step():
    task = Recall(batch=8)
    np.testing.assert_array_equal(draw_recall(task).ids, draw_recall(task).ids)
    assert np.any(draw_recall(task, step=STEP + 1).ids != draw_recall(task).ids)
    assert np.any(draw_recall(task, key=jax.random.key(4)).ids != draw_recall(task).ids)


def test_a_guess_at_recall_has_the_loss_ln_16():
    chance = Recall(vocabulary=16).chance((0, 1, 2))
    np.testing.assert_allclose(chance.loss, [2.7725887] * 3)
    np.testing.assert_allclose(chance.accuracy, [1 / 16] * 3)


@pytest.fixture(scope="module")
def rows() -> ListOpsRows:
    return ShortListOps(tokens=12, batch=4).generate((0, 5), steps=3)


def test_listops_rows_are_expressions_with_their_values(rows):
    assert rows.ids.shape == (2, 12, 12)
    for ids, length, label in zip(
        rows.ids.reshape(-1, 12), rows.lengths.ravel(), rows.labels.ravel(), strict=True
    ):
        assert 4 <= length <= 12
        assert not np.any(ids[length:])
        assert listops.evaluate([listops.VOCABULARY[index] for index in ids[:length]]) == label
    assert np.any(rows.ids[0] != rows.ids[1])


def test_listops_batches_are_all_rows_of_the_seed_once(rows):
    task = ShortListOps(tokens=12, batch=4)
    batches = [task.draw(rows, jnp.int32(1), KEY, jnp.int32(step)) for step in range(3)]
    np.testing.assert_array_equal(np.concatenate([batch.ids for batch in batches]), rows.ids[1])
    np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), rows.labels[1])
    segments = np.concatenate([jnp.asarray(batch.segment_ids) for batch in batches])
    np.testing.assert_array_equal(segments, rows.ids[1] > 0)


def test_the_guess_at_listops_is_that_of_the_label_frequencies():
    labels = np.array([[0, 0, 0, 9], [1, 2, 1, 2]], np.uint8)
    rows = ListOpsRows(np.zeros((2, 4, 5), np.uint8), np.full((2, 4), 4), labels)
    chance = rows.chance(2)
    np.testing.assert_allclose(chance.loss, [-(np.log(0.75) + np.log(0.25)) / 2, np.log(2)])
    np.testing.assert_allclose(chance.accuracy, [0.5, 0.5])
    np.testing.assert_allclose(rows.chance(4).loss[0], 0.5623351446)  # the entropy of (3/4, 1/4)


def network(norm: str = "pre"):
    config = SimulatorConfig(layers=2, width=8, heads=2, ffn=16, norm=norm)
    return config, sequence_classifier.init(config, 6, 4, jax.random.key(0))


def test_padding_does_not_change_the_logits():
    config, parameters = network()
    ids = jnp.array([[1, 2, 3, 0, 0], [4, 5, 1, 2, 3]])
    segments = jnp.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    arguments = (config, Coefficients(diffusion=0.2), segments)
    logits, _ = sequence_classifier.classify(parameters, ids, *arguments)
    changed, _ = sequence_classifier.classify(parameters, ids.at[0, 3:].set(5), *arguments)
    np.testing.assert_array_equal(logits, changed)
    alone, _ = sequence_classifier.classify(parameters, ids[:1, :3], config, Coefficients(diffusion=0.2))
    np.testing.assert_allclose(logits[:1], alone, atol=1e-5)


@pytest.mark.parametrize("norm", ["none", "pre", "post"])
def test_the_head_reads_the_mean_token_and_with_pre_ln_its_layer_norm(norm):
    config, parameters = network(norm)
    ids = jnp.array([[1, 2, 3, 0, 5]])
    logits, u = sequence_classifier.classify(parameters, ids, config, Coefficients())
    tokens = np.asarray(u[0], np.float64)
    if norm == "pre":
        tokens = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(logits[0], tokens.mean(0) @ np.asarray(parameters.head), rtol=1e-4, atol=1e-5)


def test_without_sublayers_the_state_is_embedding_plus_position():
    config, parameters = network("none")
    ids = jnp.array([[1, 2, 3]])
    coefficients = Coefficients(attention=0.0, feed_forward=0.0)
    _, u = sequence_classifier.classify(parameters, ids, config, coefficients)
    angles = np.arange(3)[:, None] * 10000.0 ** (-np.arange(0, 8, 2) / 8)
    positions = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(3, 8)
    np.testing.assert_allclose(u[0], np.asarray(parameters.embedding)[ids[0]] + positions, atol=1e-5)

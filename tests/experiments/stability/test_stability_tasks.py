"""The tasks and the classifier of the trainings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data import listops
from experiments.stability.networks import sequence_classifier
from experiments.stability.networks.sequence_tasks import (
    Batch,
    Rows,
    batch_of,
    join,
    listops_chance,
    listops_rows,
    recall_chance,
    recall_rows,
)
from pdeformer.simulator import Coefficients, SimulatorConfig, init_weights, simulate


def draw(rows: Rows, stream: int, step: int, batch: int = 4) -> Batch:
    return jax.device_get(batch_of(rows, jnp.int32(stream), jnp.int32(step), batch))


def test_the_class_of_a_recall_row_is_its_first_token():
    rows = recall_rows((3, 4), 400, vocabulary=5, tokens=7)
    assert rows.ids.shape == (2, 400, 7)
    np.testing.assert_array_equal(rows.labels, rows.ids[:, :, 0])
    np.testing.assert_array_equal(rows.lengths, 7)
    counts = np.stack([np.bincount(column, minlength=5) for column in rows.ids[0].T])
    assert np.all(np.abs(counts - 80) < 5 * np.sqrt(80 * 0.8))  # uniform at every position
    assert np.any(rows.ids[0] != rows.ids[1])
    np.testing.assert_array_equal(recall_rows((4,), 400, 5, 7).ids[0], rows.ids[1])  # of the seed alone


def test_a_guess_at_recall_has_the_loss_ln_16():
    chance = recall_chance((0, 1, 2), 16)
    np.testing.assert_allclose(chance.loss, [2.7725887] * 3)
    np.testing.assert_allclose(chance.accuracy, [1 / 16] * 3)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return listops_rows((0, 5), 12, tokens=12)


def test_listops_rows_are_expressions_with_their_values(rows):
    assert rows.ids.shape == (2, 12, 12)
    flat = (rows.ids.reshape(-1, 12), rows.lengths.ravel(), rows.labels.ravel())
    for ids, length, label in zip(*flat, strict=True):
        assert 4 <= length <= 12
        assert not np.any(ids[length:])
        assert listops.evaluate([listops.VOCABULARY[index] for index in ids[:length]]) == label
    assert np.any(rows.ids[0] != rows.ids[1])


def test_the_batches_of_a_stream_are_all_its_rows_once(rows):
    both = join(recall_rows((0, 5), 12, vocabulary=16, tokens=12), rows)
    batches = [draw(both, 3, step) for step in range(3)]
    np.testing.assert_array_equal(np.concatenate([batch.ids for batch in batches]), rows.ids[1])
    np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), rows.labels[1])
    segments = np.concatenate([batch.segment_ids for batch in batches])
    np.testing.assert_array_equal(segments, rows.ids[1] > 0)
    recall = draw(both, 1, 0)
    np.testing.assert_array_equal(recall.segment_ids, 1)  # id 0 is a token of this task
    np.testing.assert_array_equal(recall.labels, recall.ids[:, 0])


def test_the_guess_at_listops_is_that_of_the_label_frequencies():
    labels = np.array([[0, 0, 0, 9], [1, 2, 1, 2]], np.int32)
    rows = Rows(np.zeros((2, 4, 5), np.int32), np.full((2, 4), 4), labels)
    chance = listops_chance(rows, 2)
    np.testing.assert_allclose(chance.loss, [-(np.log(0.75) + np.log(0.25)) / 2, np.log(2)])
    np.testing.assert_allclose(chance.accuracy, [0.5, 0.5])
    entropy = 0.5623351446  # of (3/4, 1/4), in nats
    np.testing.assert_allclose(listops_chance(rows, 4).loss[0], entropy)


def network(norm: str = "pre"):
    config = SimulatorConfig(layers=2, width=8, heads=2, ffn=16, norm=norm)
    return config, sequence_classifier.init(config, 6, 4, jax.random.key(0))


def test_padding_does_not_change_the_logits():
    config, parameters = network()
    ids = jnp.array([[1, 2, 3, 0, 0], [4, 5, 1, 2, 3]])
    segments = jnp.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    arguments = (config, Coefficients(diffusion=0.2), segments)
    logits = sequence_classifier.classify(parameters, ids, *arguments)
    changed = sequence_classifier.classify(parameters, ids.at[0, 3:].set(5), *arguments)
    np.testing.assert_array_equal(logits, changed)
    alone = sequence_classifier.classify(parameters, ids[:1, :3], config, Coefficients(diffusion=0.2))
    np.testing.assert_allclose(logits[:1], alone, atol=1e-5)


@pytest.mark.parametrize("norm", ["none", "pre", "post"])
def test_the_head_reads_the_mean_token_and_with_pre_ln_its_layer_norm(norm):
    config, parameters = network(norm)
    ids = jnp.array([[1, 2, 3, 0, 5]])
    logits = sequence_classifier.classify(parameters, ids, config, Coefficients())
    u = sequence_classifier.last_state(parameters, ids, config, Coefficients())
    tokens = np.asarray(u[0], np.float64)
    if norm == "pre":
        tokens = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(logits[0], tokens.mean(0) @ np.asarray(parameters.head), rtol=1e-4, atol=1e-5)


def test_without_sublayers_the_state_is_embedding_plus_position():
    config, parameters = network("none")
    ids = jnp.array([[1, 2, 3]])
    coefficients = Coefficients(attention=0.0, feed_forward=0.0)
    u = sequence_classifier.last_state(parameters, ids, config, coefficients)
    angles = np.arange(3)[:, None] * 10000.0 ** (-np.arange(0, 8, 2) / 8)
    positions = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(3, 8)
    np.testing.assert_allclose(u[0], np.asarray(parameters.embedding)[ids[0]] + positions, atol=1e-5)


def test_attention_at_once_is_the_attention_of_the_simulator():
    config, parameters = network()
    key = jax.random.split(jax.random.key(0), 3)[1]
    ids, segments = (
        jnp.array([[1, 2, 3, 0, 0], [4, 5, 1, 2, 3]]),
        jnp.array([[1, 1, 1, 0, 0], [1, 1, 2, 2, 2]]),
    )
    u = sequence_classifier.embed(parameters, ids)
    expected = simulate(u, init_weights(config, key), config, segment_ids=segments).u
    last = sequence_classifier.last_state(parameters, ids, config, Coefficients(), segments)
    np.testing.assert_allclose(last[segments > 0], expected[segments > 0], atol=1e-5)

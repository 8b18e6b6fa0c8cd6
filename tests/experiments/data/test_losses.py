"""Losses on batches of arrays equal sums that NumPy takes one example after another."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data import arrays

RNG = np.random.default_rng(0)
WEIGHTS = np.array([1, 1, 0], np.float32)


def negative_log_share(logits, label):
    return np.log(np.exp(logits).sum()) - logits[label]


def check(sums, losses, hits):
    expected = [np.dot(WEIGHTS, losses), WEIGHTS.sum(), np.dot(WEIGHTS, hits)]
    np.testing.assert_allclose([sums.loss, sums.weight, sums.correct], expected, rtol=1e-6)


def recorder(logits, calls):
    def model(*inputs, key):
        calls.append((inputs, key))
        return jnp.asarray(logits)

    return model


@pytest.mark.parametrize("first_id", [0, 1])
def test_a_classifier_reads_ids_and_segments_and_has_the_loss_of_its_rows(first_id):
    logits, labels, calls = RNG.normal(size=(3, 4)), np.array([3, 0, 1], np.int32), []
    lengths = np.array([2, 1, 3], np.int32)
    batch = {"tokens": np.full((3, 3), 7, np.uint8), "lengths": lengths, "labels": labels, "weights": WEIGHTS}
    sums = arrays.classifier_loss(first_id)(recorder(logits, calls), batch, "key")
    ((ids, segment_ids), key) = calls[0]
    valid = np.arange(3) < lengths[:, None]
    np.testing.assert_array_equal(ids, np.where(valid, 7 + first_id, 0))
    np.testing.assert_array_equal(segment_ids, valid)
    assert key == "key"
    pairs = list(zip(logits, labels, strict=True))
    check(
        sums,
        [negative_log_share(row, label) for row, label in pairs],
        [row.argmax() == label for row, label in pairs],
    )


def test_a_matcher_reads_both_sequences_of_a_pair():
    logits, labels, calls = RNG.normal(size=(3, 2)), np.array([1, 0, 1], np.int32), []
    tokens, lengths = (
        RNG.integers(0, 256, (3, 2, 4), dtype=np.uint8),
        np.array([[1, 4], [2, 3], [4, 0]], np.int32),
    )
    batch = {"tokens": tokens, "lengths": lengths, "labels": labels, "weights": WEIGHTS}
    sums = arrays.matcher_loss(1)(recorder(logits, calls), batch, None)
    first, second, first_segments, second_segments = calls[0][0]
    for column, (ids, segment_ids) in enumerate(((first, first_segments), (second, second_segments))):
        valid = np.arange(4) < lengths[:, column, None]
        np.testing.assert_array_equal(ids, np.where(valid, tokens[:, column].astype(int) + 1, 0))
        np.testing.assert_array_equal(segment_ids, valid)
    pairs = list(zip(logits, labels, strict=True))
    check(
        sums,
        [negative_log_share(row, label) for row, label in pairs],
        [row.argmax() == label for row, label in pairs],
    )


def test_the_loss_of_token_labels_is_the_mean_over_the_labels_of_a_row():
    logits = RNG.normal(size=(3, 4, 5))
    labels = np.array([[-1, 2, -1, 4], [0, -1, -1, -1], [1, 1, 1, 1]], np.int32)
    batch = {
        "tokens": np.ones((3, 4), np.uint8),
        "lengths": np.full(3, 4, np.int32),
        "labels": labels,
        "weights": WEIGHTS,
    }
    sums = arrays.token_loss(0)(recorder(logits, []), batch, None)
    places = [[t for t in range(4) if labels[row, t] >= 0] for row in range(3)]
    losses = [
        np.mean([negative_log_share(logits[b, t], labels[b, t]) for t in row]) for b, row in enumerate(places)
    ]
    hits = [np.mean([logits[b, t].argmax() == labels[b, t] for t in row]) for b, row in enumerate(places)]
    check(sums, losses, hits)


def test_equal_arguments_share_one_function():
    assert arrays.classifier_loss(1) is arrays.classifier_loss(1) is not arrays.classifier_loss(0)

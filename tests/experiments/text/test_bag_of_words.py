"""The floor of word counts: against a dense definition, on the rows of the model, with the penalty of validation."""

import json

import numpy as np
import pytest

from experiments.data.arrays import Split
from experiments.data.text.corpora import bag_of_words
from experiments.data.text.corpora.bag_of_words import LABEL, fit_logistic, word_count_accuracy, words_of

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "##s", "!", "a")
CHARACTERS = ("[PAD]", "[UNK]", *" !adfilmos")


def split_of(rows, labels, vocabulary=VOCABULARY, name=""):
    tokens = np.zeros((len(rows), 8), np.uint8)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    lengths = np.array([len(ids) for ids in rows], np.int32)
    return Split(tokens, lengths, np.array(labels, np.int32), vocabulary, 2, name)


def reviews(count, seed, name=""):
    """Texts whose class is the word good or bad, beside words without a class, and padding with the other word."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    rows = [[2, *rng.permutation([5 if label else 6, 7, 10]), 3] for label in labels]
    split = split_of(rows, labels, name=name)
    split.tokens[np.arange(count), -1] = np.where(labels, 6, 5)  # behind the length
    return split


def test_words_join_pieces_and_characters_and_leave_out_special_symbols():
    assert words_of(np.array([2, 7, 8, 9, 1, 5, 3]), VOCABULARY) == ["films", "unk", "good"]
    ids = [CHARACTERS.index(letter) for letter in "Films! a".lower()]
    assert words_of(np.array(ids), CHARACTERS) == ["films", "a"]


def test_the_fit_has_the_minimum_of_its_loss():
    rng = np.random.default_rng(0)
    x, labels, penalty = rng.normal(size=(60, 5)), rng.integers(0, 3, 60), 0.3
    weights = fit_logistic(x, labels, 3, penalty)

    def loss(weights):
        logits = x @ weights[:-1] + weights[-1]
        picked = logits[np.arange(60), labels]
        return np.sum(np.log(np.sum(np.exp(logits), 1)) - picked) + penalty / 2 * np.sum(weights[:-1] ** 2)

    best = loss(weights)
    for _ in range(50):
        assert loss(weights + 0.01 * rng.normal(size=weights.shape)) > best
    assert loss(np.zeros_like(weights)) > best + 1


def test_a_word_that_decides_is_learned_and_padding_is_not_read():
    splits = [reviews(count, seed) for seed, count in enumerate((80, 20, 40))]
    assert word_count_accuracy(*splits) == 1.0


def test_labels_of_test_and_validation_texts_reach_no_weight(monkeypatch):
    """With one penalty the validation split decides nothing, and the predictions do not depend on any other label."""
    train, val, test = (reviews(count, seed) for seed, count in enumerate((80, 20, 40)))
    right = word_count_accuracy(train, val, test)
    wrong = word_count_accuracy(
        train, val._replace(labels=1 - val.labels), test._replace(labels=1 - test.labels)
    )
    assert (right, wrong) == (1.0, 0.0)


def test_the_result_is_kept_with_the_data_and_read_again(tmp_path):
    splits = {
        name: reviews(count, seed, name)
        for seed, (name, count) in enumerate({"train": 80, "val": 20, "test": 40}.items())
    }
    floors = bag_of_words(splits, tmp_path)
    common = np.bincount(splits["train"].labels).argmax()
    assert floors == {"majority class": np.mean(splits["test"].labels == common), LABEL: 1.0}
    (path,) = (tmp_path / "floors").iterdir()
    path.write_text(json.dumps({"accuracy": 0.25}))
    assert bag_of_words(splits, tmp_path)[LABEL] == 0.25
    other = splits | {"test": splits["test"]._replace(sha256="other")}
    assert bag_of_words(other, tmp_path)[LABEL] == 1.0


@pytest.mark.parametrize("text", [[], [9], [1]])
def test_a_text_without_known_words_is_classified_too(text):
    train, val = reviews(40, 0), reviews(10, 1)
    test = split_of([[*text] or [2], [5]], [0, 1])
    assert 0 <= word_count_accuracy(train, val, test) <= 1

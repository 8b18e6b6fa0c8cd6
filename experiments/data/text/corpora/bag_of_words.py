"""The accuracy of logistic regression on word counts, to print beside an accuracy of a model.

It reads the very rows of the model, so what a row is cut of is lost to both. Words are lower-case runs of letters and
digits; a vector has the entries (1 + log n) log(N / N_w) for a word that occurs n times, and length 1. Weights, and
their L2 penalty, see the training split alone; the validation split chooses among a few penalties.

n texts, w words, C classes
"""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from experiments.data.arrays import Split
from experiments.data.preparation.counter import counted
from experiments.data.preparation.file_hashes import joint_hash
from experiments.data.text.corpora.vocabularies import CONTINUED, FIRST, LAST
from experiments.run.folder.atomic_files import write_atomically

PENALTIES = (1.0, 0.1, 0.01)
"""Inverse variances of a weight, summed over texts of weight 1."""
MIN_TEXTS = 2
"""Training texts that a word must occur in."""
MAX_WORDS = 50_000
"""Words, the most frequent ones."""
ITERATIONS = 100
LABEL = "bag of words"
_WORD = re.compile(r"[^\W_]+")


def bag_of_words(splits: dict[str, Split], data_dir: Path | None = None) -> dict[str, float]:
    """Return test accuracies without a model: that of the majority class, and that of a bag of words.

    Args:
        splits: the splits train, val and test of tokens with a vocabulary of words, word pieces or characters.
        data_dir: folder of prepared data, where the result is kept for later runs; None keeps nothing.
    """
    common = np.bincount(splits["train"].labels).argmax()
    majority = float(np.mean(splits["test"].labels == common))
    path = None
    if data_dir is not None and all(split.sha256 for split in splits.values()):
        digest = joint_hash([splits[name].sha256 for name in ("train", "val", "test")])
        path = data_dir / "floors" / f"{digest[:32]}.json"
        if path.exists():
            return {"majority class": majority, LABEL: float(json.loads(path.read_bytes())["accuracy"])}
    accuracy = word_count_accuracy(*(splits[name] for name in ("train", "val", "test")))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps({"accuracy": accuracy}) + "\n").encode())
    return {"majority class": majority, LABEL: accuracy}


def word_count_accuracy(train: Split, val: Split, test: Split) -> float:
    """Return the test accuracy of logistic regression on word counts.

    Args:
        train: texts for words, weights and biases.
        val: texts that choose the penalty.
        test: texts to classify.
    """
    words = _words(train)
    counts = Counter(word for text in words for word in set(text))
    columns = {
        word: place for place, (word, count) in enumerate(counts.most_common(MAX_WORDS)) if count >= MIN_TEXTS
    }
    inverse = np.array([math.log(len(words) / counts[word]) for word in columns])
    vectors = _vectors(words, columns, inverse)
    others = [_vectors(_words(split), columns, inverse) for split in (val, test)]
    best = (-1.0, 0.0)
    for penalty in PENALTIES:
        weights = fit_logistic(vectors, train.labels, train.classes, penalty)
        accuracies = [
            float(np.mean(_predict(x, weights) == split.labels))
            for x, split in zip(others, (val, test), strict=True)
        ]
        best = max(best, (accuracies[0], accuracies[1]), key=lambda pair: pair[0])
    return best[1]


def _words(split: Split) -> list[list[str]]:
    rows = counted(rows_of(split), "counting words", len(split.labels))
    return [words_of(row, split.vocabulary) for row in rows]


def rows_of(split: Split) -> list[np.ndarray]:
    """Return the ids of every text without its padding."""
    return [np.asarray(row[:length]) for row, length in zip(split.tokens, split.lengths, strict=True)]


def words_of(ids: np.ndarray, vocabulary: tuple[str, ...]) -> list[str]:
    """Return the lower-case words of a row: pieces and characters are joined, and special symbols are left out."""
    symbols = [vocabulary[int(i)] for i in ids]
    if any(len(symbol) > 1 for symbol in symbols):
        pieces = (symbol for symbol in symbols if symbol not in (FIRST, LAST))
        text = "".join(
            piece.removeprefix(CONTINUED) if piece.startswith(CONTINUED) else f" {piece}" for piece in pieces
        )
    else:
        text = "".join(symbols)
    return _WORD.findall(text.lower())


def _vectors(texts: list[list[str]], columns: dict[str, int], inverse: Float64[np.ndarray, " w"]) -> Any:
    """Return the sparse matrix (n, w) of texts; a text without known words is zero."""
    from scipy.sparse import csr_array  # here, because the import takes half a second

    values, places, starts = [], [], [0]
    for text in texts:
        counted = {columns[word]: n for word, n in Counter(text).items() if word in columns}
        entries = np.array([(1 + math.log(n)) * inverse[place] for place, n in counted.items()])
        values.append(entries / max(float(np.linalg.norm(entries)), np.finfo(float).tiny))
        places += list(counted)
        starts.append(len(places))
    shape = (len(texts), len(columns))
    return csr_array((np.concatenate(values), np.array(places, int), np.array(starts)), shape=shape)


def fit_logistic(x: Any, labels: np.ndarray, classes: int, penalty: float) -> Float64[np.ndarray, "w1 c"]:
    """Return weights and, in the last row, biases that minimize Σ -log p(label) + penalty/2 ‖weights‖².

    Args:
        x: matrix (n, w), sparse or dense.
        labels: class of each row.
        classes: number of classes.
        penalty: weight of the squares; biases are free.
    """
    from scipy.optimize import minimize

    n, width = x.shape
    is_label = np.zeros((n, classes))
    is_label[np.arange(n), labels] = 1

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = flat.reshape(width + 1, classes)
        logits = x @ parameters[:-1] + parameters[-1]
        logits -= logits.max(axis=1, keepdims=True)
        probabilities = np.exp(logits)
        totals = probabilities.sum(axis=1, keepdims=True)
        residual = probabilities / totals - is_label
        value = (
            np.sum(np.log(totals)) - np.sum(logits * is_label) + penalty / 2 * np.sum(parameters[:-1] ** 2)
        )
        gradient = np.vstack([x.T @ residual + penalty * parameters[:-1], residual.sum(axis=0)])
        return float(value), gradient.ravel()

    start = np.zeros((width + 1) * classes)
    result = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return result.x.reshape(width + 1, classes)


def _predict(x: Any, weights: Float64[np.ndarray, "w1 c"]) -> np.ndarray:
    return np.argmax(x @ weights[:-1] + weights[-1], axis=1)

"""The tasks: recall of the first token of random rows, and the value of short ListOps expressions. Both are synthetic.

A row is used once: the loss of a step before its update is the loss on rows that the network has not been trained on.

    B batch, T tokens, S streams of rows (a task with a seed), R rows of a stream
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments.data import listops

MIN_LENGTH = 3  # an expression with an operator has more tokens than this


class Rows(NamedTuple):
    """Rows of all streams."""

    ids: Int[np.ndarray | Array, "s r t"]
    """Token ids; 0 after the end of a row."""
    lengths: Int[np.ndarray | Array, "s r"]
    """Number of tokens."""
    labels: Int[np.ndarray | Array, "s r"]
    """Classes."""


class Batch(NamedTuple):
    """The rows of one step."""

    ids: Int[Array, "b t"]
    """Token ids."""
    segment_ids: Int[Array, "b t"]
    """1 for tokens and 0 for padding."""
    labels: Int[Array, " b"]
    """Classes."""


class Chance(NamedTuple):
    """What a guess reaches that does not read the row."""

    loss: Float[np.ndarray, " s"]
    """Cross-entropy in nats, for every stream."""
    accuracy: Float[np.ndarray, " s"]
    """Share of right classes, for every stream."""


def recall_rows(seeds: Sequence[int], count: int, vocabulary: int, tokens: int) -> Rows:
    """Draw rows of uniform random tokens, whose class is their first token, for every seed."""
    draws = [np.random.default_rng(seed).integers(vocabulary, size=(count, tokens)) for seed in seeds]
    ids = np.stack(draws).astype(np.int32)
    return Rows(ids, np.full(ids.shape[:2], tokens, np.int32), ids[..., 0])


def recall_chance(seeds: Sequence[int], vocabulary: int) -> Chance:
    """Return loss and accuracy of a guess: ln(vocabulary) and 1/vocabulary."""
    return Chance(np.full(len(seeds), np.log(vocabulary)), np.full(len(seeds), 1 / vocabulary))


def listops_rows(seeds: Sequence[int], count: int, tokens: int) -> Rows:
    """Generate expressions of at most `tokens` tokens such as `[MAX 2 9 [MIN 4 7 ] 0 ]`, for every seed.

    Their class is their value, 0 to 9. They have the distribution of the benchmark at these lengths.
    """
    ids = np.zeros((len(seeds), count, tokens), np.int32)
    lengths, labels = (np.zeros((len(seeds), count), np.int32) for _ in range(2))
    for stream, seed in enumerate(seeds):
        rows = listops.generate(count, seed=seed, min_length=MIN_LENGTH, max_length=tokens + 1)
        for row, (symbols, label) in enumerate(rows):
            ids[stream, row, : len(symbols)] = listops.encode(symbols)
            lengths[stream, row], labels[stream, row] = len(symbols), label
    return Rows(ids, lengths, labels)


def listops_chance(rows: Rows, last: int) -> Chance:
    """Return loss and accuracy, on the last rows of a stream, of a guess by the label frequencies of all its rows."""
    labels = np.asarray(rows.labels)
    shares = np.stack([np.bincount(x, minlength=listops.CLASSES) for x in labels]) / labels.shape[1]
    shares_of_last = np.take_along_axis(shares, labels[:, -last:], axis=1)
    hits = labels[:, -last:] == shares.argmax(axis=1)[:, None]
    return Chance(-np.log(shares_of_last).mean(axis=1), hits.mean(axis=1))


def join(*rows: Rows) -> Rows:
    """Return the streams of several tasks as one array."""
    return Rows(*(np.concatenate(arrays) for arrays in zip(*rows, strict=True)))


def batch_of(rows: Rows, stream: Int[Array, ""], step: Int[Array, ""], batch: int) -> Batch:
    """Return the rows of one step of a stream: each step has the next ones."""
    index = step * batch + jnp.arange(batch)
    ids, lengths, labels = (jnp.asarray(x)[stream, index] for x in rows)
    is_token = jnp.arange(ids.shape[1])[None] < lengths[:, None]
    return Batch(ids, is_token.astype(jnp.int32), labels)

"""The tasks: recall of the first token of random rows, and the value of short ListOps expressions. Both are synthetic.

Every batch is new: a training loss before its update is the loss on rows that the network has not been trained on.

    B batch, T tokens, S seeds, R rows of one seed
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Key, UInt8

from experiments.data import listops


class Batch(NamedTuple):
    """The rows of one step."""

    ids: Int[Array, "b t"]
    """Token ids."""
    segment_ids: Int[Array, "b t"] | None
    """1 for tokens and 0 for padding; None if no row is padded."""
    labels: Int[Array, " b"]
    """Classes."""


class Chance(NamedTuple):
    """What a guess reaches that does not read the row."""

    loss: Float[np.ndarray, " s"]
    """Cross-entropy in nats, for every seed."""
    accuracy: Float[np.ndarray, " s"]
    """Share of right classes, for every seed."""


class Task(Protocol):
    """What a training needs of its task."""

    name: str
    """Name of the task."""
    vocabulary: int
    """Number of token ids."""
    classes: int
    """Number of classes."""
    tokens: int
    """Tokens of a row."""
    batch: int
    """Rows of a step."""

    def draw(self, rows: Any, stream: Array, key: Key[Array, ""], step: Array) -> Batch:
        """Return the batch of a step from the rows of all seeds, the position of the seed, and its random key."""
        ...


@dataclass(frozen=True)
class Recall:
    """The class of a row of uniform random tokens is its first token, so a guess has the loss ln(vocabulary)."""

    vocabulary: int = 16
    """Number of token ids and of classes."""
    tokens: int = 24
    """Tokens of a row."""
    batch: int = 32
    """Rows of a step."""
    name: str = "recall"
    """Name of the task."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.vocabulary

    def chance(self, seeds: Sequence[int]) -> Chance:
        """Return loss and accuracy of a guess."""
        return Chance(np.full(len(seeds), np.log(self.vocabulary)), np.full(len(seeds), 1 / self.vocabulary))

    def draw(self, rows: None, stream: Array, key: Key[Array, ""], step: Array) -> Batch:
        """Draw the batch of a step; its key is that of the seed and the step."""
        del rows, stream
        key = jax.random.fold_in(key, step)
        ids = jax.random.randint(key, (self.batch, self.tokens), 0, self.vocabulary)
        return Batch(ids, None, ids[:, 0])


class ListOpsRows(NamedTuple):
    """Encoded expressions of all seeds, 0 after their ends."""

    ids: UInt8[np.ndarray | Array, "s r t"]
    """Token ids, positions in `listops.VOCABULARY`."""
    lengths: Integer[np.ndarray | Array, "s r"]
    """Number of tokens."""
    labels: UInt8[np.ndarray | Array, "s r"]
    """Values, 0 to 9."""

    def chance(self, last: int) -> Chance:
        """Return loss and accuracy, on the last rows of a seed, of a guess by the label frequencies of all its rows."""
        labels = np.asarray(self.labels)
        shares = np.stack([np.bincount(x, minlength=listops.CLASSES) for x in labels]) / labels.shape[1]
        shares_of_last = np.take_along_axis(shares, labels[:, -last:].astype(int), axis=1)
        hits = labels[:, -last:] == shares.argmax(axis=1)[:, None]
        return Chance(-np.log(shares_of_last).mean(axis=1), hits.mean(axis=1))


@dataclass(frozen=True)
class ShortListOps:
    """The value of a nested expression such as `[MAX 2 9 [MIN 4 7 ] 0 ]`, with the distribution of the benchmark."""

    tokens: int = 32
    """Largest number of tokens; shorter expressions are padded."""
    batch: int = 32
    """Rows of a step."""
    name: str = "ListOps"
    """Name of the task."""
    vocabulary: int = len(listops.VOCABULARY)
    """Number of token ids, padding included."""
    classes: int = listops.CLASSES
    """Number of classes."""

    def generate(self, seeds: Sequence[int], steps: int) -> ListOpsRows:
        """Generate the rows of `steps` steps for every seed."""
        count = steps * self.batch
        ids = np.zeros((len(seeds), count, self.tokens), np.uint8)
        lengths = np.zeros((len(seeds), count), np.int32)
        labels = np.zeros((len(seeds), count), np.uint8)
        for index, seed in enumerate(seeds):
            rows = listops.generate(count, seed=seed, min_length=MIN_LENGTH, max_length=self.tokens + 1)
            for row, (tokens, label) in enumerate(rows):
                ids[index, row, : len(tokens)] = listops.encode(tokens)
                lengths[index, row], labels[index, row] = len(tokens), label
        return ListOpsRows(ids, lengths, labels)

    def draw(self, rows: ListOpsRows, stream: Array, key: Key[Array, ""], step: Array) -> Batch:
        """Return the rows of a step in the order in which they were generated; `stream` is the position of the seed."""
        del key
        index = step * self.batch + jnp.arange(self.batch)
        ids, lengths, labels = (jnp.asarray(x)[stream, index].astype(jnp.int32) for x in rows)
        is_token = jnp.arange(self.tokens)[None] < lengths[:, None]
        return Batch(ids, is_token.astype(jnp.int32), labels)


MIN_LENGTH = 3  # an expression with an operator has more tokens than this

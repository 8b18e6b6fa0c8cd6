"""Batches as a pure function of (seed, step, rows), so that a resumed run needs only its step.

On several hosts, each prepares the rows of the global batch that its devices hold, `sharding.host_rows(B, mesh)`.

n examples, B rows of a global batch, b rows of this host, T tokens
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32, Integer

from experiments.data.arrays.store import Split

Rows = Int[np.ndarray, " b"]
"""Rows of a global batch, by their indices 0 … B-1."""


class Batch(NamedTuple):
    """Rows of a split."""

    tokens: Integer[np.ndarray, "b *pair T"]
    """Values as the split stores them, 0 after the last; (B, 2, T) for pairs."""
    lengths: Int32[np.ndarray, "b *pair"]
    """Number of tokens of every sequence."""
    labels: Int32[np.ndarray, "b *T"]
    """One label per row, or per token, or other numbers of every row."""
    weights: Float32[np.ndarray, " b"]
    """1 for a real row, 0 for a row that only fills the batch."""


def batch_indices(
    size: int, batch_size: int, *, seed: int, step: int, rows: Rows | None = None
) -> Int[np.ndarray, " b"]:
    """Return the indices of the examples in some rows of training batch `step`; None is all rows.

    Epoch e visits the n = size examples in the order Generator(Philox(key=(seed, e))).permutation(n) and drops the
    last n mod B of them. Row i of batch s of an epoch is at place sB + i of this order, whoever prepares it.

    Raises:
        ValueError: B exceeds n, or a number or a row is out of range.
    """
    rows = _check_rows(batch_size, rows)
    if not (batch_size <= size and step >= 0 and seed >= 0):
        raise ValueError(
            "a training batch needs batch_size <= examples, step >= 0 and seed >= 0, got "
            f"batch_size={batch_size}, examples={size}, step={step}, seed={seed}; lower the batch size."
        )
    epoch, s = divmod(step, size // batch_size)
    return _permutation(size, seed, epoch)[s * batch_size + rows]


@functools.lru_cache(maxsize=4)  # the current epochs of a few concurrent runs
def _permutation(size: int, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    key = np.array([seed, epoch], np.uint64)
    order = np.random.Generator(np.random.Philox(key=key)).permutation(size)
    order.flags.writeable = False
    return order


def batch(split: Split, batch_size: int, *, seed: int, step: int, rows: Rows | None = None) -> Batch:
    """Return some rows of training batch `step`, all of weight 1; see `batch_indices`."""
    examples = batch_indices(len(split.labels), batch_size, seed=seed, step=step, rows=rows)
    return _gather(split, examples, np.ones(len(examples), np.float32))


def evaluation_batches(split: Split, batch_size: int, *, rows: Rows | None = None) -> Iterator[Batch]:
    """Return every example once and in order: some rows of ceil(n / B) batches of B rows; None is all rows.

    A row past the end repeats the last example with weight 0; unlike an empty row, it is valid input for any model.

    Raises:
        ValueError: a row is out of range.
    """
    rows, size = _check_rows(batch_size, rows), len(split.labels)
    places = (start + rows for start in range(0, size, batch_size))
    return (_gather(split, np.minimum(p, size - 1), (p < size).astype(np.float32)) for p in places)


def grain_batches(split: Split, batch_size: int, *, seed: int, steps: int, rows: Rows | None = None) -> Any:
    """Return the batches of steps 0 to `steps` - 1 as a `grain.MapDataset`, with its iterators and checkpoints."""
    import grain  # here, because the import takes three seconds

    batch_of_step = functools.partial(batch, split, batch_size, seed=seed, rows=rows)
    return grain.MapDataset.range(steps).map(lambda step: batch_of_step(step=int(step)))


def _check_rows(batch_size: int, rows: Rows | None) -> Rows:
    """Return the rows, all of them for None. Raises ValueError unless they are rows of the batch."""
    if batch_size < 1:
        raise ValueError(f"a batch has one row or more, got batch_size={batch_size}; raise it.")
    rows = np.arange(batch_size) if rows is None else rows
    if len(rows) and not 0 <= rows.min() <= rows.max() < batch_size:
        raise ValueError(
            f"rows lie in the global batch, 0 … {batch_size - 1}, got {rows.min()} … {rows.max()}; take "
            f"sharding.host_rows({batch_size}, mesh)."
        )
    return rows


def _gather(split: Split, rows: Int[np.ndarray, " b"], weights: Float32[np.ndarray, " b"]) -> Batch:
    return Batch(np.asarray(split.tokens[rows]), split.lengths[rows], split.labels[rows], weights)

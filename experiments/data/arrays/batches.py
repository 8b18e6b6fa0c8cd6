"""Batches as a pure function of (seed, step, host), so that a resumed run needs only its step.

n examples, B rows of a global batch, b = B / hosts rows of this host, T tokens
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32, UInt8

from experiments.data.arrays.store import Split


class Batch(NamedTuple):
    """Rows of a split."""

    tokens: UInt8[np.ndarray, "b T"]
    """Tokens as the split stores them, 0 after the last."""
    segment_ids: Int32[np.ndarray, "b T"]
    """1 on tokens, 0 on padding."""
    labels: Int32[np.ndarray, " b"]
    """One label per row."""
    weights: Float32[np.ndarray, " b"]
    """1 for a real row, 0 for a row that only fills the batch."""


def batch_indices(
    size: int, batch_size: int, *, seed: int, step: int, host: int = 0, hosts: int = 1
) -> Int[np.ndarray, " b"]:
    """Return the indices of the examples of training batch `step` for this host.

    Epoch e visits the n = size examples in the order Generator(Philox(key=(seed, e))).permutation(n) and drops the
    last n mod B of them. Batch s of an epoch has its rows sB to (s + 1)B, and host h has rows sB + hb to
    sB + (h + 1)b. The union over all hosts is the same batch for any number of hosts.

    Raises:
        ValueError: B exceeds n or is not a multiple of hosts, or a number is out of range.
    """
    _check(batch_size, host, hosts)
    if not (batch_size <= size and step >= 0 and seed >= 0):
        raise ValueError(
            "a training batch needs batch_size <= examples, step >= 0 and seed >= 0, got "
            f"batch_size={batch_size}, examples={size}, step={step}, seed={seed}; lower the batch size."
        )
    epoch, s = divmod(step, size // batch_size)
    b = batch_size // hosts
    first = s * batch_size + host * b
    return _permutation(size, seed, epoch)[first : first + b]


@functools.lru_cache(maxsize=4)  # the current epochs of a few concurrent runs
def _permutation(size: int, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    key = np.array([seed, epoch], np.uint64)
    order = np.random.Generator(np.random.Philox(key=key)).permutation(size)
    order.flags.writeable = False
    return order


def batch(split: Split, batch_size: int, *, seed: int, step: int, host: int = 0, hosts: int = 1) -> Batch:
    """Return the rows of training batch `step` for this host, all of weight 1; see `batch_indices`."""
    size = len(split.labels)
    rows = batch_indices(size, batch_size, seed=seed, step=step, host=host, hosts=hosts)
    return _gather(split, rows, np.ones(len(rows), np.float32))


def evaluation_batches(split: Split, batch_size: int, *, host: int = 0, hosts: int = 1) -> Iterator[Batch]:
    """Return every example once and in order: ceil(n / B) batches of one shape, on every host.

    A row past the end repeats the last example with weight 0; unlike an empty row, it is valid input for any model.

    Raises:
        ValueError: B is not a multiple of hosts, or host is out of range.
    """
    _check(batch_size, host, hosts)
    size, b = len(split.labels), batch_size // hosts
    rows = (host * b + np.arange(start, start + b) for start in range(0, size, batch_size))
    return (_gather(split, np.minimum(r, size - 1), (r < size).astype(np.float32)) for r in rows)


def grain_batches(
    split: Split, batch_size: int, *, seed: int, steps: int, host: int = 0, hosts: int = 1
) -> Any:
    """Return the batches of steps 0 to `steps` - 1 as a `grain.MapDataset`, with its iterators and checkpoints."""
    import grain  # here, because the import takes three seconds

    batch_of_step = functools.partial(batch, split, batch_size, seed=seed, host=host, hosts=hosts)
    return grain.MapDataset.range(steps).map(lambda step: batch_of_step(step=int(step)))


def _check(batch_size: int, host: int, hosts: int) -> None:
    if not (0 <= host < hosts and batch_size >= 1 and batch_size % hosts == 0):
        raise ValueError(
            "a global batch must be a multiple of hosts, and host one of them, got "
            f"batch_size={batch_size}, host={host}, hosts={hosts}; change the batch size."
        )


def _gather(split: Split, rows: Int[np.ndarray, " b"], weights: Float32[np.ndarray, " b"]) -> Batch:
    positions = np.arange(split.tokens.shape[1])
    segment_ids = (positions[None] < split.lengths[rows][:, None]).astype(np.int32)
    return Batch(np.asarray(split.tokens[rows]), segment_ids, split.labels[rows], weights)

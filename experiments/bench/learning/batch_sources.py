"""Batches of examples from memory maps: ours, and those of other loaders.

n examples, B rows of a batch, T tokens
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap

from experiments.data import arrays

ROWS_AT_ONCE = 4096


class Example(NamedTuple):
    """One example, as a loader without batches reads it."""

    tokens: np.ndarray
    """Its values, uint8 (T,)."""
    length: Any
    """Number of its tokens, int32."""
    label: Any
    """Its label, int32."""


@contextmanager
def split_on_disk(examples: int, tokens: int) -> Iterator[arrays.Split]:
    """Write random values to a temporary folder and yield them as a split of full rows, memory-mapped."""
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "train.x.npy"
        values = open_memmap(path, "w+", np.uint8, (examples, tokens))
        for start in range(0, examples, ROWS_AT_ONCE):
            block = values[start : start + ROWS_AT_ONCE]
            block[:] = rng.integers(0, 256, block.shape, np.uint8)
        values.flush()
        lengths = np.full(examples, tokens, np.int32)
        labels = rng.integers(0, 10, examples, np.int32)
        vocabulary = ("", *map(str, range(256)))
        yield arrays.Split(np.load(path, mmap_mode="r"), lengths, labels, vocabulary, 10, first_id=1)


class Examples:
    """A split as a source of single examples, by `len` and index."""

    def __init__(self, split: arrays.Split) -> None:
        """Take the split."""
        self.split = split

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.split.labels)

    def __getitem__(self, index: Any) -> Example:
        """Read one example."""
        return Example(
            np.asarray(self.split.tokens[index]), self.split.lengths[index], self.split.labels[index]
        )


def our_batches(split: arrays.Split, batch: int) -> Callable[[int], arrays.Batch]:
    """Return batches as a function of the step."""
    return lambda step: arrays.batch(split, batch, seed=0, step=step)


def our_grain_batches(split: arrays.Split, batch: int) -> Callable[[int], arrays.Batch]:
    """Return the same batches by grain, whose elements are batches."""
    return arrays.grain_batches(split, batch, seed=0, steps=2**30).__getitem__


def example_grain_batches(split: arrays.Split, batch: int) -> Callable[[int], Any]:
    """Return batches by grain, whose elements are examples: shuffled, repeated and batched by grain."""
    import grain  # here, because the import takes three seconds

    source: Any = Examples(split)
    return grain.MapDataset.source(source).seed(0).shuffle().repeat().batch(batch).__getitem__


def loop_batches(split: arrays.Split, batch: int) -> Callable[[int], Example]:
    """Return batches by a loop over examples that stacks them, as the default of PyTorch's loader in one process."""
    examples = Examples(split)
    order = np.random.default_rng(0).permutation(len(examples))
    per_epoch = len(order) // batch

    def batch_of_step(step: int) -> Example:
        start = step % per_epoch * batch
        rows = [examples[index] for index in order[start : start + batch]]
        return Example(*(np.stack(column) for column in zip(*rows, strict=True)))

    return batch_of_step

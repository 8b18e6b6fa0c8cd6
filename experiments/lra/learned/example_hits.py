"""Which test examples a model gets right, saved in the run folder for paired differences.

For tasks with labels of tokens it is the share of labels of an example that are right.

Legend: n test examples, in the order of the split.
"""

import io
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float32

from experiments import run

TOLERANCE = 5e-6
"""Accuracies are float32, and saved with six digits."""


Right = Bool[np.ndarray, " n"] | Float32[np.ndarray, " n"]
"""Whether each example is right, or the share of its labels that is."""


class Hits(NamedTuple):
    """Which test examples are right."""

    last: Right
    """With the weights after the last step."""
    best: Right
    """With the weights that are best on validation."""


def save(folder: run.Run, variant: str, seed: int, hits: Hits) -> None:
    """Write the hits of a variant and seed, and replace those of an earlier call: a bit or a float32 per example."""
    if run.is_first():
        path = folder.folder / "hits" / _name(variant, seed)
        path.parent.mkdir(exist_ok=True)
        archive = io.BytesIO()
        bits = {
            name: np.packbits(array) if array.dtype == bool else array
            for name, array in hits._asdict().items()
        }
        np.savez(archive, allow_pickle=False, count=np.array(len(hits.last)), **bits)
        run.write_atomically(path, archive.getvalue())


def load(folder: run.Run, variant: str, seed: int) -> Hits | None:
    """Read what `save` has written; None in a run folder of an earlier release.

    Raises:
        ValueError: the file is damaged.
    """
    path, remedy = folder.folder / "hits" / _name(variant, seed), run.remedy_of_row(folder, variant, seed)
    if not path.exists():
        return None
    arrays = run.read_arrays(path, remedy)
    try:
        count = int(arrays["count"])
        hits = Hits(*(_unpack(arrays[name], count) for name in Hits._fields))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} must have the hits of a training, got: {error}; {remedy}.") from None
    return hits


def _unpack(array: np.ndarray, count: int) -> Right:
    return np.unpackbits(array, count=count).astype(bool) if array.dtype == np.uint8 else array


class Accuracies(Protocol):
    """A result with test accuracies, such as `run.Result`."""

    @property
    def variant(self) -> str:
        """Name of the training."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the training."""
        ...

    @property
    def test_accuracy(self) -> float:
        """With the weights after the last step."""
        ...

    @property
    def best_test_accuracy(self) -> float:
        """With the weights that are best on validation."""
        ...


def check(folder: run.Run, result: Accuracies, hits: Hits | None, test_examples: int) -> None:
    """Raise ValueError if hits are not those of the saved result, whose differences would be others."""
    if hits is None:
        return
    for name, accuracy in (("last", result.test_accuracy), ("best", result.best_test_accuracy)):
        array = getattr(hits, name)
        if len(array) != test_examples or not abs(array.mean() - accuracy) <= TOLERANCE:  # NaN is neither
            raise ValueError(
                f"hits must be those of the saved result, got {array.sum():g} of {len(array)} in "
                f"{folder.folder / 'hits' / _name(result.variant, result.seed)} for the accuracy {accuracy:g} on "
                f"{test_examples}; {run.remedy_of_row(folder, result.variant, result.seed)}."
            )


def check_finished(
    folder: run.Run, variant: str, seed: int, steps: int, cadence: run.LoopIntervals, test_examples: int
) -> None:
    """Check the files of a training if it has finished, before others begin.

    Raises:
        ValueError: a file is damaged, or the hits are not those of the result.
    """
    if (result := run.read_result(folder, variant, seed, steps, cadence)) is not None:
        check(folder, result, load(folder, variant, seed), test_examples)


def _name(variant: str, seed: int) -> str:
    return f"{variant}-{seed}.npz"

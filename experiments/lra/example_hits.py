"""Which test examples a model gets right, saved in the run folder for paired differences.

Legend: n test examples, in the order of the split.
"""

import io
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from experiments import run


class Hits(NamedTuple):
    """Which test examples are right."""

    last: Bool[np.ndarray, " n"]
    """With the weights after the last step."""
    best: Bool[np.ndarray, " n"]
    """With the weights that are best on validation."""


def save(folder: run.Run, variant: str, seed: int, hits: Hits) -> None:
    """Write the hits of a variant and seed, one bit for each example, and replace those of an earlier call."""
    if run.is_first():
        path = folder.folder / "hits" / _name(variant, seed)
        path.parent.mkdir(exist_ok=True)
        archive = io.BytesIO()
        bits = {name: np.packbits(array) for name, array in hits._asdict().items()}
        np.savez(archive, allow_pickle=False, count=np.array(len(hits.last)), **bits)
        run.write_atomically(path, archive.getvalue())


def load(folder: run.Run, variant: str, seed: int) -> Hits | None:
    """Read what `save` has written; None in a run folder of an earlier release."""
    path = folder.folder / "hits" / _name(variant, seed)
    if not path.exists():
        return None
    with np.load(path) as file:
        count = int(file["count"])
        return Hits(*(np.unpackbits(file[name], count=count).astype(bool) for name in Hits._fields))


def _name(variant: str, seed: int) -> str:
    return f"{variant}-{seed}.npz"

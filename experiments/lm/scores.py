"""What the test text costs a model: saved by block and by position, and as bits per byte and perplexities.

n test blocks, T positions
"""

import io
import math
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
from jaxtyping import Float64

from experiments import run
from experiments.data import arrays
from experiments.lm.next_token import Nats

TOLERANCE = 1e-5
"""Largest relative difference between the loss of a saved result and the mean of its blocks."""
FOLDER = "nats"


class TextSize(NamedTuple):
    """How much text a split has; the first token of a split, which nothing predicts, is not counted."""

    blocks: int
    tokens: int
    """Predicted tokens, the ends of documents among them."""
    bytes: int
    words: int

    @classmethod
    def of(cls, split: arrays.Split) -> "TextSize":
        """Return the size of the predicted text of a split."""
        text_bytes, words = (int(count) for count in split.labels.sum(axis=0, dtype=np.int64))
        return cls(len(split.labels), len(split.labels) * (split.tokens.shape[1] - 1), text_bytes, words)

    def bits_per_byte(self, nats: float) -> float:
        """Return the bits per byte of a mean of nats per token; the ends of documents are paid and have no byte."""
        return nats * self.tokens / (self.bytes * math.log(2))

    def word_perplexity(self, nats: float) -> float:
        """Return the perplexity per word of a mean of nats per token; infinite beyond the largest float."""
        exponent = nats * self.tokens / self.words
        return math.exp(exponent) if exponent < 700 else math.inf


class Scores(NamedTuple):
    """Mean nats of a trained model on the test split."""

    last: Float64[np.ndarray, " n"]
    """Of every block, with the weights after the last step."""
    best: Float64[np.ndarray, " n"]
    """Of every block, with the weights that are best on validation."""
    position: Float64[np.ndarray, " t"]
    """Of every position, which is the number of tokens before the last one that is read; last weights."""
    windows: Float64[np.ndarray, " n"]
    """Of every block, counted in windows with a long context; last weights. Empty without --stride."""


def scores_of(last: Nats, best: Nats, windows: Nats | None) -> Scores:
    """Return the means over positions and over blocks."""

    def blocks(nats: Nats) -> Float64[np.ndarray, " n"]:
        return nats.nats.mean(axis=1, dtype=float)

    in_windows = np.zeros(0) if windows is None else blocks(windows)
    return Scores(blocks(last), blocks(best), last.nats.mean(axis=0, dtype=float), in_windows)


def save(folder: run.Run, name: str, seed: int, scores: Scores) -> None:
    """Write the scores of a training, and replace those of an earlier call."""
    if run.is_first():
        path = folder.folder / FOLDER / f"{quote(name, safe='')}-{seed}.npz"
        path.parent.mkdir(exist_ok=True)
        archive = io.BytesIO()
        np.savez(archive, allow_pickle=False, **scores._asdict())
        run.write_atomically(path, archive.getvalue())


def load(folder: run.Run, result: run.Result, size: TextSize) -> Scores:
    """Read what `save` has written.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is damaged, or is not that of the saved result.
    """
    path = folder.folder / FOLDER / f"{quote(result.variant, safe='')}-{result.seed}.npz"
    remedy = run.remedy_of_row(folder, result.variant, result.seed)
    if not path.exists():
        raise FileNotFoundError(f"a finished training has {path}, got no such file; {remedy}.")
    arrays_of_file = run.read_arrays(path, remedy)
    try:
        scores = Scores(*(np.asarray(arrays_of_file[name], float) for name in Scores._fields))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} must have the scores of a training, got: {error}; {remedy}.") from None
    mean = float(scores.last.mean()) if len(scores.last) else math.nan
    if len(scores.last) != size.blocks or not abs(mean - result.test_loss) <= TOLERANCE * result.test_loss:
        raise ValueError(
            f"scores must be those of the saved result, got {len(scores.last)} blocks of {mean:g} nats in {path} for "
            f"{result.test_loss:g} on {size.blocks}; {remedy}."
        )
    return scores

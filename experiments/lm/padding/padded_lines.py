"""The lines of a text, each padded or cut to a length, as the first public code reads them.

n lines, L tokens
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from experiments.data import arrays
from experiments.data.language_modeling import CorpusConfig
from experiments.data.language_modeling.block_builder import Documents
from experiments.data.language_modeling.text_units import END, Encoder


class Lines(NamedTuple):
    """The splits of padded lines."""

    splits: dict[str, arrays.Split]
    """train, val and test: tokens (n, L), the ids of the text and PAD behind them."""
    pad: int
    """Id of PAD: that of the end of a document, which no line has."""


def read_lines(
    corpus: CorpusConfig, *, train: int, test: int, data_dir: Path, manual_dir: Path | None
) -> Lines:
    """Return the first lines of every split that are not empty, padded or cut to the length of the configuration.

    Args:
        corpus: the text; its `max_len` is the length.
        train: number of training lines.
        test: number of test lines, and of validation lines.
        data_dir: folder of prepared data.
        manual_dir: folder of published files.

    Raises:
        ValueError: a split has no lines.
    """
    documents = corpus.documents(data_dir, manual_dir)
    encoder = corpus.encoder(documents["train"], data_dir, corpus.content(data_dir, manual_dir))
    pad = encoder.vocabulary.index(END)
    counts = {"train": train, "val": test, "test": test}
    return Lines(
        {split: _split(documents[split], encoder, count, corpus, pad) for split, count in counts.items()}, pad
    )


def _split(
    documents: Documents, encoder: Encoder, count: int, corpus: CorpusConfig, pad: int
) -> arrays.Split:
    rows = list(itertools.islice(_encoded(documents, encoder), count))
    if not rows:
        raise ValueError(
            f"{corpus.title} needs lines that are not empty, got none in a split; use another text."
        )
    tokens = np.full((len(rows), corpus.max_len), pad, encoder.dtype)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids[: corpus.max_len]
    lengths = np.minimum([len(ids) for ids in rows], corpus.max_len).astype(np.int32)
    return arrays.Split(tokens, lengths, np.zeros((len(rows), 2), np.int32), encoder.vocabulary, 0)


def _encoded(documents: Documents, encoder: Encoder) -> Iterator[Int32[np.ndarray, " l"]]:
    """Yield the ids of every line that is not empty, without the end of its document."""
    for text in documents.read():
        for line in text.split(b"\n"):
            if line.strip():
                yield encoder.encode(line).ids[:-1]

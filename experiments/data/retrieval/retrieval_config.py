"""The configuration of a data set of pairs of texts, and its splits as arrays."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from experiments.data import arrays, offline
from experiments.data.offline import Document
from experiments.data.preparation.file_hashes import FileHashes, joint_hash
from experiments.data.preparation.row_builder import Row, RowConfig, RowSource, to_tokens
from experiments.data.preparation.split_sizes import split_sizes
from experiments.data.retrieval.aan_pairs import SIZES, pair_files, read_pairs
from experiments.data.retrieval.document_pairs import draw_pairs
from experiments.data.retrieval.retrieval_stand_ins import STAND_INS, read_groups

RetrievalSource = Literal["lra_release", "offline:20newsgroups", "offline:bbc"]
SOURCES = ("lra_release", *(f"offline:{name}" for name in STAND_INS))
MAX_PAIRS = 1_000_000
"""Pairs that are drawn at most from the documents of a stand-in."""


@dataclasses.dataclass(frozen=True)
class RetrievalConfig(arrays.RowData):
    """Tell whether two texts are related, by their raw bytes: a citation, or in a stand-in the same group.

    Raises:
        ValueError: a field is out of range.
    """

    source: RetrievalSource = "lra_release"
    """The published pairs of papers from the manual folder, or pairs of documents of a package."""
    max_len: int = 4000
    """Bytes of each text; the rest is cut."""
    train: int | None = None
    """Training pairs, the first of their file; None takes all, and of a stand-in 20,000."""
    val: int | None = None
    """Validation pairs; None takes all, and of a stand-in 2,000."""
    test: int | None = None
    """Test pairs; None takes all, and of a stand-in 2,000."""
    seed: int = 0
    """Seed of the splits and pairs of a stand-in."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.source not in SOURCES:
            raise ValueError(
                f"Retrieval needs a source among {', '.join(SOURCES)}, got {self.source!r}; correct it."
            )
        if self.max_len < 1 or self.seed < 0:
            raise ValueError(
                f"Retrieval needs max_len >= 1 and seed >= 0, got max_len={self.max_len}, seed={self.seed}; raise "
                "them."
            )
        self.sizes()

    @property
    def title(self) -> str:
        """Name of the data set in tables."""
        return f"Retrieval stand-in ({self.stand_in})" if self.is_stand_in else "Retrieval (AAN)"

    @property
    def floors(self) -> dict[str, float]:
        """Test accuracies of trivial predictors; see `RetrievalStandIn.floors` for their measurement."""
        return dict(STAND_INS[self.stand_in].floors) if self.is_stand_in else {"chance": 0.5}

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each split.

        Raises:
            ValueError: the data set does not have so many.
        """
        chosen = {"train": self.train, "val": self.val, "test": self.test}
        if self.is_stand_in:
            usual = STAND_INS[self.stand_in].sizes
            chosen = {split: usual[split] if size is None else size for split, size in chosen.items()}
        largest = dict.fromkeys(chosen, MAX_PAIRS) if self.is_stand_in else SIZES
        return split_sizes(largest, chosen, self.title)

    def prepare(
        self, data_dir: Path, *, manual_dir: Path | None = None, verify: bool = False
    ) -> dict[str, arrays.Split]:
        """Return the splits as arrays; the first call reads the pairs.

        Splits of a stand-in share no document. The file of 8 GB is read row by row, once for its SHA-256 and once
        for its rows.

        Args:
            data_dir: folder of prepared data and downloads.
            manual_dir: folder `tsv_data` of the release, or the release itself, or folder of the package file.
            verify: whether to read all prepared data again and compare its SHA-256.

        Returns:
            The splits train, val and test, with tokens (n, 2, T); tokens are bytes, and ids are one more.

        Raises:
            FileNotFoundError: the manual folder does not have the data.
            ValueError: the data is incomplete or damaged, or it cannot be downloaded.
        """
        sizes, config = self.sizes(), self.row_config(self.content(data_dir, manual_dir))
        if self.is_stand_in:
            load = functools.cache(functools.partial(self._load, data_dir, manual_dir))
            readers = {
                split: functools.partial(self._draw, load, split, size) for split, size in sizes.items()
            }
        else:
            readers = {
                split: functools.partial(self._read, path, split, sizes[split])
                for split, path in pair_files(manual_dir).items()
            }
        return arrays.prepare_rows(
            config,
            {split: RowSource(sizes[split], reader) for split, reader in readers.items()},
            title=self.title,
            max_len=self.max_len,
            data_dir=data_dir,
            verify=verify,
        )

    def content(self, data_dir: Path, manual_dir: Path | None) -> str:
        """Return the joint hash of the published files, empty for a stand-in."""
        if self.is_stand_in:
            return ""
        hashes = FileHashes(data_dir)
        return joint_hash([hashes.sha256(path) for path in pair_files(manual_dir).values()])

    def row_config(self, content: str) -> RowConfig:
        """Return the options of the rows, whose name has the hash of the published files."""
        options = {"source": self.source, "seed": self.seed, "content": content}
        name = "-".join(map(str, ("retrieval", *options.values(), self.max_len, *self.sizes().values())))
        return RowConfig(name=name.replace(":", "_"), options=options | self.sizes(), pairs=True)

    def _read(self, path: Path, split: str, size: int) -> Iterator[Row]:
        """Yield the first rows of a published file; if all are asked for, more than all are an error too."""
        return itertools.islice(read_pairs(path, self.max_len), None if size == SIZES[split] else size)

    def _load(self, data_dir: Path, manual_dir: Path | None) -> dict[str, list[Document]]:
        """Return the documents of every split of a stand-in."""
        path = offline.fetch(STAND_INS[self.stand_in].package, data_dir=data_dir, manual_dir=manual_dir)
        return read_groups(self.stand_in, path, seed=self.seed)

    def _draw(self, load: Callable[[], dict[str, list[Document]]], split: str, size: int) -> Iterator[Row]:
        """Yield pairs of the documents of a split."""
        documents = load()[split]
        labels = np.array([document.label for document in documents])
        tokens = [to_tokens(document.text, self.max_len) for document in documents]
        for first, second, same in zip(*draw_pairs(labels, size, seed=self.seed), strict=True):
            yield Row(int(same), tokens[first], tokens[second])

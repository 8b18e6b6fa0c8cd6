"""The configuration of a text classification data set, and its splits as arrays."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from experiments.data import arrays, offline
from experiments.data.offline import Document
from experiments.data.preparation.file_hashes import FileHashes
from experiments.data.preparation.row_builder import Row, RowConfig, RowSource, to_tokens
from experiments.data.preparation.shuffling import shuffled_order
from experiments.data.preparation.split_sizes import split_sizes
from experiments.data.text.imdb import REVIEWS, imdb_archive, open_imdb
from experiments.data.text.text_stand_ins import STAND_INS, read_stand_in

TextSource = Literal["tfds", "original", "offline:polarity", "offline:spam-assassin"]
SOURCES = ("tfds", "original", *(f"offline:{name}" for name in STAND_INS))
HELD_OUT = REVIEWS // 10


@dataclasses.dataclass(frozen=True)
class TextConfig(arrays.RowData):
    """Classify a text by its raw bytes, cut at `max_len`; no cleaning, no end symbol.

    Raises:
        ValueError: a field is out of range, or the LRA protocol is asked of a stand-in.
    """

    source: TextSource = "tfds"
    """IMDb from TFDS, from the original archive in the manual folder, or a stand-in from a package."""
    protocol: Literal["held_out", "lra_protocol"] = "held_out"
    """`held_out` validates on a tenth of the training reviews. `lra_protocol` is the benchmark's: it validates on
    the test reviews, so its best score is a best score on test."""
    max_len: int = 4096
    """Bytes of a row. The benchmark's configuration file has 1000, its table 4000."""
    train: int | None = None
    """Training texts, the first of their split; None takes all."""
    val: int | None = None
    """Validation texts."""
    test: int | None = None
    """Test texts."""
    seed: int = 0
    """Seed of the order before a split: it selects the validation reviews, or all splits of a stand-in."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.source not in SOURCES or self.protocol not in ("held_out", "lra_protocol"):
            raise ValueError(
                f"Text needs a source among {', '.join(SOURCES)} and a protocol held_out or lra_protocol, got "
                f"source={self.source!r}, protocol={self.protocol!r}; correct the configuration."
            )
        if self.is_stand_in and self.protocol == "lra_protocol":
            raise ValueError(
                f"the LRA protocol is one of IMDb, got source={self.source!r}; take protocol='held_out'."
            )
        if self.max_len < 1 or self.seed < 0:
            raise ValueError(
                f"Text needs max_len >= 1 and seed >= 0, got max_len={self.max_len}, seed={self.seed}; raise them."
            )
        self.sizes()

    @property
    def title(self) -> str:
        """Name of the data set in tables."""
        if self.is_stand_in:
            return f"Text stand-in ({self.stand_in})"
        if self.protocol == "lra_protocol":
            return "Text (IMDb, LRA protocol: validated on test)"
        return "Text (IMDb, validated on held-out training reviews)"

    @property
    def floors(self) -> dict[str, float]:
        """Test accuracies of trivial predictors; see `TextStandIn.floors` for their measurement."""
        return dict(STAND_INS[self.stand_in].floors) if self.is_stand_in else {"majority class": 0.5}

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each split.

        Raises:
            ValueError: the data set does not have so many.
        """
        largest = {"train": REVIEWS - HELD_OUT, "val": HELD_OUT, "test": REVIEWS}
        if self.is_stand_in:
            largest = STAND_INS[self.stand_in].sizes
        elif self.protocol == "lra_protocol":
            largest = dict.fromkeys(largest, REVIEWS)
        return split_sizes(largest, {"train": self.train, "val": self.val, "test": self.test}, self.title)

    def prepare(
        self, data_dir: Path, *, manual_dir: Path | None = None, verify: bool = False
    ) -> dict[str, arrays.Split]:
        """Return the splits as arrays; the first call reads or downloads the data.

        The order of the reviews is shuffled, because the original archive stores one class after the other. The
        held-out reviews are the last tenth of the training reviews in this order.

        Args:
            data_dir: folder of prepared data and downloads.
            manual_dir: data folder of TFDS, folder of `aclImdb_v1.tar.gz`, or folder of the package file.
            verify: whether to read all prepared data again and compare its SHA-256.

        Returns:
            The splits train, val and test; tokens are bytes, and ids are one more.

        Raises:
            FileNotFoundError: the manual folder does not have the data.
            ValueError: the data is incomplete or damaged, or it cannot be downloaded.
        """
        config = self.row_config(self.content(data_dir, manual_dir))
        load = functools.cache(functools.partial(self._load, data_dir, manual_dir))
        sources = {
            split: RowSource(size, functools.partial(_rows, load, split, size, self.max_len))
            for split, size in self.sizes().items()
        }
        return arrays.prepare_rows(
            config,
            sources,
            title=self.title,
            max_len=self.max_len,
            data_dir=data_dir,
            verify=verify,
        )

    def content(self, data_dir: Path, manual_dir: Path | None) -> str:
        """Return the hash of the published archive, empty for other sources."""
        if self.source != "original":
            return ""
        return FileHashes(data_dir).sha256(imdb_archive(manual_dir))

    def row_config(self, content: str) -> RowConfig:
        """Return the options of the rows, whose name has the hash of the published archive."""
        # A trial of few rows depends on the order of all, and the order on the seed, so both are part of the name.
        options = {"source": self.source, "protocol": self.protocol, "seed": self.seed, "content": content}
        name = "-".join(map(str, ("text", *options.values(), self.max_len, *self.sizes().values())))
        return RowConfig(name=name.replace(":", "_"), options=options | self.sizes())

    def _load(self, data_dir: Path, manual_dir: Path | None) -> dict[str, Sequence[Document]]:
        """Return all documents of every split."""
        if self.is_stand_in:
            stand_in = STAND_INS[self.stand_in]
            path = offline.fetch(stand_in.package, data_dir=data_dir, manual_dir=manual_dir)
            documents = read_stand_in(self.stand_in, path)
            return dict(offline.split_documents(documents, sizes=stand_in.sizes, seed=self.seed))
        published = open_imdb(self.source, data_dir=data_dir, manual_dir=manual_dir)
        train, test = (self._shuffle(published[split]) for split in ("train", "test"))
        if self.protocol == "lra_protocol":
            return {"train": train, "val": test, "test": test}
        start = len(train) - len(train) // 10
        return {"train": train[:start], "val": train[start:], "test": test}

    def _shuffle(self, documents: Sequence[Document]) -> list[Document]:
        """Return the documents in another order: the original archive stores one class after the other."""
        return [documents[i] for i in shuffled_order(len(documents), self.seed)]


def _rows(
    load: Callable[[], dict[str, Sequence[Document]]], split: str, size: int, max_len: int
) -> Iterator[Row]:
    for document in load()[split][:size]:
        yield Row(document.label, to_tokens(document.text, max_len))

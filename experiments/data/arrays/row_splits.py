"""Rows of bytes, pixels or ids as splits: read once with a word about it, and reused by every later run."""

import abc
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.data.arrays.store import Split, is_prepared, prepare
from experiments.data.preparation.counter import announce
from experiments.data.preparation.file_hashes import known_content
from experiments.data.preparation.row_builder import ByteRows, RowConfig, RowSource
from experiments.data.preparation.tfds_files import without_messages

STAND_IN = "offline:"
"""Start of the source of a stand-in."""


class RowData(abc.ABC):
    """What the configurations of published texts and images share: their stand-ins, and what is prepared."""

    source: str
    """Where the data come from; `offline:NAME` is the stand-in NAME from a package."""
    max_len: int
    """Tokens of a row."""

    @property
    def is_stand_in(self) -> bool:
        """Whether the data is not that of the benchmark, so that no column of the benchmark may hold it."""
        return self.source.startswith(STAND_IN)

    @property
    def stand_in(self) -> str:
        """Name of the stand-in."""
        return self.source.removeprefix(STAND_IN)

    @abc.abstractmethod
    def content(self, data_dir: Path, manual_dir: Path | None) -> str:
        """Return the hash of the published files, empty for sources that are pinned otherwise."""

    @abc.abstractmethod
    def row_config(self, content: str) -> RowConfig:
        """Return the options of the rows, whose name has the hash of the published files."""

    def is_prepared(self, data_dir: Path, manual_dir: Path | None = None) -> bool:
        """Return whether the arrays are written already.

        Args:
            data_dir: folder of prepared data.
            manual_dir: folder of published files. With it, arrays of other published files do not count.
        """
        content = known_content(functools.partial(self.content, data_dir), manual_dir)
        return content is not None and rows_are_prepared(
            self.row_config(content), max_len=self.max_len, data_dir=data_dir
        )


def prepare_rows(
    config: RowConfig,
    sources: Mapping[str, RowSource],
    *,
    title: str,
    max_len: int,
    data_dir: Path,
    verify: bool = False,
    vocabulary: Sequence[str] = (),
) -> dict[str, Split]:
    """Return the splits of a data set of rows; the first call reads the sources, later ones the prepared files.

    Args:
        config: options that the rows depend on, with a name of their own.
        sources: rows of every split.
        title: name of the data set, for the progress.
        max_len: tokens of a row.
        data_dir: folder of prepared data.
        verify: whether to read all prepared data again and compare its SHA-256.
        vocabulary: symbols of rows of ids, padding first.

    Raises:
        FileNotFoundError: a source is missing.
        ValueError: a source or a prepared file is damaged. Nothing is overwritten.
    """
    builder = _make_builder(config, sources, title, data_dir, vocabulary)
    if not is_prepared(builder, max_len=max_len, data_dir=data_dir):
        announce("reading", title, {split: source.count for split, source in sources.items()})
    return prepare(builder, max_len=max_len, data_dir=data_dir, verify=verify)


def rows_are_prepared(config: RowConfig, *, max_len: int, data_dir: Path) -> bool:
    """Return whether `prepare_rows` has written the arrays already.

    Args:
        config: options that the rows depend on; a star in its name stands for any text.
        max_len: tokens of a row.
        data_dir: folder of prepared data.
    """
    return is_prepared(_make_builder(config, {}, "", data_dir), max_len=max_len, data_dir=data_dir)


def _make_builder(
    config: RowConfig,
    sources: Mapping[str, RowSource],
    title: str,
    data_dir: Path,
    vocabulary: Sequence[str] = (),
) -> ByteRows:
    options: dict[str, Any] = {"data_dir": str(data_dir), "file_format": "array_record"}
    with without_messages():
        return ByteRows(config=config, sources=sources, title=title, vocabulary=vocabulary, **options)

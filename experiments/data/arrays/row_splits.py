"""Rows of bytes or pixels as splits: read once with a word about it, and reused by every later run."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from experiments.data.arrays.store import Split, is_prepared, prepare
from experiments.data.preparation.row_builder import ByteRows, RowConfig, RowSource
from experiments.data.preparation.tfds_files import without_messages


def prepare_rows(
    config: RowConfig,
    sources: Mapping[str, RowSource],
    *,
    title: str,
    max_len: int,
    data_dir: Path,
    verify: bool = False,
) -> dict[str, Split]:
    """Return the splits of a data set of rows; the first call reads the sources, later ones the prepared files.

    Args:
        config: options that the rows depend on, with a name of their own.
        sources: rows of every split.
        title: name of the data set, for the progress.
        max_len: tokens of a row.
        data_dir: folder of prepared data.
        verify: whether to read all prepared data again and compare its SHA-256.

    Raises:
        FileNotFoundError: a source is missing.
        ValueError: a source or a prepared file is damaged. Nothing is overwritten.
    """
    builder = _make_builder(config, sources, title, data_dir)
    if not is_prepared(builder, max_len=max_len, data_dir=data_dir):
        counts = " / ".join(f"{split} {source.count:,}" for split, source in sources.items())
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"reading {title} once, for this and later runs: {counts}", markup=False
        )
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
    config: RowConfig, sources: Mapping[str, RowSource], title: str, data_dir: Path
) -> ByteRows:
    with without_messages():
        return ByteRows(
            config=config, sources=sources, title=title, data_dir=str(data_dir), file_format="array_record"
        )

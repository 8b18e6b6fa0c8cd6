"""The published pairs of papers, `tsv_data/new_aan_pairs.{train,eval,test}.tsv` of the Long Range Arena release.

Columns label, id1, id2, text1, text2, separated by tabs, without a header. The benchmark reads them without quoting:
a quotation mark is text, and so are the marks of bytes literals (b'...') that the published texts carry. The same
holds here, byte by byte.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from experiments.data.listops.release import ENCODINGS
from experiments.data.preparation.row_builder import Row, to_tokens

COLUMNS = ("label", "id1", "id2", "text1", "text2")
FILES = {
    split: f"new_aan_pairs.{part}.tsv"
    for split, part in (("train", "train"), ("val", "eval"), ("test", "test"))
}
SIZES = {"train": 147_086, "val": 18_090, "test": 17_437}
PLACES = ("", "tsv_data", "lra_release/tsv_data", "lra_release/lra_release/tsv_data")
"""Folders of the files below the manual folder, as the release and its archive nest them."""
LONGEST = 1 << 26
"""Bytes of a row beyond which a file is none of these."""
_LABELS = {b"0": 0, b"1": 1, b"0.0": 0, b"1.0": 1}
_QUOTED = re.compile(rb'"(.*)"', re.DOTALL)


def pair_files(folder: Path | None) -> dict[str, Path]:
    """Return the path of the file of every split.

    Args:
        folder: the folder tsv_data, or the folder of the whole release.

    Raises:
        FileNotFoundError: a file is missing. The message names it.
    """
    tried = [] if folder is None else [folder / place for place in PLACES]
    inside = next(
        (place for place in tried if any((place / name).is_file() for name in FILES.values())), None
    )
    place = inside if inside is not None else folder
    for name in FILES.values():
        if place is not None and (place / name).is_file():
            continue
        kind = "no manual folder"
        if place is not None:
            kind = (
                f"the file {place} and no folder" if place.is_file() else f"the folder {place} without {name}"
            )
        raise FileNotFoundError(
            f"the published pairs {', '.join(FILES.values())} are needed, got {kind}; extract "
            "lra_release/lra_release/tsv_data from lra_release.gz of the Long Range Arena (7.7 GB), and pass that "
            "folder as the manual folder."
        )
    assert place is not None
    return {split: place / name for split, name in FILES.items()}


def read_pairs(path: Path, max_len: int) -> Iterator[Row]:
    """Yield the rows of a published file, one after the other; the file is never in memory.

    CRLF, a byte-order mark, a header and empty lines are no damage. An empty text is one space. If the label is in
    quotation marks, a CSV writer has quoted all fields, and their marks are removed.

    Args:
        path: the file.
        max_len: bytes of a text that are read; the rest is cut.

    Raises:
        ValueError: the file is compressed, or a row is malformed or truncated. The message names the row.
    """
    with path.open("rb") as file:
        start = file.read(32)
        for magic, fault in ENCODINGS.items():
            if start.startswith(magic):
                raise ValueError(f"a file of pairs is plain text: {path} {fault}.")
        file.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
        number, lines = 0, iter(lambda: file.readline(LONGEST), b"")
        for line in lines:
            fields = line.rstrip(b"\r\n").split(b"\t")
            is_header = number == 0 and _unquote(fields[0]).strip().lower() == b"label"
            if not line.strip() or is_header:
                continue
            number += 1
            if len(line) == LONGEST or len(fields) != len(COLUMNS):
                raise _damaged(path, number, f"has {len(fields)} columns in {len(line):,} bytes")
            label = _LABELS.get(_unquote(fields[0]).strip())
            if label is None:
                raise _damaged(path, number, f"has the label {fields[0][:20]!r}")
            if _QUOTED.fullmatch(fields[0]):
                fields = [_unquote(field) for field in fields]
            yield Row(label, to_tokens(fields[3], max_len), to_tokens(fields[4], max_len))


def _unquote(field: bytes) -> bytes:
    """Return a field without the marks of a CSV writer around it."""
    match = _QUOTED.fullmatch(field)
    return match.group(1).replace(b'""', b'"') if match else field


def _damaged(path: Path, number: int, fault: str) -> ValueError:
    return ValueError(
        f"every row of a file of pairs is {', '.join(COLUMNS)} between tabs, with label 0 or 1: row {number:,} of "
        f"{path} {fault}; extract the file from the release again."
    )

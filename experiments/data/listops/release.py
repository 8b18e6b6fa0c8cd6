"""The published ListOps files, `listops-1000/basic_{train,val,test}.tsv` of the Long Range Arena release."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from experiments.data.listops.grammar import Tokens, evaluate
from experiments.data.preparation.file_hashes import FileHashes, joint_hash

HEADER = "Source\tTarget"
SPLITS = ("train", "val", "test")
ENCODINGS = {
    b"\x1f\x8b": "is compressed by gzip; extract it",
    b"PK": "is a zip archive; extract it",
    b"BZh": "is compressed by bzip2; extract it",
    b"\xfd7zXZ": "is compressed by xz; extract it",
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
    b"version https://git-lfs": "is a pointer of Git LFS; fetch the file by git lfs pull",
}
"""First bytes of a file that is no plain text -> what it is, and the remedy."""


def published_files(folder: Path) -> dict[str, Path]:
    """Return the path of the file of every split.

    Raises:
        FileNotFoundError: a file is missing. The message names it, and the folder below that has the files.
    """
    paths = {split: folder / f"basic_{split}.tsv" for split in SPLITS}
    for path in paths.values():
        if path.is_file():
            continue
        inner = sorted(folder.glob("*/" + path.name)) if folder.is_dir() else []
        advice = (
            f"pass {inner[0].parent}"
            if inner
            else "extract listops-1000 from lra_release.gz and pass its folder"
        )
        kind = "which is a file and no folder" if folder.is_file() else f"which has no file {path.name}"
        raise FileNotFoundError(
            f"the published ListOps files are needed, got the folder {folder}, {kind}; {advice}, or generate the data."
        )
    return paths


def content_hash(folder: Path, hashes: FileHashes) -> str:
    """Return the joint SHA-256 of the three published files."""
    return joint_hash([hashes.sha256(path) for path in published_files(folder).values()])


def check_release_lengths(folder: Path, sizes: dict[str, int], max_len: int) -> None:
    """Check that the first rows of every file have at most `max_len` tokens. This reads, but evaluates nothing.

    Args:
        folder: folder of the published files.
        sizes: number of rows of each split.
        max_len: largest number of tokens.

    Raises:
        ValueError: a row is longer. The message names file and row.
    """
    for split, path in published_files(folder).items():
        for number, line in enumerate(itertools.islice(_lines(path), sizes[split]), start=1):
            if (length := len(_parse(line)[0])) > max_len:
                raise ValueError(
                    f"sequences must fit max_len, got {length} tokens in row {number} of {path.name} for "
                    f"max_len={max_len}; raise model.max_len (2000 fits the release), or take a preset made for it."
                )


def read_tsv(
    path: str | Path, *, rows: int | None = None, exact: bool = True
) -> Iterator[tuple[Tokens, int]]:
    """Yield (tokens, label) of every row of a published file.

    The columns are Source and Target, separated by a tab. The parentheses in Source mark a binary tree and are
    deleted. The function evaluates every row, to detect damage. A byte-order mark and blank lines at the end are
    no damage.

    Args:
        path: the file.
        rows: number of rows; None reads all.
        exact: whether the file has exactly `rows` rows; otherwise the first ones are read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is compressed or no UTF-8, a row is malformed or truncated, its value differs from its
            target, or the file has too few rows. The message names the row, counted from 1 below the header.
    """
    path, number = Path(path), 0
    if not path.is_file():
        raise FileNotFoundError(
            f"the published ListOps files are needed, got no file {path}; extract listops-1000 from "
            "lra_release.gz and pass its folder, or generate the data."
        )
    lines = _lines(path)
    for number, line in enumerate(lines if exact else itertools.islice(lines, rows), start=1):
        tokens, target = _parse(line)
        try:
            value = evaluate(tokens)
        except ValueError as error:
            raise _damaged(path, f"row {number}", f"has a bad Source ({error})") from None
        if target != str(value):
            raise _damaged(path, f"row {number}", f"has Target {target[:20]!r}, its value is {value}")
        yield tokens, value
    if rows not in (None, number):
        raise _damaged(path, "the file", f"has {number} rows, expected {rows}{'' if exact else ' or more'}")


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines below the header, without blank ones at the end."""
    with path.open("rb") as file:
        start = file.read(32)
    for magic, fault in ENCODINGS.items():
        if start.startswith(magic):
            raise ValueError(f"a ListOps file is plain text in UTF-8: {path} {fault}, or generate the data.")
    blank = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline().rstrip("\n")
            if header != HEADER:
                raise _damaged(path, "the header", f"is {header[:40]!r}, expected {HEADER!r}")
            for line in file:
                if not line.strip():
                    blank += 1
                    continue
                yield from itertools.repeat("", blank)  # a blank line between rows is damage
                blank = 0
                yield line
    except UnicodeDecodeError as error:
        raise ValueError(
            f"a ListOps file is plain text in UTF-8: {path} has byte {error.object[error.start]:#04x}, which is none; "
            f"extract the file from the release again, or generate the data."
        ) from None


def _parse(line: str) -> tuple[Tokens, str]:
    source, _, target = line.rstrip("\n").partition("\t")
    return tuple(source.replace("(", " ").replace(")", " ").split()), target


def _damaged(path: Path, place: str, fault: str) -> ValueError:
    return ValueError(
        f"every row of a ListOps file is an expression, a tab and its value: {place} of {path.name} {fault}; "
        "extract the file from the release again, or generate the data."
    )

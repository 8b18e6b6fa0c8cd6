"""The published ListOps files, `listops-1000/basic_{train,val,test}.tsv` of the Long Range Arena release."""

from collections.abc import Iterator
from pathlib import Path

from experiments.data.listops.grammar import Tokens, evaluate

HEADER = "Source\tTarget"


def read_tsv(path: str | Path, *, rows: int | None = None) -> Iterator[tuple[Tokens, int]]:
    """Yield (tokens, label) of every row of a published file.

    The columns are Source and Target, separated by a tab. The parentheses in Source mark a binary tree and are
    deleted. The function evaluates every row, to detect damage.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row is malformed or truncated, its value differs from its target, or the file does not have
            `rows` rows. The message names the row, counted from 1 below the header.
    """
    path, number = Path(path), 0
    if not path.is_file():
        raise FileNotFoundError(
            f"the published ListOps files are needed, got no file {path}; extract listops-1000 from "
            "lra_release.gz and pass its folder, or generate the data."
        )
    with path.open(encoding="utf-8") as file:
        header = file.readline().rstrip("\n")
        if header != HEADER:
            raise _damaged(path, "the header", f"is {header[:40]!r}, expected {HEADER!r}")
        for number, line in enumerate(file, start=1):
            tokens, target = _parse(line)
            try:
                value = evaluate(tokens)
            except ValueError as error:
                raise _damaged(path, f"row {number}", f"has a bad Source ({error})") from None
            if target != str(value):
                raise _damaged(path, f"row {number}", f"has Target {target[:20]!r}, its value is {value}")
            yield tokens, value
    if rows not in (None, number):
        raise _damaged(path, "the file", f"has {number} rows, expected {rows}")


def _parse(line: str) -> tuple[Tokens, str]:
    source, _, target = line.rstrip("\n").partition("\t")
    return tuple(source.replace("(", " ").replace(")", " ").split()), target


def _damaged(path: Path, place: str, fault: str) -> ValueError:
    return ValueError(
        f"every row of a ListOps file is an expression, a tab and its value: {place} of {path.name} {fault}; "
        "extract the file from the release again, or generate the data."
    )

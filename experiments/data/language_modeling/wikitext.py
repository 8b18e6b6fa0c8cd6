"""WikiText-103 [Merity et al. 2016]: its three files in the manual folder, in their archive, or from Hugging Face.

    raw     wiki.train.raw, wiki.valid.raw, wiki.test.raw; wikitext-103-raw-v1.zip; or the folder wikitext-103-raw-v1
    tokens  wiki.train.tokens, …; wikitext-103-v1.zip; or the folder wikitext-103-v1

The folders are those of Salesforce/wikitext on Hugging Face, with train-*.parquet, validation-*.parquet and
test-*.parquet; there a line of white space is empty. A document is an article: it begins with a line ` = Title = `, and
its sections with two or more signs.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from experiments.data.preparation.archive_members import members
from experiments.data.preparation.file_hashes import FileHashes, joint_hash

Release = Literal["raw", "tokens"]
NAMES: dict[Release, str] = {"raw": "wikitext-103-raw-v1", "tokens": "wikitext-103-v1"}
"""Release -> name of its archive, without .zip, and of its folder on Hugging Face."""
PUBLISHED_NAMES = {"train": "train", "val": "valid", "test": "test"}
"""Split -> its name in the names of the files."""
TITLE = re.compile(rb"^ = [^=].* = *$")


def published_files(manual_dir: Path | None, release: Release) -> dict[str, tuple[Path, ...]]:
    """Return the paths of every split: its file, the archive of all three, or its Parquet files.

    Args:
        manual_dir: folder of the published files.
        release: raw for bytes and pieces, tokens for words.

    Raises:
        FileNotFoundError: the folder has none of them. The message says what is needed.
    """
    folder = manual_dir or Path()
    paths = {split: (folder / f"wiki.{name}.{release}",) for split, name in PUBLISHED_NAMES.items()}
    archive = (folder / f"{NAMES[release]}.zip",)
    tables = {split: _parquet_files(folder / NAMES[release], split) for split in PUBLISHED_NAMES}
    for choice in (paths, dict.fromkeys(PUBLISHED_NAMES, archive), tables):
        if manual_dir is not None and all(
            files and all(map(Path.is_file, files)) for files in choice.values()
        ):
            return choice
    place = "no manual folder" if manual_dir is None else f"the folder {manual_dir} without them"
    raise FileNotFoundError(
        f"WikiText-103 needs {', '.join(path.name for (path,) in paths.values())}, or {archive[0].name}, or the folder "
        f"{NAMES[release]} of Salesforce/wikitext on Hugging Face, got {place}; download them, and pass their folder "
        f"as the manual folder."
    )


def _parquet_files(folder: Path, split: str) -> tuple[Path, ...]:
    name = {"val": "validation"}.get(split, split)
    return tuple(sorted(folder.glob(f"{name}-*.parquet")))


def content_hash(manual_dir: Path | None, release: Release, hashes: FileHashes) -> str:
    """Return one SHA-256 for the published files; those of a folder and of an archive differ."""
    paths = dict.fromkeys(path for files in published_files(manual_dir, release).values() for path in files)
    return joint_hash([hashes.sha256(path) for path in paths])


def read_articles(paths: Sequence[Path], split: str, release: Release) -> Iterator[bytes]:
    """Yield the articles of a split in their order.

    Args:
        paths: its file, the archive, or its Parquet files, see `published_files`.
        split: train, val or test.
        release: raw or tokens.

    Raises:
        ValueError: a file is damaged, or the archive does not have the text.
    """
    if paths[0].suffix == ".parquet":
        yield from articles(line for path in paths for line in _table_lines(path))
    elif paths[0].suffix == ".zip":
        yield from articles(_archived(paths[0], f"wiki.{PUBLISHED_NAMES[split]}.{release}"))
    else:
        with paths[0].open("rb") as file:
            yield from articles(file)


def _archived(path: Path, name: str) -> list[bytes]:
    contents = [content for member, content in members(path, "") if member.rsplit("/", 1)[-1] == name]
    if len(contents) != 1:
        raise ValueError(f"{path} must have one file {name}, got {len(contents)}; download it again.")
    return contents[0].splitlines(keepends=True)


def _table_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a Parquet file."""
    import pyarrow.parquet  # here, because the import takes a second

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["text"]):
                yield from ((text or " \n").encode() for text in batch.column("text").to_pylist())
    except (OSError, KeyError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise ValueError(
            f"{path} must be a Parquet file with the column text, got: {str(error).splitlines()[0][:200]}; download it "
            f"again."
        ) from None


def articles(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Split lines into articles; what stands before the first title belongs to the first article.

    Args:
        lines: lines with their ends.

    Yields:
        The bytes of each article, which together are those of the lines.
    """
    article: list[bytes] = []
    has_title = False
    for line in lines:
        if TITLE.match(line.rstrip(b"\n")):
            if has_title:
                yield b"".join(article)
                article = []
            has_title = True
        article.append(line)
    if article:
        yield b"".join(article)

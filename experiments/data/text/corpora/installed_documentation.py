"""Docstrings of four packages that every installation has; the class of a text is its package.

They are real English prose with formulas and code, which no download is needed for. The texts depend on the versions
of the packages, so these are part of the identity of the data. All docstrings of a source file stand in one split,
since neighbors resemble each other, and a text stands in one split only.
"""

import ast
import hashlib
import importlib.util
import platform
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from experiments.data.offline import Document, distinct_documents
from experiments.data.preparation.counter import counted
from experiments.data.preparation.shuffling import shuffled_order

PACKAGES = ("python", "scipy", "matplotlib", "jax")
"""Classes, in the order of their labels: the standard library, and three packages."""
MIN_WORDS = 12
"""Words of the shortest docstring."""
LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3"}
"""Folders that are not read."""


def versions_hash() -> str:
    """Return a short hash of the versions of the packages."""
    versions = [platform.python_version(), *(version(name) for name in PACKAGES[1:])]
    return hashlib.sha256(" ".join(versions).encode()).hexdigest()[:12]


def read_documentation(sizes: Mapping[str, int], *, seed: int) -> dict[str, list[Document]]:
    """Return the docstrings of every split, with equally many of every package, in a shuffled order.

    A tenth of the source files is for validation and a fifth for the test.

    Args:
        sizes: docstrings of the splits train, val and test.
        seed: seed of the orders of files and of docstrings.

    Raises:
        ValueError: a package has too few docstrings.
    """
    splits: dict[str, list[Document]] = {split: [] for split in sizes}
    texts: set[bytes] = set()  # of all packages, so that no two splits share one
    for label, name in enumerate(PACKAGES):
        for split, documents in _splits_of_package(name, label, seed, texts).items():
            share = sizes[split] // len(PACKAGES) + (label < sizes[split] % len(PACKAGES))
            if len(documents) < share:
                raise ValueError(
                    f"{split} needs {share:,} docstrings of {name}, got {len(documents):,} in the installed version; "
                    f"take fewer texts."
                )
            splits[split] += documents[:share]
    return {
        split: [documents[i] for i in shuffled_order(len(documents), seed)]
        for split, documents in splits.items()
    }


def _splits_of_package(name: str, label: int, seed: int, texts: set[bytes]) -> dict[str, list[Document]]:
    root = _folder(name)
    files = [
        path for path in sorted(root.rglob("*.py")) if not LEFT_OUT.intersection(path.relative_to(root).parts)
    ]
    order, tenth = shuffled_order(len(files), seed), len(files) // 10
    splits: dict[str, list[Document]] = {"val": [], "test": [], "train": []}
    for place, i in enumerate(counted(order, f"reading documentation of {name}", len(files))):
        split = "val" if place < tenth else "test" if place < 3 * tenth else "train"
        new = distinct_documents(Document(text, label) for text in _docstrings(files[i]))
        splits[split] += [document for document in new if document.text not in texts]
        texts.update(document.text for document in new)
    return {
        split: [documents[i] for i in shuffled_order(len(documents), seed)]
        for split, documents in splits.items()
    }


def _folder(name: str) -> Path:
    if name == "python":
        return Path(sysconfig.get_paths()["stdlib"])
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"the documentation of {name} is read where it is installed, got none; install it.")
    return Path(next(iter(spec.submodule_search_locations)))


def _docstrings(path: Path) -> Iterator[bytes]:
    """Yield the docstrings of a source file that have enough words; the file is parsed and not executed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in the strings of others
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a file of another version of Python
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            if len(text.split()) >= MIN_WORDS:
                yield text.encode("utf-8", "replace")

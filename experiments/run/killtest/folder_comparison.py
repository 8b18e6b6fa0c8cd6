"""Compare the files of two runs: all numbers to the bit, except times."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.run.training.checkpoints import read_arrays

IGNORED = ("versions", "starts", "lock", "hashes-")
"""Beginnings of the names of files about a start of the program or its computer, not about its results."""
TIMES = ("second", "speed", "mtime", "duration")
"""Parts of the keys under which times stand."""
STARTS = "different_starts"
"""Key under which `summary.json` says that the starts of a run had other versions; it is left out."""


def compare(folder: Path, reference: Path, *, same_checkpoints: bool) -> list[str]:
    """Return one sentence for each difference of two folders, such as a lost file, one left behind, or other numbers.

    Args:
        folder: what a run wrote that was killed and resumed.
        reference: what a run wrote that was not.
        same_checkpoints: whether both must have checkpoints of the same steps; False after a signal at which the
            program saves.
    """
    ours, theirs = _items(folder), _items(reference)
    differences = [
        f"lost: {name}"
        for name in sorted(theirs.keys() - ours.keys())
        if same_checkpoints or not _is_step(name)
    ]
    differences += [
        f"left behind: {name}"
        for name in sorted(ours.keys() - theirs.keys())
        if same_checkpoints or not _is_step(name)
    ]
    for name in sorted(ours.keys() & theirs.keys()):
        if not _equal(ours[name], theirs[name], folder, reference):
            differences.append(f"differs: {name}")
    return differences


def _items(folder: Path) -> dict[str, Path]:
    """Return files by relative path. A checkpoint counts as one, since the names of its files are random."""
    return {path.relative_to(folder).as_posix(): path for path in _walk(folder)}


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.lstrip(".").startswith(IGNORED):
            continue
        if path.is_dir() and not _is_checkpoint(path):
            yield from _walk(path)
            if not any(path.iterdir()):
                yield path
        else:
            yield path


def _is_checkpoint(path: Path) -> bool:
    return path.parent.parent.name == "checkpoints" and path.name.isdecimal()


def _is_step(name: str) -> bool:
    return _is_checkpoint(Path(name))


def _equal(path: Path, other: Path, folder: Path, reference: Path) -> bool:
    if path.is_dir() or other.is_dir():
        return path.is_dir() and other.is_dir() and (not _is_checkpoint(path) or _same_arrays(path, other))
    content, expected = path.read_bytes(), other.read_bytes()
    content = content.replace(str(folder).encode(), str(reference).encode())
    if content == expected:
        return True
    if ".array_record" in path.name:  # features stand in any order; the arrays made of them are compared
        return len(content) == len(expected)
    match path.suffix:
        case ".png":
            return bool(content) and bool(expected)
        case ".json" | ".jsonl":
            return (
                _same_lines(content, expected) if path.suffix == ".jsonl" else _same_json(content, expected)
            )
        case ".npz":
            return _same_npz(content, expected)
    return False


def _same_arrays(path: Path, other: Path) -> bool:
    ours, theirs = dict(read_arrays(path)), dict(read_arrays(other))
    return ours.keys() == theirs.keys() and all(
        ours[name].tobytes() == theirs[name].tobytes() for name in ours
    )


def _same_json(content: bytes, expected: bytes) -> bool:
    return without_times(json.loads(content)) == without_times(json.loads(expected))


def _same_lines(content: bytes, expected: bytes) -> bool:
    ours, theirs = content.splitlines(), expected.splitlines()
    return len(ours) == len(theirs) and all(_same_json(a, b) for a, b in zip(ours, theirs, strict=True))


def _same_npz(content: bytes, expected: bytes) -> bool:
    ours, theirs = (np.load(io.BytesIO(data)) for data in (content, expected))
    return ours.keys() == theirs.keys() and all(
        ours[name].tobytes() == theirs[name].tobytes() for name in ours
    )


def without_times(value: Any) -> Any:
    """Return JSON with every value under a key about time replaced by its type."""
    if isinstance(value, dict):
        return {
            key: type(item).__name__ if any(word in key for word in TIMES) else without_times(item)
            for key, item in value.items()
            if key != STARTS
        }
    return [without_times(item) for item in value] if isinstance(value, list) else value

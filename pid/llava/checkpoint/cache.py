"""Converted weights kept on disk: written once, later restored straight onto any mesh (Orbax).

An entry is a folder named by a fingerprint of what it was made from and of what was made: another source, another
dtype or another layout of our modules is another entry, never a wrong answer. It appears under its name only when it
is whole, with a list of its files; one that lost a part since is made again. The source is only read.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock
from orbax.checkpoint import v1 as ocp

from pid.llava.checkpoint.safetensors_io import read_header, weight_files

log = logging.getLogger(__name__)

FILES = "files.json"
WEIGHTS = "weights"
SAMPLE = 4096  # bytes


def _samples(file: Path) -> Iterator[bytes]:
    """The header of a file of weights, then the first, middle and last bytes of each of its tensors."""
    header = read_header(file)
    yield header.text
    with file.open("rb") as opened:
        for first, last in header.spans.values():
            for at in (first, (first + last) // 2, max(first, last - SAMPLE)):
                opened.seek(at)
                yield opened.read(min(SAMPLE, last - at))


def fingerprint(source: Path, targets: Any) -> str:
    """A hash of a Hugging Face folder and of the names, shapes and dtypes of the parameters made from it; hex.

    Of the source: config.json; of each file of weights its name, size, header and samples of every tensor. A tensor
    changed in place is seen unless first, middle and last 4 KiB of it are the same.

    Raises:
        FileNotFoundError: a file of weights is missing.
        ValueError: a file of weights is damaged.
    """
    found = hashlib.sha256((source / "config.json").read_bytes())
    for file in weight_files(source):
        found.update(f"{file.name} {file.stat().st_size}".encode())
        for sample in _samples(file):
            found.update(sample)
    for path, leaf in jax.tree_util.tree_leaves_with_path(targets):
        found.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
    return found.hexdigest()[:32]


def _sizes(entry: Path) -> dict[str, int]:
    weights = entry / WEIGHTS
    return {
        file.relative_to(weights).as_posix(): file.stat().st_size
        for file in weights.rglob("*")
        if file.is_file()
    }


def is_whole(entry: Path) -> bool:
    """Whether an entry has the files that it was written with, at their sizes."""
    listed = entry / FILES
    if not listed.is_file():
        return False
    try:
        return json.loads(listed.read_text()) == _sizes(entry)
    except ValueError:
        return False


def _write(entry: Path, params: Any) -> None:
    """Write beside the entry's place, then rename."""
    for left in entry.parent.glob(f"{entry.name}.partial*"):
        shutil.rmtree(left)
    partial = entry.with_name(f"{entry.name}.partial")
    ocp.save(str(partial / WEIGHTS), params)
    (partial / FILES).write_text(json.dumps(_sizes(partial), indent=1))
    if entry.exists():
        log.warning("%s is not whole and is made again", entry)
        shutil.rmtree(entry)
    partial.rename(entry)


def kept(folder: Path, source: Path, targets: Any, convert: Callable[[], Any]) -> Any:
    """The parameters that `convert` makes from `source`, restored from the entry of `folder` where there is one.

    targets: their shapes, dtypes and places, as a dictionary. Several processes of one machine may ask at once: one
    of them converts, the others wait. Old entries stay until somebody deletes them.

    Raises:
        FileNotFoundError: a file of weights is missing.
        ValueError: a file of weights is damaged, or several JAX processes ask for an entry that is not there.
    """
    entry = folder.absolute() / fingerprint(source, targets)
    if not is_whole(entry):
        if jax.process_count() > 1:
            raise ValueError(
                f"a cache is written by one process, got {jax.process_count()} and no entry {entry}; load once "
                f"in a single process, or without cache."
            )
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(entry.with_suffix(".lock")):
            if not is_whole(entry):
                params = convert()
                _write(entry, params)
                return params
    return ocp.load(str(entry / WEIGHTS), targets)

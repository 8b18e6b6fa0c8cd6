"""A cache of converted weights on disk: written once, later restored directly onto any mesh (Orbax).

An entry is a folder. Its name is a fingerprint of its source and of the parameters converted from it, so another
source, another dtype or another layout of our modules gets another entry. An entry gets its name only when it is
complete, and it lists its files. An entry that has lost a file is converted again. The source is never changed.
"""

import contextlib
import glob
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock
from orbax.checkpoint import v1 as ocp

from pid.llava.checkpoint.safetensors_header import read_header
from pid.llava.checkpoint.weight_files import weight_files
from pid.llava.model_folder.output_folder import create_folder

log = logging.getLogger(__name__)

FILES = "files.json"
WEIGHTS = "weights"
SAMPLE = 4096  # bytes


def _byte_samples(file: Path) -> Iterator[bytes]:
    """The header of a weight file, then the first, middle and last bytes of each of its tensors."""
    header = read_header(file)
    yield header.text
    with file.open("rb") as stream:
        for first, last in header.byte_ranges.values():
            for position in (first, (first + last) // 2, max(first, last - SAMPLE)):
                stream.seek(position)
                yield stream.read(min(SAMPLE, last - position))


def source_fingerprint(source: Path, targets: Any) -> str:
    """A hash, in hexadecimal, of a Hugging Face folder and of the parameters converted from it.

    For the source, it covers config.json and, for each weight file, the name, the size, the header and samples of every
    tensor. A tensor that is changed in place changes the hash unless its first, middle and last 4 KiB stay the same.
    For the parameters, it covers names, shapes and dtypes.

    Raises:
        FileNotFoundError: a weight file is missing.
        ValueError: a weight file is damaged.
    """
    digest = hashlib.sha256((source / "config.json").read_bytes())
    for file in weight_files(source):
        digest.update(f"{file.name} {file.stat().st_size}".encode())
        for sample in _byte_samples(file):
            digest.update(sample)
    for path, leaf in jax.tree_util.tree_leaves_with_path(targets):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
    return digest.hexdigest()[:32]


def _sizes(entry: Path) -> dict[str, int]:
    weights = entry / WEIGHTS
    return {
        file.relative_to(weights).as_posix(): file.stat().st_size
        for file in weights.rglob("*")
        if file.is_file()
    }


def is_complete(entry: Path) -> bool:
    """Whether an entry still has the files that it was written with, at their sizes."""
    listing = entry / FILES
    if not listing.is_file():
        return False
    try:
        return json.loads(listing.read_text()) == _sizes(entry)
    except ValueError:
        return False


def _write(entry: Path, params: Any) -> None:
    """Write to a temporary folder beside the entry, then rename it."""
    for leftover in entry.parent.glob(f"{entry.name}.partial*"):
        shutil.rmtree(leftover)
    partial = entry.with_name(f"{entry.name}.partial")
    partial.mkdir()
    with _plain_path(partial) as path:
        ocp.save(str(path / WEIGHTS), params)
    (partial / FILES).write_text(json.dumps(_sizes(partial), indent=1))
    if entry.exists():
        log.warning("%s is incomplete and is converted again", entry)
        shutil.rmtree(entry)
    partial.rename(entry)


def restore_or_convert(folder: Path, source: Path, targets: Any, convert: Callable[[], Any]) -> Any:
    """Restore the parameters of `source` from the cache, or call `convert` and store what it returns.

    Several processes of one machine may call this at once: one of them converts, the others wait. Old entries stay
    until somebody deletes them.

    Args:
        folder: the folder of the cache.
        source: the Hugging Face folder.
        targets: shapes, dtypes and shardings of the parameters, as a dictionary.
        convert: makes the parameters from the source.

    Returns:
        The parameters.

    Raises:
        FileNotFoundError: a weight file is missing.
        ValueError: a weight file is damaged, or several JAX processes need an entry that does not exist.
    """
    entry = folder.absolute() / source_fingerprint(source, targets)
    if not is_complete(entry):
        if jax.process_count() > 1:
            raise ValueError(
                f"a cache is written by one process, got {jax.process_count()} and no entry {entry}; load once "
                f"in a single process, or without cache."
            )
        create_folder("a cache of weights", folder)
        with FileLock(entry.with_suffix(".lock")):
            if not is_complete(entry):
                params = convert()
                _write(entry, params)
                return params
    with _plain_path(entry) as path:
        return ocp.load(str(path / WEIGHTS), targets)


@contextlib.contextmanager
def _plain_path(folder: Path) -> Iterator[Path]:
    """Yield a path to the same folder that Orbax can read: it takes `*`, `?` and `[` in a path for wildcards."""
    name = str(folder)
    if glob.escape(name) == name and name.isprintable() and "\\" not in name:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="pid-") as parent:
        link = Path(parent) / "entry"
        link.symlink_to(folder, target_is_directory=True)
        yield link

"""A cache of captures and estimates by fingerprint, which later runs reuse.

    captures/<fingerprint>/      a store of `llava.capture`; captures/<fingerprint>.whole marks a complete store
    estimates/<fingerprint>.npz  an `Estimate`

Writes are atomic, so a kill loses only the file that is being written. Several runs may use one cache at once: if two
need the same capture, one captures and the other waits.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from experiments import run
from pid.estimators import Estimate, io

LAYOUT = 1
"""Version of the cached results. Another number invalidates all of them."""


def digest(facts: Any) -> str:
    """Return the fingerprint of the facts on which a result depends. The facts have the types of JSON."""
    text = json.dumps([LAYOUT, facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def restore_or_estimate(folder: Path, name: str, make: Callable[[], Estimate]) -> Estimate:
    """Restore the estimate of this fingerprint. If it is not in the cache, make it and save it first."""
    path = _estimate(folder, name)
    if not path.is_file():
        io.save_estimate(path, make())
    try:
        return io.load_estimate(path)
    except ValueError as error:
        raise ValueError(
            f"a cached estimate must be whole, got {path} ({error.__cause__}); delete it, and --resume estimates it "
            f"again."
        ) from None


def store_folder(folder: Path, name: str) -> Path:
    """Return the folder of the capture store of this fingerprint."""
    return folder / "captures" / name


@contextlib.contextmanager
def one_run_at_a_time(folder: Path, name: str) -> Iterator[None]:
    """Keep other runs from capturing into this store. All hosts of a run enter together; process 0 takes the lock."""
    path = folder / "captures" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    if run.is_first():
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"another run captures into {store_folder(folder, name)}: waiting for it", file=sys.stderr)
            lock.acquire()
    run.barrier()
    try:
        yield
    finally:
        if lock.is_locked:
            path.unlink(missing_ok=True)
            lock.release()


def is_complete(folder: Path, name: str) -> bool:
    """Return whether all hosts have captured all their questions."""
    return bool(run.broadcast_from_first(_marker(folder, name).is_file()))


def mark_complete(folder: Path, name: str) -> None:
    """Mark a capture as complete, once all hosts have captured all their questions. Every host calls this."""
    run.barrier()
    if run.is_first():
        run.write_atomically(_marker(folder, name), b"")


def _marker(folder: Path, name: str) -> Path:
    return folder / "captures" / f"{name}.whole"


def _estimate(folder: Path, name: str) -> Path:
    return folder / "estimates" / f"{name}.npz"

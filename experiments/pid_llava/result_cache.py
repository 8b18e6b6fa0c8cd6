"""Captures and estimates by fingerprint, so that no run repeats what another has done.

    captures/<fingerprint>/      a store of `llava.capture`; captures/<fingerprint>.whole once all of it is there
    estimates/<fingerprint>.npz  an `Estimate`

Files appear in one piece, so a kill loses only the file that is being made.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments import run
from pid.estimators import Estimate, io

LAYOUT = 1
"""Version of the meaning of cached results; another number makes all of them invalid."""


def digest(facts: Any) -> str:
    """Return a name for the facts on which a result depends, which are values of JSON."""
    text = json.dumps([LAYOUT, facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def restore_or_estimate(folder: Path, name: str, make: Callable[[], Estimate]) -> Estimate:
    """Restore the estimate of this fingerprint; make and save it first if it is not there."""
    path = _estimate(folder, name)
    if not path.is_file():
        io.save_estimate(path, make())
    return io.load_estimate(path)


def store_folder(folder: Path, name: str) -> Path:
    """Return the folder of the capture store of this fingerprint."""
    return folder / "captures" / name


def is_complete(folder: Path, name: str) -> bool:
    """Return whether all hosts have captured all their questions."""
    return run.broadcast_from_first(_marker(folder, name).is_file())


def mark_complete(folder: Path, name: str) -> None:
    """Mark a capture of which all hosts have captured all their questions. Every host calls this."""
    run.barrier()
    if run.is_first():
        run.write_atomically(_marker(folder, name), b"")


def _marker(folder: Path, name: str) -> Path:
    return folder / "captures" / f"{name}.whole"


def _estimate(folder: Path, name: str) -> Path:
    return folder / "estimates" / f"{name}.npz"

"""Results by fingerprint: what depends on the same facts is made once, by whichever run comes first.

    captures/<fingerprint>/      a store of `llava.capture`; captures/<fingerprint>.whole once all of it is there
    estimates/<fingerprint>.npz  an `Estimate`

Files appear in one piece, so a kill at any moment loses only what was in the making.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments import run
from experiments.run.run_folder import write
from pid.estimators import Estimate, io

LAYOUT = 1
"""Raised with every change of what a kept result means."""


def digest(facts: Any) -> str:
    """A name for all that a result depends on, which JSON knows."""
    text = json.dumps([LAYOUT, facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def has_estimate(folder: Path, name: str) -> bool:
    """Whether the estimate of this fingerprint has been made."""
    return _estimate(folder, name).is_file()


def estimate(folder: Path, name: str, make: Callable[[], Estimate]) -> Estimate:
    """The estimate of this fingerprint, made and kept unless it has been."""
    path = _estimate(folder, name)
    if not path.is_file():
        io.save_estimate(path, make())
    return io.load_estimate(path)


def store(folder: Path, name: str) -> Path:
    """Where the store of this fingerprint is."""
    return folder / "captures" / name


def is_whole(folder: Path, name: str) -> bool:
    """Whether all hosts have captured all their rows."""
    return run.broadcast_from_first(_whole(folder, name).is_file())


def mark_whole(folder: Path, name: str) -> None:
    """All hosts have captured all their rows; each of them calls this."""
    run.barrier()
    if run.is_first():
        write(_whole(folder, name), b"")


def _whole(folder: Path, name: str) -> Path:
    return folder / "captures" / f"{name}.whole"


def _estimate(folder: Path, name: str) -> Path:
    return folder / "estimates" / f"{name}.npz"

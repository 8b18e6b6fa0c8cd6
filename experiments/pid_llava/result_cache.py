"""Results by fingerprint: what depends on the same facts is made once, by whichever run comes first.

    captures/<fingerprint>/      a store of `llava.capture`; captures/<fingerprint>.whole once all of it is there
    estimates/<fingerprint>.npz  an `Estimate`

Files appear in one piece, so a kill at any moment loses only what was in the making.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments import run
from experiments.run.run_folder import write
from pid.estimators import Estimate, Interval
from pid.estimators.results import Resampling, fields_of, values_of

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
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, **_arrays(make()), allow_pickle=False)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        unfinished.write_bytes(buffer.getvalue())
        unfinished.replace(path)
    with np.load(path) as found:
        return _read(dict(found))


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


def _arrays(found: Estimate) -> dict[str, Any]:
    about = {"flags": found.flags, "n": found.n, "dims": found.dims, "resampling": found.resampling}
    arrays = {
        "about": np.array(json.dumps(about)),
        "pid": values_of(found.pid),
        "plugin": values_of(found.plugin),
    }
    if found.draws is not None:
        arrays["draws"] = values_of(found.draws)
    for side in ("ci", "null"):
        if (ends := getattr(found, side)) is not None:
            arrays[side] = np.stack([values_of(ends.low), values_of(ends.high)])
    return arrays


def _read(arrays: dict[str, np.ndarray]) -> Estimate:
    about = json.loads(str(arrays["about"]))
    ends = {
        side: Interval(*map(fields_of, arrays[side])) if side in arrays else None for side in ("ci", "null")
    }
    kind = about["resampling"]
    dims: Any = about["dims"]
    return Estimate(
        pid=fields_of(arrays["pid"]),
        ci=ends["ci"],
        null=ends["null"],
        draws=fields_of(arrays["draws"]) if "draws" in arrays else None,
        flags=tuple(about["flags"]),
        n=about["n"],
        dims=tuple(map(tuple, dims)) if isinstance(dims[0], list) else tuple(dims),
        plugin=fields_of(arrays["plugin"]),
        resampling=None if kind is None else Resampling(kind[0], kind[1], kind[2], tuple(kind[3])),
    )

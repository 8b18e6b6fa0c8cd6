"""Activations of your own: a target and two sources from one file.

L layers, n samples, d features (of each array its own); what is the same for all layers may lack their axis
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open

NAMES = ("target", "x", "y")
Array = Shaped[np.ndarray, "n d"] | Shaped[np.ndarray, "l n d"]


class Activations(NamedTuple):
    """A target and what two sources show of it, sample by sample."""

    target: Array
    x: Array
    y: Array


def read(path: str | Path) -> Activations:
    """The arrays `target`, `x` and `y` of an .npz or .safetensors file; others are left alone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, one that cannot be read, or one without these arrays; each says what to do.
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise ValueError(
            f"activations are read from {' or '.join(_READERS)}, got {path.name}; save arrays target, x and y with "
            f"np.savez or safetensors."
        )
    if not path.is_file():
        raise FileNotFoundError(f"activations need a file, got {path} which is none; check --npz.")
    try:
        found = _READERS[path.suffix](path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, SafetensorError) as error:
        raise ValueError(
            f"{path} must be a readable {path.suffix} of plain arrays, got: {error}; save it again."
        ) from error
    arrays, there = found
    if missing := [name for name in NAMES if name not in arrays]:
        raise ValueError(
            f"activations need arrays {', '.join(NAMES)}, got {path.name} without {', '.join(missing)}; it has "
            f"{', '.join(sorted(there)) or 'none'}."
        )
    return Activations(*(arrays[name] for name in NAMES))


Found = tuple[
    Mapping[str, np.ndarray], list[str]
]  # the arrays that are needed, the names of all that are there


def _read_npz(path: Path) -> Found:
    if not zipfile.is_zipfile(path):
        raise ValueError("no zip archive, as np.savez writes one")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in NAMES if name in archive.files}, archive.files


def _read_safetensors(path: Path) -> Found:
    with safe_open(path, framework="numpy") as archive:
        there = list(archive.keys())
        return {name: archive.get_tensor(name) for name in NAMES if name in there}, there


_READERS = {".npz": _read_npz, ".safetensors": _read_safetensors}

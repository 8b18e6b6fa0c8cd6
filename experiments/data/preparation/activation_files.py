"""Activation files: a target and two sources from one .npz or .safetensors file.

L layers, n samples, d features (d may differ between arrays); an array without axis L is used for all layers
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open

from pid.features.input_arrays import read_samples
from pid.flow.config import MIN_ROWS

NAMES = ("target", "x", "y")
Array = Shaped[np.ndarray, "n d"] | Shaped[np.ndarray, "l n d"]


class Activations(NamedTuple):
    """A target and two sources, sample by sample."""

    target: Array
    """The target, (n, d) or (L, n, d)."""
    x: Array
    """The first source, (n, d) or (L, n, d)."""
    y: Array
    """The second source, (n, d) or (L, n, d)."""


def read(path: str | Path) -> Activations:
    """Read the arrays `target`, `x` and `y` of an .npz or .safetensors file; other arrays are ignored.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the suffix is unknown, the file cannot be read, or it does not have these arrays.
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise ValueError(
            f"activations are read from {' or '.join(_READERS)}, got {path.name}; save arrays target, x and y with "
            f"np.savez or safetensors."
        )
    if not path.is_file():
        raise FileNotFoundError(f"activations need a file, got {path}, which is not a file; check --npz.")
    try:
        arrays, names = _READERS[path.suffix](path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, SafetensorError) as error:
        raise ValueError(
            f"{path} must be a readable {path.suffix} of plain arrays, got: {error}; save it again."
        ) from error
    if missing := [name for name in NAMES if name not in arrays]:
        raise ValueError(
            f"activations need arrays {', '.join(NAMES)}, got {path.name} without {', '.join(missing)}; it has "
            f"{', '.join(sorted(names)) or 'none'}."
        )
    return Activations(*(arrays[name] for name in NAMES))


def check_sizes(data: Activations, path: Path, *, flow: bool) -> None:
    """Check that an estimate of these arrays is possible.

    Args:
        data: the arrays.
        path: their file, for the message.
        flow: whether the paper configuration, which trains a flow, is among the estimates.

    Raises:
        ValueError: shapes that do not fit, too few samples, values that are not finite.
    """
    n = read_samples(*data, layers=any(a.ndim == 3 for a in data)).n
    if flow and n < MIN_ROWS:
        raise ValueError(
            f"the flow of the paper configuration needs {MIN_ROWS} samples, got {n} in {path}; use "
            f"--config recommended."
        )


Contents = tuple[Mapping[str, np.ndarray], list[str]]
"""The arrays in `NAMES`, and the names of all arrays of the file."""


def _read_npz(path: Path) -> Contents:
    if not zipfile.is_zipfile(path):
        raise ValueError("no zip archive, as np.savez writes one")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in NAMES if name in archive.files}, archive.files


def _read_safetensors(path: Path) -> Contents:
    with safe_open(path, framework="numpy") as archive:
        names = list(archive.keys())
        return {name: archive.get_tensor(name) for name in NAMES if name in names}, names


_READERS = {".npz": _read_npz, ".safetensors": _read_safetensors}

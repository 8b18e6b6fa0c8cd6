"""Estimates in files: exact NPZ archives, tables as CSV and JSON, grouped flags of layers.

L layers, B draws, F fields of a PID
"""

import contextlib
import csv
import glob
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pid.estimators.results import Estimate, Interval, Resampling, pid_from_array, pid_to_array
from pid.interface.flags import Flag, by_weight, to_flags
from pid.interface.local_paths import check_local
from pid.measures import PID

PART = ".part"
"""End of the name of a file that is being written."""
TRIES = 9  # of processes that write the same file at once
NUMBER = re.compile(r"\d+(\.\d+)?")


def save_estimate(path: str | os.PathLike[str], estimate: Estimate) -> None:
    """Write an estimate into one NPZ file, from which `load_estimate` restores it exactly.

    The write is atomic: after a kill, the file is the old one or the new one. Missing folders are created.

    Args:
        path: file name; no suffix is added, ".npz" is usual.
        estimate: result of `estimate` or `layerwise`.

    Raises:
        OSError: the file cannot be written.
        ValueError: the path is the address of an object store.

    Example:
        >>> import tempfile, jax, numpy as np
        >>> import pid
        >>> target, x, y = np.random.default_rng(0).normal(size=(3, 64, 2))
        >>> result = pid.estimate(target, x, y, key=jax.random.key(0), ci=None, null=None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pid.save_estimate(f"{folder}/result.npz", result)
        ...     pid.load_estimate(f"{folder}/result.npz") == result
        True
    """
    check_local(target := Path(path), "an estimate's file")
    target.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, **_to_arrays(estimate))
    _replace(target, buffer.getvalue())


def load_estimate(path: str | os.PathLike[str]) -> Estimate:
    """Read an estimate that `save_estimate` wrote.

    Args:
        path: file name.

    Returns:
        The saved estimate; every field of a PID is a NumPy array.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is damaged, or is not a saved estimate.

    Example:
        >>> import tempfile, jax, numpy as np
        >>> import pid
        >>> target, x, y = np.random.default_rng(0).normal(size=(3, 64, 2))
        >>> result = pid.estimate(target, x, y, key=jax.random.key(0), ci=None, null=None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pid.save_estimate(f"{folder}/result.npz", result)
        ...     pid.load_estimate(f"{folder}/result.npz").n
        64
    """
    content = Path(path).read_bytes()
    try:
        return _from_arrays(_read_arrays(content))
    except (ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"load_estimate needs a complete file written by save_estimate, got {os.fspath(path)} which is damaged or "
            f"of another kind ({error}); estimate again and save it."
        ) from error


def _replace(target: Path, content: bytes) -> None:
    """Write a file as a whole, and delete what a kill has left of an earlier write of it."""
    temporary = target.with_name(f"{target.name}.{os.getpid()}{PART}")
    for _ in range(TRIES):
        for path in target.parent.glob(f"{glob.escape(target.name)}.*{PART}"):
            path.unlink(missing_ok=True)
        temporary.write_bytes(content)
        with contextlib.suppress(FileNotFoundError):  # a process that writes the same file has deleted it
            temporary.replace(target)
            return
    raise FileExistsError(
        f"one process at a time writes an estimate, got several for {target}; use a file for each."
    )


def _to_arrays(estimate: Estimate) -> dict[str, Any]:
    """Convert every PID to one array with its fields last, every interval to (low, high), the rest to JSON."""
    metadata = {
        "flags": [[flag, flag.weight, flag.kind] for flag in to_flags(estimate.flags)],
        "variance": estimate.variance,
        "n": estimate.n,
        "dims": estimate.dims,
        "resampling": estimate.resampling,
        "choices": estimate.choices,
        "layer_names": estimate.layer_names,
    }
    arrays = {
        "about": np.array(json.dumps(metadata)),
        "pid": pid_to_array(estimate.pid),
        "plugin": pid_to_array(estimate.plugin),
    }
    if estimate.draws is not None:
        arrays["draws"] = pid_to_array(estimate.draws)
    for name in ("ci", "null"):
        if (interval := getattr(estimate, name)) is not None:
            arrays[name] = np.stack([pid_to_array(interval.low), pid_to_array(interval.high)])
    return arrays


def _read_arrays(content: bytes) -> dict[str, np.ndarray]:
    archive = np.load(io.BytesIO(content), allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise TypeError("it holds one array")
    with archive:
        return dict(archive)


def _from_arrays(arrays: dict[str, np.ndarray]) -> Estimate:
    metadata = json.loads(str(arrays["about"]))
    _check_shapes(arrays)
    intervals = {
        name: Interval(*map(pid_from_array, arrays[name])) if name in arrays else None
        for name in ("ci", "null")
    }
    dims, resampling, layer_names = metadata["dims"], metadata["resampling"], metadata.get("layer_names")
    if resampling is not None:
        kind, draws, level, key, *scheme = resampling
        resampling = Resampling(kind, draws, level, tuple(key), *scheme)
    return Estimate(
        pid=pid_from_array(arrays["pid"]),
        ci=intervals["ci"],
        null=intervals["null"],
        draws=pid_from_array(arrays["draws"]) if "draws" in arrays else None,
        flags=tuple(Flag(*(flag if isinstance(flag, list) else [flag])) for flag in metadata["flags"]),
        n=metadata["n"],
        dims=_to_tuples(dims),
        plugin=pid_from_array(arrays["plugin"]),
        resampling=resampling,
        choices=tuple((name, value) for name, value in metadata.get("choices", ())),
        layer_names=None if layer_names is None else tuple(layer_names),
        variance=_to_tuples(metadata.get("variance")),
    )


def _check_shapes(arrays: dict[str, np.ndarray]) -> None:
    """Raise ValueError unless PIDs have shape (F,) or (L, F), intervals (2, ...) and draws (B, ...)."""
    shape = arrays["pid"].shape
    expected = {"plugin": shape, "ci": (2, *shape), "null": (2, *shape), "draws": (None, *shape)}
    if len(shape) not in (1, 2) or shape[-1] != len(PID._fields):
        raise ValueError(f"pid has shape {shape}")
    for name in expected.keys() & arrays.keys():
        actual = arrays[name].shape
        if actual != tuple(
            a if size is None else size for a, size in zip(actual, expected[name], strict=False)
        ):
            raise ValueError(f"{name} has shape {actual} beside {shape} of pid")


def _to_tuples(values: Any) -> Any:
    """Convert nested lists of JSON to tuples."""
    return tuple(map(_to_tuples, values)) if isinstance(values, list) else values


def write_tables(estimate: Estimate, folder: Path) -> list[dict[str, Any]]:
    """Write `Estimate.to_records` as `table.csv` and `table.json` into the folder, and return the records.

    JSON numbers have six digits; a number that is not finite is null.
    """
    records = estimate.to_records()
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows(records)
    rounded = [{name: _to_json(value) for name, value in record.items()} for record in records]
    (folder / "table.json").write_text(json.dumps(rounded, indent=2) + "\n")
    return records


def _to_json(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


def group_flags(flags: Sequence[str]) -> list[Flag]:
    """Merge flags of several layers that differ at most in their numbers, the heaviest first.

    Equal flags become "layers 0-2, 5: ...". Of flags with other numbers the first one is quoted:
    "layers 0-2, 5 (layer 0 quoted): ...". Weight and kind stay.

    Args:
        flags: `Estimate.flags` of a layer-wise estimate, each of which begins with "layer l: ".

    Example:
        >>> from pid.estimators.io import group_flags
        >>> from pid.interface.flags import Flag
        >>> flags = [Flag(f"layer {i}: a bias of 0.{i} bits was taken.", "doubt", "large bias") for i in (1, 2, 4)]
        >>> for flag in group_flags(flags):
        ...     print(f"{flag.weight}: {flag}")
        doubt: layers 1-2, 4 (layer 1 quoted): a bias of 0.1 bits was taken.
    """
    groups: dict[tuple[str, ...], dict[int, str]] = {}
    for flag in by_weight(flags):
        layer, text = flag.split(": ", 1)
        group = groups.setdefault((flag.weight, flag.kind, NUMBER.sub("#", text)), {})
        group[int(layer.removeprefix("layer "))] = text
    return [
        Flag(_layers_and_text(texts), weight, kind)  # pyright: ignore[reportArgumentType]
        for (weight, kind, _), texts in groups.items()
    ]


def _layers_and_text(texts: dict[int, str]) -> str:
    """Return "layers 0-2: ..." of the text of every layer."""
    first = min(texts)
    quoted = "" if len(set(texts.values())) == 1 else f" (layer {first} quoted)"
    return f"layer{'s' * (len(texts) > 1)} {layer_ranges(sorted(texts))}{quoted}: {texts[first]}"


def layer_ranges(numbers: Sequence[int]) -> str:
    """Format increasing numbers as ranges: "0-2, 5" from 0, 1, 2, 5."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in zip(starts, ends, strict=True))

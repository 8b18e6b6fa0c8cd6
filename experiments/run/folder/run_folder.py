"""The folder of a run: configuration, versions, metrics, results and checkpoints. Nothing is overwritten.

    config.json      configuration of the first start
    versions.json    Python, libraries and devices
    metrics.jsonl    one JSON object per logged step: variant, seed, step, loss, ..., without times
    rows/            one JSON file per finished training or measurement (name, seed)
    checkpoints/     one folder per training (variant, seed)
    summary.json     results of the program

Several hosts share the folder: process 0 writes, and all processes read.
"""

import dataclasses
import importlib.metadata
import itertools
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jax
import numpy as np

from experiments.run.distributed import broadcast_from_first
from experiments.run.folder.atomic_files import write_atomically
from experiments.run.folder.metrics_log import MetricsLog

MAY_CHANGE_ON_RESUME = ("mesh", "out", "resume")
"""Top-level fields of a configuration that may change on resume: they do not change the results.

The `config.py` of a program may add others.
"""

PACKAGES = ("pdeformer", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def open_run(
    folder: str | Path,
    config: Any,
    *,
    resume: bool = False,
    may_change: Sequence[str] = MAY_CHANGE_ON_RESUME,
    renamed: Mapping[str, str] | None = None,
) -> "Run":
    """Create a run folder, or with `resume` open the existing one.

    Args:
        folder: the folder, which is created if it does not exist.
        config: a frozen dataclass, written to `config.json`.
        resume: whether the folder may have the files of a run, which then continues.
        may_change: names of top-level fields that may differ from the saved configuration.
        renamed: old -> new names of top-level fields in configurations that an earlier release has saved.

    Raises:
        FileExistsError: the folder has files and `resume` is False.
        ValueError: the folder has files but no run, or its configuration differs. The message names every differing
            field with its saved and its present value.
    """
    folder, error = Path(folder).absolute(), None
    if jax.process_index() == 0:
        try:
            _prepare(folder, _plain(config), resume=resume, may_change=may_change, renamed=renamed or {})
        except (OSError, ValueError) as exception:
            error = exception
    if not broadcast_from_first(error is None):
        raise error or RuntimeError(f"process 0 refused the run folder {folder}; its message says why.")
    return Run(folder)


def next_folder(parent: Path, stem: str) -> Path:
    """Create and return `parent`/stem-NNN with the next free number."""
    for number in itertools.count(1):
        folder = parent / f"{stem}-{number:03}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count() never ends")


def versions() -> dict[str, Any]:
    """Return the versions of Python and of the libraries, and the devices."""
    numbers = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            numbers[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            numbers[name] = "not installed"
    device = jax.devices()[0]
    devices = {"platform": device.platform, "device": device.device_kind, "devices": jax.device_count()}
    return numbers | devices | {"processes": jax.process_count()}


@dataclasses.dataclass(frozen=True)
class Run:
    """The files of a run."""

    folder: Path

    @property
    def metrics(self) -> Path:
        """One JSON object per logged step."""
        return self.folder / "metrics.jsonl"

    def checkpoints(self, variant: str, seed: int) -> Path:
        """Return the folder of the checkpoints of this training."""
        return self.folder / "checkpoints" / _slug(variant, seed)

    @property
    def log(self) -> MetricsLog:
        """The records in `metrics.jsonl`."""
        return MetricsLog(self.metrics)

    def append(self, record: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`. The line is in the file when this returns."""
        self.log.append(record)

    def records(self, variant: str, seed: int) -> list[dict[str, Any]]:
        """Return the logged steps of this training, in order."""
        return self.log.records(variant, seed)

    def truncate_after(self, variant: str, seed: int, step: int) -> None:
        """Delete the records after `step` of this training, and an incomplete last line that a kill has left."""
        self.log.truncate_after(variant, seed, step)

    def row(self, variant: str, seed: int) -> dict[str, Any] | None:
        """Return the result of this training or measurement, None if it has not finished."""
        path = self.folder / "rows" / f"{_slug(variant, seed)}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def finish(self, variant: str, seed: int, row: dict[str, Any]) -> None:
        """Save the result of this training or measurement; `--resume` then skips it."""
        if jax.process_index() == 0:
            path = self.folder / "rows" / f"{_slug(variant, seed)}.json"
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, _json(row))

    def summarize(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`, and add the versions to it."""
        if jax.process_index() == 0:
            write_atomically(self.folder / "summary.json", _json(summary | {"versions": versions()}))


def to_json(value: Any) -> Any:
    """Convert a result to the types of JSON.

    Dataclasses and NamedTuples become objects, arrays and tuples become lists. Floats are rounded to six digits;
    infinities and NaN become None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and (names := getattr(value, "_fields", ())):
        return {name: to_json(item) for name, item in zip(names, value, strict=True)}
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0:
        return to_json(value.item())
    if isinstance(value, np.ndarray | jax.Array | tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.6g}") if np.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def _prepare(
    folder: Path, config: Any, *, resume: bool, may_change: Sequence[str], renamed: Mapping[str, str]
) -> None:
    """Create the folder, or check that its run has the same configuration."""
    if not folder.exists() or not any(folder.iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "versions.json", _json(versions()))
        write_atomically(folder / "config.json", _json(config))
        return
    saved = folder / "config.json"
    if not resume:
        raise FileExistsError(
            f"a run needs a folder of its own, got {folder} which has files; use --resume to continue its run, "
            f"or another --out."
        )
    if not saved.exists():
        raise ValueError(f"--resume needs a run folder, got {folder} without config.json; use another --out.")
    fields = {renamed.get(name, name): value for name, value in json.loads(saved.read_text()).items()}
    _compare(folder, fields, config, set(may_change))


def _compare(folder: Path, saved: Any, config: Any, may_change: set[str]) -> None:
    """Raise ValueError if the configuration differs from the saved one."""
    old, new = _flat(saved), _flat(config)
    missing = "nothing"
    differing = [
        f"{name}: saved {old.get(name, missing)!r}, now {new.get(name, missing)!r}"
        for name in sorted(old.keys() | new.keys())
        if name.split(".")[0] not in may_change and old.get(name, missing) != new.get(name, missing)
    ]
    if differing:
        raise ValueError(
            f"--resume needs the configuration that the run was started with, got a difference in "
            f"{'; '.join(differing)}; use the saved values ({folder / 'config.json'}) or another --out."
        )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Convert {"a": {"b": value}} to {"a.b": value}."""
    if not isinstance(tree, dict):
        return {prefix.removesuffix("."): tree}
    return {name: value for key in tree for name, value in _flat(tree[key], f"{prefix}{key}.").items()}


def _plain(config: Any) -> Any:
    """Convert a dataclass to the types of JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _slug(variant: str, seed: int) -> str:
    """Return the unique file name of (variant, seed)."""
    return f"{quote(variant, safe='')}-{seed}"

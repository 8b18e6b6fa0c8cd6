"""A run is a folder: configuration, versions, metrics, results, checkpoints; nothing is overwritten.

    config.json      the configuration, as it was when the run began
    versions.json    Python, libraries and devices
    metrics.jsonl    one JSON object per logged step: variant, seed, step, loss, ... and no clock times
    rows/            one JSON file per finished (variant, seed)
    checkpoints/     one folder per (variant, seed)
    summary.json     what the program concludes

Several hosts share the folder: process 0 writes, all read.
"""

import dataclasses
import importlib.metadata
import itertools
import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jax
import numpy as np
from jax.experimental import multihost_utils

MAY_CHANGE_ON_RESUME = ("mesh", "out", "resume")
"""Top-level fields that may change when a run is resumed: they do not change what is computed."""

PACKAGES = ("pdeformer", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def open_run(
    folder: str | Path, config: Any, *, resume: bool = False, free: Sequence[str] = MAY_CHANGE_ON_RESUME
) -> "Run":
    """A new run folder; with `resume` the existing one, or a new one if there is none.

    config: a frozen dataclass, written to `config.json`.
    free: names of top-level fields that may differ from the saved configuration.

    Raises FileExistsError if the folder has content and `resume` is False; ValueError if it has content but
    is no run, or if its configuration differs, naming every such field with its saved and its present value.
    """
    folder, error = Path(folder).absolute(), None
    if jax.process_index() == 0:
        try:
            _prepare(folder, _plain(config), resume=resume, free=free)
        except (OSError, ValueError) as refusal:
            error = refusal
    if not broadcast_from_first(error is None):
        raise error or RuntimeError(f"process 0 refused the run folder {folder}; its message says why.")
    return Run(folder)


def next_folder(parent: Path, stem: str) -> Path:
    """Make and return `parent`/stem-NNN with the next free number."""
    for number in itertools.count(1):
        folder = parent / f"{stem}-{number:03}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count() never ends")


def broadcast_from_first(flag: bool) -> bool:  # noqa: FBT001  it is the value itself
    """The flag of process 0, on every process."""
    return flag if jax.process_count() == 1 else bool(multihost_utils.broadcast_one_to_all(np.int32(flag)))


def versions() -> dict[str, Any]:
    """Versions of Python and the libraries, and the devices."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    device = jax.devices()[0]
    devices = {"platform": device.platform, "device": device.device_kind, "devices": jax.device_count()}
    return found | devices | {"processes": jax.process_count()}


@dataclasses.dataclass(frozen=True)
class Run:
    """The files of a run."""

    folder: Path

    @property
    def metrics(self) -> Path:
        """One JSON object per logged step."""
        return self.folder / "metrics.jsonl"

    def checkpoints(self, variant: str, seed: int) -> Path:
        """Where the checkpoints of this training are."""
        return self.folder / "checkpoints" / _slug(variant, seed)

    def append(self, record: dict[str, Any]) -> None:
        """Add one line to `metrics.jsonl`; it is in the file when this returns."""
        if jax.process_index() == 0:
            with self.metrics.open("a") as file:
                file.write(json.dumps(record, allow_nan=False) + "\n")

    def records(self, variant: str, seed: int) -> list[dict[str, Any]]:
        """The logged steps of this training, in order."""
        return [record for _, record in _whole_lines(self.metrics) if _is_of(record, variant, seed)]

    def cut(self, variant: str, seed: int, step: int) -> None:
        """Drop what was logged after `step` of this training, and a last line torn by a kill."""
        if jax.process_index() == 0 and self.metrics.exists():
            kept = [
                line
                for line, record in _whole_lines(self.metrics)
                if not (_is_of(record, variant, seed) and record["step"] > step)
            ]
            if (text := b"".join(kept)) != self.metrics.read_bytes():
                write(self.metrics, text)
        broadcast_from_first(True)  # noqa: FBT003  nobody reads the file before process 0 has cut it

    def row(self, variant: str, seed: int) -> dict[str, Any] | None:
        """The result of this training, None if it has not finished."""
        path = self.folder / "rows" / f"{_slug(variant, seed)}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def finish(self, variant: str, seed: int, row: dict[str, Any]) -> None:
        """Keep the result of this training; `--resume` then skips it."""
        if jax.process_index() == 0:
            path = self.folder / "rows" / f"{_slug(variant, seed)}.json"
            path.parent.mkdir(exist_ok=True)
            write(path, _json(row))

    def summarize(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`, with the versions added."""
        if jax.process_index() == 0:
            write(self.folder / "summary.json", _json(summary | {"versions": versions()}))


def write(path: Path, text: bytes) -> None:
    """Write a file in one piece: after a kill it is the old one or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(text)
    part.replace(path)


def _prepare(folder: Path, config: Any, *, resume: bool, free: Iterable[str]) -> None:
    """Create the folder, or check that it holds the same run."""
    if not folder.exists() or not any(folder.iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "versions.json", _json(versions()))
        write(folder / "config.json", _json(config))
        return
    saved = folder / "config.json"
    if not resume:
        raise FileExistsError(
            f"a run needs a folder of its own, got {folder} which has files; use --resume to go on with it, "
            f"or another --out."
        )
    if not saved.exists():
        raise ValueError(f"--resume needs a run folder, got {folder} without config.json; use another --out.")
    _compare(folder, json.loads(saved.read_text()), config, set(free))


def _compare(folder: Path, saved: Any, config: Any, free: set[str]) -> None:
    """Refuse a configuration that is not the saved one."""
    old, new = _flat(saved), _flat(config)
    missing = "nothing"
    differing = [
        f"{name}: saved {old.get(name, missing)!r}, now {new.get(name, missing)!r}"
        for name in sorted(old.keys() | new.keys())
        if name.split(".")[0] not in free and old.get(name, missing) != new.get(name, missing)
    ]
    if differing:
        raise ValueError(
            f"--resume goes on with the configuration the run began with, got a difference in "
            f"{'; '.join(differing)}; use the saved values ({folder / 'config.json'}) or another --out."
        )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"a.b": value} from {"a": {"b": value}}."""
    if not isinstance(tree, dict):
        return {prefix.removesuffix("."): tree}
    return {name: value for key in tree for name, value in _flat(tree[key], f"{prefix}{key}.").items()}


def _plain(config: Any) -> Any:
    """A dataclass as JSON gives it back."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _slug(variant: str, seed: int) -> str:
    """A file name that no other (variant, seed) has."""
    return f"{quote(variant, safe='')}-{seed}"


def _is_of(record: dict[str, Any], variant: str, seed: int) -> bool:
    return record["variant"] == variant and record["seed"] == seed


def _whole_lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """The lines that end, with what they say; a kill leaves at most one that does not."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [(line, json.loads(line)) for line in lines if line.endswith(b"\n")]

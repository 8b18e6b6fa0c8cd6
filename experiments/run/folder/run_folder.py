"""The files of a run: configuration, versions, metrics, results and checkpoints. Nothing is overwritten.

    lock             host and process of the run that works in the folder; deleted at its end
    config.json      configuration of the first start, and what later starts have added
    versions.json    Python, libraries and devices of the first start
    starts.jsonl     one JSON object per start that computed: command, versions, devices, cores, flags
    data.json        hashes of the data
    metrics.jsonl    one JSON object per logged step: variant, seed, step, loss, ..., without times
    rows/            one JSON file per finished training or measurement (name, seed)
    checkpoints/     one folder per training (variant, seed)
    profile/         with --profile: traces of some steps, one folder per training
    summary.json     results of the program

Several hosts share the folder: process 0 writes, and all processes read.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import jax

from experiments.run.distributed import call_on_first
from experiments.run.folder import start_log
from experiments.run.folder.atomic_files import read_json, write_atomically
from experiments.run.folder.folder_lock import FolderLock
from experiments.run.folder.json_types import encode
from experiments.run.folder.metrics_log import MetricsLog
from experiments.run.folder.provenance import versions
from experiments.run.folder.start_log import StartLog
from pid.interface.refusals import DISK_FULL

REFUSALS = (ValueError, OSError)
"""Errors of the user. Other errors leave a run that can be resumed, and so does a full disk."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The files of a run. As a context manager, it releases the lock of the folder at the end."""

    folder: Path
    lock: FolderLock | None = None
    """The lock; None on processes that only read."""
    start: StartLog | None = None
    """The record of this start; None on processes that only read."""
    notes: tuple[str, ...] = ()
    """Sentences about this start that the user should read."""
    undo: Callable[[], None] | None = None
    """Undoes what opening the folder has written."""

    def __enter__(self) -> "Run":
        """Keep the lock until the end of the block."""
        if self.lock is not None:
            self.lock.in_use = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock. A start that was refused before it computed anything leaves no trace."""
        is_idle = self.start is not None and not self.start.is_recorded
        is_refusal = isinstance(error, REFUSALS) and getattr(error, "errno", None) not in DISK_FULL
        if is_refusal and "No space left on device" not in str(error) and is_idle and self.undo is not None:
            self.undo()
        self.close()

    def close(self) -> None:
        """Release the lock."""
        if self.lock is not None:
            self.lock.release()

    def record_start(self) -> None:
        """Record versions, devices and flags of this start, once. Programs call this before they compute."""
        if self.start is not None:
            self.start.record()

    def record_data(self, hashes: Mapping[str, str]) -> None:
        """Save the hashes of the data under their names; `summary.json` has them as "data".

        Raises:
            ValueError: the run began with other data.
        """
        call_on_first(lambda: start_log.record_data(self.folder, hashes))

    @property
    def metrics(self) -> Path:
        """One JSON object per logged step."""
        return self.folder / "metrics.jsonl"

    def checkpoints(self, variant: str, seed: int) -> Path:
        """Return the folder of the checkpoints of this training."""
        return self.folder / "checkpoints" / _slug(variant, seed)

    def profile(self, variant: str, seed: int) -> Path:
        """Return the folder of the trace that this process makes of this training."""
        folder = self.folder / "profile" / _slug(variant, seed)
        return folder / f"process-{jax.process_index()}" if jax.process_count() > 1 else folder

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

    def row(self, variant: str, seed: int, fields: Collection[str] = ()) -> dict[str, Any] | None:
        """Return the result of this training or measurement, None if it has not finished.

        Args:
            variant: name of the training or measurement.
            seed: its seed.
            fields: names of all its numbers; without them any object is a result.

        Raises:
            ValueError: the file is damaged, or does not have exactly these fields.
        """
        path, remedy = self.row_path(variant, seed), "delete it, and --resume computes it again"
        if not path.exists():
            return None
        row = read_json(path, remedy)
        if not isinstance(row, dict) or not row:
            raise ValueError(f"{path} must be an object with a result, got {row!r:.60}; {remedy}.")
        if fields and (differing := sorted(row.keys() ^ set(fields))):
            raise ValueError(
                f"{path} must have the fields of a result, got a difference in {', '.join(differing)}; {remedy}."
            )
        for name in fields:
            if not isinstance(row[name], int | float | None):
                raise ValueError(f"{path} must have numbers, got {name}={row[name]!r:.60}; {remedy}.")
        return row

    def finish(self, variant: str, seed: int, row: dict[str, Any]) -> None:
        """Save the result of this training or measurement; `--resume` then skips it."""
        if jax.process_index() == 0:
            path = self.row_path(variant, seed)
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, encode(row))

    def summarize(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Write `summary.json`, with hashes of data, differences between the starts, and versions; return it."""
        summary = summary | start_log.summarize_starts(self.folder) | {"versions": versions()}
        if jax.process_index() == 0:
            write_atomically(self.folder / "summary.json", encode(summary))
        return summary

    def row_path(self, variant: str, seed: int) -> Path:
        """Return the file of the result of this training or measurement."""
        return self.folder / "rows" / f"{_slug(variant, seed)}.json"


def remedy_of_row(run: Run, variant: str, seed: int) -> str:
    """Return what helps against a damaged file of a finished training, for an error message."""
    return f"delete {run.row_path(variant, seed)}, and --resume tests the last checkpoint again"


def _slug(variant: str, seed: int) -> str:
    """Return the unique file name of (variant, seed)."""
    return f"{quote(variant, safe='')}-{seed}"

"""The records of all trainings of a run: `metrics.jsonl`, one JSON object a line."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.run.distributed import broadcast_from_first
from experiments.run.folder.atomic_files import write_atomically


class MetricsLog(NamedTuple):
    """The file of the logged steps. Process 0 writes it, and all processes read it."""

    path: Path

    def append(self, record: dict[str, Any]) -> None:
        """Append one line. The line is in the file when this returns."""
        if jax.process_index() == 0:
            with self.path.open("a") as file:
                file.write(json.dumps(record, allow_nan=False) + "\n")

    def records(self, variant: str, seed: int) -> list[dict[str, Any]]:
        """Return the logged steps of a training, in order."""
        return [record for _, record in _complete_lines(self.path) if _is_of(record, variant, seed)]

    def truncate_after(self, variant: str, seed: int, step: int) -> None:
        """Delete the records after `step` of a training, and an incomplete last line that a kill has left."""
        if jax.process_index() == 0 and self.path.exists():
            lines = [
                line
                for line, record in _complete_lines(self.path)
                if not (_is_of(record, variant, seed) and record["step"] > step)
            ]
            if (text := b"".join(lines)) != self.path.read_bytes():
                write_atomically(self.path, text)
        broadcast_from_first(True)  # noqa: FBT003  no host reads the file before process 0 has written it


def _is_of(record: dict[str, Any], variant: str, seed: int) -> bool:
    return record["variant"] == variant and record["seed"] == seed


def _complete_lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Return the complete lines, with their records. A kill leaves at most one incomplete line, the last."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [(line, json.loads(line)) for line in lines if line.endswith(b"\n")]

"""The starts of a run, `starts.jsonl`, and the hashes of its data, `data.json`.

A start that only prints the report of a finished run computes nothing, and is not recorded.
"""

import datetime
import json
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.run.folder.atomic_files import read_json, write_atomically
from experiments.run.folder.json_types import encode
from experiments.run.folder.provenance import check_streams, environment, name_differences

NAME = "starts.jsonl"
VERSIONS = "versions.json"
DATA = "data.json"


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """Return the record of every start, the first one first.

    A run of an earlier release, or one that has not computed yet, has its versions only.

    Raises:
        ValueError: a file is damaged.
    """
    path = folder / NAME
    if not path.exists():
        former = folder / VERSIONS
        facts = _read_object(former, "delete it") if former.exists() else {}
        return [{"program": facts.pop("program", ""), "environment": facts}] if facts else []
    return [_parse(line, number, path) for number, line in enumerate(path.read_bytes().splitlines(), 1)]


class StartLog:
    """Checks this start against the first one, and records it when it begins to compute.

    Args:
        folder: the run folder.
        program: name of the program.

    Raises:
        ValueError: the first start had other options that change every number of the run.
    """

    def __init__(self, folder: Path, program: str) -> None:
        """Compare this start with the first one."""
        self._folder, self._is_recorded, starts = folder, False, read_starts(folder)
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._record = {
            "time": now,
            "program": program,
            "command": shlex.join(sys.orig_argv),
            "directory": str(Path.cwd()),
            "host": platform.node(),
            "environment": environment(),
        }
        first = starts[0]["environment"] if starts else {}
        check_streams(first, self._record["environment"], folder)
        self.differences = name_differences(first, self._record["environment"])
        """What differs from the first start and can change the last bits."""

    @property
    def is_recorded(self) -> bool:
        """Whether this start has begun to compute."""
        return self._is_recorded

    def record(self) -> None:
        """Add this start to the file, once."""
        if self._is_recorded:
            return
        self._is_recorded, path = True, self._folder / NAME
        earlier = path.read_bytes() if path.exists() else b""
        write_atomically(path, earlier + json.dumps(self._record).encode() + b"\n")


def summarize_starts(folder: Path) -> dict[str, Any]:
    """Return what `summary.json` says about data and starts: the hashes, and the starts that differ from the first."""
    starts, data = read_starts(folder), read_data(folder)
    first = starts[0]["environment"] if starts else {}
    lines = [
        f"start {number} of {start['time']}: {', '.join(names)}"
        for number, start in enumerate(starts[1:], 2)
        if (names := name_differences(first, start["environment"]))
    ]
    return ({"data": data} if data else {}) | ({"different_starts": lines} if lines else {})


def read_data(folder: Path) -> dict[str, str]:
    """Return the recorded hashes of the data, by name."""
    path = folder / DATA
    return _read_object(path, "restore it, or use another --out") if path.exists() else {}


def record_data(folder: Path, hashes: Mapping[str, str]) -> None:
    """Save the hashes of data under their names, or compare them with the saved ones.

    Says so on stderr if the saved ones are lost, so that the data of the earlier starts are not known.

    Raises:
        ValueError: a hash differs from the saved one.
    """
    saved = read_data(folder)
    if hashes and not (folder / DATA).exists() and (folder / NAME).exists():
        print(
            f"{folder / DATA} is missing: whether the data are those of the earlier starts is not known.",
            file=sys.stderr,
        )
    for name, value in hashes.items():
        if saved.get(name, value) != value:
            raise ValueError(
                f"a run uses the same data from its first start to its last, got {name} with hash {value} and "
                f"{saved[name]} at the first start ({folder / DATA}); restore the data, or use another --out."
            )
    if (merged := {**saved, **hashes}) != saved:
        write_atomically(folder / DATA, encode(merged))


def _read_object(path: Path, remedy: str) -> dict[str, Any]:
    value = read_json(path, remedy)
    if not isinstance(value, dict):
        raise ValueError(f"{path} must be a JSON object, got {value!r:.60}; {remedy}.")
    return value


def _parse(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(line)
        return record | {"time": record["time"], "environment": dict(record["environment"])}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(
            f"a line of {path} must be the record of a start, got line {number} with {line[:60]!r}; delete the line."
        ) from None

"""The records of all trainings of a run: `metrics.jsonl`, one JSON object a line."""

import codecs
import functools
import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.run.distributed import call_on_first
from experiments.run.folder.atomic_files import force_to_disk, write_atomically

KEYS = {"variant": str, "seed": int, "step": int}
"""Keys of every record and their types."""


class Line(NamedTuple):
    """One complete line of the file."""

    number: int
    """From 1."""
    text: bytes
    record: dict[str, Any]

    def is_of(self, variant: str, seed: int) -> bool:
        """Return whether the line belongs to a training."""
        return self.record["variant"] == variant and self.record["seed"] == seed


class MetricsLog(NamedTuple):
    """The file of the logged steps. Process 0 writes it, and all processes read it."""

    path: Path

    def append(self, record: dict[str, Any]) -> None:
        """Append one line. The line is in the file when this returns, and on the disk after `sync`."""
        if jax.process_index() == 0:
            with self.path.open("a") as file:
                file.write(json.dumps(record, allow_nan=False) + "\n")

    def sync(self) -> None:
        """Force all lines to disk. A checkpoint counts on them."""
        if jax.process_index() == 0 and self.path.exists():
            force_to_disk(self.path)
            force_to_disk(self.path.parent)

    def records(self, variant: str, seed: int) -> list[dict[str, Any]]:
        """Return the logged steps of a training, in order.

        Raises ValueError, with file and line, if a line is no record.
        """
        return [line.record for line in self.lines() if line.is_of(variant, seed)]

    def truncate_after(self, variant: str, seed: int, step: int) -> None:
        """Delete the records after `step` of a training, and an incomplete last line that a kill has left."""
        call_on_first(lambda: self._write(self.lines(), lambda line: _is_after(line, variant, seed, step)))

    def truncate(self, is_dropped: Callable[[dict[str, Any]], bool]) -> None:
        """Delete the records for which a function is true, and an incomplete last line that a kill has left."""
        call_on_first(lambda: self._write(self.lines(), lambda line: is_dropped(line.record)))

    def lines(self) -> list[Line]:
        """Return the complete lines. A kill leaves at most one incomplete line, the last.

        Raises ValueError, with file and line, if a line is no record. Blank lines are skipped.
        """
        return list(_parse(self.path, self._content()))

    def _content(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""

    def repair(self, variant: str, seed: int) -> list[str]:
        """Drop an incomplete last line and repeated records of a training, and sort its records by step.

        Returns one sentence for every repair. Only process 0 calls this.

        Raises:
            ValueError: a line is no record, or one step has two different records.
        """
        lines, last = self.lines(), self._content().rpartition(b"\n")[2]
        notes = []
        if last.strip() and not _is_record(last):
            notes.append(f"dropped an incomplete last line of {self.path}, which a kill has left")
        own = [line for line in lines if line.is_of(variant, seed)]
        repeated = self._repeated(own)
        if repeated:
            numbers = ", ".join(str(number) for number in sorted(repeated)[:6])
            notes.append(f"dropped {len(repeated)} repeated records of {self.path} (line {numbers})")
        own = [line for line in own if line.number not in repeated]
        by_step = sorted(own, key=lambda line: line.record["step"])
        if own != by_step:
            notes.append(f"sorted the records of {self.path} by step")
        places = {old.number: new for old, new in zip(own, by_step, strict=True)}
        self._write([places.get(line.number, line) for line in lines], lambda line: line.number in repeated)
        return notes

    def _repeated(self, own: list[Line]) -> set[int]:
        """Return the numbers of lines that repeat an earlier line of one training."""
        by_step = defaultdict(list)
        for line in own:
            by_step[line.record["step"]].append(line)
        for step, (first, *others) in by_step.items():
            for other in others:
                if other.record != first.record:
                    raise ValueError(
                        f"{self.path} must have one record of each step, got two of step {step} with different values "
                        f"(lines {first.number} and {other.number}); delete the wrong line."
                    )
        return {line.number for lines in by_step.values() for line in lines[1:]}

    def _write(self, lines: list[Line], is_dropped: Callable[[Line], bool]) -> None:
        """Write the file again without some lines, unless it would be the same."""
        text = b"".join(line.text for line in lines if not is_dropped(line))
        if self.path.exists() and text != self.path.read_bytes():
            write_atomically(self.path, text)


@functools.lru_cache(maxsize=1)  # the trainings of a run read the file one after another
def _parse(path: Path, content: bytes) -> tuple[Line, ...]:
    """Return the complete lines, without marks that only editors write (byte order mark, carriage return)."""
    *complete, last = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
    if _is_record(last):  # an editor has removed the end of the last line
        complete.append(last)
    return tuple(_line(path, number, text.strip()) for number, text in enumerate(complete, 1) if text.strip())


def _line(path: Path, number: int, text: bytes) -> Line:
    try:
        return Line(number, text + b"\n", _record(text))
    except ValueError as error:
        raise ValueError(
            f"every line of {path} must be a record of one step, got line {number} which {error}; correct or delete "
            f"the line, and --resume goes on from a checkpoint that has its records."
        ) from None


def _record(text: bytes) -> dict[str, Any]:
    """Return the record of a line. Raises ValueError that says what is wrong with it."""
    try:
        record = _DECODER.decode(text.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON ({error}): {text[:30].decode(errors='replace')!r}...") from None
    if not isinstance(record, dict):
        raise ValueError(f"is no object but {text[:30].decode()}")
    for key, kind in KEYS.items():
        if type(record.get(key)) is not kind:
            raise ValueError(f"has {record.get(key, 'nothing')!r} under {key!r}")
    for key, value in record.items():
        is_number = type(value) in (int, float) and math.isfinite(value)
        if key != "variant" and not (is_number and (0 <= value <= 1 or not key.endswith("accuracy"))):
            raise ValueError(f"has {value!r:.30} under {key!r}")
    return record


def _is_record(text: bytes) -> bool:
    try:
        return bool(_record(text))
    except ValueError:
        return False


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _is_after(line: Line, variant: str, seed: int, step: int) -> bool:
    return line.is_of(variant, seed) and line.record["step"] > step

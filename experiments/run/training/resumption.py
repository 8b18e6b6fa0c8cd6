"""The checkpoint from which a training goes on: the newest one that is whole and has all its records.

A checkpoint that is damaged or lacks records is moved aside (`damaged-12`), so that the training can save its step
again; nothing is deleted.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from experiments.run.folder.metrics_log import MetricsLog
from experiments.run.training.checkpoints import find_fault_in_checkpoint
from experiments.run.training.checksums import has_checksums, write_checksums


class Training(NamedTuple):
    """What a training has written so far."""

    variant: str
    seed: int
    checkpoints: Path
    """Folder of its checkpoints."""
    log: MetricsLog
    logged_steps: Callable[[int], dict[int, bool]]
    """step -> {every step up to it that has a record: whether the record has a validation}."""

    def __str__(self) -> str:
        """Return variant and seed, as they stand in messages."""
        return f"{self.variant}, seed {self.seed}"


def find_start(training: Training, notes: list[str]) -> int:
    """Return the step of the checkpoint from which the training goes on, 0 to start at the first step.

    Only process 0 calls this, before Orbax reads the folder.

    Args:
        training: what it has written.
        notes: what the user should know is appended here.

    Raises:
        ValueError: no checkpoint can be used, or a record is damaged. Nothing is changed then.
    """
    notes += training.log.repair(training.variant, training.seed)
    faults: dict[int, tuple[str, str]] = {}
    start = 0
    for start in sorted(steps_in(training.checkpoints), reverse=True):
        fault = _find_fault(training, start)
        if fault is None:
            break
        faults[start] = fault
    if start in faults:
        raise ValueError(_refusal(training, faults))
    for step, (prefix, fault) in faults.items():
        moved = move_aside(training.checkpoints / str(step), prefix)
        notes.append(f"the checkpoint of step {step} cannot be used: {fault}; it is now {moved}")
    if not start and training.log.records(training.variant, training.seed):
        notes.append(f"no checkpoint in {training.checkpoints}, starting again from the first step")
    if start and not has_checksums(training.checkpoints / str(start)):
        write_checksums(training.checkpoints / str(start))
    return start


def steps_in(checkpoints: Path) -> list[int]:
    """Return the steps of all complete checkpoints of a folder."""
    if not checkpoints.exists():
        return []
    return sorted(int(path.name) for path in checkpoints.iterdir() if path.name.isdecimal())


def find_gap(training: Training, step: int) -> str:
    """Return which record up to `step` is missing, "" if there is none."""
    own = training.log.records(training.variant, training.seed)
    has_validation = {record["step"]: "val_loss" in record for record in own}
    for logged, validates in training.logged_steps(step).items():
        if logged not in has_validation:
            return f"{training.log.path} has no record of step {logged} ({training})"
        if validates and not has_validation[logged]:
            return f"{training.log.path} has no validation in the record of step {logged} ({training})"
    return ""


def _find_fault(training: Training, step: int) -> tuple[str, str] | None:
    """Return (prefix of its new name, what is wrong) of a checkpoint that cannot be used."""
    if fault := find_fault_in_checkpoint(training.checkpoints / str(step)):
        return "damaged", fault
    if gap := find_gap(training, step):
        return "unlogged", gap
    best = _best_step(training, step)
    if best != step and (training.checkpoints / str(best)).exists():
        fault = find_fault_in_checkpoint(training.checkpoints / str(best))
        if fault:
            return "unused", f"the checkpoint of step {best}, the best on validation, is damaged ({fault})"
    return None


def _best_step(training: Training, step: int) -> int:
    records: list[dict[str, Any]] = training.log.records(training.variant, training.seed)
    scores = [(r["val_accuracy"], r["step"]) for r in records if r["step"] <= step and "val_loss" in r]
    return max(scores, default=(0.0, step))[1]


def move_aside(path: Path, prefix: str) -> Path:
    """Rename the folder of a checkpoint, so that its name has no step, and return its new path."""
    free = (path.with_name(f"{prefix}-{path.name}{end}") for end in ("", *(f"-{n}" for n in range(2, 1000))))
    return path.rename(next(name for name in free if not name.exists()))


def _refusal(training: Training, faults: dict[int, tuple[str, str]]) -> str:
    steps: dict[str, list[str]] = defaultdict(list)
    for step, (_, fault) in faults.items():
        steps[fault].append(str(step))
    reasons = "; ".join(f"step {' and '.join(those)}: {fault}" for fault, those in steps.items())
    return (
        f"--resume needs a checkpoint that is whole and has all its records, got none in {training.checkpoints} "
        f"({reasons}); put the files back, or delete that folder to train {training} again from the first step."
    )

"""The records of the members of a group in `metrics.jsonl`, and the checkpoint from which the group goes on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.run.folder.metrics_log import MetricsLog
from experiments.run.training.checkpoints import find_fault_in_checkpoint
from experiments.run.training.checksums import has_checksums, write_checksums
from experiments.run.training.resumption import move_aside, steps_in


class MemberRecords(NamedTuple):
    """The records of all members of a group."""

    log: MetricsLog
    members: Sequence[tuple[str, int]]
    """(variant, seed) of every member."""
    logged_steps: Callable[[int], dict[int, bool]]
    """step -> {every step up to it that has a record: whether the record has a validation}."""

    def own(self) -> dict[tuple[str, int], list[dict[str, Any]]]:
        """Return the records of every member, in order."""
        records: dict[tuple[str, int], list[dict[str, Any]]] = {member: [] for member in self.members}
        for line in self.log.lines():
            member = line.record["variant"], line.record["seed"]
            if member in records:
                records[member].append(line.record)
        return records

    def validations(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the last record of every member that has a validation, {} without one."""
        return {
            member: next((r for r in reversed(records) if "val_loss" in r), {})
            for member, records in self.own().items()
        }

    def truncate_after(self, step: int) -> None:
        """Delete the records after a step of all members, and an incomplete last line that a kill has left."""
        members = set(self.members)
        self.log.truncate(lambda r: (r["variant"], r["seed"]) in members and r["step"] > step)

    def gap(self, step: int) -> str:
        """Return which record up to `step` is missing, "" if there is none. A stopped member has none after its end."""
        expected = self.logged_steps(step)
        for (variant, seed), records in self.own().items():
            has_validation = {r["step"]: "val_loss" in r or "stopped" in r for r in records}
            end = min((r["step"] for r in records if "stopped" in r), default=step)
            for logged, validates in expected.items():
                if logged <= end and (
                    logged not in has_validation or (validates and not has_validation[logged])
                ):
                    return f"{self.log.path} has no whole record of step {logged} ({variant}, seed {seed})"
        return ""


def find_start(records: MemberRecords, checkpoints: Path, notes: list[str]) -> int:
    """Return the step of the newest checkpoint of a group that is whole and has all its records, 0 without one.

    A checkpoint that cannot be used is moved aside, so that the group can save its step again. Only process 0
    calls this.

    Args:
        records: the records of the members.
        checkpoints: folder of the checkpoints.
        notes: what the user should know is appended here.

    Raises:
        ValueError: there are checkpoints, and none can be used; nothing is changed then.
    """
    for variant, seed in records.members if checkpoints.exists() else ():
        notes += records.log.repair(variant, seed)
    faults: dict[int, str] = {}
    for step in sorted(steps_in(checkpoints), reverse=True):
        faults[step] = find_fault_in_checkpoint(checkpoints / str(step)) or records.gap(step)
        if not faults[step]:
            break
    usable = [step for step, fault in faults.items() if not fault]
    if faults and not usable:
        reasons = "; ".join(f"step {step}: {fault}" for step, fault in faults.items())
        raise ValueError(
            f"--resume needs a checkpoint that is whole and has all its records, got none in {checkpoints} "
            f"({reasons}); put the files back, or delete that folder to train its members again from the first step."
        )
    for step, fault in faults.items():
        if fault:
            moved = move_aside(checkpoints / str(step), "damaged")
            notes.append(f"the checkpoint of step {step} cannot be used: {fault}; it is now {moved}")
    if usable and not has_checksums(checkpoints / str(usable[0])):
        write_checksums(checkpoints / str(usable[0]))
    return usable[0] if usable else 0

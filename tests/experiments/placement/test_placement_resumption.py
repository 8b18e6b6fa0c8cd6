"""The records of a group, and the checkpoint from which its members go on."""

import json

import pytest

from experiments.run import LoopIntervals
from experiments.run.folder.metrics_log import MetricsLog
from experiments.run.training import member_records
from experiments.run.training.member_records import MemberRecords, find_start

CADENCE = LoopIntervals(log_every=2, eval_every=4, checkpoint_every=4)
STEPS = 12
MEMBERS = [("a", 0), ("b@x", 0)]


def record(variant, step, **more):
    validation = {"val_loss": 1.0, "val_accuracy": 0.5} if CADENCE.evaluates(step, STEPS) else {}
    return {"variant": variant, "seed": 0, "step": step, "loss": 1.0} | (more or validation)


@pytest.fixture
def records(tmp_path):
    """Whole records of two members, and of a training that is no member."""
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in range(2, STEPS + 1, 2):
        for variant in ("a", "b@x", "other"):
            log.append(record(variant, step))
    return MemberRecords(log, MEMBERS, lambda last: CADENCE.logged_steps(last, STEPS))


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """Folders of three checkpoints that are whole, unless a test says otherwise."""
    folder = tmp_path / "checkpoints"
    for step in (4, 8, 12):
        (folder / str(step)).mkdir(parents=True)
    monkeypatch.setattr(member_records, "find_fault_in_checkpoint", lambda path: "")
    return folder


def rewrite(records, keep):
    own = [line.record for line in records.log.lines() if keep(line.record)]
    records.log.path.write_text("".join(json.dumps(r) + "\n" for r in own))


def test_a_group_goes_on_from_its_newest_checkpoint(records, checkpoints):
    notes = []
    assert find_start(records, checkpoints, notes) == 12
    assert notes == []
    assert find_start(records, checkpoints / "none", notes) == 0


def test_a_missing_record_of_any_member_moves_a_checkpoint_aside(records, checkpoints):
    rewrite(records, lambda r: (r["variant"], r["step"]) != ("b@x", 10))
    assert records.gap(8) == ""
    assert "step 10 (b@x, seed 0)" in records.gap(12)
    notes = []
    assert find_start(records, checkpoints, notes) == 8
    assert "step 12 cannot be used" in notes[0]
    assert sorted(path.name for path in checkpoints.iterdir()) == ["4", "8", "damaged-12"]


def test_a_record_without_its_validation_is_a_gap(records, checkpoints):
    rewrite(records, lambda r: (r["variant"], r["step"]) != ("a", 8))
    records.log.append({"variant": "a", "seed": 0, "step": 8, "loss": 1.0})
    assert find_start(records, checkpoints, []) == 4


def test_a_member_that_stopped_has_no_later_records(records, checkpoints):
    rewrite(records, lambda r: r["variant"] != "a" or r["step"] <= 4)
    assert "step 6 (a, seed 0)" in records.gap(12)
    records.log.append(record("a", 5, stopped=1))
    assert records.gap(12) == ""
    assert find_start(records, checkpoints, []) == 12
    assert records.validations()["a", 0]["step"] == 4
    assert records.validations()["b@x", 0]["step"] == 12


def test_a_damaged_checkpoint_is_moved_and_without_a_whole_one_nothing_is_changed(
    records, checkpoints, monkeypatch
):
    faults = {"12": "state is missing", "8": "", "4": ""}
    monkeypatch.setattr(member_records, "find_fault_in_checkpoint", lambda path: faults[path.name])
    notes = []
    assert find_start(records, checkpoints, notes) == 8
    assert "state is missing" in notes[0]
    faults |= {"8": "it is empty", "4": "it is empty"}
    with pytest.raises(ValueError, match="step 8: it is empty; step 4: it is empty"):
        find_start(records, checkpoints, notes)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["4", "8", "damaged-12"]


def test_truncation_drops_later_records_of_members_alone(records):
    with records.log.path.open("a") as file:
        file.write('{"variant": "a", "se')
    records.truncate_after(4)
    steps = {name: [r["step"] for r in records.log.records(name, 0)] for name in ("a", "b@x", "other")}
    assert steps == {"a": [2, 4], "b@x": [2, 4], "other": [2, 4, 6, 8, 10, 12]}
    assert records.log.path.read_bytes().endswith(b"}\n")

"""Where a training goes on: damaged checkpoints, gaps in the metrics, paths with wildcards, remains of kills."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from experiments import run
from experiments.run.training import checksums
from experiments.run.training.checkpoints import find_fault_in_arrays, read_arrays
from tests.helpers.tiny_program import Config, main

SLUG = Path("checkpoints/plain-0")


def stop_at(folder, step):
    """Train until a signal arrives during the preparation of the batch of `step` (0-based)."""

    def spy(current_step):
        if current_step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(run.Preempted):
        main(Config(out=folder), spy=spy)


def names_in(folder):
    """Files of a run, with a checkpoint as one of them."""
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path.as_posix() if path.parts[0] != "checkpoints" else "/".join(path.parts[:3]) for path in files}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    main(Config(out=folder))
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Folder of a run that was stopped after step 10, with checkpoints of steps 8 (the best), 9 and 10."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    stop_at(folder, 9)
    assert sorted(int(path.name) for path in (folder / SLUG).iterdir()) == [8, 9, 10]
    return folder


@pytest.fixture
def folder(stopped, tmp_path):
    """A copy of the stopped run, to damage."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def largest(checkpoint):
    return max(
        (path for path in checkpoint.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )


def halve(checkpoint):
    path = largest(checkpoint)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(checkpoint):
    path = largest(checkpoint)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


def empty(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def spoil_metadata(checkpoint):
    (checkpoint / "_CHECKPOINT_METADATA").write_text("{")


def delete_a_file(checkpoint):
    (checkpoint / "state" / "manifest.ocdbt").unlink()


def replace_by_a_file(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.write_text("")


@pytest.mark.parametrize(
    "damage",
    [halve, flip_a_bit, empty, spoil_metadata, delete_a_file, replace_by_a_file],
    ids=lambda f: f.__name__,
)
def test_damaged_newest_checkpoint_is_named_and_the_one_before_it_taken(damage, folder, straight, capsys):
    damage(folder / SLUG / "10")
    steps = []
    main(Config(out=folder, resume=True), spy=steps.append)
    assert min(steps) == 9
    output = capsys.readouterr().out
    assert "the checkpoint of step 10 cannot be used:" in output
    assert f"it is now {folder / SLUG / 'damaged-10'}" in output
    assert (folder / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
    assert (folder / SLUG / "damaged-10").exists()
    ours, theirs = (dict(read_arrays(run / SLUG / "12")) for run in (folder, straight))
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])


def test_checkpoint_without_permission_is_moved_aside(folder, monkeypatch, capsys):
    def read(path):
        if "/10/" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return checksum(path)

    checksum = checksums.sha256
    monkeypatch.setattr(checksums, "sha256", read)
    main(Config(out=folder, resume=True))
    assert "cannot be read (Permission denied)" in capsys.readouterr().out


def test_without_a_whole_checkpoint_resume_is_refused_and_nothing_changes(folder):
    for checkpoint in (folder / SLUG).iterdir():
        halve(checkpoint)
    before = names_in(folder)
    words = r"needs a checkpoint that is whole .*plain-0 \(step 10: .* is not as it was saved.*put the files back, or"
    with pytest.raises(ValueError, match=words):
        main(Config(out=folder, resume=True))
    assert names_in(folder) == before


def test_damaged_best_checkpoint_is_refused_at_once(folder):
    empty(folder / SLUG / "8")
    with pytest.raises(
        ValueError, match="step 10 and 9: the checkpoint of step 8, the best on validation, is damaged"
    ):
        main(Config(out=folder, resume=True))


def test_best_checkpoint_that_is_damaged_during_the_training_is_named_at_the_test(tmp_path):
    def spy(step):
        if step == 10 and (tmp_path / SLUG / "8").exists():
            delete_a_file(tmp_path / SLUG / "8")

    words = r"the checkpoint of step 8 must be whole, got .*manifest.ocdbt is missing; put its files back, or delete"
    with pytest.raises(ValueError, match=words):
        main(Config(out=tmp_path), spy=spy)


def test_checkpoint_without_checksums_is_read_instead(folder, straight):
    (folder / SLUG / "10" / checksums.CHECKSUMS).unlink()
    spoil_metadata(folder / SLUG / "10")
    assert (
        find_fault_in_arrays(folder / SLUG / "10")
        == "the arrays cannot be read (Expecting property name enclosed in double quotes)"
    )
    (folder / SLUG / "9" / checksums.CHECKSUMS).unlink()
    main(Config(out=folder, resume=True))
    assert (folder / SLUG / "9" / checksums.CHECKSUMS).exists()
    assert (folder / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()


def test_first_checkpoint_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.run.training.checkpoints.read_arrays", lambda checkpoint: iter(()))
    with pytest.raises(
        ValueError, match="readable as soon as it is saved, got .*/plain-0/3 where the arrays are not"
    ):
        main(Config(out=tmp_path))


@pytest.mark.parametrize(
    "name", ["lr=[0.1]", "a*b?", "a**b", "ü ' \"", "p%20", "back\\slash", "line\nbreak", "\udcff"]
)
def test_any_folder_name_saves_what_restores(name, straight, tmp_path):
    folder = tmp_path / name / "run"
    stop_at(folder, 9)
    main(Config(out=folder, resume=True))
    assert (folder / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {name}


# Gaps in the metrics.


def rewrite(folder, change):
    """Change the list of lines of the metrics."""
    path = folder / "metrics.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def test_lost_last_record_takes_the_older_checkpoint(folder, straight, capsys):
    rewrite(folder, lambda lines: lines[:-1])
    main(Config(out=folder, resume=True))
    assert "metrics.jsonl has no record of step 10 (plain, seed 0); it is now" in capsys.readouterr().out
    assert (folder / SLUG / "unlogged-10").exists()
    assert (folder / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(("lines", "step"), [(0, 2), (3, 8)])
def test_gap_before_every_checkpoint_is_refused(lines, step, folder):
    rewrite(folder, lambda all_lines: all_lines[:lines])
    with pytest.raises(
        ValueError, match=rf"10 and 9 and 8: .*metrics.jsonl has no record of step {step} \(plain, seed 0\)"
    ):
        main(Config(out=folder, resume=True))


def test_deleted_metrics_are_refused_also_after_the_end(folder, straight, tmp_path):
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="metrics.jsonl has no record of step 2"):
        main(Config(out=folder, resume=True))
    finished = Path(shutil.copytree(straight, tmp_path / "finished"))
    (finished / "metrics.jsonl").unlink()
    with pytest.raises(
        ValueError, match="a finished training needs all its records, got a row for plain, seed 0 while"
    ):
        main(Config(out=finished, resume=True))


def test_record_without_its_validation_is_a_gap(folder):
    rewrite(
        folder,
        lambda lines: [
            line if b'"step": 8' not in line else line.split(b', "val_loss"')[0] + b"}\n" for line in lines
        ],
    )
    with pytest.raises(ValueError, match="has no validation in the record of step 8"):
        main(Config(out=folder, resume=True))


def test_deleted_checkpoints_start_again_aloud(folder, straight, capsys):
    shutil.rmtree(folder / SLUG)
    main(Config(out=folder, resume=True))
    assert "starting again from the first step" in capsys.readouterr().out
    assert (folder / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()


def test_metrics_are_on_disk_before_the_checkpoint(tmp_path, monkeypatch):
    events = []
    save, sync = run.Checkpoints.save, type(run.Run(tmp_path).log).sync
    monkeypatch.setattr(run.Checkpoints, "save", lambda *args: events.append("save") or save(*args))
    monkeypatch.setattr(
        "experiments.run.folder.metrics_log.force_to_disk", lambda path: events.append(path.name)
    )
    main(Config(out=tmp_path / "run", steps=6))
    assert sync is type(run.Run(tmp_path).log).sync
    assert (
        events == ["metrics.jsonl", "run", "save"] * 3
    )  # steps 3, 4 (best) and 6; not each of the six steps


def test_nothing_is_left_behind(folder, straight, tmp_path):
    (folder / SLUG / "11.orbax-checkpoint-tmp").mkdir()
    (folder / SLUG / "11.orbax-checkpoint-tmp" / "half").write_text("x")
    for name in ("metrics.jsonl.part", "config.json.part", "rows.part"):
        (folder / name).write_text("half")
    main(Config(out=folder, resume=True))
    assert names_in(folder) - names_in(straight) == {f"{SLUG}/10"}  # where the signal came

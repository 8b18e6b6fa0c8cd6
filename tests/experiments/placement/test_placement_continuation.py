"""`python -m experiments.placement --resume`: ends between two rows, damaged files, more tasks and seeds."""

import dataclasses
import json

import pytest

from experiments import placement, run
from experiments.placement import family_training, program
from experiments.placement.member_results import saved_groups
from experiments.placement.presets import CONTINUATION
from tests.experiments.placement.placement_tasks import CONFIG, small_listops

SMALL = dataclasses.replace(CONFIG, places=("after_embedding",), seeds=(0,), steps=(2,), rows=0)
TIMED = ("tokens_per_second", "compile_seconds")


@pytest.fixture(scope="module", autouse=True)
def miniature():
    """Shrink ListOps, for all tests of this file."""
    with small_listops():
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """(configuration, summary) of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("straight")
    config = dataclasses.replace(SMALL, out=folder / "run", data_dir=folder / "data")
    return config, placement.main(config)


def untimed(summary):
    rows = [{k: v for k, v in row.items() if k not in TIMED} for row in summary["rows"]]
    return {k: v for k, v in summary.items() if k not in ("rows", "starts")} | {"rows": rows}


def refused(config, *parts, error: type[Exception] = ValueError):
    with pytest.raises(error) as caught:
        placement.main(dataclasses.replace(config, resume=True))
    for part in parts:
        assert part in str(caught.value)


def test_an_end_between_two_rows_trains_nothing_again(straight, tmp_path, monkeypatch):
    reference, summary = straight
    config = dataclasses.replace(reference, out=tmp_path / "run")
    save_member, rows = program.save_member, []

    def end_after_one(*arguments):
        if rows:
            raise KeyboardInterrupt
        rows.append(save_member(*arguments))

    with monkeypatch.context() as patch:
        patch.setattr(program, "save_member", end_after_one)
        with pytest.raises(KeyboardInterrupt):
            placement.main(config)
    first = [(g.variants, g.seeds) for g in saved_groups(run.Run(config.out / "listops"))]
    assert first == [(("baseline", "adaptive@after_embedding"), (0,))]
    trained, batches = [], family_training.FamilyTraining.batches

    def spy(training, begin, count):
        trained.append(training.family.variants[-1].kind)
        return batches(training, begin, count)

    monkeypatch.setattr(family_training.FamilyTraining, "batches", spy)
    resumed = placement.main(dataclasses.replace(config, resume=True))
    assert "adaptive" not in trained
    assert untimed(resumed) == untimed(summary)
    for name in ("metrics.jsonl", "hits/adaptive@after_embedding-0.npz"):
        files = [(c.out / "listops" / name).read_bytes() for c in (config, reference)]
        assert files[0] == files[1]


def test_a_deleted_row_is_that_of_the_last_checkpoint(straight, monkeypatch):
    config, summary = straight
    row = config.out / "listops" / "rows" / "adaptive%40after_embedding-0.json"
    row.unlink()
    monkeypatch.setattr(family_training.FamilyTraining, "batches", None)  # no step may be made
    assert untimed(placement.main(dataclasses.replace(config, resume=True))) == untimed(summary)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("groups/x.json", "{}", ("groups/x.json", "got {}; delete it")),
        ("groups/x.json", "", ("groups/x.json", "an empty file; delete it")),
        ("hits/baseline-0.npz", "no archive", ("hits/baseline-0.npz", "delete")),
        ("hits/baseline-0.npz", None, ("got no file for baseline, seed 0", "rows/baseline-0.json")),
        ("rows/baseline-0.json", "{}", ("rows/baseline-0.json", "delete it")),
    ],
)
def test_damaged_files_are_refused_before_a_step(straight, name, content, words, monkeypatch):
    config, _ = straight
    path = config.out / "listops" / name
    before = path.read_bytes() if path.exists() else None
    monkeypatch.setattr(program, "train_and_save", None)
    more = dataclasses.replace(config, seeds=(0, 7))
    try:
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
        refused(more, *words, error=FileNotFoundError if content is None else ValueError)
    finally:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)


@pytest.mark.parametrize("name", ["listops", "listops/sites", "listops/groups", "listops/hits"])
def test_a_file_in_place_of_a_folder_is_refused(straight, name):
    config, _ = straight
    path = config.out / name
    aside = path.with_name("aside")
    is_there = path.exists()
    if is_there:
        path.rename(aside)
    path.write_text("a file")
    try:
        refused(config, str(path), "must be a folder, got a file; move it away", error=FileExistsError)
    finally:
        path.unlink()
        if is_there:
            aside.rename(path)


def saved_run(folder, **changes):
    """Save the configuration of a run that has trained nothing, and return the first words of its command line."""
    config = dataclasses.replace(placement.PRESETS["quick"][1], out=folder, **changes)
    with run.open_run(folder, config, continuation=CONTINUATION):
        pass
    return ["--out", str(folder), "--resume"]


def test_a_task_is_added_to_a_run_with_narrow_tasks_and_steps_of_each(tmp_path):
    folder = tmp_path / "run"
    words = saved_run(folder, tasks=("listops", "text"), narrow=("text",), steps=(20, 10), batch=(8,))
    with pytest.raises(SystemExit):
        placement.command_line([*words, "--tasks", "image"])  # how many steps?
    more = placement.command_line(
        [*words, "--tasks", "image", "--steps", "20", "10", "5", "--narrow", "image"]
    )
    assert (more.tasks, more.narrow, more.steps) == (
        ("listops", "text", "image"),
        ("text", "image"),
        (20, 10, 5),
    )
    with run.open_run(folder, more, resume=True, continuation=CONTINUATION):
        pass
    assert json.loads((folder / "config.json").read_text())["steps"] == [20, 10, 5]
    other = dataclasses.replace(more, steps=(19, 10, 5))
    with pytest.raises(ValueError, match="steps: saved"):
        run.open_run(folder, other, resume=True, continuation=CONTINUATION)

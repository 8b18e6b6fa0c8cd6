"""`--out DIR --resume` continues the run in DIR from its saved configuration; only what is typed is compared."""

import dataclasses
import json
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from experiments import claims, lra, pid_gaussian, pid_llava, run
from experiments.bench import command_line as bench_command_line
from experiments.bench.config import CONTINUATION as BENCH
from experiments.bench.config import Config as BenchConfig
from experiments.claims.presets import CONTINUATION as CLAIMS
from experiments.lra.presets import CONTINUATION as LRA
from experiments.pid_gaussian.presets import CONTINUATION as PID_GAUSSIAN
from experiments.pid_llava.presets import CONTINUATION as PID_LLAVA
from experiments.pid_llava.toy import toy_training
from experiments.run.folder import saved_config
from experiments.run.folder.json_types import config_to_json


class Program(NamedTuple):
    """A program, how its run was started, and what --resume accepts and refuses."""

    command_line: Any
    continuation: run.Continuation[Any]
    start: str
    more: str
    """Options that add to the run."""
    union: dict[str, Any]
    """Fields of the configuration with both."""
    other: str
    """An option that would change the results."""
    difference: str
    may_change: str
    """An option that may change on resume."""


PROGRAMS = {
    "lra": Program(
        lra.command_line,
        LRA,
        "listops-two-layer --steps 7 --seeds 3 --data-dir d --optimizer.learning-rate 1e-4 --mesh.data 2",
        "--seeds 0 3 --placement between_layers --attention.kind diffusion",
        {"seeds": (3, 0), "placement": ("after_embedding", "between_layers")},
        "--steps 8",
        "steps: saved 7, now 8",
        "--mesh.data 4 --data-dir e",
    ),
    "claims": Program(
        claims.command_line,
        CLAIMS,
        "full --only entropy artifact --seeds 4 5",
        "--only decay",
        {"only": ("entropy", "artifact", "decay")},
        "--entropy.steps 0 4",
        r"entropy\.steps: saved \[0, 1, 4, .*\], now \[0, 4\]",
        "--only entropy",
    ),
    "pid_gaussian": Program(
        pid_gaussian.command_line,
        PID_GAUSSIAN,
        "--study bias --seeds 2 --bias.repeats 3",
        "--seeds 1",
        {"seeds": (2, 1)},
        "--bias.repeats 20",
        r"bias\.repeats: saved 3, now 20",
        "--bias.repeats 3",
    ),
    "pid_llava": Program(
        pid_llava.command_line,
        PID_LLAVA,
        "gqa --model m/a --data g --config paper --tasks QueryAttr --capture.width 5 --cache c",
        "--config recommended --tasks LogicalObj --model m/a m/b",
        {"config": "both", "tasks": ("QueryAttr", "LogicalObj")},
        "--seed 1",
        "seed: saved 0, now 1",
        "--cache k --mesh.data 2",
    ),
    "pid_llava train": Program(
        toy_training.command_line,
        toy_training.CONTINUATION,
        "--steps 9 --captions 2 --attribute-captions 1 --seeds 1",
        "--seeds 2",
        {"seeds": (1, 2)},
        "--captions 3",
        "captions: saved 2, now 3",
        "--seeds 1",
    ),
    "bench": Program(
        bench_command_line,
        BENCH,
        "--only pid --pairs 4",
        "--only taps",
        {"only": ("pid", "taps")},
        "--pairs 6",
        "pairs: saved 4, now 6",
        "--only pid",
    ),
}


@pytest.fixture(params=PROGRAMS)
def program(request, tmp_path, monkeypatch):
    """(program, its run folder), whose run was started in another directory."""
    program = PROGRAMS[request.param]
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    config = program.command_line([*program.start.split(), "--out", "run"])
    run.open_run("run", config, continuation=program.continuation).close()
    monkeypatch.chdir(tmp_path)
    return program, tmp_path / "there" / "run"


def test_saved_configuration_is_the_start_in_any_directory(program):
    program, folder = program
    saved = json.loads((folder / "config.json").read_text())
    config = program.command_line(["--out", str(folder), "--resume"])
    expected = saved | {"out": str(folder), "resume": True}
    assert config_to_json(config) == expected
    run.open_run(folder, config, resume=True, continuation=program.continuation).close()
    assert json.loads((folder / "config.json").read_text()) == saved


def test_printed_command_continues_the_run(program):
    program, folder = program
    config = program.command_line(["--out", str(folder), "--resume"])
    with run.open_run(folder, config, resume=True, continuation=program.continuation) as folder_of_run:
        hint = folder_of_run.notes[0]
    words = shlex.split(hint.removeprefix("after a kill: "))
    assert words[:2] == ["python", "-m"]
    assert words[-3:] == ["--out", str(folder), "--resume"]
    assert Path(words[-2]).is_absolute()


def test_typed_option_that_changes_results_is_refused_by_name(program):
    program, folder = program
    config = program.command_line(["--out", str(folder), "--resume", *program.other.split()])
    with pytest.raises(ValueError, match=f"got a difference in {program.difference}; use the saved values"):
        run.open_run(folder, config, resume=True, continuation=program.continuation)


def test_typed_option_that_may_change_is_taken(program):
    program, folder = program
    before = (folder / "config.json").read_bytes()
    config = program.command_line(["--out", str(folder), "--resume", *program.may_change.split()])
    run.open_run(folder, config, resume=True, continuation=program.continuation).close()
    assert (folder / "config.json").read_bytes() == before


def test_more_seeds_and_variants_are_added_and_saved_and_named(program):
    program, folder = program
    before = json.loads((folder / "config.json").read_text())
    config = program.command_line([f"--out={folder}", "--resume", *program.more.split()])
    for name, value in program.union.items():
        assert getattr(config, name) == value
    with run.open_run(folder, config, resume=True, continuation=program.continuation) as again:
        (note,) = [note for note in again.notes if note.startswith("added to the run")]
    for name in program.union:
        assert f"{name}: saved " in note
    after = json.loads((folder / "config.json").read_text())
    assert {name: after[name] for name in program.union} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in program.union.items()
    }
    assert after["out"] == before["out"]
    # what is typed does not have to repeat what the run has
    again = program.command_line(["--out", str(folder), "--resume"])
    assert config_to_json(again) == config_to_json(config)


def test_configuration_of_an_earlier_release_is_continued(program):
    """Without a field, with another one, and with the former name of a third."""
    program, folder = program
    fields = json.loads((folder / "config.json").read_text())
    expected = program.command_line(["--out", str(folder), "--resume"])
    renamed = {new: old for old, new in program.continuation.renamed.items() if new in fields}
    for new, old in renamed.items():
        fields[old] = fields.pop(new)
    fields["warp"] = {"speed": 9}
    lacking = next(
        name for name in ("dtype", "training", "coverage", "x", "validation", "steps") if name in fields
    )
    del fields[lacking]
    (folder / "config.json").write_text(json.dumps(fields))
    config = program.command_line(["--out", str(folder), "--resume"])
    default = program.continuation.defaults(fields)
    assert config == dataclasses.replace(expected, **{lacking: getattr(default, lacking)})
    with run.open_run(folder, config, resume=True, continuation=program.continuation) as again:
        assert "options of another release are left out: warp" in again.notes


@pytest.mark.parametrize("name", ["lra", "claims", "pid_gaussian", "pid_llava"])
def test_another_preset_is_refused(tmp_path, name):
    program = PROGRAMS[name]
    first, *_, last = program.continuation.presets
    words = program.start.split() if name == "pid_llava" else [first]
    config = program.command_line([*words, "--out", str(tmp_path)])
    run.open_run(tmp_path, config, continuation=program.continuation).close()
    saved, other = (last, first) if name == "pid_llava" else (first, last)
    with pytest.raises(ValueError, match=f"saved {saved}, now {other}; leave the preset out"):
        program.command_line.read([other, "--out", str(tmp_path), "--resume"])
    assert program.command_line([saved, "--out", str(tmp_path), "--resume"]).preset == saved


def test_more_seeds_of_a_claim_are_refused_with_the_reason(tmp_path):
    config = claims.command_line(["--seeds", "0", "--out", str(tmp_path)])
    run.open_run(tmp_path, config, continuation=CLAIMS).close()
    words = r"one measurement over all its seeds.*in seeds: saved \[0\], now \[0, 1\]; use the saved ones"
    with pytest.raises(ValueError, match=words):
        claims.command_line.read(["--seeds", "0", "1", "--out", str(tmp_path), "--resume"])


def test_without_resume_nothing_is_read(tmp_path):
    config = lra.command_line(["--steps", "7", "--out", str(tmp_path)])
    run.open_run(tmp_path, config, continuation=LRA).close()
    assert lra.command_line(["--resume", "--out", str(tmp_path)]).steps == 7
    assert lra.command_line(["--no-resume", "--out", str(tmp_path)]).steps == 400
    assert lra.command_line(["--out", str(tmp_path)]).steps == 400


# What is no run.


@pytest.mark.parametrize("name", PROGRAMS)
def test_resume_without_a_run_is_refused_with_those_beside_it(tmp_path, monkeypatch, name):
    program = PROGRAMS[name]
    config = program.command_line([*program.start.split(), "--out", str(tmp_path / "quick-001")])
    run.open_run(tmp_path / "quick-001", config, continuation=program.continuation).close()
    monkeypatch.chdir(tmp_path)
    words = rf"got {tmp_path}/quik-001, which does not exist; use {tmp_path}/quick-001, or leave --resume out"
    config = program.command_line([*program.start.split(), "--out", "quik-001", "--resume"])
    with pytest.raises(FileNotFoundError, match=words):
        run.open_run("quik-001", config, resume=True, continuation=program.continuation)
    (tmp_path / "quik-001").mkdir()
    with pytest.raises(FileNotFoundError, match="quik-001, which is empty; use"):
        run.open_run("quik-001", config, resume=True, continuation=program.continuation)
    assert not any((tmp_path / "quik-001").iterdir())


def test_folder_with_other_files_and_parent_of_runs_are_refused(tmp_path):
    config = BenchConfig(out=tmp_path, resume=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"got .* without config\.json; check --out, or use another"):
        run.open_run(tmp_path, config, resume=True, continuation=BENCH)
    run.open_run(tmp_path / "bench-001", config, continuation=BENCH).close()
    with pytest.raises(
        ValueError, match=rf"without config\.json; use {tmp_path}/bench-001, or another --out"
    ):
        run.open_run(tmp_path, config, resume=True, continuation=BENCH)


def test_remains_of_a_start_without_configuration_count_as_an_empty_folder(tmp_path):
    (tmp_path / "lock").write_text("")
    (tmp_path / "config.json.part").write_text("{")
    config = BenchConfig(out=tmp_path)
    with pytest.raises(FileNotFoundError, match="which is empty"):
        run.open_run(tmp_path, config, resume=True, continuation=BENCH)
    run.open_run(tmp_path, config, continuation=BENCH).close()
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "versions.json"}


def test_run_of_another_program_is_refused_with_both_names(tmp_path):
    config = pid_gaussian.command_line(["--out", str(tmp_path)])
    with run.open_run(tmp_path, config, continuation=PID_GAUSSIAN) as folder:
        folder.record_start()
    words = "--resume of lra needs a run of lra, got a run of pid_gaussian in .*; use python -m experiments.pid_gau"
    with pytest.raises(ValueError, match=words):
        lra.command_line.read(["--out", str(tmp_path), "--resume"])
    with pytest.raises(ValueError, match=words):
        run.open_run(tmp_path, lra.Config(out=tmp_path, resume=True), resume=True, continuation=LRA)
    (tmp_path / "starts.jsonl").unlink()  # as a kill before the first part leaves it
    with pytest.raises(ValueError, match=words):
        lra.command_line.read(["--out", str(tmp_path), "--resume"])
    (tmp_path / "versions.json").unlink()
    (tmp_path / "summary.json").write_text('{"program": "pid_gaussian"}')  # as an earlier release left it
    with pytest.raises(ValueError, match=words):
        lra.command_line.read(["--out", str(tmp_path), "--resume"])
    (tmp_path / "summary.json").unlink()
    with pytest.raises(
        ValueError, match="needs a run of lra, got a run of another program in .*bias, config, cov"
    ):
        lra.command_line.read(["--out", str(tmp_path), "--resume"])


def test_refusal_after_the_folder_is_open_leaves_nothing(tmp_path):
    def refuse(error):
        with run.open_run(tmp_path / "run", BenchConfig(), continuation=BENCH) as folder:
            folder.record_data({"a": "1"})
            raise error

    with pytest.raises(FileNotFoundError, match="no file"):
        refuse(FileNotFoundError("no file"))
    assert not any(tmp_path.iterdir())
    for error in (KeyboardInterrupt(), OSError(28, "No space left on device")):  # such a run can be resumed
        with pytest.raises(type(error)):
            refuse(error)
        assert (tmp_path / "run" / "config.json").exists()
        shutil.rmtree(tmp_path / "run")


# Damage.


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "must be JSON, got an empty file; restore it, or use another --out"),
        ('{"steps": 5', "must be JSON, got 11 bytes"),
        ("[1]", r"must be an object with the options of a run, got \[1\]"),
        ("{}", "must be an object with the options of a run, got {}"),
        (b"\xff\xfe{", "must be JSON"),
    ],
)
def test_damaged_configuration_is_named_with_its_remedy(tmp_path, content, words):
    run.open_run(tmp_path, lra.Config(), continuation=LRA).close()
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"{path} {words}"):
        lra.command_line.read(["--out", str(tmp_path), "--resume"])
    with pytest.raises(ValueError, match=rf"{path} {words}"):
        run.open_run(tmp_path, lra.Config(), resume=True, continuation=LRA)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("steps", "many", "steps is int, got 'many'"),
        ("steps", True, "steps is int, got True"),
        ("seeds", 3, "seeds is a list, got 3"),
        ("dtype", "float8", "dtype is one of float32, bfloat16, got 'float8'"),
        ("model", [], r"model is an object, got \[\]"),
        ("data_dir", 3, "data_dir is Path, got 3"),
    ],
)
def test_value_of_another_type_is_named(tmp_path, field, value, words):
    fields = config_to_json(lra.Config()) | {field: value}
    with pytest.raises(ValueError, match=f"c must be a valid configuration, got: {words}"):
        saved_config.build(lra.Config(), fields, Path("c"))


@pytest.mark.parametrize("content", ["", "null", "[]", "{}", '{"a'])
def test_damaged_row_is_named_with_its_remedy(tmp_path, content):
    folder = run.open_run(tmp_path, lra.Config(), continuation=LRA)
    folder.finish("after/embedding", 0, {"loss": 1.0})
    (path,) = (tmp_path / "rows").iterdir()
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"{path} must be .*; delete it, and --resume computes it again"):
        folder.row("after/embedding", 0)
    path.write_text('{"variant": "after/embedding"}')
    with pytest.raises(
        ValueError, match=rf"{path} must have the fields of a result, got a difference in best_step"
    ):
        run.read_result(folder, "after/embedding", 0, 20, run.LoopIntervals())


RESULT = run.Result("after/embedding", 0, 20, 7, 1.0, 0.5, 10, 0.5, 1.0, 0.4, 0.45, 1e3, 2.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("variant", "baseline"),
        ("seed", 5),
        ("steps", 19),
        ("test_accuracy", None),
        ("test_accuracy", "0.4"),
        ("best_test_accuracy", 45.0),
        ("parameters", True),
    ],
)
def test_row_of_another_training_or_without_its_numbers_is_named(tmp_path, field, value):
    folder = run.open_run(tmp_path, lra.Config(), continuation=LRA)
    folder.finish("after/embedding", 0, RESULT._asdict() | {field: value})
    words = (
        rf"must be the result of after/embedding, seed 0, after 20 steps, got {field}={value!r}; delete it"
    )
    with pytest.raises(ValueError, match=words):
        run.read_result(folder, "after/embedding", 0, 20, run.LoopIntervals())


def test_half_written_files_of_a_kill_are_deleted(tmp_path):
    run.open_run(tmp_path, lra.Config(), continuation=LRA).close()
    (tmp_path / "rows").mkdir()
    for name in ("summary.json.part", "rows/a-0.json.part"):
        (tmp_path / name).write_text("{")
    run.open_run(tmp_path, lra.Config(), resume=True, continuation=LRA).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "rows", "versions.json"]
    assert not any((tmp_path / "rows").iterdir())

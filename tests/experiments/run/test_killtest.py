"""The kill test: what it takes for a difference, and one kill of the tiny program."""

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from experiments.run.killtest.__main__ import main as main_of_killtest
from experiments.run.killtest.folder_comparison import compare, without_times
from experiments.run.killtest.kills import KillTest, describe, run_test
from pid.interface.refusals import run_program
from tests.helpers.tiny_program import Config, main


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Folder around the folder of a run without kills."""
    parent = tmp_path_factory.mktemp("reference")
    main(Config(out=parent / "run"))
    (parent / "figure.png").write_bytes(b"png")
    np.savez(parent / "arrays.npz", a=np.arange(3.0))
    return parent


@pytest.fixture
def copy(reference, tmp_path):
    return Path(shutil.copytree(reference, tmp_path / "copy"))


def differences(copy, reference):
    return compare(copy, reference, same_checkpoints=True)


def test_a_kill_is_described_by_what_the_run_and_the_folders_of_its_tasks_hold(copy):
    run = copy / "run"
    words = describe(run)
    assert words == "6 logged steps, 3 checkpoints, 1 rows"
    parent = copy / "parent"
    parent.mkdir()
    assert describe(parent) == "before the run folder"
    (parent / "config.json").write_text("{}")
    assert describe(parent) == "an empty run folder"
    run.rename(parent / "task")
    assert describe(parent) == words


def test_equal_runs_have_no_differences_whatever_their_times(copy, reference):
    row = copy / "run/rows/plain-0.json"
    row.write_text(
        json.dumps(json.loads(row.read_text()) | {"tokens_per_second": 1.0, "compile_seconds": 9.0})
    )
    (copy / "figure.png").write_bytes(b"other png")
    np.savez_compressed(copy / "arrays.npz", a=np.arange(3.0))
    (copy / "run/versions.json").write_text("{}")
    assert differences(copy, reference) == []


def test_every_kind_of_difference_is_named(copy, reference):
    (copy / "figure.png").unlink()
    (copy / "run/metrics.jsonl.part").write_text("")
    (copy / "run/checkpoints/plain-0/11.orbax-checkpoint-tmp").mkdir()
    row = copy / "run/rows/plain-0.json"
    row.write_text(row.read_text().replace('"test_loss": ', '"test_loss": 1'))
    np.savez(copy / "arrays.npz", a=np.nextafter(np.arange(3.0), 9))
    metrics = copy / "run/metrics.jsonl"
    metrics.write_bytes(b"".join(metrics.read_bytes().splitlines(keepends=True)[:-1]))
    assert differences(copy, reference) == [
        "lost: figure.png",
        "left behind: run/checkpoints/plain-0/11.orbax-checkpoint-tmp",
        "left behind: run/metrics.jsonl.part",
        "differs: arrays.npz",
        "differs: run/metrics.jsonl",
        "differs: run/rows/plain-0.json",
    ]


def test_checkpoint_with_other_arrays_differs(copy, reference):
    steps = sorted(path for path in (copy / "run/checkpoints/plain-0").iterdir())
    shutil.rmtree(steps[0])
    shutil.copytree(steps[1], steps[0])
    assert differences(copy, reference) == [f"differs: {steps[0].relative_to(copy)}"]


def test_times_are_left_out_by_the_names_of_their_keys():
    value = {"seconds": 1.5, "rows": [{"tokens_per_second": 2.0, "loss": 0.1}]}
    assert without_times(value) == {"seconds": "float", "rows": [{"tokens_per_second": "float", "loss": 0.1}]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kills": 0}, "at least one kill, got 0"),
        ({"signal": "BOOM"}, "got BOOM; change --signal"),
        ({"signal": "STOP"}, "one that ends a process, .* got STOP; change --signal"),
    ],
)
def test_impossible_tests_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(KillTest("lra"), **changes)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "killtest takes PROGRAM, got none"),
        ("lra claims", "killtest takes PROGRAM, got lra claims"),
        ("nolra", "got experiments.nolra, which does not exist"),
        ("nowhere.nolra", "got nowhere.nolra, which does not exist"),
        ("lra --kils 3", "got --kils; did you mean --kills?"),
        ("lra -- --steps 3 --out x", "to which the test adds --out and --resume, got --out; drop it"),
        ("lra -- --resume=true", "got --resume=true; drop it"),
        ("lra -- --help", "got --help; drop it"),
        ("--seed -1 lra -- --seed 0", "--seed must be at least 0, got -1"),
    ],
)
def test_a_bad_command_line_is_one_sentence_and_code_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        run_program(main_of_killtest, arguments.split())
    sentence = capsys.readouterr().err
    assert stop.value.code == 2
    assert words in sentence
    assert sentence.count("\n") == 1


def test_the_help_has_the_place_of_the_program_and_of_its_arguments(capsys):
    assert main_of_killtest(["lra", "--help", "--", "--steps", "3"]) == 0
    assert "killtest PROGRAM [OPTIONS] -- ARGUMENTS" in " ".join(capsys.readouterr().out.split())


def test_failing_program_is_refused_with_its_log(tmp_path):
    test = KillTest("tests.helpers.tiny_program", folder=tmp_path)
    with pytest.raises(ValueError, match=r"got exit code 2 \(.*\); see .*reference.log"):
        run_test(test, ["--nonsense"])


def test_refused_program_is_quoted_and_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"got exit code 2 \(python -m json.tool: error: .*\); change the arguments"
    ):
        run_test(KillTest("json.tool"), ["--indent", "x"])
    assert not list(tmp_path.iterdir())


def test_folder_with_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "kill-001").mkdir()
    (tmp_path / "kill-001" / "mine").write_text("text")
    with pytest.raises(
        FileExistsError, match="a folder of its own, .* which has files; use another --folder"
    ):
        KillTest("tests.helpers.tiny_program", folder=tmp_path)
    with pytest.raises(FileExistsError, match="a kill test needs a folder, got the file"):
        KillTest("tests.helpers.tiny_program", folder=tmp_path / "kill-001" / "mine")
    assert (tmp_path / "kill-001" / "mine").read_text() == "text"


@pytest.mark.slow
def test_killed_and_resumed_program_is_equal_to_the_bit(tmp_path, capsys):
    test = KillTest("tests.helpers.tiny_program", kills=1, folder=tmp_path)
    assert run_test(test, ["--pause", "0.1"])
    assert capsys.readouterr().out.endswith("equal to the bit\n1 of 1 equal to the bit\n")


@pytest.mark.exhaustive
@pytest.mark.parametrize("signal", ["KILL", "TERM", "HUP"])
def test_ten_kills_are_equal_to_the_bit(signal, tmp_path):
    test = KillTest("tests.helpers.tiny_program", signal=signal, folder=tmp_path)
    assert run_test(test, ["--pause", "0.1", "--variants", "plain", "steady"])

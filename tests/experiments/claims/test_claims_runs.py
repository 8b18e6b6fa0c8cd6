"""`python -m experiments.claims`: a run, its folder, its command line, old names of options, and refusals."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest

from experiments import claims, run
from experiments.run.studies import study
from tests.experiments.claims.test_claims import FULL, QUICK, TINY


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(configuration, summary) of a run of all sections at tiny sizes."""
    config = dataclasses.replace(TINY, out=tmp_path_factory.mktemp("claims") / "run")
    return config, claims.main(config)


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# A run.


def test_a_run_writes_summary_figures_and_a_line_per_claim(ran):
    config, summary = ran
    assert json.loads((config.out / "summary.json").read_text()) == summary
    assert list(summary) == [
        "program",
        "preset",
        "seeds",
        *claims.SECTIONS,
        claims.FORMER_ARTIFACT,
        "versions",
    ]
    assert (summary["program"], summary["preset"], summary["seeds"]) == ("claims", "quick", [0])
    for section in claims.SECTIONS:
        assert (config.out / f"{section}.png").read_bytes().startswith(b"\x89PNG")
        assert all(len(line) == 3 for line in summary[section]["table"])
    numbers = summary["decay"]["numbers"]
    assert numbers["steps"] == [4, 16]
    np.testing.assert_allclose(numbers["slopes"], [[-0.5, -0.5]], rtol=0.01)
    assert np.shape(summary["landscape"]["numbers"]["largest"]) == (3, 1, 2)
    assert np.shape(summary["artifact"]["numbers"]["counted"]) == (2, 2, 2, 1)


def test_resuming_repeats_nothing_and_may_ask_for_fewer_sections(ran, monkeypatch):
    config, summary = ran
    before = contents(config.out)
    monkeypatch.setattr(study, "measure", None)
    assert claims.main(dataclasses.replace(config, resume=True)) == summary
    assert contents(config.out) == before
    fewer = claims.main(dataclasses.replace(config, resume=True, only=("entropy",)))
    assert fewer["entropy"] == summary["entropy"]
    assert "decay" not in fewer
    assert claims.main(dataclasses.replace(config, resume=True)) == summary  # the folder is as it was


def test_an_existing_folder_is_refused_and_left_alone(ran):
    config, _ = ran
    before = contents(config.out)
    with pytest.raises(FileExistsError, match=r"use --resume .* or another --out"):
        claims.main(config)
    assert contents(config.out) == before


def test_a_result_becomes_json_with_six_digits_and_no_nan():
    @dataclasses.dataclass(frozen=True)
    class Result:
        values: np.ndarray
        names: dict

    converted = run.to_json(Result(np.array([[1 / 3, math.nan]]), {"a": (np.int64(2), "b", True)}))
    assert converted == {"values": [[0.333333, None]], "names": {"a": [2, "b", True]}}
    assert json.loads(json.dumps(converted)) == converted


# The command line.


def test_no_word_is_quick_and_every_preset_is_itself_on_the_command_line():
    assert claims.command_line([]) == QUICK
    assert claims.command_line(["full"]) == FULL
    words = "--only decay artifact --seeds 4 5 --out o --artifact.lengths 8 16"
    config = claims.command_line(words.split())
    assert (config.only, config.seeds, str(config.out)) == (("decay", "artifact"), (4, 5), "o")
    assert config.artifact.lengths == (8, 16)
    for name, (_, preset) in claims.PRESETS.items():
        assert preset.preset == name


def test_help_documents_every_field(capsys):
    with pytest.raises(SystemExit):
        claims.command_line(["quick", "--help"])
    text = capsys.readouterr().out
    for field in dataclasses.fields(claims.Config):
        assert (f"--{field.name}" in text) == (field.name != "preset")


# Refusals.


@pytest.mark.parametrize(
    ("words", "message"),
    [("quik", "did you mean quick?"), ("nonsense", "choose among them"), ("--only decays", "decay")],
)
def test_what_cannot_be_read_exits_with_2_and_a_suggestion(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        claims.command_line(words.split())
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert message in " ".join((output.out + output.err).replace("│", " ").split())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": ()}, "sections are different ones of decay"),
        ({"only": ("decay", "decay")}, "sections are different ones of decay"),
        ({"seeds": (1, 1)}, "one or more different numbers"),
        ({"resume": True}, "got no --out"),
        ({"training": claims.Training(steps=0)}, "training.steps must be at least 1, got 0"),
        ({"artifact": claims.Artifact(heads=3)}, "artifact.width must be divisible by artifact.heads"),
    ],
)
def test_contradictions_are_refused_when_the_configuration_is_made(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(QUICK, **changes)


# Names of earlier releases.


def test_options_under_their_former_names_work_with_a_hint(capsys):
    former = claims.FORMER_ARTIFACT
    words = f"--only decay {former} --{former}.lengths 8 16 --out {former}"
    config = claims.command_line(words.split())
    assert (config.only, config.artifact.lengths) == (("decay", "artifact"), (8, 16))
    assert str(config.out) == former  # a folder may have any name
    assert f"--{former}.lengths is now called --artifact.lengths" in capsys.readouterr().err
    renamed = {"asking": "capture", "kept": "cache", "plain": "simple"}
    words = ["--asking.no-windows", "--no-plain", "--kept=a", "--asking.rows", "3", "--kept_more", "kept"]
    new = ["--capture.no-windows", "--no-simple", "--cache=a", "--capture.rows", "3", "--kept_more", "kept"]
    assert run.rename_options(words, renamed) == new


def test_a_class_under_its_former_name_is_the_class_with_a_warning():
    with pytest.warns(DeprecationWarning, match="is now called Artifact"):
        assert getattr(claims, claims.FORMER_ARTIFACT.capitalize()) is claims.Artifact
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = claims.Nothing


def test_a_run_of_an_earlier_release_is_resumed(ran, tmp_path):
    config, summary = ran
    folder = tmp_path / "run"
    shutil.copytree(config.out, folder)
    saved = json.loads((folder / "config.json").read_text())
    saved[claims.FORMER_ARTIFACT] = saved.pop("artifact")
    (folder / "config.json").write_text(json.dumps(saved))
    assert claims.main(dataclasses.replace(config, out=folder, resume=True)) == summary

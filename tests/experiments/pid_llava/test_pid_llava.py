"""`python -m experiments.pid_llava`: runs, their cache, kills, several hosts, your own files, refusals."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from experiments import pid_llava
from experiments.pid_llava import checkpoint, known_effects, presets, program, result_cache
from experiments.pid_llava.stages import capturing, decomposing, questions
from experiments.run import Run
from experiments.run.progress import StudyProgress
from experiments.run.studies import study
from pid import Bootstrap, Shuffle, layerwise, llava, toyworld
from pid.llava import TokenType
from pid.llava.activations import shard_writer
from tests.helpers import toy_llava

DRAWS = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models that differ in their seed."""
    parent = tmp_path_factory.mktemp("models")
    return tuple(toy_llava.write(parent / f"seed{seed}", seed) for seed in range(2))


@pytest.fixture(scope="module")
def ran(folders, tmp_path_factory):
    """(configuration, summary) of a complete run at tiny size."""
    parent = tmp_path_factory.mktemp("run")
    config = toy_llava.tiny(*folders, cache=parent / "kept", out=parent / "run")
    return config, pid_llava.main(config)


@pytest.fixture(scope="module")
def captured(folders, ran):
    """(configuration, model, questions, capture) of the first model; the capture comes from the cache."""
    config, _ = ran
    model = checkpoint.ModelFolder(folders[0], config.capture, config.mesh)
    (task,) = questions.make_questions(config)
    return config, model, task, capturing.capture_states(model, task, config, windows=True)


@pytest.fixture
def no_figures(monkeypatch):
    """Draw no figures, since they take most of the time of a run with a full cache."""
    monkeypatch.setattr(program.figures, "draw", lambda *_: ())


class Interrupted(BaseException):
    """Stands for a kill, after which the test continues."""


def interrupt_after(monkeypatch, owner, name, calls):
    """Let `owner.name` raise `Interrupted` after so many calls."""
    function, remaining = getattr(owner, name), [calls]

    def wrapped(*arguments, **keywords):
        if not remaining[0]:
            raise Interrupted
        remaining[0] -= 1
        return function(*arguments, **keywords)

    monkeypatch.setattr(owner, name, wrapped)


def record_calls(monkeypatch, owner, name):
    """Return a list that gets an entry for every later call of `owner.name`."""
    function, calls = getattr(owner, name), []

    def wrapped(*arguments, **keywords):
        calls.append(name)
        return function(*arguments, **keywords)

    monkeypatch.setattr(owner, name, wrapped)
    return calls


def without_versions(summary):
    """A summary without the versions of libraries."""
    return {key: value for key, value in summary.items() if key not in ("versions",)}


# Runs.


def test_a_run_writes_what_it_says(ran):
    config, summary = ran
    written = json.loads((config.out / "summary.json").read_text())
    assert without_versions(written) == without_versions(json.loads(json.dumps(summary)))
    assert {path.name for path in config.out.iterdir()} == {
        "config.json",
        "versions.json",
        "starts.jsonl",
        "data.json",
        "summary.json",
        "windows.png",
        *(f"seed{s}-recommended-{kind}.png" for s in range(2) for kind in ("atoms", "shares", "knockout")),
    }
    counts = [(row["task"], row["model"], row["asked"], row["used"]) for row in written["captured"]]
    assert counts == [("QueryAttr", f"seed{s}", 24, 20) for s in range(2)]
    assert set(written["captured"][0]["change"]) == {
        "all",
        *(f"window {layer}" for layer in range(toy_llava.LAYERS)),
    }
    assert [len(row["layers"]) for row in written["decomposed"]] == [toy_llava.LAYERS + 1] * 2
    assert {row["corner"] for row in written["directions"]} == set(toyworld.EXPECTED)
    prompt = {"style": "own text", "text": toyworld.STYLE, "suffix": "", "source": "option"}
    assert written["prompts"] == {"seed0": prompt, "seed1": prompt}
    titles = [table["title"] for table in written["tables"]]
    assert [title.split("(")[0].strip() for title in titles[:4]] == [
        "Tasks, and the change of the answer's probability by Image→Question knockouts, in % with the 95 % interval "
        "over questions",
        "Peak layers, and shares in the last layer",
        "Effect of the knockout in all layers, in the last layer",
        "Correlation of trajectories over layers",
    ]


def test_the_numbers_are_those_of_layerwise_and_compare_on_the_captured_states(captured, ran):
    config, _, _, capture = captured
    arrays = [
        np.asarray(capture.store.states("baseline", group)) for group in (TokenType.IMAGE, TokenType.QUESTION)
    ]
    x, y = (array[:, :20] for array in arrays)
    target = capture.store.states("baseline", TokenType.LAST)[-1][:20]
    options = decomposing.estimate_config("recommended", config.estimation, paired=False)
    direct = layerwise(target, x, y, key=jax.random.key(0), **options)
    layers = ran[1]["decomposed"][0]["layers"]
    for field in ("unique_x", "mi_joint"):
        np.testing.assert_allclose([row[field] for row in layers], getattr(direct.pid, field), atol=1e-4)
    assert options.get("debias") == "thinned"


def test_a_second_run_does_nothing_again_and_says_the_same(ran, tmp_path, monkeypatch, no_figures):
    config, summary = ran
    functions = (
        (llava, "capture"),
        (llava, "load"),
        (decomposing, "layerwise"),
        (known_effects, "layerwise"),
    )
    calls = [record_calls(monkeypatch, *function) for function in functions]
    again = pid_llava.main(dataclasses.replace(config, out=tmp_path / "again"))
    assert without_versions(again) == without_versions(summary)
    assert calls == [[], [], [], []]


def test_a_run_folder_is_refused_and_resumed(ran, no_figures):
    config, summary = ran
    with pytest.raises(FileExistsError, match="use --resume to continue its run"):
        pid_llava.main(config)
    resumed = dataclasses.replace(config, resume=True)
    assert without_versions(pid_llava.main(resumed)) == without_versions(summary)
    with pytest.raises(ValueError, match="estimation.draws: saved 8, now 9"):
        pid_llava.main(
            dataclasses.replace(resumed, estimation=dataclasses.replace(config.estimation, draws=9))
        )


def test_a_run_folder_without_a_prompt_style_goes_on(ran, tmp_path, no_figures):
    """A release that had no option for it saved none: the style of the preset is taken, which it used."""
    config, summary = ran
    shutil.copytree(config.out, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    saved = json.loads(path.read_text())
    del saved["capture"]["style"]
    path.write_text(json.dumps(saved))
    resumed = dataclasses.replace(config, out=tmp_path / "run", resume=True)
    assert without_versions(pid_llava.main(resumed)) == without_versions(summary)


def test_a_capture_that_was_interrupted_goes_on(ran, tmp_path, monkeypatch, no_figures):
    (config, summary), done = ran, 2
    config = dataclasses.replace(config, cache=tmp_path / "kept", out=tmp_path / "run")
    with monkeypatch.context() as patched:
        interrupt_after(patched, shard_writer.ShardWriter, "save", done)
        with pytest.raises(Interrupted):
            pid_llava.main(config)
    saves = record_calls(monkeypatch, shard_writer.ShardWriter, "save")
    assert without_versions(pid_llava.main(dataclasses.replace(config, resume=True))) == without_versions(
        summary
    )
    # 24 rows in batches of 8, and four corners of 16, of two models
    assert len(saves) == 2 * (3 + 4 * 2) - done


def test_an_estimation_that_was_interrupted_goes_on(ran, tmp_path, monkeypatch, no_figures):
    config, summary = ran
    cache = tmp_path / "kept"
    cache.mkdir()
    (cache / "captures").symlink_to(config.cache / "captures")
    config = dataclasses.replace(config, cache=cache, out=tmp_path / "run")
    with monkeypatch.context() as patched:
        interrupt_after(patched, decomposing, "layerwise", 2)
        with pytest.raises(Interrupted):
            pid_llava.main(config)
    assert len(list((cache / "estimates").iterdir())) == 2
    estimates = record_calls(monkeypatch, decomposing, "layerwise")
    assert without_versions(pid_llava.main(dataclasses.replace(config, resume=True))) == without_versions(
        summary
    )
    assert len(estimates) == 2 * 3 - 2


@pytest.mark.slow
@pytest.mark.parametrize("what", ["captures", pytest.param("estimates", marks=pytest.mark.exhaustive)])
def test_a_killed_run_is_resumed(ran, folders, tmp_path, what, no_figures):
    """After a kill -9 during capture or estimation, the second start gives the numbers of a run without a kill."""
    command = [sys.executable, "-m", "tests.helpers.toy_llava", str(folders[0]), str(tmp_path / "kept")]
    command += [str(tmp_path / "run"), what]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("halted" in line for line in process.stdout)
        process.kill()
    config, summary = ran
    config = dataclasses.replace(
        config, model=folders[:1], cache=tmp_path / "kept", out=tmp_path / "run", resume=True
    )
    resumed = pid_llava.main(config)
    assert resumed["captured"] == summary["captured"][:1]


@pytest.mark.exhaustive
def test_the_paper_configuration_runs_flows_and_shows_paired_intervals(folders, tmp_path):
    config = toy_llava.tiny(folders[0], cache=tmp_path / "kept", out=tmp_path / "run")
    capture = dataclasses.replace(config.capture, rows=240, samples=220, least=100)
    sizes = dataclasses.replace(config.estimation, couplings=0)
    corners = dataclasses.replace(config.corners, rows=0)
    config = dataclasses.replace(config, config="both", capture=capture, estimation=sizes, corners=corners)
    summary = pid_llava.main(config)
    assert [row["config"] for row in summary["decomposed"]] == ["recommended", "paper"]
    layers = summary["decomposed"][1]["layers"]
    assert all(row["unique_x"] == 0 or row["unique_y"] == 0 for row in layers)  # as MMI has it
    assert layers[0]["mi_joint_low"] is not None
    assert layers[0]["mi_joint_null_high"] is None


def test_what_is_kept_comes_back_as_it_was(tmp_path):
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((3, 4, 40, 2))
    complete = layerwise(
        *samples, key=jax.random.key(0), ci=Bootstrap(DRAWS), null=Shuffle(2), debias="wishart"
    )
    for name, estimate in {
        "whole": complete,
        "bare": complete._replace(ci=None, null=None, draws=None, resampling=None),
    }.items():
        restored = result_cache.restore_or_estimate(tmp_path, name, lambda estimate=estimate: estimate)
        assert jax.tree.structure(restored) == jax.tree.structure(estimate)
        jax.tree.map(np.testing.assert_array_equal, restored, estimate)
        assert (
            result_cache.restore_or_estimate(tmp_path, name, lambda: pytest.fail("made again")).flags
            == estimate.flags
        )


# Hosts, and files.


def test_hosts_share_the_estimates(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(study, "barrier", lambda: events.append("barrier"))
    for host in range(3):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        runner = study.Runner(Run(tmp_path), StudyProgress(Console(quiet=True), "", 1))
        runner.measure_share(study.Part("", lambda *_, i=i: events.append(i)) for i in range(4))
    assert events == [0, 3, "barrier", 1, "barrier", 2, "barrier"]


def test_activations_of_your_own_are_decomposed_by_layer(tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 5, 40, 3))
    arrays = {"target": x[-1] + y[0], "x": x, "y": y}
    np.savez(tmp_path / "mine.npz", **arrays)
    config = toy_llava.tiny(cache=tmp_path / "kept", out=tmp_path / "run", npz=tmp_path / "mine.npz")
    summary = pid_llava.main(config)
    (decomposition,) = summary["decomposed"]
    options = decomposing.estimate_config("recommended", config.estimation, paired=False)
    direct = layerwise(arrays["target"], x, y, key=jax.random.key(0), **options)
    np.testing.assert_allclose(
        [row["synergy"] for row in decomposition["layers"]], direct.pid.synergy, atol=1e-5
    )
    assert decomposition["knockout"] is None
    assert {row["claim"].split()[0] for row in summary["statements"]} == {"U_V", "U_L", "S"}
    assert (tmp_path / "run" / "mine-recommended-atoms.png").exists()
    np.savez(tmp_path / "flat.npz", target=x[0], x=x[0], y=y[0])
    with pytest.raises(ValueError, match="three layers or more"):
        pid_llava.main(dataclasses.replace(config, npz=tmp_path / "flat.npz", out=tmp_path / "flat"))


# Refusals.


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tasks": ("ChooseHat",)}, "tasks are different ones of ChooseAttr.* got ChooseHat; change --tasks"),
        ({"resume": True}, "pass its folder as --out"),
        ({"x": "question"}, "two groups of tokens, got question twice; change --x or --y"),
        ({"model": (Path("a/m"), Path("b/m"))}, "names of their folders, got m, m; rename one"),
        ({"npz": Path("a.npz"), "data": Path("b")}, "takes the place of models and data"),
        ({"capture": pid_llava.CaptureOptions(samples=10)}, "at least capture.least, got 10 and 200"),
        ({"capture": pid_llava.CaptureOptions(least=20)}, "raise --capture.least to 26 or more"),
        (
            {"config": "both", "capture": pid_llava.CaptureOptions(least=50)},
            "needs 100 samples, got capture.least=50",
        ),
        ({"corners": pid_llava.Corners(rows=5)}, "needs 26 rows or none, got 5"),
        ({"corners": pid_llava.Corners(product_rows=20)}, "need 100 rows or none, got 20"),
        ({"corners": pid_llava.Corners(tasks=("ChooseCat",))}, "tells nothing, got ChooseCat"),
    ],
)
def test_contradictions_are_refused_before_anything_is_captured(changed, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(presets.TOY, **changed)


def test_models_and_data_that_are_not_there_are_refused_before_there_is_a_folder(folders, tmp_path):
    out = tmp_path / "run"
    missing = toy_llava.tiny(tmp_path / "nothing", cache=tmp_path / "kept", out=out)
    with pytest.raises(
        FileNotFoundError, match=r"a model is a folder with config.json.*nothing.*pass --model DIR"
    ):
        pid_llava.main(missing)
    with pytest.raises(FileNotFoundError, match="got none; pass --model DIR"):
        pid_llava.main(dataclasses.replace(missing, model=()))
    with pytest.raises(FileNotFoundError, match="got no --data; pass --data DIR"):
        pid_llava.main(dataclasses.replace(missing, model=folders[:1], preset="gqa"))
    assert not out.exists()


def test_a_mesh_of_more_devices_than_there_are_is_refused(folders):
    capture = pid_llava.CaptureOptions(style=toyworld.STYLE, suffix="none")
    with pytest.raises(ValueError, match=r"got data=64, model=1 for 8 devices; lower --mesh.data"):
        _ = checkpoint.ModelFolder(folders[0], capture, llava.MeshShape(data=64)).network


def test_the_command_line_begins_with_a_preset(capsys):
    config = pid_llava.command_line(["--config", "paper", "--capture.rows", "300", "--model", "a", "b"])
    assert (config.preset, config.config, config.capture.rows) == ("toy", "paper", 300)
    assert config.model == (Path("a"), Path("b"))
    assert config.capture.style == toyworld.STYLE
    assert pid_llava.command_line(["gqa", "--data", "d"]).capture.width == 9
    with pytest.raises(SystemExit):
        pid_llava.command_line(["tyo"])
    assert "did you mean toy?" in capsys.readouterr().err

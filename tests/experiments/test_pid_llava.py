"""`python -m experiments.pid_llava`: runs and what they keep, kills, what is asked of whom, refusals."""

import dataclasses
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import pid_llava
from experiments.pid_llava import (
    capturing,
    checkpoint,
    decomposing,
    known_effects,
    presets,
    program,
    questions,
    report,
    result_cache,
)
from experiments.pid_llava.config import Target
from pid import Bootstrap, Shuffle, layerwise, llava, toyworld
from pid.llava import Knockout, TokenType
from pid.llava.activations import shard_writer
from tests.helpers import gqa_folder, llava_folder, toy_llava

DRAWS = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models that differ in their seed."""
    place = tmp_path_factory.mktemp("models")
    return tuple(toy_llava.write(place / f"seed{seed}", seed) for seed in range(2))


@pytest.fixture(scope="module")
def ran(folders, tmp_path_factory):
    """(configuration, summary) of a whole run at tiny size."""
    place = tmp_path_factory.mktemp("run")
    config = toy_llava.tiny(*folders, kept=place / "kept", out=place / "run")
    return config, pid_llava.main(config)


@pytest.fixture(scope="module")
def captured(folders, ran):
    """(configuration, model, questions, capture) of the first model; nothing runs for it."""
    config, _ = ran
    model = checkpoint.Opened(folders[0], config.asking, config.mesh)
    (asked,) = questions.of_tasks(config)
    return config, model, asked, capturing.capture(model, asked, config, windows=True)


@pytest.fixture
def unseen(monkeypatch):
    """No figures are drawn, which takes longer than all the rest of a run that finds everything."""
    monkeypatch.setattr(program.figures, "draw", lambda *_: None)


class Interrupted(BaseException):
    """As a kill, and the test goes on."""


def interrupting(monkeypatch, owner, name, calls):
    """`owner.name` does its work so many times, and is then interrupted."""
    work, left = getattr(owner, name), [calls]

    def wrapped(*arguments, **named):
        if not left[0]:
            raise Interrupted
        left[0] -= 1
        return work(*arguments, **named)

    monkeypatch.setattr(owner, name, wrapped)


def counting(monkeypatch, owner, name):
    """How often `owner.name` works from now on."""
    work, calls = getattr(owner, name), []

    def wrapped(*arguments, **named):
        calls.append(name)
        return work(*arguments, **named)

    monkeypatch.setattr(owner, name, wrapped)
    return calls


def told(summary):
    """A summary without what belongs to the moment."""
    return {key: value for key, value in summary.items() if key not in ("versions",)}


# Runs.


def test_a_run_writes_what_it_says(ran):
    config, summary = ran
    found = json.loads((config.out / "summary.json").read_text())
    assert told(found) == told(json.loads(json.dumps(summary)))
    assert {path.name for path in config.out.iterdir()} == {
        "config.json",
        "versions.json",
        "summary.json",
        "windows.png",
        *(f"seed{s}-recommended-{what}.png" for s in range(2) for what in ("atoms", "shares", "knockout")),
    }
    asked = [(row["task"], row["model"], row["asked"], row["used"]) for row in found["captured"]]
    assert asked == [("QueryAttr", f"seed{s}", 24, 20) for s in range(2)]
    assert set(found["captured"][0]["change"]) == {"all", *(f"window {at}" for at in range(toy_llava.LAYERS))}
    assert [len(row["layers"]) for row in found["decomposed"]] == [toy_llava.LAYERS + 1] * 2
    assert {row["corner"] for row in found["directions"]} == set(toyworld.EXPECTED)
    titles = [one["title"] for one in found["tables"]]
    assert [title.split("(")[0].strip() for title in titles[:4]] == [
        "Tasks, and the change of the answer's probability by Image→Question knockouts",
        "Peak layers, and shares in the last layer",
        "What the knockout of all layers changes in the last layer",
        "Correlation of trajectories over layers",
    ]


def test_the_numbers_are_those_of_layerwise_and_compare_on_the_captured_states(captured, ran):
    config, _, _, one = captured
    arrays = [
        np.asarray(one.store.states("baseline", group)) for group in (TokenType.IMAGE, TokenType.QUESTION)
    ]
    x, y = (array[:, :20] for array in arrays)
    target = one.store.states("baseline", TokenType.LAST)[-1][:20]
    chosen = decomposing.choices("recommended", config.estimation, paired=False)
    direct = layerwise(target, x, y, key=jax.random.key(0), **chosen)
    layers = ran[1]["decomposed"][0]["layers"]
    for field in ("unique_x", "mi_joint"):
        np.testing.assert_allclose([row[field] for row in layers], getattr(direct.pid, field), atol=1e-4)
    assert chosen["debias"] == "thinned"


def test_a_second_run_does_nothing_again_and_says_the_same(ran, tmp_path, monkeypatch, unseen):
    config, summary = ran
    places = ((llava, "capture"), (llava, "load"), (decomposing, "layerwise"), (known_effects, "layerwise"))
    work = [counting(monkeypatch, *place) for place in places]
    again = pid_llava.main(dataclasses.replace(config, out=tmp_path / "again"))
    assert told(again) == told(summary)
    assert work == [[], [], [], []]


def test_a_run_folder_is_refused_and_resumed(ran, unseen):
    config, summary = ran
    with pytest.raises(FileExistsError, match="use --resume to go on with it"):
        pid_llava.main(config)
    resumed = dataclasses.replace(config, resume=True)
    assert told(pid_llava.main(resumed)) == told(summary)
    with pytest.raises(ValueError, match="estimation.draws: saved 8, now 9"):
        pid_llava.main(
            dataclasses.replace(resumed, estimation=dataclasses.replace(config.estimation, draws=9))
        )


def test_a_capture_that_was_interrupted_goes_on(ran, tmp_path, monkeypatch, unseen):
    (config, summary), done = ran, 2
    config = dataclasses.replace(config, kept=tmp_path / "kept", out=tmp_path / "run")
    with monkeypatch.context() as patched:
        interrupting(patched, shard_writer.ShardWriter, "save", done)
        with pytest.raises(Interrupted):
            pid_llava.main(config)
    saves = counting(monkeypatch, shard_writer.ShardWriter, "save")
    assert told(pid_llava.main(dataclasses.replace(config, resume=True))) == told(summary)
    # 24 rows in batches of 8, and four corners of 16, of two models
    assert len(saves) == 2 * (3 + 4 * 2) - done


def test_an_estimation_that_was_interrupted_goes_on(ran, tmp_path, monkeypatch, unseen):
    config, summary = ran
    place = tmp_path / "kept"
    place.mkdir()
    (place / "captures").symlink_to(config.kept / "captures")
    config = dataclasses.replace(config, kept=place, out=tmp_path / "run")
    with monkeypatch.context() as patched:
        interrupting(patched, decomposing, "layerwise", 2)
        with pytest.raises(Interrupted):
            pid_llava.main(config)
    assert len(list((place / "estimates").iterdir())) == 2
    estimates = counting(monkeypatch, decomposing, "layerwise")
    assert told(pid_llava.main(dataclasses.replace(config, resume=True))) == told(summary)
    assert len(estimates) == 2 * 3 - 2


@pytest.mark.slow
@pytest.mark.parametrize("what", ["captures", "estimates"])
def test_a_killed_run_is_resumed(ran, folders, tmp_path, what, unseen):
    """A real kill -9 in capture and in estimation; the second start ends in the numbers of a run without a kill."""
    command = [sys.executable, "-m", "tests.helpers.toy_llava", str(folders[0]), str(tmp_path / "kept")]
    command += [str(tmp_path / "run"), what]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("halted" in line for line in process.stdout)
        process.kill()
    config, summary = ran
    config = dataclasses.replace(
        config, model=folders[:1], kept=tmp_path / "kept", out=tmp_path / "run", resume=True
    )
    resumed = pid_llava.main(config)
    assert resumed["captured"] == summary["captured"][:1]


@pytest.mark.exhaustive
def test_the_paper_configuration_runs_flows_and_shows_paired_intervals(folders, tmp_path):
    config = toy_llava.tiny(folders[0], kept=tmp_path / "kept", out=tmp_path / "run")
    asking = dataclasses.replace(config.asking, rows=240, samples=220, least=100)
    sizes = dataclasses.replace(config.estimation, couplings=0)
    none = dataclasses.replace(config.corners, rows=0)
    config = dataclasses.replace(config, config="both", asking=asking, estimation=sizes, corners=none)
    summary = pid_llava.main(config)
    assert [row["config"] for row in summary["decomposed"]] == ["recommended", "paper"]
    layers = summary["decomposed"][1]["layers"]
    assert all(row["unique_x"] == 0 or row["unique_y"] == 0 for row in layers)  # as MMI has it
    assert layers[0]["mi_joint_low"] is not None
    assert layers[0]["mi_joint_null_high"] is None


def test_what_is_kept_comes_back_as_it_was(tmp_path):
    draw = np.random.default_rng(0)
    samples = draw.standard_normal((3, 4, 40, 2))
    made = layerwise(*samples, key=jax.random.key(0), ci=Bootstrap(DRAWS), null=Shuffle(2), debias="wishart")
    for name, one in {
        "whole": made,
        "bare": made._replace(ci=None, null=None, draws=None, resampling=None),
    }.items():
        back = result_cache.estimate(tmp_path, name, lambda one=one: one)
        assert jax.tree.structure(back) == jax.tree.structure(one)
        jax.tree.map(np.testing.assert_array_equal, back, one)
        assert result_cache.estimate(tmp_path, name, lambda: pytest.fail("made again")).flags == one.flags


def test_a_capture_depends_on_weights_questions_prompt_and_cuts(captured, folders):
    config, model, asked, one = captured
    other = checkpoint.Opened(folders[1], config.asking, config.mesh)
    prompt = checkpoint.Opened(folders[0], dataclasses.replace(config.asking, suffix=" now"), config.mesh)
    names = [capturing.fingerprint(each, asked, config, windows=True) for each in (model, other, prompt)]
    names.append(capturing.fingerprint(model, asked, config, windows=False))
    names.append(capturing.fingerprint(model, asked, dataclasses.replace(config, y="text"), windows=True))
    names.append(capturing.fingerprint(model, asked._replace(fingerprint="others"), config, windows=True))
    assert names[0] == one.name
    assert len({*names}) == len(names)


# What is asked, and of whom.


def test_conditions_are_the_model_as_it_is_all_layers_and_a_window_about_each():
    found = capturing.conditions(32, windows=True, width=None)
    assert list(found)[:3] == ["baseline", "all", "window 0"]
    assert found["window 16"] == (Knockout(tuple(range(12, 21))),)  # 9 layers, as Zhang et al. have it
    assert [capturing.width_of(layers, None) for layers in (3, 6, 32, 40)] == [1, 2, 9, 11]
    assert capturing.width_of(40, 9) == 9
    assert list(capturing.conditions(32, windows=False, width=None)) == ["baseline", "all"]


def test_under_the_knockout_the_image_states_are_the_same_and_the_question_is_blind(captured):
    *_, one = captured
    before, after = (np.asarray(one.store.states(name, TokenType.IMAGE)) for name in ("baseline", "all"))
    np.testing.assert_array_equal(before, after)
    base, cut = (one.store.states(name, TokenType.QUESTION)[-1] for name in ("baseline", "all"))
    assert np.abs(base - cut).max() > 0.01


def test_an_answer_is_right_if_its_first_token_is_said(captured):
    _, model, asked, one = captured
    left = toyworld.VOCABULARY["left"]
    assert model.begins("left") == {left}  # a capital letter is no word of the toy world
    assert model.is_right([left, left], ["left", "right"]).tolist() == [True, False]
    tokens = np.array([toyworld.VOCABULARY[answer] for answer in asked.answers])
    assert one.right.tolist() == (tokens == one.store.greedy("baseline")).tolist()


def test_only_right_answers_are_used_and_at_most_so_many(captured, monkeypatch):
    config, model, asked, _ = captured
    right = np.arange(24) % 3 > 0
    monkeypatch.setattr(model, "is_right", lambda said, answers: right)
    only = dataclasses.replace(config.asking, only_correct=True, samples=12)
    one = capturing.capture(model, asked, dataclasses.replace(config, asking=only), windows=True)
    assert one.used.tolist() == np.flatnonzero(right)[:12].tolist()


def test_a_task_with_few_right_answers_is_named_and_left_out(captured):
    *_, one = captured
    few = one._replace(used=one.used[:3])
    (row,) = report.of_tasks([few], 12).rows
    assert row[-1] == "fewer than 12: left out"
    (row,) = report.of_tasks([one], 12).rows
    assert row[-1] == "fewer than 900"


@pytest.mark.parametrize("target", ["last", "same_layer", "unembedding", "logits"])
def test_targets_are_what_they_are_called(captured, folders, target: Target):
    config, model, _, one = captured
    data, layers = decomposing.sides(model, one, "baseline", dataclasses.replace(config, target=target))
    last = np.asarray(one.store.states("baseline", TokenType.LAST))[:, one.used]
    said = one.store.greedy("baseline")[one.used]
    if target == "last":
        np.testing.assert_array_equal(data.target, last[-1])
    if (
        target == "same_layer"
    ):  # what enters the first block is the same for all questions: it ends in a question mark
        assert layers.tolist() == [1, 2, 3, 4]
        np.testing.assert_array_equal(data.target, last[1:])
    if target == "unembedding":
        head = load_file(folders[0] / "model.safetensors")["language_model.lm_head.weight"]
        np.testing.assert_array_equal(data.target, head[said])
    if target == "logits":
        np.testing.assert_array_equal(data.target.argmax(axis=1), said)
    assert data.x.shape == data.y.shape == (len(layers), 20, toy_llava.WIDTH)


def test_questions_of_the_toy_world_are_of_the_test_split_and_the_same_by_arrays_and_processor():
    asked = questions.toy("QueryAttr", toyworld.LeakRates(), 5, seed=0)
    fast = list(asked.rows(toyworld.processor()))
    other = llava.wrap_processor(toyworld.hugging_face_processor(), style=toyworld.STYLE, suffix=" now")
    assert [row.name.split("-")[0] for row in fast] == ["test"] * 5
    examples = list(toyworld.generate(5, seed=0, split="test", world={"QueryAttr": toyworld.LeakRates()}))
    for ours, theirs in zip(
        fast, llava.encode_prompts(toyworld.processor(), toyworld.samples(examples)), strict=True
    ):
        assert ours.image_size == theirs.image_size
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.types, theirs.types)
        np.testing.assert_allclose(np.asarray(ours.pixels), np.asarray(theirs.pixels), atol=1e-6)
    assert len(next(asked.rows(other)).ids) == len(fast[0].ids) + 1  # another prompt is encoded as it asks
    assert asked.fingerprint != questions.toy("QueryAttr", toyworld.LeakRates(), 5, seed=1).fingerprint
    assert (
        asked.fingerprint != questions.toy("QueryAttr", toyworld.LeakRates(vision=1.0), 5, seed=0).fingerprint
    )


def test_questions_of_gqa_come_with_their_images(tmp_path):
    download = gqa_folder.write(tmp_path)
    config = toy_llava.tiny(
        Path("none"), kept=tmp_path / "kept", data=download, tasks=("QueryAttr", "ChooseAttr")
    )
    found = questions.of_tasks(config)
    assert [one.task for one in found] == ["QueryAttr", "ChooseAttr"]
    assert found[0].answers == ("right",) * 3
    rows = list(found[0].rows(llava.wrap_processor(llava_folder.processor())))
    assert rows[0].image_size == (6, 8)
    assert (rows[0].types == TokenType.QUESTION).any()
    assert "H(Y)" in found[0].doubts[0]


def test_hosts_share_the_estimates(monkeypatch):
    did = []
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(program.run, "barrier", lambda: did.append("together"))
    for host in range(3):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        stages = program.Stages(program.Console(quiet=True), "", 1)
        work: Any = ((at, "recommended") for at in range(4))
        program.share(work, lambda one, name: did.append(one), lambda *_: "", stages)
    assert did == [0, 3, "together", 1, "together", 2, "together"]


@pytest.mark.slow
def test_two_hosts_capture_their_shares_and_the_first_reports_all(folders, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"""
        {sys.executable} -m experiments.pid_llava --model {folders[0]} --config recommended --tasks QueryAttr
        --asking.rows 60 --asking.samples 60 --asking.least 30 --asking.no-only-correct --asking.no-windows
        --estimation.components 2 --estimation.draws 4 --estimation.shuffles 2 --corners.rows 0
        --out {tmp_path / "run"} --kept {tmp_path / "kept"} --hosts.coordinator 127.0.0.1:{port} --hosts.count 2
    """.split()
    hosts = [
        subprocess.Popen(
            [*command, "--hosts.index", str(at)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for at in (0, 1)
    ]
    outputs = [host.communicate(timeout=180)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], "\n".join(outputs)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["captured"][0]["used"] == 60
    assert len(summary["decomposed"]) == 1
    (store,) = [path for path in (tmp_path / "kept" / "captures").iterdir() if path.is_dir()]
    counts = [
        sum(len(json.loads(line)["places"]) for line in path.read_text().splitlines())
        for path in sorted(store.glob("manifest-*.jsonl"))
    ]
    assert counts == [30, 30]
    assert "What the paper states" in outputs[0]
    assert "What the paper states" not in outputs[1]


def test_activations_of_your_own_are_decomposed_by_layer(tmp_path):
    draw = np.random.default_rng(1)
    x, y = draw.standard_normal((2, 5, 40, 3))
    arrays = {"target": x[-1] + y[0], "x": x, "y": y}
    np.savez(tmp_path / "mine.npz", **arrays)
    config = toy_llava.tiny(kept=tmp_path / "kept", out=tmp_path / "run", npz=tmp_path / "mine.npz")
    summary = pid_llava.main(config)
    (found,) = summary["decomposed"]
    chosen = decomposing.choices("recommended", config.estimation, paired=False)
    direct = layerwise(arrays["target"], x, y, key=jax.random.key(0), **chosen)
    np.testing.assert_allclose([row["synergy"] for row in found["layers"]], direct.pid.synergy, atol=1e-5)
    assert found["knockout"] is None
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
        ({"asking": pid_llava.Asking(samples=10)}, "at least asking.least, got 10 and 200"),
        ({"asking": pid_llava.Asking(least=20)}, "raise --asking.least to 26 or more"),
        ({"config": "both", "asking": pid_llava.Asking(least=50)}, "needs 100 samples, got asking.least=50"),
        ({"corners": pid_llava.Corners(rows=5)}, "needs 26 rows or none, got 5"),
        ({"corners": pid_llava.Corners(tasks=("ChooseCat",))}, "tells nothing, got ChooseCat"),
    ],
)
def test_contradictions_are_refused_before_anything_is_captured(changed, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(presets.TOY, **changed)


def test_models_and_data_that_are_not_there_are_refused_before_there_is_a_folder(folders, tmp_path):
    out = tmp_path / "run"
    missing = toy_llava.tiny(tmp_path / "nothing", kept=tmp_path / "kept", out=out)
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
    asking = pid_llava.Asking(style=toyworld.STYLE, suffix="none")
    with pytest.raises(ValueError, match=r"got 64 of 8; lower --mesh.data"):
        _ = checkpoint.Opened(folders[0], asking, llava.MeshShape(data=64)).model


def test_the_command_line_begins_with_a_preset(capsys):
    config = pid_llava.command_line(["--config", "paper", "--asking.rows", "300", "--model", "a", "b"])
    assert (config.preset, config.config, config.asking.rows) == ("toy", "paper", 300)
    assert config.model == (Path("a"), Path("b"))
    assert config.asking.style == toyworld.STYLE
    assert pid_llava.command_line(["gqa", "--data", "d"]).asking.width == 9
    with pytest.raises(SystemExit):
        pid_llava.command_line(["tyo"])
    assert "did you mean toy?" in capsys.readouterr().err

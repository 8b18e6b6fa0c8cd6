"""Questions, captured states and variables of `experiments.pid_llava`."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments.data.preparation.activation_files import Activations
from experiments.pid_llava import checkpoint, report, result_cache
from experiments.pid_llava.config import Estimation, Target
from experiments.pid_llava.stages import capturing, decomposing, knockout_conditions, questions
from pid import compare, llava, toyworld
from pid.llava import Knockout, TokenType
from tests.helpers import toy_llava
from tests.helpers.folders import gqa_folder, llava_folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models that differ in their seed."""
    parent = tmp_path_factory.mktemp("models")
    return tuple(toy_llava.write(parent / f"seed{seed}", seed) for seed in range(2))


@pytest.fixture(scope="module")
def captured(folders, tmp_path_factory):
    """(configuration, model, questions, capture) of the first model."""
    config = toy_llava.tiny(*folders, cache=tmp_path_factory.mktemp("cache"))
    model = checkpoint.ModelFolder(folders[0], config.capture, config.mesh)
    (task,) = questions.make_questions(config)
    return config, model, task, capturing.capture_states(model, task, config, windows=True)


def test_a_damaged_estimate_of_the_cache_is_named(tmp_path):
    (tmp_path / "estimates").mkdir()
    for content in (b"", b"junk", bytes(300)):
        (tmp_path / "estimates" / "a.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"must be whole, got .*a\.npz \(.*\); delete it, and --resume"):
            result_cache.restore_or_estimate(tmp_path, "a", lambda: pytest.fail("estimated"))


def test_a_capture_depends_on_weights_questions_prompt_and_cuts(captured, folders):
    config, model, task, capture = captured
    other_model = checkpoint.ModelFolder(folders[1], config.capture, config.mesh)
    other_prompt = checkpoint.ModelFolder(
        folders[0], dataclasses.replace(config.capture, suffix=" now"), config.mesh
    )
    models = (model, other_model, other_prompt)
    names = [capturing.fingerprint(item, task, config, windows=True) for item in models]
    names.append(capturing.fingerprint(model, task, config, windows=False))
    names.append(capturing.fingerprint(model, task, dataclasses.replace(config, y="text"), windows=True))
    names.append(capturing.fingerprint(model, task._replace(fingerprint="others"), config, windows=True))
    assert names[0] == capture.name
    assert len({*names}) == len(names)


# Conditions, answers and variables.


def test_conditions_are_the_model_as_it_is_all_layers_and_a_window_about_each():
    knockouts = knockout_conditions.conditions(32, windows=True, width=None)
    assert list(knockouts)[:3] == ["baseline", "all", "window 0"]
    assert knockouts["window 16"] == (Knockout(tuple(range(12, 21))),)  # 9 layers, as Zhang et al. have it
    assert [knockout_conditions.window_width(layers, None) for layers in (3, 6, 32, 40)] == [1, 2, 9, 11]
    assert knockout_conditions.window_width(40, 9) == 9
    assert list(knockout_conditions.conditions(32, windows=False, width=None)) == ["baseline", "all"]


def test_under_the_knockout_the_image_states_are_the_same_and_the_question_is_blind(captured):
    *_, capture = captured
    base, knockout = (np.asarray(capture.store.states(name, TokenType.IMAGE)) for name in ("baseline", "all"))
    np.testing.assert_array_equal(base, knockout)
    base, knockout = (capture.store.states(name, TokenType.QUESTION)[-1] for name in ("baseline", "all"))
    assert np.abs(base - knockout).max() > 0.01


def test_an_answer_is_right_if_its_first_token_is_said(captured):
    _, model, task, capture = captured
    left = toyworld.VOCABULARY["left"]
    assert model.first_tokens("left") == {left}  # a capital letter is no word of the toy world
    assert model.is_right([left, left], ["left", "right"]).tolist() == [True, False]
    tokens = np.array([toyworld.VOCABULARY[answer] for answer in task.answers])
    assert capture.right.tolist() == (tokens == capture.store.greedy("baseline")).tolist()


def test_only_right_answers_are_used_and_at_most_so_many(captured, monkeypatch):
    config, model, task, _ = captured
    right = np.arange(24) % 3 > 0
    monkeypatch.setattr(model, "is_right", lambda tokens, answers: right)
    options = dataclasses.replace(config.capture, only_correct=True, samples=12)
    capture = capturing.capture_states(
        model, task, dataclasses.replace(config, capture=options), windows=True
    )
    assert capture.used.tolist() == np.flatnonzero(right)[:12].tolist()


def test_a_task_with_few_right_answers_is_named_and_left_out(captured):
    *_, capture = captured
    few = capture._replace(used=capture.used[:3])
    (row,) = report.task_table([few], 12).rows
    assert row[-1] == "fewer than 12: left out"
    (row,) = report.task_table([capture], 12).rows
    assert row[-1] == "fewer than 900"


@pytest.mark.parametrize("target", ["last", "same_layer", "unembedding", "logits"])
def test_targets_are_what_they_are_called(captured, folders, target: Target):
    config, model, _, capture = captured
    data, layers = decomposing.make_variables(
        model, capture, "baseline", dataclasses.replace(config, target=target)
    )
    last = np.asarray(capture.store.states("baseline", TokenType.LAST))[:, capture.used]
    tokens = capture.store.greedy("baseline")[capture.used]
    if target == "last":
        np.testing.assert_array_equal(data.target, last[-1])
    if target == "same_layer":  # the input of the first block is the same for all questions, a question mark
        assert layers.tolist() == [1, 2, 3, 4]
        np.testing.assert_array_equal(data.target, last[1:])
    if target == "unembedding":
        head = load_file(folders[0] / "model.safetensors")["language_model.lm_head.weight"]
        np.testing.assert_array_equal(data.target, head[tokens])
    if target == "logits":
        np.testing.assert_array_equal(data.target.argmax(axis=1), tokens)
    assert data.x.shape == data.y.shape == (len(layers), 20, toy_llava.WIDTH)


def test_questions_of_the_toy_world_are_of_the_test_split_and_the_same_by_arrays_and_processor():
    task = questions.make_toy_questions("QueryAttr", toyworld.LeakRates(), 5, seed=0)
    fast = list(task.rows(toyworld.processor()))
    with_suffix = llava.wrap_processor(toyworld.hugging_face_processor(), style=toyworld.STYLE, suffix=" now")
    assert [row.name.split("-")[0] for row in fast] == ["test"] * 5
    examples = list(toyworld.generate(5, seed=0, split="test", world={"QueryAttr": toyworld.LeakRates()}))
    for ours, theirs in zip(
        fast, llava.encode_prompts(toyworld.processor(), toyworld.samples(examples)), strict=True
    ):
        assert ours.image_size == theirs.image_size
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.types, theirs.types)
        np.testing.assert_allclose(np.asarray(ours.pixels), np.asarray(theirs.pixels), atol=1e-6)
    assert len(next(task.rows(with_suffix)).ids) == len(fast[0].ids) + 1  # the prompt has one more token
    assert (
        task.fingerprint
        != questions.make_toy_questions("QueryAttr", toyworld.LeakRates(), 5, seed=1).fingerprint
    )
    assert (
        task.fingerprint
        != questions.make_toy_questions("QueryAttr", toyworld.LeakRates(vision=1.0), 5, seed=0).fingerprint
    )


def test_questions_of_gqa_come_with_their_images(tmp_path):
    download = gqa_folder.write(tmp_path)
    config = toy_llava.tiny(
        Path("none"), cache=tmp_path / "kept", data=download, tasks=("QueryAttr", "ChooseAttr")
    )
    tasks = questions.make_questions(config)
    assert [task.task for task in tasks] == ["QueryAttr", "ChooseAttr"]
    assert tasks[0].answers == ("right",) * 3
    rows = list(tasks[0].rows(llava.wrap_processor(llava_folder.processor())))
    assert rows[0].image_size == (6, 8)
    assert (rows[0].types == TokenType.QUESTION).any()
    assert "H(Y)" in tasks[0].warnings[0]


def test_rows_of_the_output_map_of_two_answers_are_compared_in_pairs(tmp_path):
    """A target of two rows looks like labels, whose estimates have no paired draws."""
    rng = np.random.default_rng(0)
    answers, x, y = rng.integers(0, 2, 60), *rng.normal(size=(2, 2, 60, 2))
    data = Activations(rng.normal(size=(2, 3))[answers], x, y)
    size = Estimation(draws=4, shuffles=2)
    cached = decomposing.EstimateCache(tmp_path, size, "recommended", 0, {"target": "ordinal"})
    estimate = cached.estimate("rows", lambda: data, paired=True)
    np.testing.assert_array_equal(compare(estimate, estimate).difference.mi_joint, 0)

"""Section training: its settings, verdicts on planted numbers, and a tiny run of the whole section."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import run, stability
from experiments.stability import figures_trainings
from experiments.stability.measurements import trainability, training_claims
from experiments.stability.measurements.trainability import Setting, TrainingResult, Trainings
from experiments.stability.networks.sequence_tasks import Chance, recall_rows

TINY = stability.Training(
    depths=(2,), tokens=5, vocabulary=4, width=8, heads=2, ffn=8, batch=4, steps=6
)  # fmt: skip
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def result() -> TrainingResult:
    return trainability.measure(TINY, SEEDS, trainability.mesh_of_devices())


def test_the_settings_are_every_combination_once(result):
    recall, listops = result.recall, result.listops
    expected = {
        Setting(norm, residual, gain, 2)
        for norm in ("none", "pre", "post")
        for residual in (1.0, 0.0)
        for gain in (1.0, 2.0)
    } | {Setting("pre", 1.0, 1.0, 2, order, "parallel") for order in (1, 2)}
    assert set(recall.settings) == expected
    assert len(recall.settings) == len(expected)
    assert set(listops.settings) == {
        Setting(norm, residual, 1.0, 2, task="ListOps") for norm in ("none", "pre") for residual in (1.0, 0.0)
    }
    assert recall.loss.shape == (len(expected), 3, 6)
    assert listops.loss.shape == (4, 3, 6)
    assert np.all(np.isfinite(recall.loss))


def test_settings_have_their_own_numbers(result):
    for trainings in (result.recall, result.listops):
        losses = [tuple(trainings.at("loss", setting).ravel()) for setting in trainings.settings]
        assert len(set(losses)) == len(losses)


def test_an_array_of_a_setting_is_that_of_its_points(result):
    """Train one setting alone: the long way from settings to points and back mixes nothing up."""
    setting = Setting("post", 0.0, 2.0, 2)
    parameters = trainability.first_parameters(TINY, SEEDS)
    points = trainability.make_points([setting], TINY, 3, parameters)
    rows = recall_rows(SEEDS, 24, 4, 5)
    run_alone = trainability.make_trainer(setting.program, TINY)(points, rows, "test")
    np.testing.assert_allclose(run_alone.records.loss, result.recall.at("loss", setting), rtol=1e-4)
    np.testing.assert_allclose(
        run_alone.records.first_gradient[:, 0], result.recall.at("first_gradient", setting), rtol=1e-4
    )


def test_verdicts_and_figures_of_a_tiny_run(result):
    lines = training_claims.verdict(result)
    assert len({line.claim for line in lines}) == len(lines) == 16
    assert all(text for line in lines for text in line)
    figures = dict(figures_trainings.draw_training(result))
    assert list(figures) == ["training_loss", "training_gradient", "training_map"]
    json.dumps(run.to_json(result), allow_nan=False)


# Verdicts on planted numbers.


def planted(change=None, *, seeds=3) -> Trainings:
    """Trainings in which the residual connection decides, with small differences between seeds."""
    size = stability.Training(depths=(6,), gains=(1.0, 2.0))
    settings = tuple(x for x in trainability.settings_of(size) if x.task == "recall")
    shape = (len(settings), seeds)
    residual = np.array([setting.residual for setting in settings])[:, None, None]
    noise = 1 + 0.01 * np.arange(seeds)[None, :, None] * np.ones((*shape, 20))
    curve = np.linspace(1, 0.01, 20)
    loss = np.where(residual > 0, 2.7726 * curve, 2.7726) * noise
    ones = np.ones(shape)
    trainings = Trainings(
        "recall",
        settings,
        Chance(np.full(seeds, np.log(16)), np.full(seeds, 1 / 16)),
        loss,
        np.where(residual > 0, 1 - curve, 1 / 16) * np.ones_like(noise),
        2 * noise,
        ones * noise[..., 0] * (0.01 + residual[..., 0]),
        ones * noise[..., 0] * (0.01 + residual[..., 0]),
        ones * noise[..., 0],
        ones * noise[..., 0],
        ones * noise[..., 0],
        -np.ones(shape, int),
    )
    return dataclasses.replace(trainings, **(change(trainings) if change else {}))


def verdicts(trainings: Trainings) -> dict[str, str]:
    lines = training_claims.verdict(TrainingResult((0, 1, 2), trainings, trainings))
    return {line.claim.removeprefix("recall: "): line.verdict for line in lines}


def measured(trainings: Trainings, claim: str) -> str:
    lines = training_claims.verdict(TrainingResult((0, 1, 2), trainings, trainings))
    return next(line.measured for line in lines if claim in line.claim)


def at(trainings: Trainings, name: str, setting: Setting, values) -> dict[str, np.ndarray]:
    array = getattr(trainings, name).astype(float).copy()
    array[trainings.settings.index(setting)] = values
    return {name: array}


ANY = "no run without residual connection learns, whatever norm, gain and depth"
STUCK = "without residual connection nothing is learned (norm pre, gain 1)"
LEARNS = "with residual connection and pre-LN it trains (gain 1)"
EXPLODES = "without norm gradients explode (residual on, gain 2, 6 layers)"
CARRIES = "the residual connection carries the gradient to the first layer (norm pre)"


def test_a_loss_at_chance_is_at_chance_and_one_far_below_it_learns():
    words = verdicts(planted())
    assert words[STUCK] == "yes: stays at chance"
    assert words[LEARNS] == "yes: learns"
    assert words[ANY] == "yes"
    assert words[EXPLODES].startswith("did not happen; learns")
    assert words[CARRIES].startswith("yes: × ")


def test_a_network_without_residual_that_learns_is_reported():
    setting = Setting("pre", 0.0, 1.0, 6)
    words = verdicts(planted(lambda t: at(t, "loss", setting, t.loss[0])))
    assert words[STUCK] == "did not happen: learns"
    assert words[ANY] == "did not happen"
    assert "3 of 18 runs" in measured(planted(lambda t: at(t, "loss", setting, t.loss[0])), ANY)
    lucky = np.array([2.77, 2.78, 0.01])[:, None]
    words = verdicts(planted(lambda t: at(t, "loss", setting, lucky)))
    assert words[STUCK] == "did not happen: depends on the seed"


def test_a_network_with_both_that_learns_nothing_is_reported():
    words = verdicts(planted(lambda t: at(t, "loss", Setting("pre", 1.0, 1.0, 6), 2.78)))
    assert words[LEARNS] == "not fully: stays at chance"
    words = verdicts(planted(lambda t: at(t, "loss", Setting("pre", 1.0, 1.0, 6), 5.0)))
    assert words[LEARNS] == "not fully: stays above chance"


@pytest.mark.parametrize(
    ("factor", "word"),
    [
        (np.array([30.0, 40, 50]), "yes: more than 10 times larger, but finite"),
        (np.array([2.0, 2.1, 2.2]), "larger, but no explosion"),
        (np.array([0.2, 1.0, 5.0]), "did not happen"),
    ],
)
def test_gradients_without_norm_are_compared_with_pre_ln_by_seed(factor, word):
    setting = Setting("none", 1.0, 2.0, 6)
    trainings = planted(lambda t: at(t, "gradient", setting, t.gradient[0] * factor[:, None]))
    assert verdicts(trainings)[EXPLODES] == f"{word}; learns"
    np.testing.assert_allclose(trainings.largest_gradient(setting), 2 * factor * [1, 1.01, 1.02])


def test_runs_that_are_not_finite_are_counted():
    setting = Setting("none", 1.0, 2.0, 6)

    def stop(trainings: Trainings) -> dict[str, np.ndarray]:
        """Let two seeds end, one of them before its first record."""
        change = {"first_nonfinite": trainings.first_nonfinite.copy()}
        index = trainings.settings.index(setting)
        change["first_nonfinite"][index] = [0, 7, -1]
        for name in ("loss", "accuracy", "gradient"):
            change[name] = getattr(trainings, name).copy()
            change[name][index, 0], change[name][index, 1, 7:] = np.nan, np.nan
        return change

    trainings = planted(stop)
    assert verdicts(trainings)[EXPLODES] == "yes: not finite in 2 of 3 seeds; not finite in 2 of 3 seeds"
    assert "first at step 0 7" in measured(trainings, EXPLODES)
    for _, figure in figures_trainings.draw_training(TrainingResult((0, 1, 2), trainings, trainings)):
        figure.canvas.draw()


def test_no_gradient_at_all_has_no_ratio():
    setting = Setting("pre", 0.0, 1.0, 6)

    def vanish(trainings: Trainings) -> dict[str, np.ndarray]:
        names = ("embedding_gradient", "first_gradient", "last_gradient")
        return {name: at(trainings, name, setting, 0.0)[name] for name in names}

    trainings = planted(vanish)
    assert verdicts(trainings)[CARRIES] == "yes: without it no gradient reaches a layer"
    lines = training_claims.verdict(TrainingResult((0, 1, 2), trainings, trainings))
    assert any("exactly 0 in 3 of 3 seeds" in line.measured for line in lines)


def test_one_seed_gives_no_interval():
    words = verdicts(planted(seeds=1))
    assert words[STUCK] == "yes: stays at chance"
    assert "one seed cannot tell" in words[EXPLODES]


def test_steps_to_half_the_loss_of_a_guess():
    setting = Setting("pre", 1.0, 1.0, 6)
    curves = np.full((3, 20), 2.0)
    curves[0, 4:], curves[1, 9] = 1.0, 1.38
    trainings = planted(lambda t: at(t, "loss", setting, curves))
    np.testing.assert_array_equal(trainings.steps_to_half(setting), [4, 9, 20])


# Options.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gains": (2.0, 1.0)}, "training.gains are one or more increasing numbers"),
        ({"depths": ()}, "training.depths are one or more increasing numbers"),
        ({"heads": 3}, "training.width must be divisible by training.heads"),
        ({"width": 33, "heads": 3}, "training.width must be even"),
        ({"tokens": 3}, "tokens"),
        ({"learning_rate": 0.0}, "rate"),
    ],
)
def test_contradictions_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        stability.Config(training=dataclasses.replace(stability.Training(), **change))

"""Measure, with intervals, effects whose sign is known at the corners of the toy world.

At a corner the leak rates are 0 or 1. There one atom of (answer; scene, question) has all information about the answer,
if the options of the task do not narrow it down. The equations

    U_V - U_L = I(Y; x) - I(Y; y),    R - S = I(Y; x) + I(Y; y) - I(Y; x, y)

hold for every measure of redundancy, so only mutual informations have to be estimated. Under the full knockout the
states of the image are, in every layer, a function of the scene, and those of the question a function of its words.
They have no information that the inputs do not have, so the signs are those of the inputs. (The signs of the baseline
are not known: question tokens that attend to the image have some of its information.) Both gaps are averaged over the
layers. Every question counts, since a selection of correct answers would make the sources depend on the answer.

An answer is one of two words, with H(Y) = 1 bit, and Gaussian information about ±1 has no bound. So the target is

    T = ±1 + N(0, 1/3)

whose residual variance is at least 1/3 of 4/3, so that a source with the full answer has ½ log₂ 4 = 1 bit. This is the
information of a linear readout of pooled states. It may miss information in products of the two sources, such as the
synergy at the corner where both are needed; the effect is then not decidable. At that corner the same effect is
measured again by a categorical target, whose cross-fitted predictions read products of the principal components of
both sources. It needs thousands of questions (`product_rows`). A third effect there: the knockout removes the
information about the answer from the question tokens.

The probability of the right answer, over the questions answered correctly, must fall or stay (`EXPECTED.knockout`). It
counts as unchanged if it changes by less than .05.

    L layers, n samples, B draws; information in bits
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from experiments.pid_llava import result_cache
from experiments.pid_llava.checkpoint import ModelFolder
from experiments.pid_llava.config import Config
from experiments.pid_llava.paper_claims import Verdict, basic_interval, verdict
from experiments.pid_llava.stages import questions
from experiments.pid_llava.stages.capturing import Capture, capture_states
from experiments.pid_llava.stages.knockout_conditions import ALL, BASELINE
from pid import PCA, Bootstrap, layerwise
from pid.estimators import Estimate
from pid.estimators.config import EstimateConfig
from pid.llava import TokenType
from pid.measures import PID
from pid.toyworld import EXPECTED, Expected, truth

UNCHANGED = 0.05  # a smaller change of the probability counts as none
MIN_ANSWERS = 20  # right answers that a mean needs
NOISE = 3**-0.5


class KnownEffect(NamedTuple):
    """An effect whose sign is known, and its measurement."""

    corner: str
    task: str
    model: str
    claim: str
    verdict: Verdict
    value: float
    """Above 0 if the effect is as expected; in bits, or a probability."""
    low: float
    high: float


def corner_questions(config: Config, corner: str, task: str, rows: int | None = None) -> questions.Questions:
    """Return the questions of a task at a corner, `corners.rows` unless another number is given."""
    count = config.corners.rows if rows is None else rows
    return questions.make_toy_questions(
        task, EXPECTED[corner].leak_rates, count, config.seed, f"{corner}: {task}"
    )


def measure(model: ModelFolder, corner: str, task: str, config: Config) -> list[KnownEffect]:
    """Measure all known effects of a task at a corner in one model."""
    corner_task = corner_questions(config, corner, task)
    capture = capture_states(model, corner_task, config, windows=False)
    target = encode_answers(np.array(corner_task.answers), config.seed)
    base, knockout = (_estimate(capture, target, name, config) for name in (BASELINE, ALL))
    expected, effects = EXPECTED[corner], []

    def add(claim: str, value: float, draws: np.ndarray) -> None:
        low, high = basic_interval(value, draws, config.estimation.level)
        effects.append(KnownEffect(corner, task, model.name, claim, verdict(low, high), value, low, high))

    add(claim_of(expected, task), *_mean(knockout, lambda pid: signed_gap(expected, pid)))
    if expected.atom == "synergy":
        if config.corners.product_rows:
            add(f"{claim_of(expected, task)}, read by products", *_read_products(model, corner, task, config))
        base_information, base_draws = _mean(base, lambda pid: np.asarray(pid.mi_y))
        information, draws = _mean(knockout, lambda pid: np.asarray(pid.mi_y))
        claim = "the knockout removes the answer from the question tokens"
        add(claim, base_information - information, base_draws - draws)
    if expected.knockout is not None:
        drops = probability_drops(capture)
        claim = f"the probability of the right answer {expected.knockout}"
        if len(drops) < MIN_ANSWERS:
            effects.append(
                KnownEffect(corner, task, model.name, claim, "not decidable", np.nan, np.nan, np.nan)
            )
        else:
            means = bootstrap_means(drops, config.estimation.draws, config.seed)
            stays = expected.knockout == "stays"
            value, draws = float(drops.mean()), means
            add(claim, *((UNCHANGED - abs(value), UNCHANGED - abs(draws)) if stays else (value, draws)))
    return effects


def encode_answers(answers: np.ndarray, seed: int) -> Float[np.ndarray, "n 1"]:
    """Return ±1 for the two answers in alphabetical order, plus noise of variance 1/3."""
    words = sorted({*answers.tolist()})
    signs = np.where(answers == words[0], -1.0, 1.0)
    return (signs + NOISE * np.random.default_rng(seed).standard_normal(len(signs)))[:, None]


def signed_gap(expected: Expected, pid: PID) -> np.ndarray:
    """Return a number that is above 0 if the expected atom is larger than its counterpart."""
    x, y, joint = (np.asarray(information) for information in (pid.mi_x, pid.mi_y, pid.mi_joint))
    return {
        "unique_x": x - y,
        "unique_y": y - x,
        "redundancy": x + y - joint,
        "synergy": joint - x - y,
    }[expected.atom]


def claim_of(expected: Expected, task: str) -> str:
    """Format the expected sign, and the size of the effect in the inputs."""
    answer = truth(task, expected.leak_rates)
    gap = answer.unique_gap if expected.atom.startswith("unique") else answer.redundancy_gap
    sign = {"unique_x": "U_V > U_L", "unique_y": "U_L > U_V", "redundancy": "R > S", "synergy": "S > R"}
    return f"{sign[expected.atom]} (by {abs(gap):.0f} bit in the inputs)"


def probability_drops(capture: Capture) -> Float[np.ndarray, "n"]:
    """Return by how much the knockout lowers the probability of each answer that is right without it."""
    store = capture.store
    return (store.p_base - store.p_new(ALL))[capture.right]


def bootstrap_means(values: np.ndarray, draws: int, seed: int) -> Float[np.ndarray, "b"]:
    """Return the means of bootstrap samples of the values."""
    indices = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    return values[indices].mean(axis=1)


def _estimate(capture: Capture, target: np.ndarray, condition: str, config: Config) -> Estimate:
    size = config.estimation
    options = EstimateConfig(
        reduce=PCA(components=size.components),
        gaussianize="none",
        measure="mmi",
        debias="wishart",
        ci=Bootstrap(size.draws, size.level, "paired"),
        null=None,
    )
    return _restore_or_estimate(capture, target, condition, config, options)


def _restore_or_estimate(
    capture: Capture, target: np.ndarray, condition: str, config: Config, options: EstimateConfig
) -> Estimate:
    def make() -> Estimate:
        x, y = (
            np.asarray(capture.store.states(condition, group))
            for group in (TokenType.IMAGE, TokenType.QUESTION)
        )
        return layerwise(target, x, y, key=jax.random.key(config.seed), **options)

    facts = [
        "answer",
        capture.name,
        condition,
        config.seed,
        {key: repr(value) for key, value in options.items()},
    ]
    return result_cache.restore_or_estimate(config.cache, result_cache.digest(facts), make)


def _read_products(model: ModelFolder, corner: str, task: str, config: Config) -> tuple[float, np.ndarray]:
    """Return the mean gap under the knockout by predictions of the answer, and its draws."""
    corner_task = corner_questions(config, corner, task, config.corners.product_rows)
    capture = capture_states(model, corner_task, config, windows=False)
    answers = np.unique(corner_task.answers, return_inverse=True)[1][:, None]
    options = EstimateConfig(
        kinds={"target": "categorical"},
        ci=Bootstrap(config.estimation.draws, config.estimation.level, "paired"),
    )
    estimate = _restore_or_estimate(capture, answers, ALL, config, options)
    return _mean(estimate, lambda pid: signed_gap(EXPECTED[corner], pid))


def _mean(estimate: Estimate, statistic) -> tuple[float, np.ndarray]:
    """Return the mean of a statistic of the PID over the layers, and its draws."""
    assert estimate.draws is not None
    return float(statistic(estimate.pid).mean()), statistic(estimate.draws).mean(axis=-1)

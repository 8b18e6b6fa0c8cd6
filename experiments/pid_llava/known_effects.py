"""Whether what is known beforehand of the toy world's corners comes out: the sign of each effect, with an interval.

At a corner one atom of (answer; scene, question) holds all bits of a task whose options tell nothing, and

    U_V - U_L = I(Y; x) - I(Y; y),    R - S = I(Y; x) + I(Y; y) - I(Y; x, y)

hold for every measure of redundancy, so only informations have to be estimated. Under the full knockout the states of
the image are a function of the scene and those of the question one of its words, in every layer: what the inputs do
not tell, they do not, and the signs are those of the inputs. (The baseline has no such certainty: a question that has
read the image holds some of it.) Both gaps are averaged over the layers, and every question counts, for to take only
those answered correctly would make the sources depend on the answer.

An answer is one of two words, of H(Y) = 1 bit, and Gaussian information about ±1 has no bound. Measured is that about

    T = ±1 + N(0, 1/3)

whose residual variance is at least 1/3 of 4/3, so that a source which tells all tells ½ log₂ 4 = 1 bit. It is the
information of a linear reader of pooled states: what only a product of both shows, as the synergy where both are
needed, it may not see, and then it is said to be not decidable. What the question's tokens read from the image is seen
where it arrives: at that corner the knockout takes from them what they knew of the answer.

The probability of the right answer, over the questions answered correctly, must fall or stay, `EXPECTED.knockout`;
it stays if it changes by less than .05.

    L layers, n samples, B draws; information in bits
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from experiments.pid_llava import questions, result_cache
from experiments.pid_llava.capturing import ALL, BASELINE, Captured, capture
from experiments.pid_llava.checkpoint import Opened
from experiments.pid_llava.config import Config
from experiments.pid_llava.paper_claims import Verdict, ends, verdict
from pid import PCA, Bootstrap, layerwise
from pid.estimators import Estimate
from pid.estimators.config import EstimateConfig
from pid.llava import TokenType
from pid.measures import PID
from pid.toyworld import EXPECTED, Expected, truth

STAYS = 0.05  # of the probability
FEW = 20  # right answers from which a mean is taken
NOISE = 3**-0.5


class Direction(NamedTuple):
    """An effect that is known beforehand, and what came out."""

    corner: str
    task: str
    model: str
    claim: str
    verdict: Verdict
    value: float
    """Above 0 if it is as expected; bits, or a probability."""
    low: float
    high: float


def asked(config: Config, corner: str, task: str) -> questions.Questions:
    """Questions of a task at a corner."""
    dials = EXPECTED[corner].leak_rates
    return questions.toy(task, dials, config.corners.rows, config.seed, f"{corner}: {task}")


def measure(opened: Opened, corner: str, task: str, config: Config) -> list[Direction]:
    """All that is known of a task at a corner, asked of a model."""
    about = asked(config, corner, task)
    captured = capture(opened, about, config, windows=False)
    target = coded(np.array(about.answers), config.seed)
    base, knocked = (_estimate(captured, target, name, config) for name in (BASELINE, ALL))
    expected, found = EXPECTED[corner], []

    def add(claim: str, value: float, draws: np.ndarray) -> None:
        low, high = ends(value, draws, config.estimation.level)
        found.append(Direction(corner, task, opened.name, claim, verdict(low, high), value, low, high))

    add(claim_of(expected, task), *_mean(knocked, lambda pid: signed_gap(expected, pid)))
    if expected.atom == "synergy":
        of_base, base_draws = _mean(base, lambda pid: np.asarray(pid.mi_y))
        of_knocked, draws = _mean(knocked, lambda pid: np.asarray(pid.mi_y))
        claim = "the knockout takes the answer from the question's tokens"
        add(claim, of_base - of_knocked, base_draws - draws)
    if expected.knockout is not None:
        fall = falls(captured)
        claim = f"the probability of the right answer {expected.knockout}"
        if len(fall) < FEW:
            found.append(Direction(corner, task, opened.name, claim, "not decidable", np.nan, np.nan, np.nan))
        else:
            means = resampled(fall, config.estimation.draws, config.seed)
            stays = expected.knockout == "stays"
            value, draws = float(fall.mean()), means
            add(claim, *((STAYS - abs(value), STAYS - abs(draws)) if stays else (value, draws)))
    return found


def coded(answers: np.ndarray, seed: int) -> Float[np.ndarray, "n 1"]:
    """±1 for the two answers, in alphabetical order, and noise of variance 1/3."""
    words = sorted({*answers.tolist()})
    signs = np.where(answers == words[0], -1.0, 1.0)
    return (signs + NOISE * np.random.default_rng(seed).standard_normal(len(signs)))[:, None]


def signed_gap(expected: Expected, pid: PID) -> np.ndarray:
    """What is above 0 if the expected atom outweighs its counterpart."""
    x, y, joint = (np.asarray(part) for part in (pid.mi_x, pid.mi_y, pid.mi_joint))
    return {
        "unique_x": x - y,
        "unique_y": y - x,
        "redundancy": x + y - joint,
        "synergy": joint - x - y,
    }[expected.atom]


def claim_of(expected: Expected, task: str) -> str:
    """The sign that is expected, and what the inputs hold."""
    told = truth(task, expected.leak_rates)
    gap = told.unique_gap if expected.atom.startswith("unique") else told.redundancy_gap
    sign = {"unique_x": "U_V > U_L", "unique_y": "U_L > U_V", "redundancy": "R > S", "synergy": "S > R"}
    return f"{sign[expected.atom]} (by {abs(gap):.0f} bit in the inputs)"


def falls(captured: Captured) -> Float[np.ndarray, "n"]:
    """By how much the probability of the right answer falls under the knockout, where the model was right."""
    store = captured.store
    return (store.p_base - store.p_new(ALL))[captured.right]


def resampled(values: np.ndarray, draws: int, seed: int) -> Float[np.ndarray, "b"]:
    """Means of resampled values."""
    picks = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    return values[picks].mean(axis=1)


def _estimate(captured: Captured, target: np.ndarray, condition: str, config: Config) -> Estimate:
    size = config.estimation
    chosen = EstimateConfig(
        reduce=PCA(components=size.components),
        gaussianize="none",
        measure="mmi",
        debias="wishart",
        ci=Bootstrap(size.draws, size.level, "paired"),
        null=None,
    )

    def make() -> Estimate:
        x, y = (
            np.asarray(captured.store.states(condition, group))
            for group in (TokenType.IMAGE, TokenType.QUESTION)
        )
        return layerwise(target, x, y, key=jax.random.key(config.seed), **chosen)

    facts = [
        "answer",
        captured.name,
        condition,
        config.seed,
        {key: repr(value) for key, value in chosen.items()},
    ]
    return result_cache.estimate(config.kept, result_cache.digest(facts), make)


def _mean(estimate: Estimate, number) -> tuple[float, np.ndarray]:
    """The mean over layers of a number, and its draws."""
    assert estimate.draws is not None
    return float(number(estimate.pid).mean()), number(estimate.draws).mean(axis=-1)

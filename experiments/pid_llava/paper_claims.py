"""The paper's statements, asked of the data at hand: each holds, does not, or is not decidable with these samples.

    L layers, B draws; information in bits
[Wu, Zhang & Zhou, "How Vision Becomes Language", arXiv 2602.15580: unique vision peaks early and decays, unique
language surges late, synergy stays below 2 %, trajectories of two models correlate above .96; the knockout raises
unique vision, synergy and the total]

Each is a number that is above 0 if the statement holds. Its interval comes from paired draws, in which what all layers
share cancels: the statement holds if all of the interval is above 0, does not if all of it is below, else it is not
decidable.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.pid_llava.decomposing import Decomposed
from pid.estimators import Estimate
from pid.measures import PID

EARLY, LATE = 10 / 32, 20 / 32  # depths up to which it is early, and from which it is late
SMALL, LIKE = 0.02, 0.96
NOTHING = 1e-9  # bits
Verdict = Literal["holds", "does not", "not decidable"]
Values = Float[np.ndarray, "*b l"]
RAISED = {"unique_x": "U_V", "synergy": "S", "mi_joint": "the total"}


class Statement(NamedTuple):
    """A statement about one task, by one configuration, of one model or of two."""

    claim: str
    config: str
    model: str
    task: str
    verdict: Verdict
    numbers: str


def verdict(low: float, high: float) -> Verdict:
    """Of a number that is above 0 if the statement holds, by its interval."""
    if low > 0:
        return "holds"
    return "does not" if high < 0 else "not decidable"


def ends(value: float, draws: np.ndarray, level: float) -> tuple[float, float]:
    """The basic interval of a number whose draws are centred on their own mean; NaN if it has none.

    It holds the number itself, also where nearly all draws are equal and a few far ones pull their mean beyond them.
    """
    if not (np.isfinite(value) and np.isfinite(draws).all()):
        return np.nan, np.nan
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    above, below = max(high - draws.mean(), 0), min(low - draws.mean(), 0)
    return float(value - above), float(value - below)


def of_trajectory(found: Decomposed) -> list[Statement]:
    """Unique vision decays, unique language surges, synergy is small."""
    asked = {
        "U_V peaks early, then decays": (_decays, _said_of_vision),
        "U_L surges late": (_surges, _said_of_language),
        f"S stays below {100 * SMALL:.0f} %": (_small, _said_of_synergy),
    }
    statements = []
    for claim, (number, said) in asked.items():
        low, high = _interval(found, number)
        told = f"{said(found.shown.pid)}; margin [{low:.3f}, {high:.3f}]"
        statements.append(Statement(claim, found.config, found.model, found.task, verdict(low, high), told))
    return statements


def _interval(found: Decomposed, number: Callable[[PID], np.ndarray]) -> tuple[float, float]:
    """Of the shown estimate's number, with the spread of paired draws."""
    draws, level = _draws(found.paired)
    return ends(float(number(found.shown.pid)), number(draws), level)


def _draws(estimate: Estimate) -> tuple[PID, float]:
    if estimate.draws is None or estimate.resampling is None:
        raise ValueError("statements need draws, got an estimate without; pass ci=Bootstrap(kind='paired').")
    return estimate.draws, estimate.resampling.level


def _decays(pid: PID) -> np.ndarray:
    """The lesser of: the highest early layer less the highest later one, and half the peak less the last layer."""
    vision = np.asarray(pid.unique_x)
    first = 1 + int(EARLY * (vision.shape[-1] - 1))
    early, later = vision[..., :first].max(axis=-1), vision[..., first:].max(axis=-1)
    return np.minimum(early - later, vision.max(axis=-1) / 2 - vision[..., -1])


def _surges(pid: PID) -> np.ndarray:
    """The rise of unique language in the late layers less half of its peak."""
    language = np.asarray(pid.unique_y)
    late = round(LATE * (language.shape[-1] - 1))
    return language[..., -1] - language[..., late] - language.max(axis=-1) / 2


def _small(pid: PID) -> np.ndarray:
    """2 % less the greatest share of synergy, over all layers that hold information."""
    return SMALL - _synergy(pid).max(axis=-1)


def _synergy(pid: PID) -> np.ndarray:
    total, synergy = np.asarray(pid.mi_joint), np.asarray(pid.synergy)
    there = total > NOTHING
    return np.where(there, synergy / np.where(there, total, 1), 0)


def _said_of_vision(pid: PID) -> str:
    vision = np.asarray(pid.unique_x)
    peak = int(np.argmax(vision))
    return f"{vision[peak]:.2f} bits at point {peak} of {len(vision) - 1}, {vision[-1]:.2f} in the last"


def _said_of_language(pid: PID) -> str:
    language = np.asarray(pid.unique_y)
    late = round(LATE * (len(language) - 1))
    return f"{language[late]:.2f} bits at point {late}, {language[-1]:.2f} in the last, at most {language.max():.2f}"


def _said_of_synergy(pid: PID) -> str:
    share = 100 * _synergy(pid)
    return f"{share.min():.1f} to {share.max():.1f} %"


def of_pairs(found: Sequence[Decomposed]) -> list[Statement]:
    """Trajectories of every two models in the same task correlate above .96, in unique vision and unique language."""
    claim = f"trajectories of two models correlate above {LIKE}"
    statements = []
    for one, two in combinations(found, 2):
        if (one.task, one.config) != (two.task, two.config) or len(one.layers) != len(two.layers):
            continue
        (ours, level), (theirs, _) = _draws(one.paired), _draws(two.paired)
        count = min(len(np.asarray(ours.union)), len(np.asarray(theirs.union)))

        def least(a: PID, b: PID, count: int | None = None) -> np.ndarray:
            both = [(getattr(a, name), getattr(b, name)) for name in ("unique_x", "unique_y")]
            return np.min([correlation(p[:count], q[:count]) for p, q in both], axis=0)

        value = float(least(one.shown.pid, two.shown.pid))
        low, high = ends(value - LIKE, least(ours, theirs, count) - LIKE, level)
        told = f"r = {value:.3f} in the less alike of U_V and U_L; margin [{low:.3f}, {high:.3f}]"
        names = f"{one.model}, {two.model}"
        statements.append(Statement(claim, one.config, names, one.task, verdict(low, high), told))
    return statements


def correlation(a: Values, b: Values) -> np.ndarray:
    """Pearson's r over the layers, on the last axis; NaN where one does not vary."""
    a, b = (np.asarray(side) - np.mean(side, axis=-1, keepdims=True) for side in (a, b))
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    varies = scale > NOTHING**2
    return np.where(varies, (a * b).sum(axis=-1) / np.where(varies, scale, 1), np.nan)


def of_knockout(found: Decomposed) -> list[Statement]:
    """The knockout raises unique vision, synergy and the total, in the mean over the layers after the embedding."""
    if found.knocked is None:
        return []
    (base, level), (other, _) = _draws(found.paired), _draws(found.knocked)
    after, statements = found.layers > 0, []
    for field, name in RAISED.items():
        of_layers = (np.asarray(getattr(found.knocked.pid, field)) - getattr(found.paired.pid, field))[after]
        drawn = (np.asarray(getattr(other, field)) - getattr(base, field))[:, after]
        value = float(of_layers.mean())
        low, high = ends(value, drawn.mean(axis=-1), level)
        told = f"mean over layers {value:+.3f} [{low:+.3f}, {high:+.3f}], last {of_layers[-1]:+.3f}"
        claim = f"the knockout raises {name}"
        statements.append(Statement(claim, found.config, found.model, found.task, verdict(low, high), told))
    return statements


def of_all(found: Sequence[Decomposed]) -> list[Statement]:
    """All statements, those about the same thing together."""
    own = [statement for one in found for statement in (*of_trajectory(one), *of_knockout(one))]
    every = own + of_pairs(found)
    order = list(dict.fromkeys(statement.claim for statement in every))
    return sorted(every, key=lambda statement: (order.index(statement.claim), statement.config))

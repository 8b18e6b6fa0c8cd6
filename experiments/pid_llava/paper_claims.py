"""Judge the statements of the paper on the data of the run: each holds, does not, or is not decidable.

    L layers, B draws; information in bits
[Wu, Zhang & Zhou, "How Vision Becomes Language", arXiv 2602.15580: unique vision peaks early and decays, unique
language surges late, synergy stays below 2 %, trajectories of two models correlate above .96; the knockout raises
unique vision, synergy and the total]

Each statement is a margin, a number that is above 0 if the statement holds. Its interval comes from paired draws, in
which errors that all layers share cancel. The statement holds if the interval is above 0, and does not if the interval
is below 0; otherwise it is not decidable.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.pid_llava.stages.decomposing import Decomposition
from pid.estimators import Estimate
from pid.measures import PID

EARLY, LATE = 10 / 32, 20 / 32  # depths at which the early layers end and the late layers begin
MAX_SYNERGY, MIN_CORRELATION = 0.02, 0.96
NO_INFORMATION = 1e-9  # bits
Verdict = Literal["holds", "does not", "not decidable"]
Values = Float[np.ndarray, "*b l"]
RAISED = {"unique_x": "U_V", "synergy": "S", "mi_joint": "the total"}


class Statement(NamedTuple):
    """A statement about one task, judged by one configuration for one model or two."""

    claim: str
    config: str
    model: str
    task: str
    verdict: Verdict
    numbers: str


def verdict(low: float, high: float) -> Verdict:
    """Judge a statement by the interval of its margin."""
    if low > 0:
        return "holds"
    return "does not" if high < 0 else "not decidable"


def basic_interval(value: float, draws: np.ndarray, level: float) -> tuple[float, float]:
    """Return the basic bootstrap interval of a number, with draws centered on their mean; NaN if one is not finite.

    The interval always contains the number itself, even if nearly all draws are equal and outliers move the mean beyond
    them.
    """
    if not (np.isfinite(value) and np.isfinite(draws).all()):
        return np.nan, np.nan
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    above, below = max(high - draws.mean(), 0), min(low - draws.mean(), 0)
    return float(value - above), float(value - below)


def judge_trajectory(decomposition: Decomposition) -> list[Statement]:
    """Judge whether unique vision decays, unique language surges, and synergy is small."""
    claims = {
        "U_V peaks early, then decays": (_decays, _describe_vision),
        "U_L surges late": (_surges, _describe_language),
        f"S stays below {100 * MAX_SYNERGY:.0f} %": (_small, _describe_synergy),
    }
    statements = []
    for claim, (margin, describe) in claims.items():
        low, high = _interval(decomposition, margin)
        numbers = f"{describe(decomposition.estimate.pid)}; margin [{low:.3f}, {high:.3f}]"
        statements.append(_statement(claim, decomposition, low, high, numbers))
    return statements


def _statement(claim: str, decomposition: Decomposition, low: float, high: float, numbers: str) -> Statement:
    config, model, task = decomposition.config, decomposition.model, decomposition.task
    return Statement(claim, config, model, task, verdict(low, high), numbers)


def _interval(decomposition: Decomposition, margin: Callable[[PID], np.ndarray]) -> tuple[float, float]:
    """Return the interval of a margin of the estimate, with the spread of paired draws."""
    draws, level = _draws(decomposition.paired)
    return basic_interval(float(margin(decomposition.estimate.pid)), margin(draws), level)


def _draws(estimate: Estimate) -> tuple[PID, float]:
    if estimate.draws is None or estimate.resampling is None:
        raise ValueError("statements need draws, got an estimate without; pass ci=Bootstrap(kind='paired').")
    return estimate.draws, estimate.resampling.level


def _decays(pid: PID) -> np.ndarray:
    """Return the smaller of two margins: early maximum - later maximum, and half the peak - last layer."""
    vision = np.asarray(pid.unique_x)
    first = 1 + int(EARLY * (vision.shape[-1] - 1))
    early, later = vision[..., :first].max(axis=-1), vision[..., first:].max(axis=-1)
    return np.minimum(early - later, vision.max(axis=-1) / 2 - vision[..., -1])


def _surges(pid: PID) -> np.ndarray:
    """Return the rise of unique language in the late layers, minus half of its peak."""
    language = np.asarray(pid.unique_y)
    late = round(LATE * (language.shape[-1] - 1))
    return language[..., -1] - language[..., late] - language.max(axis=-1) / 2


def _small(pid: PID) -> np.ndarray:
    """Return 2 % minus the greatest share of synergy, over all layers with information."""
    return MAX_SYNERGY - _synergy(pid).max(axis=-1)


def _synergy(pid: PID) -> np.ndarray:
    total, synergy = np.asarray(pid.mi_joint), np.asarray(pid.synergy)
    is_informative = total > NO_INFORMATION
    return np.where(is_informative, synergy / np.where(is_informative, total, 1), 0)


def _describe_vision(pid: PID) -> str:
    vision = np.asarray(pid.unique_x)
    peak = int(np.argmax(vision))
    return f"{vision[peak]:.2f} bits at point {peak} of {len(vision) - 1}, {vision[-1]:.2f} in the last"


def _describe_language(pid: PID) -> str:
    language = np.asarray(pid.unique_y)
    late = round(LATE * (len(language) - 1))
    return f"{language[late]:.2f} bits at point {late}, {language[-1]:.2f} in the last, at most {language.max():.2f}"


def _describe_synergy(pid: PID) -> str:
    share = 100 * _synergy(pid)
    return f"{share.min():.1f} to {share.max():.1f} %"


def judge_pairs(decompositions: Sequence[Decomposition]) -> list[Statement]:
    """Judge whether trajectories of unique vision and unique language of every two models correlate above .96."""
    claim = f"trajectories of two models correlate above {MIN_CORRELATION}"
    statements = []
    for first, second in combinations(decompositions, 2):
        if (first.task, first.config) != (second.task, second.config) or len(first.layers) != len(
            second.layers
        ):
            continue
        (first_draws, level), (second_draws, _) = _draws(first.paired), _draws(second.paired)
        count = min(len(np.asarray(first_draws.union)), len(np.asarray(second_draws.union)))

        def lowest_correlation(a: PID, b: PID, count: int | None = None) -> np.ndarray:
            pairs = [(getattr(a, name), getattr(b, name)) for name in ("unique_x", "unique_y")]
            return np.min([correlation(p[:count], q[:count]) for p, q in pairs], axis=0)

        value = float(lowest_correlation(first.estimate.pid, second.estimate.pid))
        draws = lowest_correlation(first_draws, second_draws, count)
        low, high = basic_interval(value - MIN_CORRELATION, draws - MIN_CORRELATION, level)
        margin = (
            f"[{low:.3f}, {high:.3f}]" if np.isfinite(low) else "undefined, as one does not vary in a draw"
        )
        numbers = f"r = {value:.3f}, the lower of U_V and U_L; margin {margin}"
        names = f"{first.model}, {second.model}"
        statements.append(Statement(claim, first.config, names, first.task, verdict(low, high), numbers))
    return statements


def correlation(a: Values, b: Values) -> np.ndarray:
    """Return Pearson's r over the layers (last axis), NaN if a or b is constant."""
    a, b = (np.asarray(values) - np.mean(values, axis=-1, keepdims=True) for values in (a, b))
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    varies = scale > NO_INFORMATION**2
    return np.where(varies, (a * b).sum(axis=-1) / np.where(varies, scale, 1), np.nan)


def judge_knockout(decomposition: Decomposition) -> list[Statement]:
    """Judge whether the knockout raises unique vision, synergy and the total, averaged over the blocks."""
    base, knockout = decomposition.paired, decomposition.knockout
    if knockout is None:
        return []
    (base_draws, level), (draws, _) = _draws(base), _draws(knockout)
    after_a_block, statements = decomposition.layers > 0, []
    for field, name in RAISED.items():
        change = (np.asarray(getattr(knockout.pid, field)) - getattr(base.pid, field))[after_a_block]
        change_draws = (np.asarray(getattr(draws, field)) - getattr(base_draws, field))[:, after_a_block]
        value = float(change.mean())
        low, high = basic_interval(value, change_draws.mean(axis=-1), level)
        last = basic_interval(float(change[-1]), change_draws[:, -1], level)
        numbers = f"mean over layers {value:+.3f} [{low:+.3f}, {high:+.3f}], "
        numbers += f"last {change[-1]:+.3f} [{last[0]:+.3f}, {last[1]:+.3f}]"
        claim = f"the knockout raises {name}"
        statements.append(_statement(claim, decomposition, low, high, numbers))
    return statements


def judge_all(decompositions: Sequence[Decomposition]) -> list[Statement]:
    """Judge all statements, and sort them by claim."""
    statements = [
        statement for d in decompositions for statement in (*judge_trajectory(d), *judge_knockout(d))
    ]
    statements += judge_pairs(decompositions)
    order = list(dict.fromkeys(statement.claim for statement in statements))
    return sorted(statements, key=lambda statement: (order.index(statement.claim), statement.config))

"""The claims of the paper about layers and knockout, judged by the truth and by the estimate.

    L layers
[Wu, Zhang & Zhou, "How Vision Becomes Language", arXiv 2602.15580: unique vision peaks early and decays, unique
language surges late to about 82 %, synergy stays below 2 %; the knockout raises unique vision, synergy and the total]
"""

from typing import NamedTuple

import numpy as np

from pid.estimators import Comparison
from pid.measures import PID, Interval

EARLY, LATE = 10 / 32, 20 / 32  # depths at which the early layers end and the late layers begin


class Statement(NamedTuple):
    """A claim, and its verdicts by the truth and by the estimate."""

    claim: str
    truth: str
    estimate: str


def judge_layers(truth: PID, estimate: PID, names: tuple[str, str]) -> list[Statement]:
    """Report peaks and shares of the last layer, and judge the three claims about the trajectory."""
    x, y = names
    pids = (truth, estimate)
    return [
        Statement(f"peak layers of unique {x}, unique {y}, R, S, total", *map(_peaks, pids)),
        Statement(f"last layer, shares of unique {x}, unique {y}, R, S", *map(_last, pids)),
        Statement(f"unique {x} peaks early and decays", *(_decays(np.asarray(pid.unique_x)) for pid in pids)),
        Statement(f"unique {y} surges late", *(_surges(np.asarray(pid.unique_y)) for pid in pids)),
        Statement("synergy stays below 2 %", *map(_small, pids)),
    ]


def judge_knockout(truth: PID, change: Comparison, names: tuple[str, str]) -> list[Statement]:
    """Judge the three claims about knockout - base in all layers but the first, where the knockout has no effect."""
    quantities = {"unique_x": f"unique {names[0]}", "synergy": "synergy", "mi_joint": "the total"}
    return [
        Statement(
            f"the knockout raises {name}",
            _raised(getattr(truth, field)),
            _raised(getattr(change.difference, field), change.ci, field),
        )
        for field, name in quantities.items()
    ]


def _peaks(pid: PID) -> str:
    peaks = (
        int(np.argmax(np.asarray(values)))
        for values in (pid.unique_x, pid.unique_y, pid.redundancy, pid.synergy, pid.mi_joint)
    )
    return ", ".join(map(str, peaks))


def _last(pid: PID) -> str:
    shares = pid.shares()
    atoms = (shares.unique_x, shares.unique_y, shares.redundancy, shares.synergy)
    return ", ".join(f"{100 * float(atom[-1]):.1f} %" for atom in atoms)


def _decays(unique: np.ndarray) -> str:
    peak = int(np.argmax(unique))
    holds = peak <= EARLY * (len(unique) - 1) and unique[-1] < unique[peak] / 2
    return f"{_word(holds)}: {unique[peak]:.2f} bits at layer {peak}, {abs(unique[-1]):.2f} in the last"


def _surges(unique: np.ndarray) -> str:
    late = round(LATE * (len(unique) - 1))
    rise = unique[-1] - unique.min()
    share = (unique[-1] - unique[late]) / rise if rise > 0 else 0.0
    return f"{_word(share > 0.5)}: {100 * share:.0f} % of its rise after layer {late}"


def _small(pid: PID) -> str:
    share = 100 * np.asarray(pid.shares().synergy)
    return f"{_word(share.max() < 2)}: {share.min():.1f} to {share.max():.1f} %"


def _raised(difference: np.ndarray, ci: Interval | None = None, field: str = "") -> str:
    """Judge whether all layers but the first are higher: by their intervals if there are some, else by their signs."""
    changes = np.asarray(difference)[1:]
    higher, count = int(np.sum(changes > 0)), len(changes)
    text = f"higher in {higher} of {count} layers, last {changes[-1]:+.2f}"
    if ci is None:
        return f"{'holds' if higher == count else 'in part' if higher else 'fails'}: {text}"
    low, high = (np.asarray(getattr(end, field))[1:] for end in (ci.low, ci.high))
    above, below = int(np.sum(low > 0)), int(np.sum(high < 0))
    word = "holds" if above == count else "in part" if above else "fails" if below else "not decidable"
    return f"{word}: {text} [{low[-1]:+.2f}, {high[-1]:+.2f}]; interval above 0 in {above}, below in {below}"


def _word(holds: bool | np.bool_) -> str:  # noqa: FBT001  the only argument
    return "holds" if holds else "fails"

"""What to keep in mind about the answers of a task.

Y the answer, p the share of each one, H its entropy in bits
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from pid.gqa.question import Question
from pid.gqa.task_filters import task_of

SKEWED = 0.75  # of the answers are one and the same


def entropy(answers: Iterable[str]) -> float:
    """H(Y) = -Σ p log2 p in bits, p the share of each answer. Nothing tells more bits about the answer than this."""
    counts = Counter(answers)
    total = counts.total()
    return math.fsum(count / total * math.log2(total / count) for count in counts.values())


def doubts(rows: Sequence[Question]) -> tuple[str, ...]:
    """For each task among the rows: how many bits its answers have, whether one prevails, whether the type tells it."""
    found: dict[str, list[Question]] = {}
    for row in rows:
        found.setdefault(task_of(row) or "no task", []).append(row)
    return tuple(
        sentence
        for name, members in sorted(found.items())
        for sentence in (_bits(name, members), *_skew(name, members), *_shortcut(name, members))
    )


def _bits(name: str, rows: Sequence[Question]) -> str:
    answers = [row.answer for row in rows]
    return (
        f"{name}: {len(set(answers))} different answers in {len(rows)} rows, H(Y) = {entropy(answers):.2f} bits; no "
        "information about the answer can exceed that."
    )


def _skew(name: str, rows: Sequence[Question]) -> list[str]:
    ((answer, count),) = Counter(row.answer for row in rows).most_common(1)
    share = count / len(rows)
    if share < SKEWED:
        return []
    return [
        f"{name}: {share:.0%} of the answers are {answer!r}; a model that always says so is as often right."
    ]


def _shortcut(name: str, rows: Sequence[Question]) -> list[str]:
    answers: dict[str, set[str]] = {}
    for row in rows:
        answers.setdefault(row.detailed, set()).add(row.answer)
    told = {detailed: found.pop() for detailed, found in sorted(answers.items()) if len(found) == 1}
    if len(told) < len(answers) or len(set(told.values())) < 2:
        return []
    rules = ", ".join(f"{detailed} is always {answer!r}" for detailed, answer in told.items())
    return [
        f"{name}: the detailed type determines the answer ({rules}); the wording may give it away without the image."
    ]

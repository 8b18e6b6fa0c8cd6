"""Entropy of the answers of a task, and warnings if they are predictable without the image.

Y the answer, p the share of each answer, H the entropy in bits
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from pid.gqa.question import Question
from pid.gqa.task_filters import task_of

SKEWED = 0.75
"""A task is skewed if at least this share of its answers is one answer."""


def entropy(answers: Iterable[str]) -> float:
    """Compute H(Y) = -Σ p log2 p in bits, p the share of each answer.

    No source has more information about the answer than this.

    Args:
        answers: answers of any number of questions.

    Returns:
        Entropy in bits, at least 0.

    Example:
        >>> from pid import gqa
        >>> gqa.entropy(["left", "right", "left", "right"])
        1.0
    """
    counts = Counter(answers)
    total = counts.total()
    return math.fsum(count / total * math.log2(total / count) for count in counts.values())


def answer_diagnostics(rows: Sequence[Question]) -> tuple[str, ...]:
    """Describe the answers of each task, and warn if they are predictable without the image.

    Args:
        rows: questions of any tasks.

    Returns:
        Sentences for each task: the entropy of its answers, whether one answer prevails, whether the detailed type
        determines the answer.

    Example:
        >>> from pid import gqa
        >>> gqa.answer_diagnostics([])
        ()
    """
    tasks: dict[str, list[Question]] = {}
    for row in rows:
        tasks.setdefault(task_of(row) or "no task", []).append(row)
    return tuple(
        sentence
        for name, members in sorted(tasks.items())
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
        f"{name}: {share:.0%} of the answers are {answer!r}; a model that always gives this answer is right as often."
    ]


def _shortcut(name: str, rows: Sequence[Question]) -> list[str]:
    answers: dict[str, set[str]] = {}
    for row in rows:
        answers.setdefault(row.detailed, set()).add(row.answer)
    determined = {
        detailed: members.pop() for detailed, members in sorted(answers.items()) if len(members) == 1
    }
    if len(determined) < len(answers) or len(set(determined.values())) < 2:
        return []
    rules = ", ".join(f"{detailed} is always {answer!r}" for detailed, answer in determined.items())
    return [
        f"{name}: the detailed type determines the answer ({rules}); the wording may give it away without the image."
    ]

"""Six tasks of Zhang et al. [CVPR 2025, arXiv 2411.18620] as filters of GQA's types, and seeded samples of them.

Contents of their published files, all from val; H(Y) is the entropy of the answers:

| task        | rows | answers | H(Y) bits |
|-------------|------|---------|-----------|
| ChooseAttr  | 1000 | 138     | 5.65      |
| ChooseCat   | 1000 | 196     | 6.54      |
| ChooseRel   | 964  | 4       | 1.18      |
| CompareAttr | 570  | 2       | 0.49      |
| LogicalObj  | 991  | 2       | 0.99      |
| QueryAttr   | 1000 | 2       | 1.00      |

Their selection code is not published. The types below are those of the published rows.
"""

import hashlib
import heapq
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, SupportsIndex

from pid.gqa.question import Question
from pid.interface.deprecation import accept_former_keyword

Correct = Mapping[str, str] | Callable[[Question], bool]


class Task(NamedTuple):
    """A filter: one structural type, one semantic type, some detailed types.

    Example:
        >>> from pid import gqa
        >>> gqa.TASKS["QueryAttr"]
        Task(structural='query', semantic='attr', detailed=('positionQuery',))
    """

    structural: str
    """Structural type of the questions."""

    semantic: str
    """Semantic type of the questions."""

    detailed: tuple[str, ...]
    """Detailed types; a question has one of them."""


TASKS = {
    "ChooseAttr": Task("choose", "attr", ("chooseAttr", "materialChoose", "typeChoose", "activityChoose")),
    "ChooseCat": Task("choose", "cat", ("objThisChoose", "categoryThatChoose", "categoryThisChoose")),
    "ChooseRel": Task("choose", "rel", ("relChooser",)),
    "CompareAttr": Task("compare", "attr", ("twoCommon",)),
    "LogicalObj": Task("logical", "obj", ("existThatOr", "existThatOrC")),
    "QueryAttr": Task("query", "attr", ("positionQuery",)),
}
_TASK_OF_TYPES = {
    (task.structural, task.semantic, detailed): name
    for name, task in TASKS.items()
    for detailed in task.detailed
}


def task_of(row: Question) -> str | None:
    """Return the name of the task that a question belongs to.

    Args:
        row: a question.

    Returns:
        A name of `TASKS`; None if the question belongs to no task.

    Example:
        >>> from pid import gqa
        >>> row = gqa.Question(*[""] * 13)
        >>> gqa.task_of(row._replace(structural="query", semantic="attr", detailed="positionQuery"))
        'QueryAttr'
    """
    return _TASK_OF_TYPES.get((row.structural, row.semantic, row.detailed))


@accept_former_keyword("said", "answer")
def is_correct(answer: str, row: Question) -> bool:
    """Return whether the answer of a model, stripped and in lower case, is right.

    Args:
        answer: the answer of a model.
        row: the question.

    Returns:
        Whether it equals the answer of the question.

    Raises:
        TypeError: the answer is no text.

    Example:
        >>> from pid import gqa
        >>> gqa.is_correct(" Left", gqa.Question(*[""] * 13)._replace(answer="left"))
        True
    """
    if not isinstance(answer, str):
        raise TypeError(
            f"the answer of a model is a text, got {type(answer).__name__} to {row.question_id}; decode it."
        )
    return answer.strip().lower() == row.answer


def select(
    rows: Iterable[Question],
    task: str,
    *,
    correct: Correct | None = None,
    limit: int | None = 1000,
    seed: int,
) -> list[Question]:
    """Draw at most `limit` questions of a task without replacement, only those that a model answered correctly.

    The number of right answers differs from model to model: report the length of the result.

    The draw is ordered by a hash of the seed and the question's id. So it does not depend on the order of the rows or
    on other rows, and a smaller limit gives the beginning of a larger draw. limit=None gives the order in which to ask
    a model until enough answers are right. Rows are streamed; at most `limit` of them are in memory.

    Args:
        rows: questions of one source and split.
        task: a name of `TASKS`.
        correct: the model's greedy answers by question id, or a function that returns whether the model was right; None
            takes every question.
        limit: maximum number of questions, at least 1; None for all.
        seed: seed of the draw.

    Returns:
        Questions in the order of the draw.

    Raises:
        TypeError: `correct` or an answer in it is of another type.
        ValueError: an unknown task, a limit that is no number from 1, a seed that is no whole number, an id
            that is drawn twice, or a question of the task without an answer in `correct`.

    Example:
        >>> from pid import gqa
        >>> row = gqa.Question(*[""] * 13)._replace(structural="query", semantic="attr", detailed="positionQuery")
        >>> rows = [row._replace(question_id=str(i)) for i in range(9)]
        >>> len(gqa.select(rows, "QueryAttr", limit=4, seed=0))
        4
    """
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(f"a task is one of {', '.join(TASKS)}, got {task!r}.")
    if limit is not None and (not isinstance(limit, SupportsIndex) or isinstance(limit, bool)):
        raise ValueError(f"a sample has a whole number of rows, got limit={limit!r}; None takes all.")
    if not isinstance(seed, SupportsIndex) or isinstance(seed, bool):
        raise ValueError(f"a seed is a whole number, got seed={seed!r}; pass one.")
    if correct is not None and not isinstance(correct, Mapping) and not callable(correct):
        raise TypeError(
            f"correct has answers by question id, or is a function, got {type(correct).__name__}; pass a dict."
        )
    if limit is not None and limit < 1:
        raise ValueError(f"a sample has at least one row, got limit={limit}; None takes all.")
    selected = _select_correct((row for row in rows if task_of(row) == task), correct)
    keyed = ((_sort_key(row, seed), row) for row in selected)
    by_key = operator.itemgetter(0)
    sample = sorted(keyed, key=by_key) if limit is None else heapq.nsmallest(limit, keyed, key=by_key)
    for (first, row), (second, _) in itertools.pairwise(sample):
        if first == second:
            raise ValueError(
                f"a question is drawn once, got {row.question_id} twice; pass the rows of one source and split."
            )
    return [row for _, row in sample]


def _select_correct(rows: Iterator[Question], correct: Correct | None) -> Iterator[Question]:
    for row in rows:
        if correct is None:
            right = True
        elif isinstance(correct, Mapping):
            if row.question_id not in correct:
                raise ValueError(
                    f"correct must hold an answer to every question of the task, got none to {row.question_id}; ask "
                    "the model, or pass only rows that it has answered."
                )
            right = is_correct(correct[row.question_id], row)
        else:
            right = correct(row)
        if right:
            yield row


def _sort_key(row: Question, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{row.question_id}".encode()).digest()

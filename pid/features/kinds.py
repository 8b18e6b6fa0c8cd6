"""Kinds of variables: detection from the data, and what a Gaussian model makes of each kind.

    continuous    values hardly repeat, or are continuous values that were rounded
    ordinal       few values with an order
    categorical   labels, whose numbers mean nothing
    count         whole numbers from 0 on
    mixed         one value holds a part of the samples, the others are continuous

n samples, d columns
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from pid.interface.flags import Flag

Kind = Literal["continuous", "ordinal", "categorical", "count", "mixed"]
KINDS: tuple[str, ...] = get_args(Kind)

FEW_VALUES = 20
"""Columns of at most this many values are ordinal, categorical or counts if samples repeat them."""
FEW_LABELS = 4
"""Whole numbers of at most this many values are labels."""
REPEATS = 5
"""Samples per value, on the mean, that make values few."""
MASS = 0.05
"""Part of the samples at one value that makes a column mixed."""
NEXT_MASS = 5.0
"""Ratio of the share of the most frequent value to the next one in a mixed column."""
LARGE_TIES = 0.25
"""Part of the samples at one value above which normal scores lose a good part of the information."""
HEADING = "kind of variable"


class ColumnSummary(NamedTuple):
    """What the values of one column tell about its kind."""

    distinct: int
    """Number of distinct values."""

    per_value: float
    """Samples per distinct value."""

    top: float
    """Share of the most frequent value."""

    next: float
    """Share of the second most frequent value."""

    whole: bool
    """Whether all values are whole numbers."""

    smallest: float
    """The smallest value."""

    tail: float
    """Share of the largest value relative to that of the most frequent one."""

    unimodal: bool
    """Whether the frequencies, in the order of the values, rise to one peak and fall after it, up to sampling."""


def summarize_column(column: np.ndarray) -> ColumnSummary:
    """Summarize the values of one column of finite numbers, (n,)."""
    values, counts = np.unique(column, return_counts=True)
    n = len(column)
    order = np.sort(counts)[::-1] if len(counts) < n else counts
    return ColumnSummary(
        distinct=len(values),
        per_value=n / len(values),
        top=float(order[0]) / n,
        next=float(order[1]) / n if len(order) > 1 else 0.0,
        whole=bool(np.all(values == np.round(values))),
        smallest=float(values[0]),
        tail=float(counts[-1]) / float(order[0]),
        unimodal=_is_unimodal(counts),
    )


def _is_unimodal(counts: np.ndarray) -> bool:
    mean = counts.mean()
    if np.sum(np.square(counts - mean)) / mean < len(counts) + 3 * np.sqrt(2 * len(counts)):
        return False  # flat, up to sampling: no peak
    steps = np.diff(counts) / np.sqrt(counts[1:] + counts[:-1])
    peak = int(np.argmax(counts))
    return bool(np.all(steps[:peak] > -2.5) and np.all(steps[peak:] < 2.5))


def detect_kinds(array: np.ndarray, hint: str | None = None) -> tuple[str, ...]:
    """Detect the kind of every column.

    Whole numbers of at most four values are labels. From five to twenty values they are counts if they begin at 0, and
    their frequencies have one peak and fall to a tail; ordinal if their frequencies have one peak; else labels, as also
    if all are equally frequent. A column of continuous values that were rounded stays continuous.

    Args:
        array: samples (n, d) of finite numbers.
        hint: kind of the dtype the samples came in, if it says more than the numbers: "category", "object", "str" and
            "bool" are labels, "ordered" is ordinal.

    Returns:
        One of "continuous", "ordinal", "categorical", "count", "mixed" for every column. A constant column counts as
        continuous.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> amounts = np.where(rng.random(500) < 0.3, 0, rng.exponential(size=500))
        >>> detect_kinds(np.column_stack([rng.normal(size=500), rng.integers(0, 3, 500), amounts]))
        ('continuous', 'categorical', 'mixed')
        >>> detect_kinds(rng.poisson(3, size=(500, 1)))
        ('count',)
    """
    array = np.asarray(array)
    if hint in ("category", "object", "str", "string", "bool") or array.dtype == bool:
        return ("categorical",) * array.shape[1]
    if hint == "ordered":
        return ("ordinal",) * array.shape[1]
    whole = np.all(array == np.round(array), axis=0)
    return tuple(
        "continuous" if distinct and not has_only_whole else _detect(summarize_column(column))
        for column, distinct, has_only_whole in zip(array.T, _are_distinct(array), whole, strict=True)
    )


def _are_distinct(array: np.ndarray) -> np.ndarray:
    """Return for every column whether no value repeats."""
    ordered = np.sort(np.ascontiguousarray(array.T), axis=1)
    return np.all(ordered[:, 1:] != ordered[:, :-1], axis=1)


def _detect(summary: ColumnSummary) -> Kind:
    if summary.distinct == 1:
        return "continuous"
    if summary.per_value < REPEATS or summary.distinct > FEW_VALUES:
        if summary.top >= MASS and summary.top >= NEXT_MASS * summary.next and not summary.whole:
            return "mixed"
        zero_based = summary.whole and summary.smallest == 0
        return "count" if zero_based and summary.per_value >= 2 else "continuous"
    if summary.distinct <= FEW_LABELS and summary.whole or summary.distinct == 2:
        return "categorical"
    if not summary.whole:
        return "ordinal"
    if not summary.unimodal:
        return "categorical"
    return "count" if summary.smallest == 0 and summary.tail < 0.2 else "ordinal"


def number_rows(array: np.ndarray) -> np.ndarray:
    """Number the different rows in the order in which they occur first, and return the number of every row, (n,).

    Example:
        >>> import numpy as np
        >>> number_rows(np.array([[5, 0], [2, 1], [5, 0], [5, 1]])).tolist()
        [0, 1, 0, 2]
    """
    few = array[:, np.unique(np.linspace(0, array.shape[1] - 1, 16).astype(int))]
    if np.any(_are_distinct(few)):
        return np.arange(len(array))
    label = _number_by_bytes(few)
    return label if label.max() + 1 == len(array) or few.shape == array.shape else _number_by_bytes(array)


def _number_by_bytes(array: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(array) + 0.0  # -0.0 becomes 0.0
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows])


def check_kinds(name: str, kinds_given: str | Sequence[str], array: np.ndarray) -> tuple[str, ...]:
    """Return the kind of every column as the user states it, and refuse what the data contradict.

    Args:
        name: name of the variable in messages.
        kinds_given: one kind for all columns, or one for each.
        array: samples (n, d) of finite numbers.

    Returns:
        One kind for every column.

    Raises:
        ValueError: an unknown kind; a number of kinds that is not that of the columns; a kind that contradicts the
            values.

    Example:
        >>> import numpy as np
        >>> check_kinds("x", "continuous", np.random.default_rng(0).normal(size=(50, 2)))
        ('continuous', 'continuous')
        >>> check_kinds("target", "continuous", np.repeat([[0], [1]], 50, axis=0))
        Traceback (most recent call last):
        ...
        ValueError: a continuous column needs more than 2 distinct values, got 2 in column 0 of target; pass
        kinds={'target': 'categorical'}.
    """
    array = np.asarray(array)
    d = array.shape[1]
    kinds = (kinds_given,) * d if isinstance(kinds_given, str) else tuple(kinds_given)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"kinds must be among {', '.join(KINDS)}, got {unknown[0]!r} for {name}.")
    if len(kinds) != d:
        raise ValueError(
            f"kinds must be one kind or one for each column, got {len(kinds)} for the {d} columns of {name}; pass a "
            f"single word if all columns are of one kind."
        )
    for j, (kind, column) in enumerate(zip(kinds, array.T, strict=True)):
        problem = _contradiction(kind, summarize_column(column))
        if problem:
            rule, value, remedy = problem
            raise ValueError(
                f"{rule}, got {value} in column {j} of {name}; pass kinds={{{name!r}: {remedy!r}}}."
            )
    return kinds


def _contradiction(kind: str, summary: ColumnSummary) -> tuple[str, str, str] | None:
    """Return rule, value and the kind that would do, if the values of a column contradict its kind."""
    if summary.distinct == 1:
        return None
    values = f"{summary.distinct} distinct values"
    if kind == "continuous" and summary.distinct == 2:
        return "a continuous column needs more than 2 distinct values", "2", "categorical"
    if kind == "count" and (not summary.whole or summary.smallest < 0):
        value = f"a smallest value of {summary.smallest:g}" if summary.smallest < 0 else "fractions"
        return "a count must be a whole number and not negative", value, "continuous"
    if kind == "categorical" and summary.per_value < 2:
        return "a categorical column needs at least 2 samples per label on the mean", values, "continuous"
    if kind == "mixed" and summary.top < 0.01:
        share = f"at most {100 * summary.top:.2g} % at one value"
        return "a mixed column needs at least 1 % of the samples at one value", share, "continuous"
    return None


def flags_of_kinds(name: str, array: np.ndarray, kinds: Sequence[str]) -> list[Flag]:
    """Return flags about columns that a Gaussian model reads as if they were continuous.

    Args:
        name: "target", "x" or "y"; a target of labels is unusable, because renumbering them changes the estimate.
        array: samples (n, d) of finite numbers.
        kinds: the kind of every column, detected or stated.

    Returns:
        At most one flag for every kind. No flag for continuous columns, rounded or not.

    Example:
        >>> import numpy as np
        >>> labels = np.random.default_rng(0).integers(0, 3, size=(500, 1))
        >>> [flag] = flags_of_kinds("target", labels, detect_kinds(labels))
        >>> flag.weight
        'unusable'
        >>> print(flag)
        target: column 0 looks categorical (3 values): a Gaussian model reads its numbers as amounts, and renumbering
        the labels changes the estimate; pass kinds={'target': 'categorical'}, or 'ordinal' if their order counts.
    """
    array = np.asarray(array)
    distinct = _are_distinct(array)
    summaries = {
        j: summarize_column(array[:, j])
        for j, kind in enumerate(kinds)
        if not (kind == "continuous" and distinct[j])
    }
    flags = []
    for kind in KINDS:
        columns = [j for j, summary in summaries.items() if kinds[j] == kind and summary.distinct > 1]
        if kind == "continuous":
            columns = [j for j in columns if _is_few(summaries[j])]
        if columns:
            flags += _flag(name, kind, columns, [summaries[j] for j in columns], array.shape[1])
    return flags


def _is_few(summary: ColumnSummary) -> bool:
    return summary.distinct <= FEW_VALUES and summary.per_value >= REPEATS


def _flag(name: str, kind: str, columns: list[int], summaries: list[ColumnSummary], width: int) -> list[Flag]:
    top = max(summary.top for summary in summaries)
    most = max(summary.distinct for summary in summaries)
    which = f"column {columns[0]} looks" if len(columns) == 1 else f"{len(columns)} of {width} columns look"
    ties = f"{100 * top:.0f} % of the samples share one value"
    if kind == "categorical" and name == "target":
        text = (
            f"{which} categorical ({most} values): a Gaussian model reads its numbers as amounts, and renumbering the "
            f"labels changes the estimate; pass kinds={{'target': 'categorical'}}, or 'ordinal' if their order counts."
        )
        return [Flag(f"{name}: {text}", "unusable", HEADING)]
    if kind == "categorical" and most > 2:
        text = (
            f"{which} categorical ({most} values): renumbering the labels changes the estimate; pass one column of 0 "
            f"and 1 for each label, or use pid.discrete."
        )
        return [Flag(f"{name}: {text}", "doubt", HEADING)]
    if kind == "mixed":
        text = (
            f"{which} mixed ({ties}): a Gaussian model sees one continuous law, and misses what the share of "
            f"that value tells; use pid.discrete on binned values."
        )
        return [Flag(f"{name}: {text}", "doubt" if top >= LARGE_TIES else "note", HEADING)]
    if not any(_is_few(summary) for summary in summaries):
        return []
    named = {"categorical": "binary", "continuous": "ordinal"}.get(kind, kind)
    text = (
        f"{which} {named} (at most {most} values, {ties}): normal scores with ties underestimate the information; "
        f"use pid.discrete if these columns matter."
    )
    return [Flag(f"{name}: {text}", "doubt" if top >= LARGE_TIES else "note", HEADING)]

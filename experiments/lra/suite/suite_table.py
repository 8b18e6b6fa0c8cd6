"""The table of a suite: variants by tasks, then published accuracies, which were not measured here."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.lra.benchmark_tasks import BENCHMARK, TASKS
from experiments.lra.comparison.matched_controls import Match, tabulate_tasks
from experiments.lra.comparison.report import Line
from experiments.lra.config import BASELINE
from experiments.lra.published import MODELS
from experiments.run.report import Table


class TaskResult(NamedTuple):
    """What a task contributes to the table."""

    task: str
    title: str
    """Name of its data set."""
    is_benchmark: bool
    """Whether the data are those of the benchmark, in full."""
    lines: Sequence[Line]
    """A line for each variant, the baseline first."""
    floors: Mapping[str, float]
    """Accuracies of predictors without a model."""
    matches: Sequence[Match] = ()
    """The diffusion layer against every control in its place."""


def matches_by_title(results: Sequence[TaskResult]) -> dict[str, Sequence[Match]]:
    """Return a map from the title of a task to its differences between the diffusion layer and controls."""
    return {result.title: result.matches for result in results if result.matches}


def tabulate_suite(results: Sequence[TaskResult], title: str) -> list[Table]:
    """Return the tables of test accuracies, of differences from the baseline, and of those from the controls.

    The mean over the six tasks of the benchmark stands only where all of them have been trained on its own data.
    Published accuracies stand in a table of their own, and only then.
    """
    variants = list(dict.fromkeys(line.variant for result in results for line in result.lines))
    by_task = [{line.variant: line for line in result.lines} for result in results]
    benchmark = [lines for result, lines in zip(results, by_task, strict=True) if result.is_benchmark]
    is_whole = {result.task for result in results if result.is_benchmark} == set(BENCHMARK)
    mean = ("mean of six",) if is_whole else ()
    columns = ("variant", *(result.title for result in results), *mean)
    rows = [
        (
            variant,
            *(_accuracy(lines.get(variant)) for lines in by_task),
            *(_mean(benchmark, variant) for _ in mean),
        )
        for variant in variants
    ]
    if any(result.floors for result in results):
        rows += [(), (*_floor_cells(results), *("" for _ in mean))]
    tables = [Table(title, columns, rows)]
    if len(variants) > 1:
        differences = [
            (variant, *(_difference(lines.get(variant)) for lines in by_task))
            for variant in variants
            if variant != BASELINE
        ]
        names = ("variant", *(result.title for result in results))
        tables.append(
            Table("Difference from the baseline in points, and p of the sign test", names, differences)
        )
    if (table := tabulate_tasks(matches_by_title(results))) is not None:
        tables.append(table)
    return [*tables, published_table()] if is_whole else tables


def published_table() -> Table:
    """Return the accuracies that papers report."""
    names = ("published", *(TASKS[task].title for task in BENCHMARK), "source")
    rows = [
        (model.name, *("-" if value is None else f"{value:.2f}" for value in model.accuracies), model.source)
        for model in MODELS
    ]
    return Table("Published accuracies in %, not measured here", names, rows)


def _accuracy(line: Line | None) -> str:
    if line is None:
        return ""
    sd = "" if math.isnan(line.sd) else f" ± {100 * line.sd:.1f}"
    return f"{100 * line.test:.1f}{sd} ({100 * line.se:.1f})"


def _mean(by_task: Sequence[Mapping[str, Line]], variant: str) -> str:
    values = [lines[variant].test for lines in by_task if variant in lines]
    return f"{100 * sum(values) / len(values):.1f}" if len(values) == len(by_task) else ""


def _difference(line: Line | None) -> str:
    if line is None or math.isnan(line.gain):
        return ""
    p = "" if math.isnan(line.p_value) else f", p = {line.p_value:.2g}"
    return line.last_difference.format(100) + p


def _floor_cells(results: Sequence[TaskResult]) -> tuple[str, ...]:
    best = (max(result.floors.values(), default=math.nan) for result in results)
    return ("best predictor without a model", *("" if math.isnan(v) else f"{100 * v:.1f}" for v in best))

"""The tables of results: for every task the official and the corrected models, each group beside its baseline.

Every accuracy stands beside those of the majority class and of a bag of words on the same rows.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.console import Console

from experiments import run
from experiments.lra.comparison.report import Line, lines, tabulate, verdict
from experiments.lra.config import BASELINE
from experiments.lra.learned.example_hits import Hits
from experiments.run.report import Layout, Table, show
from experiments.run.report.paired import LEVEL
from experiments.text.published_results import ACCURACIES, NOTE
from experiments.text.variants import BASELINES, Group


class GroupResult(NamedTuple):
    """The results of one group of variants on one task."""

    task: str
    title: str
    group: Group
    lines: list[Line]
    """A line for each variant, the baseline of the group first."""
    test_examples: int


def group_result(
    task: str,
    title: str,
    group: Group,
    results: Sequence[run.Result],
    hits: Mapping[tuple[str, int], Hits],
    test_examples: int,
) -> GroupResult:
    """Return the lines of a group, with differences from its own baseline.

    Args:
        task: name of the task.
        title: name of its texts.
        group: the group.
        results: results of its variants under their names.
        hits: (variant, seed) -> which test texts are right.
        test_examples: number of test texts.
    """
    own = BASELINES[group]

    def rename(name: str) -> str:
        return BASELINE if name == own else name

    renamed = [result._replace(variant=rename(result.variant)) for result in results]
    names = {
        result.variant for result in results
    }  # the baseline of another group has its name after renaming
    columns = {(rename(name), seed): value for (name, seed), value in hits.items() if name in names}
    rows = lines(renamed, test_examples, columns)
    rows = [line._replace(variant=own) if line.variant == BASELINE else line for line in rows]
    return GroupResult(task, title, group, rows, test_examples)


def tables_of(groups: Sequence[GroupResult], floors: Mapping[str, Mapping[str, float]]) -> list[Table]:
    """Return the tables of accuracies and of costs of every group, and that of published accuracies."""
    tables: list[Table] = []
    for result in groups:
        title = f"{result.title}, {result.group} models: accuracy in % on {result.test_examples:,} test texts"
        accuracies, costs = tabulate(result.lines, floors[result.task], title)
        tables += [accuracies, costs._replace(title=f"{result.title}, {result.group} models: cost")]
    published = published_table(dict.fromkeys(result.task for result in groups), floors)
    return tables if published is None else [*tables, published]


def published_table(tasks: Mapping[str, object], floors: Mapping[str, Mapping[str, float]]) -> Table | None:
    """Return the table of published accuracies, with the bag of words of this run beside them; None without any."""
    rows = []
    for task in tasks:
        if task in ACCURACIES:
            values = ACCURACIES[task]
            measured = f"{100 * floors[task]['bag of words']:.1f}"
            rows.append((task, f"{values.standard:g}", f"{values.pde:g}", measured))
    columns = ("task", "standard, published", "PDE, published", "bag of words, here")
    return Table("Published accuracies in %, not measured here", columns, rows) if rows else None


def show_groups(
    groups: Sequence[GroupResult],
    floors: Mapping[str, Mapping[str, float]],
    seeds: Sequence[int],
    console: Console,
) -> None:
    """Print the tables, what their numbers mean, and a verdict on every variant."""
    show(tables_of(groups, floors), console, Layout(justify="right"))
    covered = "seeds and test texts" if len(seeds) > 1 else "test texts, for this seed"
    console.print()
    console.print(
        "last: after the last step; best: weights selected on validation; ±: sd over seeds; s.e.: sqrt(p (1 - p) / n) "
        f"of one test set; [ ]: {100 * LEVEL:.0f} % interval of the paired difference from the baseline of the group, "
        f"which covers the choice of {covered}, one variant at a time; [-]: not known; p: two-sided exact sign test "
        f"over test texts; bag of words: logistic regression on word counts of the same rows",
        style="dim",
    )
    if any(result.task in ACCURACIES for result in groups):
        console.print(NOTE, style="dim")
    for result in groups:
        for line in result.lines[1:]:
            judgment = verdict(line.last_difference, line.best_difference)
            floor = floor_verdict(line, floors[result.task])
            console.print(f"{result.task}, {line.variant}: {judgment}; {floor}")


def floor_verdict(line: Line, floors: Mapping[str, float]) -> str:
    """Say on which side of the bag of words an accuracy lies."""
    gap = 100 * (line.best - floors["bag of words"])
    return f"{abs(gap):.1f} points {'above' if gap > 0 else 'below'} a bag of words"

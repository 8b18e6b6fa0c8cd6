"""The table of results: one line per variant, followed by the predictors without a model."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console

from experiments import run
from experiments.lra.config import BASELINE, Config
from experiments.run.report import Layout, rich_table

BASELINE_LABELS = {
    "majority": "majority class",
    "root_operator": "root operator only",
    "depth_one": "depth-1 features",
}
"""Map from a predictor without a model (`listops.baseline_accuracies`) to its label in the table."""


class Line(NamedTuple):
    """One variant over its seeds; accuracies and errors are fractions of 1, the token rate is a median."""

    variant: str
    seeds: int
    test: float
    """Mean test accuracy after the last step."""
    sd: float
    """Standard deviation of `test` over seeds; NaN for one seed."""
    se: float
    """Binomial standard error of `test` on one test set, sqrt(p (1 - p) / n)."""
    best: float
    """Mean test accuracy of the weights that were best on validation."""
    validation: float
    """Mean validation accuracy after the last step."""
    gain: float
    """Mean difference between `test` and the baseline of the same seed; NaN for the baseline."""
    gain_sd: float
    """Standard deviation of `gain` over seeds; NaN for one seed."""
    steps: int
    parameters: int
    tokens_per_second: float
    compile_seconds: float


def lines(results: Sequence[run.Result], test_examples: int) -> list[Line]:
    """Return one line per variant, in the order of the results."""
    baseline = {result.seed: result.test_accuracy for result in results if result.variant == BASELINE}
    variants = dict.fromkeys(result.variant for result in results)
    return [
        _line([r for r in results if r.variant == variant], baseline, test_examples) for variant in variants
    ]


def _line(results: Sequence[run.Result], baseline: dict[int, float], test_examples: int) -> Line:
    test = statistics.fmean(r.test_accuracy for r in results)
    gains = [r.test_accuracy - baseline[r.seed] for r in results if r.variant != BASELINE]
    return Line(
        results[0].variant,
        len(results),
        test,
        _sd([r.test_accuracy for r in results]),
        math.sqrt(test * (1 - test) / test_examples),
        statistics.fmean(r.best_test_accuracy for r in results),
        statistics.fmean(r.val_accuracy for r in results),
        statistics.fmean(gains) if gains else math.nan,
        _sd(gains),
        results[0].steps,
        results[0].parameters,
        statistics.median(r.tokens_per_second for r in results),
        max(r.compile_seconds for r in results),  # later seeds reuse the programs of the first one
    )


def _sd(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


def show(
    results: Sequence[run.Result],
    baselines: dict[str, float],
    *,
    config: Config,
    test_examples: int,
    console: Console,
) -> None:
    """Print the table of accuracies, the predictors without a model, and the table of costs."""
    title = f"ListOps ({config.source}): accuracy in % on {test_examples:,} test sequences, "
    title += f"seeds {' '.join(map(str, config.seeds))}"
    columns = ("variant", "test, last", "s.e.", "test, best", "val", "vs baseline")
    table = rich_table(title, columns, Layout(justify="right"))
    cost = rich_table(
        "Cost", ("variant", "steps", "parameters", "tokens/s", "compile s"), Layout(justify="right")
    )
    for line in lines(results, test_examples):
        table.add_row(*_accuracy_cells(line))
        cost.add_row(*_cost_cells(line))
    table.add_section()
    for name, label in BASELINE_LABELS.items():
        table.add_row(label, _percent(baselines[name]), style="dim")
    console.print()
    console.print(table, cost)
    console.print(
        "last: after the last step; best: weights selected on validation; ±: sd over seeds; s.e.: sqrt(p (1 - p) / n) "
        f"of one test set; tokens/s counts all {config.model.max_len} positions of a row",
        style="dim",
    )


def _accuracy_cells(line: Line) -> tuple[str, ...]:
    gain = "" if math.isnan(line.gain) else f"{100 * line.gain:+.1f}{_plus_minus(line.gain_sd)}"
    test = f"{_percent(line.test)}{_plus_minus(line.sd)}"
    return (line.variant, test, _percent(line.se), _percent(line.best), _percent(line.validation), gain)


def _cost_cells(line: Line) -> tuple[str, ...]:
    token_rate, compile_time = f"{line.tokens_per_second:,.0f}", f"{line.compile_seconds:.1f}"
    return (line.variant, f"{line.steps:,}", f"{line.parameters:,}", token_rate, compile_time)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _plus_minus(sd: float) -> str:
    return "" if math.isnan(sd) else f" ± {100 * sd:.1f}"

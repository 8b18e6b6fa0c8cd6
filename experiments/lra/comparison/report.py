"""The tables of results: one line per variant, followed by the predictors without a model.

Every difference from the baseline stands beside its interval; `experiments.run.report.paired` defines it.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from rich.console import Console

from experiments import run
from experiments.lra.config import BASELINE, Config
from experiments.lra.learned.example_hits import Hits
from experiments.run.report import Layout, Table, show
from experiments.run.report.paired import LEVEL, Difference, compare_hits, sign_test

BASELINE_LABELS = {
    "majority": "majority class",
    "root_operator": "root operator only",
    "depth_one": "depth-1 features",
}
"""Map from a predictor without a model (`listops.baseline_accuracies`) to its label in the table."""
HitsOfTrainings = Mapping[tuple[str, int], Hits]
"""(variant, seed) -> which test examples are right."""
Pairs = Sequence[tuple[run.Result, run.Result]]
"""Trainings, each beside the one of the same seed that it is held against."""
Weights = Literal["last", "best"]
"""Weights that are tested: those of the last step, or those that are best on validation."""
NO_DIFFERENCE = Difference(math.nan)
WORDS = {1: "a gain", -1: "a loss", 0: "no difference beyond chance"}
"""Sign of a difference, see `Difference.sign` -> verdict."""


class Line(NamedTuple):
    """One variant over its seeds; accuracies and errors are fractions of 1, the token rate is a median."""

    variant: str
    seeds: int
    test: float
    """Mean test accuracy after the last step."""
    sd: float
    """Standard deviation of `test` over seeds; NaN for one seed."""
    se: float
    """Binomial standard error of `test` on one test set, sqrt(p (1 - p) / n); for shares an upper bound."""
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
    last_difference: Difference = NO_DIFFERENCE
    """`gain` with its paired interval, whose ends are NaN without hits."""
    best_difference: Difference = NO_DIFFERENCE
    """The same for the weights that were best on validation."""
    p_value: float = math.nan
    """Two-sided p of the exact sign test of `last_difference` over test examples; NaN without hits."""


def lines(
    results: Sequence[run.Result], test_examples: int, hits: HitsOfTrainings | None = None
) -> list[Line]:
    """Return one line per variant, in the order of the results."""
    by_variant = {
        variant: [r for r in results if r.variant == variant]
        for variant in dict.fromkeys(r.variant for r in results)
    }
    baseline = {result.seed: result for result in by_variant.get(BASELINE, [])}
    return [_line(rows, baseline, test_examples, hits or {}) for rows in by_variant.values()]


def _line(
    results: Sequence[run.Result],
    baseline: Mapping[int, run.Result],
    test_examples: int,
    hits: HitsOfTrainings,
) -> Line:
    test = statistics.fmean(r.test_accuracy for r in results)
    pairs = [(r, baseline[r.seed]) for r in results if r.variant != BASELINE and r.seed in baseline]
    gains = [a.test_accuracy - b.test_accuracy for a, b in pairs]
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
        paired_difference(pairs, hits, "last"),
        paired_difference(pairs, hits, "best"),
        paired_p_value(pairs, hits),
    )


def paired_difference(pairs: Pairs, hits: HitsOfTrainings, weights: Weights) -> Difference:
    """Return the mean difference between the two trainings of each pair.

    Args:
        pairs: a training and the one it is held against, with the same seed.
        hits: those of both. If some are missing, the difference has no interval.
        weights: the weights that are tested.
    """
    if not pairs:
        return NO_DIFFERENCE
    if (columns := _columns(pairs, hits, weights)) is not None:
        return compare_hits(*columns)
    name = {"last": "test_accuracy", "best": "best_test_accuracy"}[weights]
    return Difference(statistics.fmean(getattr(a, name) - getattr(b, name) for a, b in pairs))


def paired_p_value(pairs: Pairs, hits: HitsOfTrainings) -> float:
    """Return the p of the sign test of the last weights, NaN if hits are missing; see `paired_difference`."""
    columns = _columns(pairs, hits, "last") if pairs else None
    return math.nan if columns is None else sign_test(*columns)


def _columns(
    pairs: Pairs, hits: HitsOfTrainings, weights: Weights
) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Return the hits of the variant and of the baseline for each seed; None if those of a training are missing."""
    both = [[hits.get((r.variant, r.seed)) for r in pair] for pair in pairs]
    if any(h is None for pair in both for h in pair):
        return None
    variant, baseline = ([getattr(h, weights) for h in column] for column in zip(*both, strict=True))
    return variant, baseline


def _sd(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


def tabulate(lines: Sequence[Line], baselines: Mapping[str, float], title: str) -> list[Table]:
    """Return the table of accuracies with the predictors without a model, and the table of costs."""
    columns = (
        "variant",
        "test, last",
        "s.e.",
        "last vs baseline",
        "p",
        "test, best",
        "best vs baseline",
        "val",
    )
    cost = ("variant", "steps", "parameters", "tokens/s", "compile s")
    predictors = [
        (label, _percent(baselines[name]), *[""] * (len(columns) - 2))
        for name, label in ((name, BASELINE_LABELS.get(name, name)) for name in baselines)
    ]
    rows = [_accuracy_cells(line) for line in lines]
    return [
        Table(title, columns, [*rows, (), *predictors]),
        Table("Cost", cost, [_cost_cells(line) for line in lines]),
    ]


def show_results(
    lines: Sequence[Line],
    baselines: Mapping[str, float],
    *,
    config: Config,
    test_examples: int,
    console: Console,
) -> None:
    """Print the tables, what their numbers mean, and a verdict on every variant."""
    title = f"{config.data().title}: accuracy in % on {test_examples:,} test examples, "
    title += f"seeds {' '.join(map(str, config.seeds))}"
    show(tabulate(lines, baselines, title), console, Layout(justify="right"))
    covered = "seeds and test examples" if len(config.seeds) > 1 else "test examples, for this seed"
    console.print()
    console.print(
        "last: after the last step; best: weights selected on validation; ±: sd over seeds; s.e.: sqrt(p (1 - p) / n) "
        f"of one test set; [ ]: {100 * LEVEL:.0f} % interval of the paired difference, which covers the choice of "
        f"{covered}, one variant at a time; [-]: not known; p: two-sided exact sign test over test examples; "
        f"tokens/s counts all positions of a "
        f"row",
        style="dim",
    )
    for line in lines:
        if line.variant != BASELINE and not math.isnan(line.gain):
            console.print(f"{line.variant}: {verdict(line.last_difference, line.best_difference)}")


def verdict(last: Difference, best: Difference) -> str:
    """Judge a difference by its intervals, for the last weights and for those that are best on validation."""
    signs = {"last": last.sign, "best": best.sign}
    for name, difference in (("last", last), ("best", best)):
        if math.isnan(difference.low):
            return f"the difference has no interval by {name}, so nothing is claimed"
    if signs["last"] == signs["best"]:
        return f"{WORDS[signs['last']]}, by the last weights and by the best on validation"
    return f"{WORDS[signs['last']]} by the last weights, {WORDS[signs['best']]} by the best on validation"


def _accuracy_cells(line: Line) -> tuple[str, ...]:
    sd = "" if math.isnan(line.sd) else f" ± {100 * line.sd:.1f}"
    last, best = (
        "" if math.isnan(difference.value) else difference.format(100)
        for difference in (line.last_difference, line.best_difference)
    )
    test, se, best_test, val = map(_percent, (line.test, line.se, line.best, line.validation))
    p = "" if math.isnan(line.p_value) else f"{line.p_value:.2g}"
    return (line.variant, test + sd, se, last, p, best_test, best, val)


def _cost_cells(line: Line) -> tuple[str, ...]:
    token_rate, compile_time = f"{line.tokens_per_second:,.0f}", f"{line.compile_seconds:.1f}"
    return (line.variant, f"{line.steps:,}", f"{line.parameters:,}", token_rate, compile_time)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"

"""The table of results: a line for every training, after the n-gram models of the same text.

Differences from the baseline are paired by test block and seed; `experiments.run.report.paired` defines the intervals.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.console import Console

from experiments import run
from experiments.lm.cells import Cell
from experiments.lm.scores import Scores, TextSize
from experiments.run.report import Layout, Table, show
from experiments.run.report.paired import LEVEL, Difference, compare_scores

NO_DIFFERENCE = Difference(math.nan)
ScoresOfTrainings = Mapping[tuple[str, int], Scores]
"""(name of the training, seed) -> its scores."""


class Line(NamedTuple):
    """One training over its seeds, in means; differences are those from the baseline of equal length and share."""

    name: str
    seeds: int
    nats: float
    """Mean nats per token on the test text, after the last step."""
    bits: float
    """Bits per byte of the test text, after the last step."""
    bits_sd: float
    """Standard deviation of `bits` over seeds; NaN for one seed."""
    word_perplexity: float
    token_perplexity: float
    accuracy: float
    """Share of correct next tokens on the test text."""
    difference: Difference
    """Of the bits per byte; below 0 the variant is better."""
    best_difference: Difference
    """The same with the weights that are best on validation."""
    window_bits: float
    """Bits per byte in windows with a long context; NaN without --stride."""
    parameters: int
    tokens_per_second: float
    compile_seconds: float


def lines(
    cells: Sequence[Cell],
    results: Sequence[run.Result],
    scores: ScoresOfTrainings,
    sizes: Mapping[int, TextSize],
) -> list[Line]:
    """Return a line for every training.

    Args:
        cells: the trainings.
        results: results of all their seeds.
        scores: their scores.
        sizes: length -> size of the test text in blocks of this length.
    """
    by_name = {cell.name: [r for r in results if r.variant == cell.name] for cell in cells}
    return [_line(cell, by_name, scores, sizes[cell.length]) for cell in cells]


def _line(
    cell: Cell, results: Mapping[str, Sequence[run.Result]], scores: ScoresOfTrainings, size: TextSize
) -> Line:
    rows = results[cell.name]
    own = [scores[cell.name, row.seed] for row in rows]
    bits = [size.bits_per_byte(float(score.last.mean())) for score in own]
    nats = statistics.fmean(float(score.last.mean()) for score in own)
    in_windows = [float(score.windows.mean()) for score in own if len(score.windows)]
    pairs = [(scores[cell.name, row.seed], scores[cell.baseline, row.seed]) for row in rows]
    is_baseline = cell.name == cell.baseline
    return Line(
        cell.name,
        len(rows),
        nats,
        statistics.fmean(bits),
        statistics.stdev(bits) if len(bits) > 1 else math.nan,
        size.word_perplexity(nats),
        math.exp(nats),
        statistics.fmean(row.test_accuracy for row in rows),
        NO_DIFFERENCE if is_baseline else _difference([(a.last, b.last) for a, b in pairs], size),
        NO_DIFFERENCE if is_baseline else _difference([(a.best, b.best) for a, b in pairs], size),
        size.bits_per_byte(statistics.fmean(in_windows)) if in_windows else math.nan,
        rows[0].parameters,
        statistics.median(row.tokens_per_second for row in rows),
        max(row.compile_seconds for row in rows),
    )


def _difference(pairs: Sequence[tuple], size: TextSize) -> Difference:
    """Return the difference in bits per byte from nats per token by block and seed."""
    variant, baseline = zip(*pairs, strict=True)
    return Difference(*(size.bits_per_byte(nats) for nats in compare_scores(variant, baseline)))


def tabulate(lines: Sequence[Line], floors: Mapping[str, float], title: str) -> list[Table]:
    """Return the table of what the text costs, with the n-gram models behind it, and the table of costs.

    Args:
        lines: the trainings.
        floors: name of an n-gram model -> its bits per byte.
        title: title of the first table.
    """
    with_windows = any(not math.isnan(line.window_bits) for line in lines)
    columns = ("variant", "bits/byte", "vs baseline", "best vs baseline", "PPL/word", "PPL/token", "right %")
    columns += ("bits/byte, windows",) if with_windows else ()
    rows = [_cells(line, with_windows=with_windows) for line in lines]
    behind = [(name, f"{bits:.3f}", *[""] * (len(columns) - 2)) for name, bits in floors.items()]
    costs = [
        (
            line.name,
            f"{line.parameters:,}",
            f"{line.tokens_per_second:,.0f}",
            f"{line.compile_seconds:.1f}",
        )
        for line in lines
    ]
    return [
        Table(title, columns, [*rows, (), *behind] if behind else rows),
        Table("Cost", ("variant", "parameters", "tokens/s", "compile s"), costs),
    ]


def _cells(line: Line, *, with_windows: bool) -> tuple[str, ...]:
    sd = "" if math.isnan(line.bits_sd) else f" ± {line.bits_sd:.3f}"
    differences = (
        "" if math.isnan(difference.value) else difference.format(1, 4)
        for difference in (line.difference, line.best_difference)
    )
    windows = (f"{line.window_bits:.3f}",) if with_windows else ()
    perplexities = (_perplexity(line.word_perplexity), _perplexity(line.token_perplexity))
    return (
        *(line.name, f"{line.bits:.3f}{sd}", *differences, *perplexities, f"{100 * line.accuracy:.1f}"),
        *windows,
    )


def _perplexity(value: float) -> str:
    return f"{value:,.1f}" if value < 1e6 else f"{value:.2g}"


def show_results(
    lines: Sequence[Line], floors: Mapping[str, float], *, title: str, seeds: int, console: Console
) -> None:
    """Print the tables, what their numbers mean, and a verdict on every variant."""
    show(tabulate(lines, floors, title), console, Layout(justify="right"))
    covered = "seeds and test blocks" if seeds > 1 else "test blocks, for this seed"
    console.print()
    console.print(
        "after the last step; best: weights with the most correct predictions on validation; ±: sd over seeds; [ ]: "
        f"{100 * LEVEL:.0f} % interval of the paired difference, which covers the choice of {covered}, as if blocks "
        f"were independent; below 0 a variant is better; PPL/word and bits/byte divide by the words and bytes of the "
        f"same text; right: most probable next tokens that are right",
        style="dim",
    )
    for line in lines:
        if not math.isnan(line.difference.value):
            console.print(f"{line.name}: {verdict(line)}")


def verdict(line: Line) -> str:
    """Judge the difference between a variant and its baseline by its intervals."""
    words = {
        -1: "fewer bits than the baseline",
        1: "more bits than the baseline",
        0: "no difference beyond chance",
    }
    last, best = (words[d.sign] for d in (line.difference, line.best_difference))
    if math.isnan(line.difference.low):
        return "the difference has no interval, so nothing is claimed"
    if last == best:
        return f"{last}, by the last weights and by the best on validation"
    return f"{last} by the last weights, {best} by the best on validation"

"""The tables of results: one line per variant, with paired differences from the baseline and from the convolution.

Every difference stands beside its interval; `experiments.run.report.paired` defines it.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console

from experiments.lra.learned.example_hits import Hits
from experiments.placement.family_training import MemberResult
from experiments.placement.variants import BASE, Variant, matched_control
from experiments.run.report import Layout, Table, show
from experiments.run.report.paired import LEVEL, Difference, compare_hits, sign_test

NONE = Difference(math.nan)
WORDS = {1: "a gain", -1: "a loss", 0: "no difference beyond chance"}


class Line(NamedTuple):
    """One variant over its seeds; accuracies are fractions of 1."""

    variant: str
    kind: str
    place: str
    alpha: float | None
    """Smoothing of its layer: fixed for heat, else the initial one."""
    seeds: int
    test: float
    """Mean test accuracy after the last step."""
    se: float
    """Binomial standard error of `test` on one test set."""
    sd: float
    """Standard deviation over seeds; NaN for one seed."""
    best: float
    """Mean test accuracy of the weights that were best on validation."""
    difference: Difference
    """`test` minus that of the baseline, paired."""
    best_difference: Difference
    """`best` minus that of the baseline, paired."""
    p_value: float
    """Two-sided p of the exact sign test of `difference` over test examples."""
    against_convolution: Difference
    """`best` minus that of the convolution at the same place, paired; NaN without one."""
    parameters: int
    layer_parameters: int
    """Parameters of the layer, in all blocks."""
    stopped: int
    """Number of seeds whose training stopped because a number was not finite."""


def make_lines(
    variants: Sequence[Variant],
    results: Sequence[MemberResult],
    hits: Mapping[tuple[str, int], Hits],
) -> list[Line]:
    """Return one line per variant that has results, in the order of the variants."""
    by_variant = {v: [r for r in results if r.variant == v.name] for v in variants}
    present = [v for v, rows in by_variant.items() if rows]
    return [_line(v, by_variant[v], present, hits) for v in present]


def _line(
    variant: Variant,
    rows: Sequence[MemberResult],
    variants: Sequence[Variant],
    hits: Mapping[tuple[str, int], Hits],
) -> Line:
    seeds = [row.seed for row in rows]
    test = statistics.fmean(row.test_accuracy for row in rows)
    examples = len(hits[variant.name, seeds[0]].last)
    control = matched_control(variant, variants)
    is_base = variant == BASE

    def against(other: Variant | None, weights: str) -> Difference:
        columns = None if other is None else paired_hits(variant, other, seeds, hits, weights)
        return NONE if columns is None else compare_hits(*columns)

    columns = None if is_base else paired_hits(variant, BASE, seeds, hits, "last")
    return Line(
        variant.name,
        variant.kind,
        variant.place,
        variant.alpha,
        len(rows),
        test,
        math.sqrt(test * (1 - test) / examples),
        statistics.stdev([row.test_accuracy for row in rows]) if len(rows) > 1 else math.nan,
        statistics.fmean(row.best_test_accuracy for row in rows),
        NONE if is_base else against(BASE, "last"),
        NONE if is_base else against(BASE, "best"),
        math.nan if columns is None else sign_test(*columns),
        against(control, "best"),
        rows[0].parameters,
        rows[0].layer_parameters,
        sum(row.stopped > 0 for row in rows),
    )


def paired_hits(
    variant: Variant,
    other: Variant,
    seeds: Sequence[int],
    hits: Mapping[tuple[str, int], Hits],
    weights: str,
) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Return the hits of two variants for every seed that both have; None without one."""
    both = [s for s in seeds if (variant.name, s) in hits and (other.name, s) in hits]
    if not both:
        return None
    one, two = ([getattr(hits[v.name, s], weights) for s in both] for v in (variant, other))
    return one, two


def tabulate(title: str, lines: Sequence[Line], floors: Mapping[str, float]) -> list[Table]:
    """Return the table of accuracies, and the table of sizes."""
    columns = (
        "layer",
        "place",
        "smoothing",
        "test, last",
        "s.e.",
        "last vs baseline",
        "p",
        "test, best",
        "best vs baseline",
        "best vs convolution",
    )
    rows: list[tuple[str, ...]] = [_cells(line) for line in lines]
    rows += [(), *((name, "", "", _percent(value), *[""] * 6) for name, value in floors.items())]
    sizes = ("layer", "place", "parameters", "of the layer", "seeds", "stopped")
    return [
        Table(title, columns, rows),
        Table("Sizes", sizes, [_size_cells(line) for line in lines]),
    ]


def _cells(line: Line) -> tuple[str, ...]:
    sd = "" if math.isnan(line.sd) else f" ± {100 * line.sd:.1f}"
    differences = (
        "" if math.isnan(d.value) else d.format(100)
        for d in (line.difference, line.best_difference, line.against_convolution)
    )
    last, best, control = differences
    return (
        line.kind or "baseline",
        line.place,
        smoothing(line),
        _percent(line.test) + sd,
        _percent(line.se),
        last,
        "" if math.isnan(line.p_value) else f"{line.p_value:.2g}",
        _percent(line.best),
        best,
        control,
    )


def smoothing(line: Line) -> str:
    """Return α as text, marked beyond the stability bound."""
    if line.alpha is None:
        return ""
    words = "fixed" if line.kind == "heat" else "initial"
    return f"{line.alpha:g} {words}{', unstable' if line.kind == 'heat' and line.alpha > 0.5 else ''}"


def _size_cells(line: Line) -> tuple[str, ...]:
    return (
        line.kind or "baseline",
        line.place,
        f"{line.parameters:,}",
        f"{line.layer_parameters:,}",
        str(line.seeds),
        str(line.stopped or ""),
    )


def show_task(
    title: str, lines: Sequence[Line], floors: Mapping[str, float], seeds: int, console: Console
) -> None:
    """Print the tables of a task, what their numbers mean, and the verdicts."""
    show(tabulate(f"{title}: test accuracy in %", lines, floors), console, Layout(justify="right"))
    covered = "seeds and test examples" if seeds > 1 else "test examples, for this seed"
    console.print()
    console.print(
        f"last: after the last step; best: weights selected on validation; ±: sd over seeds; s.e.: sqrt(p (1 - p) / n); "
        f"[ ]: {100 * LEVEL:.0f} % interval of the paired difference, which covers the choice of {covered}, one variant "
        f"at a time; p: two-sided exact sign test over test examples. Heat with a smoothing above 1/2 is beyond the "
        f"stability bound; the learned layers cannot pass it.",
        style="dim",
    )
    for sentence in verdicts(lines):
        console.print(sentence)


def verdicts(lines: Sequence[Line]) -> list[str]:
    """Judge the paper's claims by the paired intervals of the weights that are best on validation."""
    sentences = []
    for place, claim in (("after_embedding", "helps"), ("after_attention", "hurts")):
        for line in lines:
            if line.place == place and line.kind and line.kind in ("heat", "adaptive", "multiscale"):
                words = WORDS[line.best_difference.sign]
                sentences.append(
                    f"{place} {claim}? {line.variant}: {words}, {line.best_difference.format(100)} points"
                )
    return sentences


def _percent(fraction: float) -> str:
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f}"

"""The tables of results: one line per variant, with paired differences from the baseline and from the convolution.

Every difference stands beside its interval; `experiments.run.report.paired` defines it.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console

from experiments.lra.comparison.report import NO_DIFFERENCE, WORDS
from experiments.lra.learned.example_hits import Hits
from experiments.placement.layer_kinds import BOUND, DIFFUSIONS
from experiments.placement.member_results import MemberResult
from experiments.placement.variant_families import BASE, Variant, matched_control, single_scale
from experiments.run.report import Layout, Table, show
from experiments.run.report.paired import LEVEL, Difference, compare_hits, sign_test


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
    against_single: Difference
    """For multiscale `best` minus that of a layer with edges of length 1 at the same place, paired; NaN without one."""
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
        return NO_DIFFERENCE if columns is None else compare_hits(*columns)

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
        NO_DIFFERENCE if is_base else against(BASE, "last"),
        NO_DIFFERENCE if is_base else against(BASE, "best"),
        math.nan if columns is None else sign_test(*columns),
        against(control, "best"),
        against(single_scale(variant, variants), "best"),
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
    sizes = ("layer", "place", "smoothing", "parameters", "of the layer", "seeds", "stopped")
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
        smoothing(line),
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
    level = f"{100 * LEVEL:.0f} %"
    console.print(
        f"last: after the last step; best: weights selected on validation; ±: sd over seeds; s.e.: "
        f"sqrt(p (1 - p) / n); [ ]: {level} interval of the paired difference, which covers the choice of {covered}, "
        f"one variant at a time; p: two-sided exact sign test over test examples. Heat with a smoothing above 1/2 is "
        f"beyond the stability bound, an explicit step that nothing holds back; the learned layers cannot pass it.",
        style="dim",
    )
    for sentence in verdicts(lines):
        console.print(sentence, markup=False)


def verdicts(lines: Sequence[Line]) -> list[str]:
    """Judge the claims of the paper, each by the paired interval of the weights that are best on validation."""
    sentences = []
    for place, claim in (("after_embedding", "Does it help"), ("after_attention", "Does it hurt")):
        for line in lines:
            if line.place == place and line.kind in DIFFUSIONS:
                words, difference = WORDS[line.best_difference.sign], line.best_difference.format(100)
                sentences.append(f"{claim} {place}? {line.variant}: {words}, {difference} points.")
    comparisons = (
        ("Multi-scale against the single-scale layer of equal place", "against_single"),
        ("Diffusion against the convolution of equal place", "against_convolution"),
    )
    for title, field in comparisons:
        judged = [(line, getattr(line, field)) for line in lines]
        judged = [(line, difference) for line, difference in judged if not math.isnan(difference.value)]
        if judged:
            sentences.append(f"{title}: {_count_signs(judged)}.")
    return sentences + _beyond_the_bound(lines)


def _count_signs(judged: Sequence[tuple[Line, Difference]]) -> str:
    """Return which variants gain, lose, or do neither."""
    parts = []
    for sign in (1, -1, 0):
        own = [
            f"{line.variant} ({difference.format(100)})"
            for line, difference in judged
            if difference.sign == sign
        ]
        if own and sign:
            parts.append(f"{WORDS[sign]} for {', '.join(own)}")
        elif own:
            parts.append(f"{WORDS[0]} for {len(own)} of {len(judged)} variants")
    return "; ".join(parts)


def _beyond_the_bound(lines: Sequence[Line]) -> list[str]:
    """Return a sentence on the heat layers with α > 1/2, if there are any."""
    own = [line for line in lines if line.kind == "heat" and (line.alpha or 0) > BOUND]
    if not own:
        return []
    stopped = sum(line.stopped for line in own)
    trainings = sum(line.seeds for line in own)
    return [
        f"Beyond the stability bound (heat with α > 1/2): {_count_signs([(x, x.best_difference) for x in own])}, "
        f"against the baseline; {stopped} of {trainings} trainings stopped at a number that is not finite."
    ]


def _percent(fraction: float) -> str:
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f}"


def tabulate_sites(sites: Mapping[str, Sequence[Mapping[str, float | None]]]) -> Table:
    """Return the measures of the baseline at every site, before and after training.

    Args:
        sites: {"initial" or "best": measures of every site}.
    """
    names = {
        "roughness": "roughness",
        "commutator": "commutator",
        "frozen_commutator": "frozen",
        "double_mixing": "double mixing",
        "change": "change",
        "lipschitz": "Lipschitz",
        "share_of_bound": "of its bound",
    }
    rows = []
    for weights, own in sites.items():
        for site in own:
            cells = ("" if site.get(name) is None else f"{site[name]:.3g}" for name in names)
            place = f"{site['site']}{f', block {site_block}' if (site_block := site['block']) else ''}"
            rows.append(({"best": "trained"}.get(weights, weights), place, *cells))
    return Table("Sites of the baseline", ("weights", "site", *names.values()), rows)


def show_sites(sites: Mapping[str, Sequence[Mapping[str, float | None]]], console: Console) -> None:
    """Print the measures of the baseline at every site, and what they mean."""
    show(
        [tabulate_sites({name: sites[name] for name in sorted(sites, reverse=True)})],
        console,
        Layout(justify="right"),
    )
    console.print(
        "roughness E/‖u‖²; commutator ‖M Attn(u) - Attn(Mu)‖/‖Attn(u)‖ of a heat step M with α = 1/4, and with frozen "
        "weights of the attention; double mixing: roughness after over before attention; change: ‖f(Mu) - f(u)‖/‖f(u)‖ "
        "of the last hidden states f when M stands at this site alone; Lipschitz: measured local constant of f; the "
        "bound is Lipschitz · α‖Lu‖, and the share is the largest over the rows",
        style="dim",
    )

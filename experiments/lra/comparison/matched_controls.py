"""The diffusion layer against the controls in its place, on the same test examples.

A control has the size and the place of the diffusion layer but is not a PDE. A gain over the baseline that a control
has too is no gain of diffusion.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rich.console import Console

from experiments import run
from experiments.lra.comparison.report import HitsOfTrainings, paired_difference, paired_p_value, verdict
from experiments.lra.controls import control_of
from experiments.run.report import Layout, Table, show
from experiments.run.report.paired import Difference


class Match(NamedTuple):
    """One variant with a PDE against one control; differences of accuracies are fractions of 1."""

    variant: str
    control: str
    last: Difference
    """Mean difference after the last step, with its paired interval."""
    best: Difference
    """The same for the weights that are best on validation."""
    p_value: float
    """Two-sided p of the exact sign test of `last` over test examples; NaN without hits."""

    @property
    def verdict(self) -> str:
        """Whether the interval of the difference excludes 0, in words."""
        return verdict(self.last, self.best)


def match_controls(
    results: Sequence[run.Result], variants: Mapping[str, tuple[str, ...]], hits: HitsOfTrainings
) -> list[Match]:
    """Return the difference of every variant with a PDE from every control that is a layer in its place.

    Args:
        results: the trainings.
        variants: name of a variant -> its components, see `Config.variants`.
        hits: those of the trainings.
    """
    trainings = {(result.variant, result.seed): result for result in results}
    controls = [name for name in variants if is_layer(name)]
    equations = [name for name, parts in variants.items() if parts and not any(map(control_of, parts))]

    def match(variant: str, control: str) -> Match:
        seeds = [seed for name, seed in trainings if name == variant and (control, seed) in trainings]
        pairs = [(trainings[variant, seed], trainings[control, seed]) for seed in seeds]
        last, best = (paired_difference(pairs, hits, weights) for weights in ("last", "best"))
        return Match(variant, control, last, best, paired_p_value(pairs, hits))

    return [match(variant, control) for variant in equations for control in controls]


def is_layer(component: str) -> bool:
    """Return whether a component is a control that stands in the place of the diffusion layer."""
    control = control_of(component)
    return control is not None and (control.stencil is not None or "placements" in control.model)


def tabulate_matches(matches: Iterable[Match]) -> Table:
    """Return the table of one task."""
    rows = [
        (match.variant, match.control, match.last.format(100), _p(match), match.best.format(100))
        for match in matches
    ]
    columns = ("variant", "control", "last", "p", "best")
    return Table("Diffusion minus control, in points", columns, rows)


def show_matches(matches: Sequence[Match], console: Console) -> None:
    """Print the table of one task and its verdicts, if the run has a control in the place of the diffusion layer."""
    if matches:
        show([tabulate_matches(matches)], console, Layout(justify="right"))
        for match in matches:
            console.print(f"{match.variant} against {match.control}: {match.verdict}")


def tabulate_tasks(by_task: Mapping[str, Sequence[Match]]) -> Table | None:
    """Return the table of a suite: pairs by titles of tasks; None without controls."""
    cells = {
        title: {(match.variant, match.control): f"{match.last.format(100)}{_suffix(match)}" for match in row}
        for title, row in by_task.items()
    }
    pairs = list(dict.fromkeys(pair for row in cells.values() for pair in row))
    rows = [
        (f"{variant} - {control}", *(row.get((variant, control), "") for row in cells.values()))
        for variant, control in pairs
    ]
    title = "Diffusion minus control, in points, and p of the sign test"
    return Table(title, ("pair", *cells), rows) if rows else None


def conclude_tasks(by_task: Mapping[str, Sequence[Match]]) -> list[str]:
    """Return a sentence for each pair: on which tasks diffusion is better than the control, or worse."""
    signs: dict[tuple[str, str], dict[str, int]] = {}
    for title, matches in by_task.items():
        for match in matches:
            signs.setdefault((match.variant, match.control), {})[title] = match.last.sign

    def sentence(pair: tuple[str, str], by_title: Mapping[str, int]) -> str:
        words = {1: "better", -1: "worse", 0: "no difference beyond chance"}
        parts = (
            f"{word} on {', '.join(title for title in by_title if by_title[title] == sign)}"
            for sign, word in words.items()
            if sign in by_title.values()
        )
        return f"{pair[0]} against {pair[1]}, last weights: {'; '.join(parts)}"

    return [sentence(pair, by_title) for pair, by_title in signs.items()]


def _p(match: Match) -> str:
    return "" if math.isnan(match.p_value) else f"{match.p_value:.2g}"


def _suffix(match: Match) -> str:
    return f", p = {_p(match)}" if _p(match) else ""

"""Verdicts in situations where an estimate is known to be right or to mislead.

Two errors count: an unsound estimate that is called sound, and a sound one that is called not to be used.
"""

from collections import defaultdict

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.pid_gaussian.config import Config, Trust
from experiments.pid_gaussian.figures_studies import draw_verdicts
from experiments.pid_gaussian.systems.situations import SITUATIONS, Case
from experiments.run import Part, Row
from experiments.run.report import Table
from pid import Bootstrap, Estimate, estimate
from pid.estimators.results import FIELDS
from pid.measures import PID

VERDICTS = ("sound", "doubtful", "not to be used")
ROUNDING = 1e-9
"""Bits by which the end of an interval may miss a truth of 0."""


def parts(config: Config, seed: int) -> list[Part]:
    """Return one part for each situation."""
    return [
        Part(name, lambda folder, say, name=name: measure(name, config.trust, seed), seed)
        for name in SITUATIONS
    ]


def measure(name: str, size: Trust, seed: int) -> Row:
    """Estimate all data sets of one situation, and return their verdicts and reasons."""
    situation, position = SITUATIONS[name], list(SITUATIONS).index(name)
    verdicts, reasons, inside = [], [], []
    for repeat in range(size.repeats):
        case = situation.generate(np.random.default_rng((seed, position, repeat)))
        result = estimate_case(case, seed + repeat, size.draws)
        verdicts.append(result.verdict)
        reasons.append(sorted({flag.kind for flag in result.reasons}))
        if case.truth is not None:
            inside.append(_inside(result, case.truth))
    return {
        "situation": name,
        "kind": situation.kind,
        "verdicts": verdicts,
        "reasons": reasons,
        "inside": inside,
    }


def estimate_case(case: Case, key: int, draws: int) -> Estimate:
    """Estimate one data set with the default choices and those of its situation."""
    choices = {"ci": Bootstrap(draws), "null": None} | case.choices
    return estimate(case.target, case.x, case.y, key=jax.random.key(key), **choices)


def _inside(result: Estimate, truth: PID) -> list[bool]:
    """Return for every quantity whether its interval contains the truth."""
    assert result.ci is not None
    return [
        bool(
            getattr(result.ci.low, field) - ROUNDING
            <= getattr(truth, field)
            <= getattr(result.ci.high, field) + ROUNDING
        )
        for field in FIELDS
    ]


def count_verdicts(rows: list[Row]) -> list[Row]:
    """Return the shares of verdicts, the most frequent reason and the coverage of every situation, over seeds."""
    situations = defaultdict(list)
    for row in rows:
        situations[row["situation"]].append(row)
    return [_count(name, of_situation) for name, of_situation in situations.items()]


def _count(name: str, rows: list[Row]) -> Row:
    verdicts, reasons, inside = (
        [value for row in rows for value in row[field]] for field in ("verdicts", "reasons", "inside")
    )
    kinds = [kind for of_one in reasons for kind in of_one]
    return {
        "situation": name,
        "kind": rows[0]["kind"],
        "count": len(verdicts),
        "shares": {verdict: verdicts.count(verdict) / len(verdicts) for verdict in VERDICTS},
        "reason": max(sorted(set(kinds)), key=kinds.count, default=""),
        "coverage": float(np.mean(inside)) if inside else None,
    }


def error_shares(rows: list[Row]) -> tuple[float, float]:
    """Return the shares of unsound estimates called sound, and of sound ones called not to be used."""
    counts = count_verdicts(rows)
    silent = [count["shares"]["sound"] for count in counts if count["kind"] != "sound"]
    refused = [count["shares"]["not to be used"] for count in counts if count["kind"] == "sound"]
    return (float(np.mean(silent)) if silent else 0.0, float(np.mean(refused)) if refused else 0.0)


def report(rows: list[Row]) -> list[Table]:
    """Return the two errors, and the verdicts on every situation."""
    counts = count_verdicts(rows)
    silent, refused = error_shares(rows)
    covered = [count["coverage"] for count in counts if count["coverage"] is not None]
    summary = [
        ("unsound and called sound", _percent(silent)),
        ("sound and called not to be used", _percent(refused)),
        ("true values in their 90 % intervals", _percent(float(np.mean(covered))) if covered else "-"),
    ]
    cells = [
        (
            count["situation"],
            count["kind"],
            *(_percent(count["shares"][verdict]) for verdict in VERDICTS),
            count["reason"] or "-",
            "-" if count["coverage"] is None else _percent(count["coverage"]),
        )
        for count in counts
    ]
    title = f"Verdicts on {counts[0]['count']} data sets of every situation (synthetic)"
    columns = ("situation", "kind", *VERDICTS, "most frequent reason", "truth in the interval")
    return [
        Table(title, columns, cells),
        Table("Errors of the verdict, mean over situations", ("", "share"), summary),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share in (0, 1) else f"{100 * share:.1f} %"


def draw(rows: list[Row]) -> Figure:
    """Draw the shares of the verdicts on every situation."""
    return draw_verdicts(count_verdicts(rows))

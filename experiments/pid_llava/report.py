"""Results as tables."""

from collections.abc import Sequence

import numpy as np

from experiments.pid_llava.known_effects import KnownEffect
from experiments.pid_llava.paper_claims import Statement
from experiments.pid_llava.stages.capturing import ALL, Capture, probability_changes
from experiments.pid_llava.stages.decomposing import Decomposition, aggregate_draws
from experiments.run.report import Table, interval, number, percent
from pid import compare, trajectory_correlation

SYMBOLS = {"unique_x": "U_V", "unique_y": "U_L", "redundancy": "R", "synergy": "S", "mi_joint": "total"}
AGGREGATE_TITLES = {
    "final": "the last layer",
    "mean_layers": "the mean over layers",
    "sum_layers": "the sum over layers",
}
PAPER_SAMPLES = 900  # samples of the paper's tasks


def all_tables(
    captures: Sequence[Capture],
    decompositions: Sequence[Decomposition],
    statements: Sequence[Statement],
    effects: Sequence[KnownEffect],
    how: str,
    least: int,
) -> list[Table]:
    """Return all tables that have rows."""
    tables = [task_table(captures, least)]
    for config in dict.fromkeys(one.config for one in decompositions):
        tasks = [one for one in decompositions if one.config == config]
        tables += [layer_table(tasks, how), knockout_table(tasks, how), correlation_table(tasks)]
    tables += [statement_table(statements), effect_table(effects), flag_table(decompositions)]
    return [table for table in tables if table.rows]


def task_table(captures: Sequence[Capture], least: int) -> Table:
    """Return the numbers of questions, and the effect of the knockouts on the answers."""
    rows = []
    for one in captures:
        changes = probability_changes(one)
        change = {name: float(values.mean()) for name, values in changes.items() if len(values)}
        windows = {name: value for name, value in change.items() if name != ALL}
        worst = min(windows, key=lambda name: windows[name], default=None)
        few = f"fewer than {least}: left out" if len(one.used) < least else ""
        few = few or (f"fewer than {PAPER_SAMPLES}" if len(one.used) < PAPER_SAMPLES else "")
        cells = (
            str(len(one.right)),
            percent(float(one.right.mean())),
            str(len(one.used)),
            f"{number(change[ALL], 1)} %" if change else "-",
            "-" if worst is None else f"{number(windows[worst], 1)} % ({worst})",
            few,
        )
        rows.append((one.task, one.model, *cells))
    columns = ("task", "model", "asked", "right", "used", "p, all layers cut", "p, worst window", "")
    return Table(
        "Tasks, and the change of the answer's probability by Image→Question knockouts", columns, rows
    )


def layer_table(decompositions: Sequence[Decomposition], how: str) -> Table:
    """Return the layer in which each atom is largest, and the composition of the information."""
    rows = []
    for one in decompositions:
        peaks = (str(one.layers[int(np.argmax(getattr(one.estimate.pid, field)))]) for field in SYMBOLS)
        pid = aggregate_draws(one.estimate, how).pid
        total = float(pid.mi_joint)
        shares = (
            percent(float(getattr(pid, field)) / total if total > 0 else None)
            for field in SYMBOLS
            if field != "mi_joint"
        )
        rows.append((one.task, one.model, str(one.estimate.n), *peaks, *shares, number(total, 2)))
    columns = ("task", "model", "n", *(f"peak {name}" for name in SYMBOLS.values()))
    columns += (*(name for field, name in SYMBOLS.items() if field != "mi_joint"), "total, bits")
    return Table(
        f"Peak layers, and shares in {AGGREGATE_TITLES[how]} ({decompositions[0].config})", columns, rows
    )


def knockout_table(decompositions: Sequence[Decomposition], how: str) -> Table:
    """Return knockout - baseline with paired intervals."""
    rows = []
    for one in decompositions:
        if one.knockout is None:
            continue
        change = compare(aggregate_draws(one.paired, how), aggregate_draws(one.knockout, how))
        for field, name in SYMBOLS.items():
            low, high = (float(getattr(end, field)) for end in change.ci)
            value = number(float(getattr(change.difference, field)))
            rows.append((one.task, one.model, name, value, interval(low, high)))
    columns = ("task", "model", "bits", "knockout - baseline", "interval")
    place = f"{AGGREGATE_TITLES[how]} ({decompositions[0].config})"
    return Table(f"What the knockout of all layers changes in {place}", columns, rows)


def correlation_table(decompositions: Sequence[Decomposition]) -> Table:
    """Return Pearson's r over layers between every two models."""
    rows = []
    for at, one in enumerate(decompositions):
        for two in decompositions[at + 1 :]:
            if one.task != two.task or len(one.layers) != len(two.layers) or len(one.layers) < 3:
                continue
            r = trajectory_correlation(one.estimate, two.estimate)
            values = (float(getattr(r, field)) for field in SYMBOLS)
            cells = (number(value) if np.isfinite(value) else "-" for value in values)
            rows.append((one.task, f"{one.model}, {two.model}", *cells))
    columns = ("task", "models", *SYMBOLS.values())
    return Table(f"Correlation of trajectories over layers ({decompositions[0].config})", columns, rows)


def statement_table(statements: Sequence[Statement]) -> Table:
    """Return the verdict on every statement, and its numbers."""
    rows = [(one.claim, one.config, one.task, one.model, one.verdict, one.numbers) for one in statements]
    columns = ("statement of the paper", "estimate", "task", "model", "", "")
    return Table("What the paper states, in the data at hand", columns, rows)


def effect_table(effects: Sequence[KnownEffect]) -> Table:
    """Return the effects that were known beforehand."""
    rows = [
        (
            one.corner,
            one.task,
            one.model,
            one.claim,
            number(one.value) if np.isfinite(one.value) else "-",
            interval(one.low, one.high) if np.isfinite(one.low) else "-",
            one.verdict,
        )
        for one in effects
    ]
    columns = ("corner", "task", "model", "expected", "margin", "interval", "")
    return Table("What is known beforehand of the toy world", columns, rows)


def flag_table(decompositions: Sequence[Decomposition]) -> Table:
    """Return the flags of the estimates, each once, with its places."""
    places: dict[str, list[str]] = {}
    for one in decompositions:
        for flag in one.estimate.flags:
            sentence = flag.split(": ", 1)[1]
            places.setdefault(_without_numbers(sentence), []).append(
                f"{one.task} ({one.model}, {one.config})"
            )
    rows = [(sentence, f"{len(where)} layers, first in {where[0]}") for sentence, where in places.items()]
    return Table("What to know and to doubt; # is a number that differs", ("flag", "where"), rows)


def _without_numbers(sentence: str) -> str:
    words = sentence.split(" ")
    return " ".join("#" if any(c.isdigit() for c in word) else word for word in words)

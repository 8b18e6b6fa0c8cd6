"""What came out, as tables."""

from collections.abc import Sequence

import numpy as np

from experiments.pid_llava.capturing import ALL, Captured, changes
from experiments.pid_llava.decomposing import Decomposed, gathered
from experiments.pid_llava.known_effects import Direction
from experiments.pid_llava.paper_claims import Statement
from experiments.run.report import Table, interval, number, percent
from pid import compare, trajectory_correlation

SHOWN = {"unique_x": "U_V", "unique_y": "U_L", "redundancy": "R", "synergy": "S", "mi_joint": "total"}
GATHERED = {
    "final": "the last layer",
    "mean_layers": "the mean over layers",
    "sum_layers": "the sum over layers",
}
FEW = 900  # samples of the paper's tasks


def all_tables(
    captured: Sequence[Captured],
    found: Sequence[Decomposed],
    said: Sequence[Statement],
    known: Sequence[Direction],
    how: str,
    least: int,
) -> list[Table]:
    """Those that have rows."""
    tables = [of_tasks(captured, least)]
    for config in dict.fromkeys(one.config for one in found):
        of = [one for one in found if one.config == config]
        tables += [of_layers(of, how), of_changes(of, how), of_likeness(of)]
    tables += [of_statements(said), of_directions(known), of_flags(found)]
    return [table for table in tables if table.rows]


def of_tasks(captured: Sequence[Captured], least: int) -> Table:
    """What each model was asked, what of it is decomposed, and what the knockouts do to its answers."""
    rows = []
    for one in captured:
        change = {name: float(values.mean()) for name, values in changes(one).items() if len(values)}
        windows = {name: value for name, value in change.items() if name != ALL}
        worst = min(windows, key=lambda name: windows[name], default=None)
        few = f"fewer than {least}: left out" if len(one.used) < least else ""
        few = few or (f"fewer than {FEW}" if len(one.used) < FEW else "")
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


def of_layers(found: Sequence[Decomposed], how: str) -> Table:
    """The layer in which each atom is largest, and what the information consists of."""
    rows = []
    for one in found:
        peaks = (str(one.layers[int(np.argmax(getattr(one.shown.pid, field)))]) for field in SHOWN)
        pid = gathered(one.shown, how).pid
        total = float(pid.mi_joint)
        shares = (
            percent(float(getattr(pid, field)) / total if total > 0 else None)
            for field in SHOWN
            if field != "mi_joint"
        )
        rows.append((one.task, one.model, str(one.shown.n), *peaks, *shares, number(total, 2)))
    columns = ("task", "model", "n", *(f"peak {name}" for name in SHOWN.values()))
    columns += (*(name for field, name in SHOWN.items() if field != "mi_joint"), "total, bits")
    return Table(f"Peak layers, and shares in {GATHERED[how]} ({found[0].config})", columns, rows)


def of_changes(found: Sequence[Decomposed], how: str) -> Table:
    """knockout - baseline with paired intervals."""
    rows = []
    for one in found:
        if one.knocked is None:
            continue
        change = compare(gathered(one.paired, how), gathered(one.knocked, how))
        for field, name in SHOWN.items():
            low, high = (float(getattr(end, field)) for end in change.ci)
            value = number(float(getattr(change.difference, field)))
            rows.append((one.task, one.model, name, value, interval(low, high)))
    columns = ("task", "model", "bits", "knockout - baseline", "interval")
    return Table(
        f"What the knockout of all layers changes in {GATHERED[how]} ({found[0].config})", columns, rows
    )


def of_likeness(found: Sequence[Decomposed]) -> Table:
    """Pearson's r over layers between every two models."""
    rows = []
    for at, one in enumerate(found):
        for two in found[at + 1 :]:
            if one.task != two.task or len(one.layers) != len(two.layers) or len(one.layers) < 3:
                continue
            r = trajectory_correlation(one.shown, two.shown)
            values = (float(getattr(r, field)) for field in SHOWN)
            cells = (number(value) if np.isfinite(value) else "-" for value in values)
            rows.append((one.task, f"{one.model}, {two.model}", *cells))
    columns = ("task", "models", *SHOWN.values())
    return Table(f"Correlation of trajectories over layers ({found[0].config})", columns, rows)


def of_statements(said: Sequence[Statement]) -> Table:
    """How often each statement holds, and the numbers."""
    rows = [(one.claim, one.config, one.task, one.model, one.verdict, one.numbers) for one in said]
    columns = ("statement of the paper", "estimate", "task", "model", "", "")
    return Table("What the paper states, in the data at hand", columns, rows)


def of_directions(known: Sequence[Direction]) -> Table:
    """What was known beforehand."""
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
        for one in known
    ]
    columns = ("corner", "task", "model", "expected", "margin", "interval", "")
    return Table("What is known beforehand of the toy world", columns, rows)


def of_flags(found: Sequence[Decomposed]) -> Table:
    """Sentences of the estimates, each once, with where it is said."""
    places: dict[str, list[str]] = {}
    for one in found:
        for flag in one.shown.flags:
            sentence = flag.split(": ", 1)[1]
            places.setdefault(_without_numbers(sentence), []).append(
                f"{one.task} ({one.model}, {one.config})"
            )
    rows = [(sentence, f"{len(where)} layers, first in {where[0]}") for sentence, where in places.items()]
    return Table("What to know and to doubt; # is a number that differs", ("flag", "where"), rows)


def _without_numbers(sentence: str) -> str:
    words = sentence.split(" ")
    return " ".join("#" if any(c.isdigit() for c in word) else word for word in words)

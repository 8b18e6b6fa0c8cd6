"""Tables of the results."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import get_args

import numpy as np

from experiments.pid_llava.checkpoint import ModelFolder
from experiments.pid_llava.known_effects import KnownEffect
from experiments.pid_llava.paper_claims import Statement
from experiments.pid_llava.stages.capturing import Capture, probability_changes
from experiments.pid_llava.stages.decomposing import Decomposition, aggregate_draws
from experiments.pid_llava.stages.knockout_conditions import ALL, WINDOW
from experiments.run.report import Table, interval, number, percent
from experiments.run.report.paired import LEVEL, mean_difference
from pid import compare, trajectory_correlation
from pid.estimators import Estimate
from pid.interface.flags import Verdict, Weight, by_weight

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
    aggregation: str,
    least: int,
) -> list[Table]:
    """Return all tables that have rows."""
    tables = [task_table(captures, least)]
    for config in dict.fromkeys(d.config for d in decompositions):
        tasks = [d for d in decompositions if d.config == config]
        tables += [
            layer_table(tasks, aggregation),
            knockout_table(tasks, aggregation),
            correlation_table(tasks),
        ]
    tables += [statement_table(statements), effect_table(effects), flag_table(decompositions)]
    return [table for table in tables if table.rows]


def task_table(captures: Sequence[Capture], least: int) -> Table:
    """Return the numbers of questions, and the effect of the knockouts on the answers.

    The interval of a change is Student's, over the questions, since each question is its own pair. For the worst window
    it has the level 1 - 5 % / windows, so that it also covers the choice of the window.
    """
    rows = []
    for capture in captures:
        changes = {name: values for name, values in probability_changes(capture).items() if len(values)}
        windows = {name: float(v.mean()) for name, v in changes.items() if name.startswith(WINDOW)}
        worst = min(windows, key=lambda name: windows[name], default=None)
        level = 1 - (1 - LEVEL) / max(len(windows), 1)
        note = f"fewer than {least}: left out" if len(capture.used) < least else ""
        note = note or (f"fewer than {PAPER_SAMPLES}" if len(capture.used) < PAPER_SAMPLES else "")
        cells = (
            str(len(capture.right)),
            percent(float(capture.right.mean())),
            str(len(capture.used)),
            mean_difference(changes[ALL]).format() if changes else "-",
            "-" if worst is None else f"{mean_difference(changes[worst], level).format()} ({worst})",
            note,
        )
        rows.append((capture.task, capture.model, *cells))
    columns = ("task", "model", "asked", "right", "used", "p, all layers cut", "p, worst window", "")
    title = "Tasks, and the change of the answer's probability by Image→Question knockouts, in % with the "
    title += f"{100 * LEVEL:.0f} % interval over questions (for the worst window, simultaneous over windows)"
    return Table(title, columns, rows)


def prompt_table(models: Iterable[ModelFolder]) -> Table:
    """Return the prompt style of every model, and what chose it."""
    rows = []
    for model in models:
        prompt = model.prompt
        rows.append(
            (model.name, prompt["style"], repr(prompt["text"]), repr(prompt["suffix"]), prompt["source"])
        )
    return Table("Prompt of each model", ("model", "style", "prompt", "suffix", "chosen by"), rows)


def layer_table(decompositions: Sequence[Decomposition], aggregation: str) -> Table:
    """Return the layer in which each atom is largest, and the composition of the information."""
    rows = []
    for d in decompositions:
        peaks = (str(d.layers[int(np.argmax(getattr(d.estimate.pid, field)))]) for field in SYMBOLS)
        pid = aggregate_draws(d.estimate, aggregation).pid
        total = float(pid.mi_joint)
        shares = (
            percent(float(getattr(pid, field)) / total if total > 0 else None)
            for field in SYMBOLS
            if field != "mi_joint"
        )
        rows.append(
            (d.task, d.model, str(d.estimate.n), *peaks, *shares, number(total, 2), verdicts_of(d.estimate))
        )
    columns = ("task", "model", "n", *(f"peak {name}" for name in SYMBOLS.values()))
    columns += (*(name for field, name in SYMBOLS.items() if field != "mi_joint"), "total, bits", "verdicts")
    return Table(
        f"Peak layers, and shares in {AGGREGATE_TITLES[aggregation]} ({decompositions[0].config})",
        columns,
        rows,
    )


def verdicts_of(estimate: Estimate) -> str:
    """Return how many layers have each verdict, the worst first: "2 not to be used, 5 sound"."""
    counts = Counter(record["verdict"] for record in estimate.to_records())
    return ", ".join(f"{counts[word]} {word}" for word in get_args(Verdict)[::-1] if counts[word])


def knockout_table(decompositions: Sequence[Decomposition], aggregation: str) -> Table:
    """Return knockout - baseline with paired intervals."""
    rows, level = [], LEVEL
    for d in decompositions:
        if d.knockout is None:
            continue
        level = d.paired.resampling.level if d.paired.resampling is not None else LEVEL
        change = compare(aggregate_draws(d.paired, aggregation), aggregate_draws(d.knockout, aggregation))
        for field, name in SYMBOLS.items():
            low, high = (float(getattr(end, field)) for end in change.ci)
            value = number(float(getattr(change.difference, field)))
            rows.append((d.task, d.model, name, value, interval(low, high)))
    columns = (
        "task",
        "model",
        "bits",
        "knockout - baseline",
        f"{100 * level:.0f} % interval, paired samples",
    )
    layers = f"{AGGREGATE_TITLES[aggregation]} ({decompositions[0].config})"
    return Table(f"Effect of the knockout in all layers, in {layers}", columns, rows)


def correlation_table(decompositions: Sequence[Decomposition]) -> Table:
    """Return Pearson's r over layers between every two models; the statements of the paper have its intervals."""
    rows = []
    for a, b in combinations(decompositions, 2):
        if a.task != b.task or len(a.layers) != len(b.layers) or len(a.layers) < 3:
            continue
        r = trajectory_correlation(a.estimate, b.estimate)
        values = (float(getattr(r, field)) for field in SYMBOLS)
        cells = (number(value) if np.isfinite(value) else "-" for value in values)
        rows.append((a.task, f"{a.model}, {b.model}", *cells))
    columns = ("task", "models", *SYMBOLS.values())
    return Table(
        f"Correlation of trajectories over layers ({decompositions[0].config}), without intervals",
        columns,
        rows,
    )


def statement_table(statements: Sequence[Statement]) -> Table:
    """Return the verdict on every statement, and its numbers."""
    rows = [(s.claim, s.config, s.task, s.model, s.verdict, s.numbers) for s in statements]
    columns = ("statement of the paper", "estimate", "task", "model", "", "")
    return Table("Statements of the paper, judged on these data", columns, rows)


def effect_table(effects: Sequence[KnownEffect]) -> Table:
    """Return the known effects of the toy world, and their verdicts."""
    rows = [
        (
            effect.corner,
            effect.task,
            effect.model,
            effect.claim,
            number(effect.value) if np.isfinite(effect.value) else "-",
            interval(effect.low, effect.high) if np.isfinite(effect.low) else "-",
            effect.verdict,
        )
        for effect in effects
    ]
    columns = ("corner", "task", "model", "expected", "margin", "interval", "")
    return Table("Known effects of the toy world", columns, rows)


def flag_table(decompositions: Sequence[Decomposition]) -> Table:
    """Return the flags of the estimates, each once, with the number of layers and the first task."""
    places: dict[str, dict[str, list[str]]] = {}
    for d in decompositions:
        for flag in by_weight(d.estimate.flags):
            sentence = _without_numbers(flag.split(": ", 1)[1])
            where = places.setdefault(flag.weight, {}).setdefault(sentence, [])
            where.append(f"{d.task} ({d.model}, {d.config})")
    rows = [
        (weight, sentence, f"{len(where)} layers, first in {where[0]}")
        for weight in get_args(Weight)[::-1]
        for sentence, where in places.get(weight, {}).items()
    ]
    return Table("Flags, the heaviest first; # is a number that differs", ("weight", "flag", "where"), rows)


def _without_numbers(sentence: str) -> str:
    words = sentence.split(" ")
    return " ".join("#" if any(c.isdigit() for c in word) else word for word in words)

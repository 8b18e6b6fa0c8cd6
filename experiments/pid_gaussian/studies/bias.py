"""What is left of the bias, by correction and dimension: the mean of an estimate over data sets, minus the truth.

R repeats; d dimensions of target, x and y each; information in bits
"""

from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.pid_gaussian.config import Bias, Config
from experiments.pid_gaussian.figures_studies import draw_bias
from experiments.pid_gaussian.part import Part, Row, Say
from experiments.pid_gaussian.systems import structured
from experiments.run.json_values import plain
from experiments.run.report import SHORT, Table, number
from pid import layerwise
from pid.estimators.results import FIELDS

PLUGIN = "plug-in"


def parts(config: Config, seed: int) -> list[Part]:
    """One part for each system."""
    size = config.bias
    systems = [("structured", d, structured.gains(d)) for d in size.structured]
    systems += [("independent", d, structured.nothing(d)) for d in size.null]
    return [
        Part(
            f"{name}, d = {d}",
            lambda folder, say, name=name, d=d, of=of: measure(name, d, of, size, seed, say),
        )
        for name, d, of in systems
    ]


def measure(name: str, d: int, of: structured.Gains, size: Bias, seed: int, say: Say) -> Row:
    """Estimates of every data set, by correction."""
    data = structured.sample(of, size.repeats, size.n, seed, d)
    estimates: dict[str, Any] = {}
    for method in size.methods:
        say(method)
        found = layerwise(
            *data,
            reduce=None,
            gaussianize="none",
            debias=method,
            ci=None,
            null=None,
            key=jax.random.key(seed),
        )
        estimates.setdefault(PLUGIN, {field: getattr(found.plugin, field) for field in FIELDS})
        estimates[method] = {field: getattr(found.pid, field) for field in FIELDS}
    truth = structured.truth(of)
    known = {field: getattr(truth, field) for field in FIELDS}
    return plain({"system": name, "d": d, "n": size.n, "truth": known, "estimates": estimates})


def merged(rows: list[Row]) -> list[Row]:
    """One row for each system, with the data sets of all seeds."""
    systems: dict[tuple[str, int], Row] = {}
    for row in rows:
        first = systems.setdefault((row["system"], row["d"]), {**row, "estimates": {}})
        for method, values in row["estimates"].items():
            pooled = first["estimates"].setdefault(method, {field: [] for field in FIELDS})
            first["estimates"][method] = {field: pooled[field] + values[field] for field in FIELDS}
    return list(systems.values())


def report(rows: list[Row]) -> list[Table]:
    """Mean errors ± standard errors."""
    cells = []
    for row in merged(rows):
        for method, values in row["estimates"].items():
            errors = [np.array(values[field]) - row["truth"][field] for field in FIELDS]
            told = (f"{number(e.mean())}±{e.std(ddof=1) / len(e) ** 0.5:.3f}" for e in errors)
            cells.append((f"{row['system']}, d = {row['d']}", method, *told))
    repeats = len(next(iter(rows[0]["estimates"].values()))["mi_x"])
    title = f"Bias in bits, n = {rows[0]['n']}, {repeats} data sets a seed (synthetic)"
    return [Table(title, ("system", "correction", *(SHORT[field] for field in FIELDS)), cells)]


def draw(rows: list[Row]) -> Figure:
    """Bias of every quantity against the dimension of the structured system."""
    return draw_bias(merged(rows))

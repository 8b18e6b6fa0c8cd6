"""Remaining bias by correction and dimension: the mean of an estimate over data sets, minus the truth.

R repeats; d dimensions of target, x and y each; information in bits
"""

from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.pid_gaussian.config import Bias, Config
from experiments.pid_gaussian.figures_studies import draw_bias
from experiments.pid_gaussian.quantities import SYMBOLS, by_field
from experiments.pid_gaussian.systems import structured
from experiments.run import Part, Row, Say, to_json
from experiments.run.report import Table, number
from pid import layerwise
from pid.estimators.results import FIELDS

PLUGIN = "plug-in"


def parts(config: Config, seed: int) -> list[Part]:
    """Return one part for each system."""
    size = config.bias
    systems = [("structured", d, structured.gains(d)) for d in size.structured]
    systems += [("independent", d, structured.zero_gains(d)) for d in size.null]
    return [
        Part(
            f"{name}, d = {d}",
            lambda folder, say, name=name, d=d, gains=gains: measure(name, d, gains, size, seed, say),
            seed,
        )
        for name, d, gains in systems
    ]


def measure(name: str, d: int, gains: structured.Gains, size: Bias, seed: int, say: Say) -> Row:
    """Estimate every data set with every correction."""
    data = structured.sample(gains, size.repeats, size.n, seed, d)
    estimates: dict[str, Any] = {}
    for method in size.methods:
        say(method)
        estimate = layerwise(
            *data,
            reduce=None,
            checks=False,
            gaussianize="none",
            debias=method,
            ci=None,
            null=None,
            key=jax.random.key(seed),
        )
        estimates.setdefault(PLUGIN, by_field(estimate.plugin))
        estimates[method] = by_field(estimate.pid)
    truth = by_field(structured.truth(gains))
    return to_json({"system": name, "d": d, "n": size.n, "truth": truth, "estimates": estimates})


def pool_seeds(rows: list[Row]) -> list[Row]:
    """Return one row for each system, with the data sets of all seeds."""
    systems: dict[tuple[str, int], Row] = {}
    for row in rows:
        pooled_row = systems.setdefault((row["system"], row["d"]), {**row, "estimates": {}})
        for method, values in row["estimates"].items():
            pooled = pooled_row["estimates"].setdefault(method, {field: [] for field in FIELDS})
            pooled_row["estimates"][method] = {field: pooled[field] + values[field] for field in FIELDS}
    return list(systems.values())


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of a mean; NaN for one value, which has none."""
    return float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def report(rows: list[Row]) -> list[Table]:
    """Return the table of mean errors ± standard errors."""
    cells = []
    for row in pool_seeds(rows):
        for method, values in row["estimates"].items():
            errors = [np.array(values[field]) - row["truth"][field] for field in FIELDS]
            texts = (f"{number(e.mean())} ± {number(standard_error(e))}" for e in errors)
            cells.append((f"{row['system']}, d = {row['d']}", method, *texts))
    repeats = len(next(iter(rows[0]["estimates"].values()))["mi_x"])
    title = f"Bias ± its standard error, bits, n = {rows[0]['n']}, {repeats} data sets a seed (synthetic)"
    return [Table(title, ("system", "correction", *(SYMBOLS[field] for field in FIELDS)), cells)]


def draw(rows: list[Row]) -> Figure:
    """Draw the bias of every quantity against the dimension."""
    return draw_bias(pool_seeds(rows))

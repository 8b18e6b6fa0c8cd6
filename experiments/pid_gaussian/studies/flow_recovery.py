"""Warped data, elementwise and rotated: the truth, and estimates from raw data, by the copula and by the flow.

Information is in bits.
"""

import time

import jax
from matplotlib.figure import Figure

from experiments.pid_gaussian.config import Config, Flow
from experiments.pid_gaussian.figures_studies import draw_flow
from experiments.pid_gaussian.quantities import SYMBOLS, by_field
from experiments.pid_gaussian.systems import warped
from experiments.run import Part, Row, to_json
from experiments.run.report import Table, number, percent
from pid import estimate
from pid.estimators.results import FIELDS

METHODS = {"raw": "none", "copula": "copula", "flow": "flow"}
CASES = {"elementwise": False, "rotated": True}


def parts(config: Config, seed: int) -> list[Part]:
    """Return one part for each case and method."""
    return [
        Part(
            f"{case}, {method}",
            lambda folder, say, case=case, method=method: measure(case, method, config.flow, seed),
            seed,
        )
        for case in CASES
        for method in METHODS
    ]


def measure(case: str, method: str, size: Flow, seed: int) -> Row:
    """Estimate one data set, with bias correction and without intervals."""
    data = warped.generate(size.n, size.target, size.source, seed, rotated=CASES[case])
    start = time.perf_counter()
    result = estimate(
        data.target,
        data.x,
        data.y,
        reduce=None,
        gaussianize=METHODS[method],
        ci=None,
        null=None,
        key=jax.random.key(seed),
    )
    seconds = time.perf_counter() - start
    row = {"case": case, "method": method, "n": size.n, "truth": by_field(data.truth)}
    row |= {"found": by_field(result.pid), "flags": result.flags, "estimate_seconds": seconds}
    return to_json(row)


def report(rows: list[Row]) -> list[Table]:
    """Return the table of truth and estimates."""
    cells = []
    for row in rows:
        case = row["case"] if len({r["seed"] for r in rows}) == 1 else f"{row['case']}, seed {row['seed']}"
        if row["method"] == next(iter(METHODS)):
            cells.append((case, "truth", *(number(row["truth"][field]) for field in FIELDS), "100.0 %", "-"))
        share = row["found"]["mi_joint"] / row["truth"]["mi_joint"]
        texts = (number(row["found"][field]) for field in FIELDS)
        cells.append((case, row["method"], *texts, percent(share), f"{row['estimate_seconds']:.1f}"))
    title = (
        f"Warped Gaussian data, n = {rows[0]['n']} (synthetic), bits; one data set a seed, without intervals"
    )
    columns = ("data", "by", *(SYMBOLS[field] for field in FIELDS), "of I(M;X,Y)", "seconds")
    return [Table(title, columns, cells)]


def draw(rows: list[Row]) -> Figure:
    """Draw the stacked atoms, means over the seeds."""
    return draw_flow(rows)

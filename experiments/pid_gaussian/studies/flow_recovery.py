"""Warped data, elementwise and rotated: the truth, and what is found raw, by the copula and by the flow.

Information in bits
"""

import time

import jax
from matplotlib.figure import Figure

from experiments.pid_gaussian.config import Config, Flow
from experiments.pid_gaussian.figures_studies import draw_flow
from experiments.pid_gaussian.part import Part, Row
from experiments.pid_gaussian.systems import warped
from experiments.run.json_values import plain
from experiments.run.report import SHORT, Table, number, percent
from pid import estimate
from pid.estimators.results import FIELDS

METHODS = {"raw": "none", "copula": "copula", "flow": "flow"}
CASES = {"elementwise": False, "rotated": True}


def parts(config: Config, seed: int) -> list[Part]:
    """One part for each case and method."""
    return [
        Part(
            f"{case}, {method}",
            lambda folder, say, case=case, method=method: measure(case, method, config.flow, seed),
        )
        for case in CASES
        for method in METHODS
    ]


def measure(case: str, method: str, size: Flow, seed: int) -> Row:
    """One estimate, corrected, without intervals."""
    data = warped.generate(size.n, size.target, size.source, seed, rotated=CASES[case])
    began = time.perf_counter()
    found = estimate(
        data.target,
        data.x,
        data.y,
        reduce=None,
        gaussianize=METHODS[method],
        ci=None,
        null=None,
        key=jax.random.key(seed),
    )
    spent = time.perf_counter() - began
    sides = {"truth": data.truth, "found": found.pid}
    told = {side: {field: getattr(pid, field) for field in FIELDS} for side, pid in sides.items()}
    flags = {"flags": found.flags, "estimate_seconds": spent}
    return plain({"case": case, "method": method, "n": size.n, **told, **flags})


def report(rows: list[Row]) -> list[Table]:
    """The truth above what was found."""
    cells = []
    for row in rows:
        case = row["case"] if len({r["seed"] for r in rows}) == 1 else f"{row['case']}, seed {row['seed']}"
        if row["method"] == next(iter(METHODS)):
            cells.append((case, "truth", *(number(row["truth"][field]) for field in FIELDS), "100.0 %", "-"))
        share = row["found"]["mi_joint"] / row["truth"]["mi_joint"]
        told = (number(row["found"][field]) for field in FIELDS)
        cells.append((case, row["method"], *told, percent(share), f"{row['estimate_seconds']:.1f}"))
    title = f"Warped Gaussian data, n = {rows[0]['n']} (synthetic), bits"
    columns = ("data", "by", *(SHORT[field] for field in FIELDS), "of I(M;X,Y)", "seconds")
    return [Table(title, columns, cells)]


def draw(rows: list[Row]) -> Figure:
    """Stacks of atoms of the first seed."""
    return draw_flow([row for row in rows if row["seed"] == rows[0]["seed"]])

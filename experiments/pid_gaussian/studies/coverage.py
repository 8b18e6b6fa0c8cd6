"""How often the intervals contain the truth, beside the bias that is left, on the structured system.

Data sets are measured as the layers of `layerwise`, a chunk at a time: those of one chunk share the random numbers of
their draws, and nothing else.

    R data sets of a chunk; information in bits
"""

from collections import defaultdict

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.pid_gaussian.config import Config, Coverage
from experiments.pid_gaussian.figures_studies import draw_coverage
from experiments.pid_gaussian.part import Part, Row
from experiments.pid_gaussian.systems import structured
from experiments.run.json_values import plain
from experiments.run.report import SHORT, Table, number
from pid import Bootstrap, layerwise
from pid.estimators.results import FIELDS


def parts(config: Config, seed: int) -> list[Part]:
    """One part for each correction and chunk; both corrections see the same data."""
    size = config.coverage
    return [
        Part(
            f"{method}, {chunk * size.at_once}-{(chunk + 1) * size.at_once - 1}",
            lambda folder, say, method=method, chunk=chunk: measure(method, chunk, size, seed),
        )
        for method in size.methods
        for chunk in range(size.repeats // size.at_once)
    ]


def measure(method: str, chunk: int, size: Coverage, seed: int) -> Row:
    """Estimates and ends of intervals of one chunk of data sets."""
    of = structured.gains(size.d)
    found = layerwise(
        *structured.sample(of, size.at_once, size.n, seed, chunk),
        reduce=None,
        gaussianize="none",
        debias=method,
        ci=Bootstrap(size.draws, size.level),
        null=None,
        key=jax.random.fold_in(jax.random.key(seed), chunk),
    )
    assert found.ci is not None
    truth = structured.truth(of)
    sides = {"value": found.pid, "low": found.ci.low, "high": found.ci.high}
    told = {side: {field: getattr(pid, field) for field in FIELDS} for side, pid in sides.items()}
    known = {field: getattr(truth, field) for field in FIELDS}
    return plain({"method": method, "d": size.d, "n": size.n, "level": size.level, "truth": known, **told})


def counted(rows: list[Row]) -> list[Row]:
    """By correction and quantity, over chunks and seeds: count, truth, mean, bias, sd, coverage, width."""
    chunks = defaultdict(list)
    for row in rows:
        chunks[row["method"]].append(row)
    return [_counted(method, field, of) for method, of in chunks.items() for field in FIELDS]


def _counted(method: str, field: str, chunks: list[Row]) -> Row:
    value, low, high = (np.concatenate([c[side][field] for c in chunks]) for side in ("value", "low", "high"))
    truth = chunks[0]["truth"][field]
    return {
        "method": method,
        "field": field,
        "count": len(value),
        "level": chunks[0]["level"],
        "truth": truth,
        "mean": value.mean(),
        "bias": value.mean() - truth,
        "sd": value.std(ddof=1),
        "coverage": np.mean((low <= truth) & (truth <= high)),
        "width": np.mean(high - low),
    }


def report(rows: list[Row]) -> list[Table]:
    """Coverage ± binomial standard error, and bias."""
    found = counted(rows)
    cells = [
        (
            row["method"],
            SHORT[row["field"]],
            number(row["truth"]),
            number(row["mean"]),
            f"{number(row['bias'])} ± {row['sd'] / row['count'] ** 0.5:.3f}",
            number(row["sd"]),
            number(row["bias"] / row["sd"], 2),
            number(row["width"]),
            f"{100 * row['coverage']:.1f} ± {100 * error(row['coverage'], row['count']):.1f} %",
        )
        for row in found
    ]
    first = rows[0]
    system = (
        f"structured system, d = {first['d']}, n = {first['n']}, {found[0]['count']} data sets (synthetic)"
    )
    title = f"Coverage of {100 * first['level']:.0f} % intervals: {system}"
    columns = ("correction", "bits", "truth", "mean", "bias", "sd", "bias / sd", "width", "coverage")
    return [Table(title, columns, cells)]


def error(share: float, count: int) -> float:
    """The binomial standard error."""
    return (share * (1 - share) / count) ** 0.5


def draw(rows: list[Row]) -> Figure:
    """Coverage and bias in standard deviations."""
    return draw_coverage([{**row, "error": error(row["coverage"], row["count"])} for row in counted(rows)])

"""How often intervals contain the truth, and the remaining bias, on the structured system.

Data sets are estimated as the layers of `layerwise`, one chunk at a time. The data sets of a chunk share the random
numbers of their bootstrap draws, but no samples.

    R data sets of a chunk; information in bits
"""

from collections import defaultdict

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.pid_gaussian.config import Config, Coverage
from experiments.pid_gaussian.figures_studies import draw_coverage
from experiments.pid_gaussian.quantities import SYMBOLS, by_field
from experiments.pid_gaussian.systems import structured
from experiments.run import Part, Row, to_json
from experiments.run.report import Table, number
from pid import Bootstrap, layerwise
from pid.estimators.results import FIELDS

SAMPLERS = {
    "independent": structured.sample,
    "student": structured.sample_heavy_tails,
    "series": structured.sample_series,
}
ROWS = {
    "independent": "independent samples",
    "student": "samples with heavy tails, t(5)",
    "series": "an autoregressive series, .9",
}


def parts(config: Config, seed: int) -> list[Part]:
    """Return one part for each correction and chunk. All corrections use the same data."""
    size = config.coverage
    return [
        Part(
            f"{method}, {chunk * size.at_once}-{(chunk + 1) * size.at_once - 1}",
            lambda folder, say, method=method, chunk=chunk: measure(method, chunk, size, seed),
            seed,
        )
        for method in size.methods
        for chunk in range(size.repeats // size.at_once)
    ]


def measure(method: str, chunk: int, size: Coverage, seed: int) -> Row:
    """Return estimates and ends of intervals of one chunk of data sets."""
    gains = structured.gains(size.d)
    sample = SAMPLERS[size.rows]
    series = {"kind": "paired", "block": "auto"} if size.rows == "series" else {}
    # Every series has an effective size of its own, which layers would share.
    groups = np.split(np.arange(size.at_once), size.at_once if series else 1)
    key = jax.random.fold_in(jax.random.key(seed), chunk)
    data = sample(gains, size.at_once, size.n, seed, chunk)
    estimates = [
        layerwise(
            *(variable[group] for variable in data),
            reduce=None,
            checks=False,
            gaussianize=size.gaussianize,
            debias=method,
            ci=Bootstrap(size.draws, size.level, **series),
            null=None,
            key=key,
        )
        for group in groups
    ]
    intervals = [estimate.ci for estimate in estimates if estimate.ci is not None]
    pids = {
        "value": [estimate.pid for estimate in estimates],
        "low": [interval.low for interval in intervals],
        "high": [interval.high for interval in intervals],
    }
    labels = {"method": method, "d": size.d, "n": size.n, "level": size.level, "rows": size.rows}
    columns = {name: by_field(jax.tree.map(lambda *a: np.concatenate(a), *pid)) for name, pid in pids.items()}
    return to_json(labels | {"truth": by_field(structured.truth(gains))} | columns)


def count_coverage(rows: list[Row]) -> list[Row]:
    """Return count, truth, mean, bias, sd, coverage and width by correction and quantity, over chunks and seeds."""
    chunks = defaultdict(list)
    for row in rows:
        chunks[row["method"]].append(row)
    return [_count(method, field, rows) for method, rows in chunks.items() for field in FIELDS]


def _count(method: str, field: str, chunks: list[Row]) -> Row:
    value, low, high = (
        np.concatenate([row[end][field] for row in chunks]) for end in ("value", "low", "high")
    )
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
    """Return the table of coverage ± binomial standard error, and of bias."""
    counts = count_coverage(rows)
    cells = [
        (
            row["method"],
            SYMBOLS[row["field"]],
            number(row["truth"]),
            number(row["mean"]),
            f"{number(row['bias'])} ± {row['sd'] / row['count'] ** 0.5:.3f}",
            number(row["sd"]),
            number(row["bias"] / row["sd"], 2),
            number(row["width"]),
            f"{100 * row['coverage']:.1f} ± {100 * error(row['coverage'], row['count']):.1f} %",
        )
        for row in counts
    ]
    first = rows[0]
    system = (
        f"structured system, d = {first['d']}, n = {first['n']}, {ROWS[first['rows']]}, {counts[0]['count']} data sets "
        f"(synthetic)"
    )
    title = f"Coverage of {100 * first['level']:.0f} % intervals, ±: one standard error: {system}"
    columns = ("correction", "bits", "truth", "mean", "bias", "sd", "bias / sd", "width", "coverage")
    return [Table(title, columns, cells)]


def error(share: float, count: int) -> float:
    """Return the binomial standard error."""
    return (share * (1 - share) / count) ** 0.5


def draw(rows: list[Row]) -> Figure:
    """Draw coverage, and bias in standard deviations."""
    return draw_coverage(
        [{**row, "error": error(row["coverage"], row["count"])} for row in count_coverage(rows)]
    )

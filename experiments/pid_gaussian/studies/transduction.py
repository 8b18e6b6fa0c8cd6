"""The planted layers: truth, plug-in, estimate with intervals and null, knockout, and coverage of the intervals.

All layers of a network share the same samples, so their errors are correlated: in a single network nearly all intervals
or hardly any may contain the truth. Coverage is therefore counted over several networks.

    L layers; information in bits
"""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.pid_gaussian import figures, planted_claims
from experiments.pid_gaussian.config import Config, Planted
from experiments.pid_gaussian.quantities import SYMBOLS, by_field
from experiments.pid_gaussian.systems import planted
from experiments.run import Part, Row, Say, to_json
from experiments.run.report import Table, interval, number, percent
from pid import PCA, Bootstrap, Shuffle, certificate, compare, layerwise, recommended_config
from pid.estimators import Comparison, Estimate
from pid.estimators.config import EstimateConfig
from pid.estimators.results import FIELDS, pid_from_array, pid_to_array
from pid.measures import PID, Interval

FIELDS_IN_TABLE = ("mi_joint", "unique_x", "unique_y", "redundancy", "synergy")
DEPTHS = (0, 0.25, 0.5, 0.75, 1)
ROUNDING = 1e-9  # bits


class Network(NamedTuple):
    """Estimates from one set of samples."""

    estimate: Estimate
    change: Comparison  # knockout - base


def parts(config: Config, seed: int) -> list[Part]:
    """Return a single part, since all its measurements share the compiled programs."""
    return [Part("planted", lambda folder, say: measure(config, seed, folder, say), seed)]


def measure(config: Config, seed: int, folder: Path, say: Say) -> Row:
    """Return truth and estimate of all layers; write figures of the first seed into the folder."""
    size = config.planted
    t = planted.depths(size.layers)
    truth, knocked_out = (planted.truth(t, knockout=knockout) for knockout in (False, True))
    true_change = pid_from_array(pid_to_array(knocked_out) - pid_to_array(truth))
    say(f"estimating {size.layers} layers twice, with and without the knockout")
    first = network(t, size, seed, 0)
    if size.networks > 1:
        say(f"estimating {size.networks - 1} more networks, for the coverage of the intervals")
    networks = (first, *(network(t, size, seed, index) for index in range(1, size.networks)))
    shares = [(inside(n.estimate.ci, truth), inside(n.change.ci, true_change)) for n in networks]
    if seed == config.seeds[0]:
        say("drawing")
        certified = certificate(planted.covariances(t), planted.DIMS)
        title = f"pid_gaussian planted, run folder {folder.name}, seed {seed}, network 1 of {size.networks}"
        figures.save_planted(
            folder, truth, first.estimate, true_change, first.change, certified, config.names, title
        )
    statements = planted_claims.judge_layers(truth, first.estimate.pid, config.names)
    statements += planted_claims.judge_knockout(true_change, first.change, config.names)
    row = {"truth": by_field(truth), "layers": first.estimate.to_records()}
    row |= {"knockout": change_by_field(true_change, first.change), "statements": statements}
    base, change = zip(*shares, strict=True)
    return to_json(row | {"covered": base, "covered_difference": change})


def change_by_field(truth: PID, change: Comparison) -> Row:
    """Return for every quantity the true and the estimated difference, and the ends of its interval."""
    ends = {"low": change.ci.low, "high": change.ci.high}
    pids = {"truth": truth, "difference": change.difference, **ends}
    return {field: {role: getattr(pid, field) for role, pid in pids.items()} for field in FIELDS}


def network(t: np.ndarray, size: Planted, seed: int, index: int) -> Network:
    """Estimate one set of samples with the recommended configuration, and compare it with the knockout in pairs."""
    samples = planted.sample(t, size.n, seed, index)
    key = jax.random.fold_in(jax.random.key(seed), index)
    choices: EstimateConfig = {"reduce": PCA(planted.D), "gaussianize": size.gaussianize}
    recommended: EstimateConfig = {**recommended_config(), **choices, "ci": Bootstrap(size.draws)}
    recommended["debias"] = size.debias
    recommended["null"] = Shuffle(size.shuffles) if index == 0 else None
    paired: EstimateConfig = {**choices, "debias": "wishart", "null": None}
    paired["ci"] = Bootstrap(size.draws, kind="paired")
    base, knockout = (
        layerwise(samples.target, samples.x, y, key=key, **paired) for y in (samples.y, samples.y_knocked_out)
    )
    return Network(
        layerwise(samples.target, samples.x, samples.y, key=key, **recommended),
        compare(base, knockout),
    )


def inside(ends: Interval | None, truth: PID) -> dict[str, float]:
    """Return the share of layers whose interval contains the truth, for every quantity."""
    if ends is None:
        return {}
    return {
        field: float(
            np.mean(
                (getattr(ends.low, field) <= getattr(truth, field) + ROUNDING)
                & (getattr(truth, field) <= getattr(ends.high, field) + ROUNDING)
            )
        )
        for field in FIELDS
    }


def report(rows: list[Row]) -> list[Table]:
    """Return the tables of a few layers, of the claims and of the coverage, for every seed."""
    tables = []
    for row in rows:
        suffix = "" if len(rows) == 1 else f", seed {row['seed']}"
        tables += [_few_layers(row, suffix), _statements(row, suffix), _coverage(row, suffix)]
    return tables


def _few_layers(row: Row, suffix: str) -> Table:
    last = len(row["layers"]) - 1
    layers = sorted({round(depth * last) for depth in DEPTHS})
    cells = [
        (
            str(layer),
            SYMBOLS[field],
            number(row["truth"][field][layer]),
            number(record[f"{field}_plugin"]),
            number(record[field]),
            interval(record[f"{field}_low"], record[f"{field}_high"]),
            number(record[f"{field}_null_high"]),
        )
        for layer in layers
        for record in [row["layers"][layer]]
        for field in FIELDS_IN_TABLE
    ]
    columns = ("layer", "bits", "truth", "plug-in", "corrected", "90 % interval", "null up to")
    return Table(f"Planted layers, n = {row['layers'][0]['n']} (synthetic){suffix}", columns, cells)


def _statements(row: Row, suffix: str) -> Table:
    columns = ("statement", "in truth", "in the estimate; [ ]: 90 % interval, else none")
    return Table(
        f"What holds in the planted layers{suffix}", columns, [tuple(s.values()) for s in row["statements"]]
    )


def _coverage(row: Row, suffix: str) -> Table:
    cells = []
    for name, shares in (("estimate", row["covered"]), ("knockout - base", row["covered_difference"])):
        for label, networks in (("shown", shares[:1]), (f"all {len(shares)}", shares)):
            means = (percent(float(np.mean([share[field] for share in networks]))) for field in FIELDS)
            cells.append((name, label, *means))
    columns = ("intervals of", "networks", *(SYMBOLS[field] for field in FIELDS))
    return Table(f"Share of layers whose 90 % interval contains the truth{suffix}", columns, cells)

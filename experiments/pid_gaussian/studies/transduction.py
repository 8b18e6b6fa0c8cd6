"""The planted layers: truth, plug-in, estimate with intervals and null, knockout, and what the intervals cover.

All layers of a network see the same samples, so that their errors go together: of one network nearly all layers or
hardly any may be covered. Coverage is therefore counted over several networks.

    L layers; information in bits
"""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.pid_gaussian import figures, planted_claims
from experiments.pid_gaussian.config import Config, Planted
from experiments.pid_gaussian.part import Part, Row, Say
from experiments.pid_gaussian.systems import planted
from experiments.run.json_values import plain
from experiments.run.report import SHORT, Table, interval, number, percent
from pid import PCA, Bootstrap, Shuffle, certificate, compare, layerwise, recommended_config
from pid.estimators import Comparison, Estimate, Interval
from pid.estimators.config import EstimateConfig
from pid.estimators.results import FIELDS, pid_from_array, pid_to_array
from pid.measures import PID

SHOWN = ("mi_joint", "unique_x", "unique_y", "redundancy", "synergy")
DEPTHS = (0, 0.25, 0.5, 0.75, 1)
ROUNDING = 1e-9  # bits


class Network(NamedTuple):
    """What is estimated from one set of samples."""

    estimate: Estimate
    change: Comparison  # knockout - base


def parts(config: Config, seed: int) -> list[Part]:
    """One part: everything shares the compiled programs."""
    return [Part("planted", lambda folder, say: measure(config, seed, folder, say))]


def measure(config: Config, seed: int, folder: Path, say: Say) -> Row:
    """Truth and estimate of all layers as JSON; figures of the first seed into the folder."""
    size = config.planted
    t = planted.depths(size.layers)
    truth, without = (planted.truth(t, knockout=knockout) for knockout in (False, True))
    true_change = pid_from_array(pid_to_array(without) - pid_to_array(truth))
    say(f"estimating {size.layers} layers twice, with and without the knockout")
    shown = network(t, size, seed, 0)
    if size.networks > 1:
        say(f"the same for {size.networks - 1} more networks, to count what the intervals cover")
    covered = [
        (inside(found.estimate.ci, truth), inside(found.change.ci, true_change))
        for found in (shown, *(network(t, size, seed, other) for other in range(1, size.networks)))
    ]
    if seed == config.seeds[0]:
        say("drawing")
        proof = certificate(planted.covariances(t), planted.DIMS)
        figures.of_planted(folder, truth, shown.estimate, true_change, shown.change, proof, config.names)
    said = planted_claims.of_layers(truth, shown.estimate.pid, config.names)
    said += planted_claims.of_knockout(true_change, shown.change, config.names)
    row = {"truth": by_field(truth), "layers": shown.estimate.to_records()}
    row |= {"knockout": change_by_field(true_change, shown.change), "statements": said}
    base, change = zip(*covered, strict=True)
    return plain(row | {"covered": base, "covered_difference": change})


def by_field(pid: PID) -> Row:
    """Every quantity by name, without the union."""
    return {field: getattr(pid, field) for field in FIELDS}


def change_by_field(truth: PID, change: Comparison) -> Row:
    """Every quantity's true difference, the estimated one, and the ends of its interval."""
    sides = {"truth": truth, "difference": change.difference, "low": change.ci.low, "high": change.ci.high}
    return {field: {side: getattr(pid, field) for side, pid in sides.items()} for field in FIELDS}


def network(t: np.ndarray, size: Planted, seed: int, which: int) -> Network:
    """One set of samples: the recommended estimate, and the paired comparison with the knockout."""
    seen = planted.sample(t, size.n, seed, which)
    key = jax.random.fold_in(jax.random.key(seed), which)
    choices: EstimateConfig = {"reduce": PCA(planted.D), "gaussianize": size.gaussianize}
    recommended: EstimateConfig = {**recommended_config(), **choices, "ci": Bootstrap(size.draws)}
    recommended["debias"] = size.debias
    recommended["null"] = Shuffle(size.shuffles) if which == 0 else None
    paired: EstimateConfig = {**choices, "debias": "wishart", "null": None}
    paired["ci"] = Bootstrap(size.draws, kind="paired")
    base, other = (layerwise(seen.target, seen.x, y, key=key, **paired) for y in (seen.y, seen.y_knocked_out))
    return Network(
        layerwise(seen.target, seen.x, seen.y, key=key, **recommended),
        compare(base, other),
    )


def inside(ends: Interval | None, truth: PID) -> dict[str, float]:
    """The share of layers whose interval contains the truth, for every quantity."""
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
    """A few layers, the statements, and the coverage, of every seed."""
    found = []
    for row in rows:
        of = "" if len(rows) == 1 else f", seed {row['seed']}"
        found += [_few_layers(row, of), _statements(row, of), _coverage(row, of)]
    return found


def _few_layers(row: Row, of: str) -> Table:
    last = len(row["layers"]) - 1
    layers = sorted({round(depth * last) for depth in DEPTHS})
    cells = [
        (
            str(layer),
            SHORT[field],
            number(row["truth"][field][layer]),
            number(told[f"{field}_plugin"]),
            number(told[field]),
            interval(told[f"{field}_low"], told[f"{field}_high"]),
            number(told[f"{field}_null_high"]),
        )
        for layer in layers
        for told in [row["layers"][layer]]
        for field in SHOWN
    ]
    columns = ("layer", "bits", "truth", "plug-in", "corrected", "90 % interval", "null up to")
    return Table(f"Planted layers, n = {row['layers'][0]['n']} (synthetic){of}", columns, cells)


def _statements(row: Row, of: str) -> Table:
    columns = ("statement", "in truth", "in the estimate")
    return Table(
        f"What holds in the planted layers{of}", columns, [tuple(s.values()) for s in row["statements"]]
    )


def _coverage(row: Row, of: str) -> Table:
    cells = []
    for name, shares in (("estimate", row["covered"]), ("knockout - base", row["covered_difference"])):
        for which, chosen in (("shown", shares[:1]), (f"all {len(shares)}", shares)):
            means = (percent(float(np.mean([share[field] for share in chosen]))) for field in FIELDS)
            cells.append((name, which, *means))
    columns = ("intervals of", "networks", *(SHORT[field] for field in FIELDS))
    return Table(f"Share of layers whose 90 % interval contains the truth{of}", columns, cells)

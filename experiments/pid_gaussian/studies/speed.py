"""Decompositions and bootstrap draws per second, and a campaign of many layers, tasks and models.

Times are medians of three calls after compilation and warm-up.

    d dimensions of target, x and y each
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.pid_gaussian.config import Config, Speed
from experiments.run import Part, Row, Say
from experiments.run.report import Table
from pid import Bootstrap, decompose, layerwise

CALLS = 3


def parts(config: Config, seed: int) -> list[Part]:
    """Return one part for each dimension, and the campaign."""
    size = config.speed
    by_dimension = [
        Part(f"d = {d}", lambda folder, say, d=d: one_dimension(d, size, seed), seed) for d in size.dims
    ]
    return [*by_dimension, Part("campaign", lambda folder, say: campaign(size, seed, say), seed)]


def one_dimension(d: int, size: Speed, seed: int) -> Row:
    """Time decompositions in a batch, and the bootstrap draws of a complete estimate of one layer."""
    rng = np.random.default_rng((seed, d))
    covs = np.stack(
        [
            np.cov(np.hstack(data), rowvar=False)
            for data in zip(*channels(rng, size.batch, 8 * d, d), strict=True)
        ]
    )
    data = [variable[0] for variable in channels(rng, 1, size.n, d)]
    per_system = seconds(lambda: decompose(covs, (d, d, d))) / size.batch
    bootstrap_seconds = seconds(lambda: resample(*data, size=size, seed=seed))
    return {
        "d": d,
        "device": jax.devices()[0].device_kind,
        "milliseconds": 1e3 * per_system,
        "per_second": 1 / per_system,
        "draws_per_second": size.draws / bootstrap_seconds,
    }


def campaign(size: Speed, seed: int, say: Say) -> Row:
    """Time all layers of all data sets, from samples to intervals."""
    rng = np.random.default_rng((seed, size.sets))
    say("compiling")
    start = time.perf_counter()
    resample(*channels(rng, size.layers, size.n, size.d), size=size, seed=seed)
    first = time.perf_counter() - start
    total = 0.0
    for number in range(size.sets):
        say(f"set {number + 1} of {size.sets}")
        data = channels(rng, size.layers, size.n, size.d)
        start = time.perf_counter()
        resample(*data, size=size, seed=seed)
        total += time.perf_counter() - start
    systems = size.layers * size.sets * (size.draws + 1)
    shape = {"d": size.d, "layers": size.layers, "sets": size.sets, "draws": size.draws, "systems": systems}
    return {**shape, "first_seconds": first, "campaign_seconds": total, "per_second": systems / total}


def channels(
    rng: np.random.Generator, layers: int, n: int, d: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw M, X = H_x M + n, Y = H_y M + n'. Each layer has its own H, with entries of standard deviation 0.75/√d."""
    target, noise_x, noise_y = rng.standard_normal((3, layers, n, d))
    h = rng.standard_normal((2, layers, d, d)) * 0.75 / d**0.5
    return target, target @ h[0] + noise_x, target @ h[1] + noise_y


def resample(target: np.ndarray, x: np.ndarray, y: np.ndarray, *, size: Speed, seed: int) -> None:
    """Estimate one layer or several, with copula, exact bias and parametric intervals."""
    arrays: Any = (a if a.ndim == 3 else a[None] for a in (target, x, y))
    layerwise(*arrays, reduce=None, ci=Bootstrap(size.draws), null=None, key=jax.random.key(seed))


def seconds(call: Callable[[], Any]) -> float:
    """Return the median time of a synchronous call, after one call that compiles."""
    call()
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def report(rows: list[Row]) -> list[Table]:
    """Return the tables by dimension and of the campaign."""
    by_d = [row for row in rows if row["part"] != "campaign"]
    cells = [
        (
            str(row["d"]),
            f"{row['milliseconds']:.3f}",
            f"{row['per_second']:,.0f}",
            f"{row['draws_per_second']:,.0f}",
        )
        for row in by_d
    ]
    columns = ("d", "ms per decomposition", "decompositions per second", "draws per second")
    tables = [Table(f"Speed on {by_d[0]['device']}, warm", columns, cells)] if by_d else []
    return tables + [_campaign(row) for row in rows if row["part"] == "campaign"]


def _campaign(row: Row) -> Table:
    title = f"{row['layers']} layers x {row['sets']} sets x {row['draws']} draws, d = {row['d']} each"
    cells = (f"{row['systems']:,}", f"{row['campaign_seconds']:.1f}", f"{row['per_second']:,.0f}")
    columns = ("decompositions", "seconds", "per second", "first set, with compiling")
    return Table(title, columns, [(*cells, f"{row['first_seconds']:.1f} s")])

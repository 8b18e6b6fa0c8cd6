"""Decompositions and bootstrap draws per second, and a whole campaign of layers, tasks and models.

Compiled and warmed; medians of three calls.

    d dimensions of target, x and y each
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.pid_gaussian.config import Config, Speed
from experiments.pid_gaussian.part import Part, Row, Say
from experiments.run.report import Table
from pid import Bootstrap, decompose, layerwise

CALLS = 3


def parts(config: Config, seed: int) -> list[Part]:
    """One part for each dimension, and the campaign."""
    size = config.speed
    each = [Part(f"d = {d}", lambda folder, say, d=d: one_dimension(d, size, seed)) for d in size.dims]
    return [*each, Part("campaign", lambda folder, say: campaign(size, seed, say))]


def one_dimension(d: int, size: Speed, seed: int) -> Row:
    """Seconds per decomposition in a batch, and draws per second of one layer with all that belongs to an estimate."""
    rng = np.random.default_rng((seed, d))
    covs = np.stack(
        [
            np.cov(np.hstack(data), rowvar=False)
            for data in zip(*channels(rng, size.batch, 8 * d, d), strict=True)
        ]
    )
    data = [part[0] for part in channels(rng, 1, size.n, d)]
    per_system = seconds(lambda: decompose(covs, (d, d, d))) / size.batch
    drawing = seconds(lambda: resample(*data, size=size, seed=seed))
    return {
        "d": d,
        "device": jax.devices()[0].device_kind,
        "milliseconds": 1e3 * per_system,
        "per_second": 1 / per_system,
        "draws_per_second": size.draws / drawing,
    }


def campaign(size: Speed, seed: int, say: Say) -> Row:
    """All layers of all sets, resampled, from samples to intervals."""
    rng = np.random.default_rng((seed, size.sets))
    say("compiling")
    began = time.perf_counter()
    resample(*channels(rng, size.layers, size.n, size.d), size=size, seed=seed)
    first = time.perf_counter() - began
    spent = 0.0
    for done in range(size.sets):
        say(f"set {done + 1} of {size.sets}")
        data = channels(rng, size.layers, size.n, size.d)
        began = time.perf_counter()
        resample(*data, size=size, seed=seed)
        spent += time.perf_counter() - began
    systems = size.layers * size.sets * (size.draws + 1)
    shape = {"d": size.d, "layers": size.layers, "sets": size.sets, "draws": size.draws, "systems": systems}
    return {**shape, "first_seconds": first, "campaign_seconds": spent, "per_second": systems / spent}


def channels(
    rng: np.random.Generator, layers: int, n: int, d: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """M, X = H_x M + n, Y = H_y M + n' with entries of H of standard deviation 0.75/√d, other ones in every layer."""
    target, noise_x, noise_y = rng.standard_normal((3, layers, n, d))
    h = rng.standard_normal((2, layers, d, d)) * 0.75 / d**0.5
    return target, target @ h[0] + noise_x, target @ h[1] + noise_y


def resample(target: np.ndarray, x: np.ndarray, y: np.ndarray, *, size: Speed, seed: int) -> None:
    """An estimate with copula, exact bias and parametric intervals, of one layer or of several."""
    arrays: Any = (a if a.ndim == 3 else a[None] for a in (target, x, y))
    layerwise(*arrays, reduce=None, ci=Bootstrap(size.draws), null=None, key=jax.random.key(seed))


def seconds(call: Callable[[], Any]) -> float:
    """Median time of a call that returns when it is done, after one that compiles."""
    call()
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def report(rows: list[Row]) -> list[Table]:
    """By dimension, and the campaign."""
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
    found = [Table(f"Speed on {by_d[0]['device']}, warm", columns, cells)] if by_d else []
    return found + [_campaign(row) for row in rows if row["part"] == "campaign"]


def _campaign(row: Row) -> Table:
    title = f"{row['layers']} layers x {row['sets']} sets x {row['draws']} draws, d = {row['d']} each"
    cells = (f"{row['systems']:,}", f"{row['campaign_seconds']:.1f}", f"{row['per_second']:,.0f}")
    columns = ("decompositions", "seconds", "per second", "first set, with compiling")
    return Table(title, columns, [(*cells, f"{row['first_seconds']:.1f} s")])

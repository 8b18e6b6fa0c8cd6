"""Activations from a file: estimate of every layer, tables and figures.

L layers; information is in bits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np

from experiments.data.preparation.activation_files import Activations, check_sizes, read
from experiments.pid_gaussian import figures
from experiments.pid_gaussian.config import Config
from experiments.pid_gaussian.quantities import SYMBOLS
from experiments.run import Part, Row, Say, to_json
from experiments.run.report import Table, interval, number, percent
from pid import estimate, layerwise, paper_config, recommended_config
from pid.estimators import Estimate, io
from pid.estimators.results import FIELDS
from pid.interface.flags import Verdict, by_weight

CONFIGS = {"recommended": recommended_config, "paper": paper_config}
LAYERS_IN_TABLE = 5  # at most; the files have all layers


def parts(config: Config, seed: int) -> list[Part]:
    """Return the single part. The file is read and checked before the measurement."""
    assert config.npz is not None
    data = read(config.npz)
    if all(len(a) == 1 for a in data if a.ndim == 3):
        data = Activations(*(a[0] if a.ndim == 3 else a for a in data))
    check_sizes(data, config.npz, flow=config.config == "paper")
    return [Part("activations", lambda folder, say: measure(data, config, seed, folder, say), seed)]


def _layered(data: Activations) -> bool:
    return any(a.ndim == 3 for a in data)


def measure(data: Activations, config: Config, seed: int, folder: Path, say: Say) -> Row:
    """Return the records of all layers; write `table.csv`, `table.json` and figures into the folder."""
    layered = _layered(data)
    shapes = ", ".join(f"{name} {a.shape}" for name, a in zip(data._fields, data, strict=True))
    say(f"estimating {shapes}")
    estimator: Any = layerwise if layered else estimate
    result: Estimate = estimator(*data, key=jax.random.key(seed), **CONFIGS[config.config]())
    rows = io.write_tables(result, folder)
    flags = io.group_flags(result.flags) if layered else by_weight(result.flags)
    title = f"pid_gaussian activations, run folder {folder.name}, {config.npz}, seed {seed}"
    figures.save_activations(folder, result, config.names, title)
    return to_json(
        {
            "names": config.names,
            "config": config.config,
            "layers": rows,
            "verdict": result.verdict,
            "flags": [{"weight": flag.weight, "kind": flag.kind, "flag": flag} for flag in flags],
            "report": [] if layered else str(result).splitlines(),
        }
    )


def report(rows: list[Row]) -> list[Table]:
    """Return the tables of layers: numbers of a few, peaks and shares, verdicts, flags; of one estimate its shares."""
    tables = []
    for row in rows:
        layered = not row["report"]
        tables += [_layers(row), _summary(row), _verdicts(row), _flags(row)] if layered else [_summary(row)]
    return [table for table in tables if table.rows]


def lines(rows: list[Row]) -> list[str]:
    """Return the report of an estimate without layers, line by line; the tables report layers."""
    return [line for row in rows for line in row["report"]]


def _layers(row: Row) -> Table:
    count = len(row["layers"])
    numbers = sorted({round(i) for i in np.linspace(0, count - 1, LAYERS_IN_TABLE)})
    cells = [
        (
            str(layer),
            _symbol(field, row["names"]),
            number(record[f"{field}_plugin"]),
            number(record[field]),
            interval(record[f"{field}_low"], record[f"{field}_high"]),
            "-" if record[f"{field}_null_high"] is None else number(record[f"{field}_null_high"]),
        )
        for layer in numbers
        for record in [row["layers"][layer]]
        for field in FIELDS
    ]
    title = f"Activations, n = {row['layers'][0]['n']}, {row['config']} configuration"
    return Table(title, ("layer", "bits", "plug-in", "corrected", "interval", "null up to"), cells)


def _summary(row: Row) -> Table:
    last = row["layers"][-1]
    joint = last["mi_joint"]
    cells = []
    for field in FIELDS:
        values = [np.inf if record[field] is None else record[field] for record in row["layers"]]
        share = last[field] / joint if joint and last[field] is not None else None
        cells.append((_symbol(field, row["names"]), str(int(np.argmax(values))), percent(share)))
    if row["report"]:
        return Table("Shares", ("", "of the total"), [(name, share) for name, _, share in cells])
    return Table(
        "Peaks and the last layer", ("", "peak layer", "share of the total in the last layer"), cells
    )


def _verdicts(row: Row) -> Table:
    layers: dict[str, list[int]] = {}
    for number_of_layer, record in enumerate(row["layers"]):
        layers.setdefault(record["verdict"], []).append(number_of_layer)
    order = sorted(layers, key=get_args(Verdict)[::-1].index)
    cells = [(verdict, str(len(layers[verdict])), io.layer_ranges(layers[verdict])) for verdict in order]
    return Table("Verdicts", ("verdict", "count", "layers"), cells)


def _flags(row: Row) -> Table:
    return Table(
        "Flags, the heaviest first",
        ("weight", "flag"),
        [(flag["weight"], flag["flag"]) for flag in row["flags"]],
    )


def _symbol(field: str, names: Sequence[str]) -> str:
    return (
        f"{SYMBOLS[field]} ({names[0] if field.endswith('_x') else names[1]})"
        if field[-2:] in ("_x", "_y")
        else SYMBOLS[field]
    )

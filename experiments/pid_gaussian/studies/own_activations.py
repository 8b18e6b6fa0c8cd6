"""Activations from a file: estimate of every layer, tables, figures.

L layers; information in bits
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.data.activation_files import Activations, read
from experiments.pid_gaussian import figures
from experiments.pid_gaussian.config import Config
from experiments.pid_gaussian.part import Part, Row, Say
from experiments.run.json_values import plain
from experiments.run.report import SHORT, Table, interval, number, percent
from pid import estimate, layerwise, paper_config, recommended_config
from pid.estimators import Estimate, io
from pid.estimators.gaussian_features import check_samples
from pid.estimators.results import FIELDS

CONFIGS = {"recommended": recommended_config, "paper": paper_config}
MOST_SHOWN = 5  # layers of the printed table; the files have all


def parts(config: Config, seed: int) -> list[Part]:
    """One part; the file is read, and refused, before anything begins."""
    assert config.npz is not None
    data = read(config.npz)
    if all(len(a) == 1 for a in data if a.ndim == 3):
        data = Activations(*(a[0] if a.ndim == 3 else a for a in data))
    check_samples(*data, layers=_layered(data))
    return [Part("activations", lambda folder, say: measure(data, config, seed, folder, say))]


def _layered(data: Activations) -> bool:
    return any(a.ndim == 3 for a in data)


def measure(data: Activations, config: Config, seed: int, folder: Path, say: Say) -> Row:
    """The table of all layers as JSON; `table.csv`, `table.json` and figures into the folder."""
    layered = _layered(data)
    shapes = ", ".join(f"{name} {a.shape}" for name, a in zip(data._fields, data, strict=True))
    say(f"estimating {shapes}")
    measured: Any = layerwise if layered else estimate
    found: Estimate = measured(*data, key=jax.random.key(seed), **CONFIGS[config.config]())
    rows = io.write_tables(found, folder)
    figures.of_activations(folder, found, config.names)
    return plain(
        {
            "names": config.names,
            "config": config.config,
            "layers": rows,
            "flags": io.group_flags(found.flags) if layered else found.flags,
        }
    )


def report(rows: list[Row]) -> list[Table]:
    """A few layers, peaks and shares, and what is doubtful."""
    return [table for row in rows for table in (_layers(row), _summary(row), _flags(row)) if table.rows]


def _layers(row: Row) -> Table:
    count = len(row["layers"])
    shown = sorted({round(i) for i in np.linspace(0, count - 1, MOST_SHOWN)})
    cells = [
        (
            str(layer),
            _named(field, row["names"]),
            number(told[f"{field}_plugin"]),
            number(told[field]),
            interval(told[f"{field}_low"], told[f"{field}_high"]),
            "-" if told[f"{field}_null_high"] is None else number(told[f"{field}_null_high"]),
        )
        for layer in shown
        for told in [row["layers"][layer]]
        for field in FIELDS
    ]
    title = f"Activations, n = {row['layers'][0]['n']}, {row['config']} configuration"
    return Table(title, ("layer", "bits", "plug-in", "corrected", "interval", "null up to"), cells)


def _summary(row: Row) -> Table:
    last = row["layers"][-1]
    joint = last["mi_joint"]
    cells = []
    for field in FIELDS:
        values = [np.inf if told[field] is None else told[field] for told in row["layers"]]
        share = last[field] / joint if joint and last[field] is not None else None
        cells.append((_named(field, row["names"]), str(int(np.argmax(values))), percent(share)))
    if len(row["layers"]) == 1:
        return Table("Shares", ("", "of the total"), [(name, share) for name, _, share in cells])
    return Table(
        "Peaks and the last layer", ("", "peak layer", "share of the total in the last layer"), cells
    )


def _flags(row: Row) -> Table:
    return Table("What to know and to doubt", ("flag",), [(flag,) for flag in row["flags"]])


def _named(field: str, names: Sequence[str]) -> str:
    return (
        f"{SHORT[field]} ({names[0] if field.endswith('_x') else names[1]})"
        if field[-2:] in ("_x", "_y")
        else SHORT[field]
    )

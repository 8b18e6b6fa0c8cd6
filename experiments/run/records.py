"""Results as JSON and CSV know them."""

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pid.estimators import Estimate
from pid.measures import PID

FIELDS = ("redundancy", "unique_x", "unique_y", "synergy", "mi_x", "mi_y", "mi_joint")


def plain(value: Any) -> Any:
    """A result as JSON knows it: records as objects, arrays as lists to six digits, no infinities and no NaN."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and (names := getattr(value, "_fields", ())):
        return {name: plain(item) for name, item in zip(names, value, strict=True)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0:
        return plain(value.item())
    if isinstance(value, np.ndarray | jax.Array | tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.6g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def records(estimate: Estimate) -> list[dict[str, Any]]:
    """One record for each layer (one in all without layers), in bits.

    layer, n, dim_target, dim_x, dim_y; for every quantity q: q, q_plugin, the interval from q_low to q_high, the null
    from q_null_low to q_null_high; flags, joined by blanks. What was not asked for is None.
    """
    layered = np.ndim(estimate.pid.mi_joint) == 1
    count = len(estimate.pid.mi_joint) if layered else 1
    sides = {"": estimate.pid, "_plugin": estimate.plugin}
    for name, interval in (("", estimate.ci), ("_null", estimate.null)):
        low, high = (None, None) if interval is None else interval
        sides |= {f"{name}_low": low, f"{name}_high": high}
    found = []
    for layer in range(count):
        dims: Any = estimate.dims[layer] if layered else estimate.dims
        record = {"layer": layer, "n": estimate.n}
        record |= {f"dim_{name}": int(d) for name, d in zip(("target", "x", "y"), dims, strict=True)}
        record |= {f"{f}{side}": _at(pid, f, layer) for f in FIELDS for side, pid in sides.items()}
        found.append(record | {"flags": " ".join(_flags_of(estimate, layer, layered=layered))})
    return found


def write(estimate: Estimate, folder: Path) -> list[dict[str, Any]]:
    """`table.csv` and `table.json` of the records, which are returned."""
    rows = records(estimate)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "table.json").write_text(json.dumps(plain(rows), indent=2) + "\n")
    return rows


def _at(pid: PID | None, field: str, layer: int) -> float | None:
    return None if pid is None else float(np.atleast_1d(getattr(pid, field))[layer])


def _flags_of(estimate: Estimate, layer: int, *, layered: bool) -> list[str]:
    if not layered:
        return list(estimate.flags)
    start = f"layer {layer}: "
    return [flag.removeprefix(start) for flag in estimate.flags if flag.startswith(start)]


def grouped(flags: Sequence[str]) -> list[str]:
    """Flags of layers, equal ones in one line: "layers 0-2, 5: ..."."""
    layers: dict[str, list[int]] = {}
    for flag in flags:
        where, said = flag.split(": ", 1)
        layers.setdefault(said, []).append(int(where.removeprefix("layer ")))
    return [f"layer{'s' * (len(at) > 1)} {_ranges(at)}: {said}" for said, at in layers.items()]


def _ranges(numbers: list[int]) -> str:
    """ "0-2, 5" from 0, 1, 2, 5."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in zip(starts, ends, strict=True))

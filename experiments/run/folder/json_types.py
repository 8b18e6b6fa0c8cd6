"""Results and configurations in the types of JSON."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np


def to_json(value: Any) -> Any:
    """Convert a result to the types of JSON.

    Dataclasses and NamedTuples become objects, arrays and tuples become lists. Floats are rounded to six digits;
    infinities and NaN become None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and (names := getattr(value, "_fields", ())):
        return {name: to_json(item) for name, item in zip(names, value, strict=True)}
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0:
        return to_json(value.item())
    if isinstance(value, np.ndarray | jax.Array | tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.6g}") if np.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def config_to_json(config: Any) -> dict[str, Any]:
    """Convert a configuration to the types of JSON. Paths become absolute, so that they hold in any directory."""

    def convert(value: Any) -> str:
        is_path = isinstance(value, Path)
        return os.path.abspath(value) if is_path else str(value)  # noqa: PTH100  resolve() would follow links

    return json.loads(json.dumps(dataclasses.asdict(config), default=convert))


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Convert {"a": {"b": value}} to {"a.b": value}."""
    if not isinstance(tree, dict):
        return {prefix.removesuffix("."): tree}
    return {name: value for key in tree for name, value in flatten(tree[key], f"{prefix}{key}.").items()}


def encode(value: Any) -> bytes:
    """Return the text of a JSON file."""
    return (json.dumps(value, indent=2) + "\n").encode()

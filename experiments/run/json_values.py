"""Values as JSON knows them."""

import dataclasses
from typing import Any

import jax
import numpy as np


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

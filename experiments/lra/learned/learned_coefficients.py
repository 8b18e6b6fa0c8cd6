"""Coefficients of the evolved attention after training, saved in the run folder for the summary.

The coefficients are those of the weights with the best validation accuracy.

Legend: L layers, N heads, n steps.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from experiments import run
from pdeformer.model import Classifier

Coefficients = dict[str, Any]
"""Map from name to nested lists (L, N), (L,) or (L, n, N); one number for a coefficient that is not learned."""


UNITS = {
    "alpha": "tokens² per unit of pseudo-time",
    "beta": "per unit of pseudo-time",
    "speed": "tokens per unit of pseudo-time",
}
"""Name of a coefficient -> its unit, for the reaction rate `beta`; see `unit_of`."""


def unit_of(kind: str, name: str) -> str:
    """Return the unit of a coefficient of the equation `kind`."""
    return UNITS["speed" if (kind, name) == ("advection-diffusion", "beta") else name]


def by_layer(values: Any) -> Float[np.ndarray, "L n N"]:
    """Return a coefficient with all three axes; those that share one value have the length 1."""
    array = np.asarray(values, dtype=float)
    if array.ndim == 3:
        return array
    return array.reshape(-1, 1, array.shape[1] if array.ndim == 2 else 1)


def of_model(model: Classifier) -> Coefficients:
    """Return the coefficients of a model; empty with plain attention."""
    evolution = model.blocks.attention.evolution
    if evolution is None:
        return {}
    values = evolution.pde().coefficients()
    return {name: np.asarray(jax.device_get(value)).tolist() for name, value in values.items()}


def save(folder: run.Run, variant: str, seed: int, coefficients: Coefficients) -> None:
    """Write the coefficients of a variant and seed, and replace those of an earlier call."""
    if coefficients and run.is_first():
        path = _path(folder, variant, seed)
        path.parent.mkdir(exist_ok=True)
        run.write_atomically(path, (json.dumps(coefficients) + "\n").encode())


def load(folder: run.Run, variant: str, seed: int) -> Coefficients:
    """Read the coefficients that `save` has written; empty with plain attention.

    Raises:
        ValueError: the file is damaged.
    """
    path, remedy = _path(folder, variant, seed), run.remedy_of_row(folder, variant, seed)
    coefficients = run.read_json(path, remedy) if path.exists() else {}
    try:
        is_whole = all(np.isfinite(np.asarray(value, dtype=float)).all() for value in coefficients.values())
    except (AttributeError, TypeError, ValueError):
        is_whole = False
    if not is_whole:
        raise ValueError(f"{path} must have arrays of finite numbers, got {coefficients!r:.60}; {remedy}.")
    return coefficients


def describe(coefficients: Coefficients, initial: Coefficients) -> str:
    """Return as text the range of every coefficient over layers, heads and steps, and its initial value."""
    ranges = {name: (np.min(value), np.max(value)) for name, value in coefficients.items()}
    return ", ".join(
        f"{name} {low:.4f} to {high:.4f} (began at {initial[name]:g})" for name, (low, high) in ranges.items()
    )


def _path(folder: run.Run, variant: str, seed: int) -> Path:
    return folder.folder / "coefficients" / f"{variant}-{seed}.json"

"""What the evolved attention has learned: its coefficients, kept in the run folder for the summary.

They are those of the weights that were best on validation.

Legend: L layers, N heads, n steps.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import run
from pdeformer.model import Classifier

Coefficients = dict[str, Any]
"""Name -> nested lists (L, N), (L,) or (L, n, N), or one number if it is not learned."""


def learned(model: Classifier) -> Coefficients:
    """The coefficients of a model; none with plain attention."""
    evolution = model.blocks.attention.evolution
    if evolution is None:
        return {}
    values = evolution.pde().coefficients()
    return {name: np.asarray(jax.device_get(value)).tolist() for name, value in values.items()}


def keep(folder: run.Run, variant: str, seed: int, coefficients: Coefficients) -> None:
    """Write the coefficients of a training, over those of its last call."""
    if coefficients and jax.process_index() == 0:
        path = _path(folder, variant, seed)
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(coefficients) + "\n")
        part.replace(path)


def read(folder: run.Run, variant: str, seed: int) -> Coefficients:
    """What `keep` has written; nothing with plain attention."""
    path = _path(folder, variant, seed)
    return json.loads(path.read_text()) if path.exists() else {}


def describe(coefficients: Coefficients, initial: Coefficients) -> str:
    """The range of every coefficient over layers, heads and steps, and where it began."""
    ranges = {name: (np.min(value), np.max(value)) for name, value in coefficients.items()}
    return ", ".join(
        f"{name} {low:.4f} to {high:.4f} (began at {initial[name]:g})" for name, (low, high) in ranges.items()
    )


def _path(folder: run.Run, variant: str, seed: int) -> Path:
    return folder.folder / "coefficients" / f"{variant}-{seed}.json"

"""The plug-in's bias, taken away from the mutual informations and, as far as it can be, from the atoms.

Arrays hold the fields of a PID along their last axis; bias and information are in bits.
"""

from typing import Any

import numpy as np

from pid.estimators.results import pid_from_array, pid_to_array
from pid.measures import PID

Numbers = Any  # arrays or NumPy scalars


def wishart(values: np.ndarray, bias: np.ndarray, measure: str) -> np.ndarray:
    """Subtract the exact bias `(..., 3)` of the three mutual informations, and scale the union with the joint one.

    I_u ← I_u · Î_xy / I_xy with Î the corrected values. MMI needs no scaling: it is a function of the three.
    """
    plugin = pid_from_array(values)
    told = np.stack([plugin.mi_x, plugin.mi_y, plugin.mi_joint], axis=-1)
    x, y, joint = np.moveaxis(_ordered(told - bias), -1, 0)
    if measure == "mmi":
        return _keep_infinite(values, consistent(x, y, joint, np.maximum(x, y)))
    known = np.isfinite(plugin.mi_joint) & (plugin.mi_joint > 0)
    scale = np.where(known, joint / np.where(known, plugin.mi_joint, 1), 1)
    return _keep_infinite(values, consistent(x, y, joint, plugin.union * scale))


def by_draws(values: np.ndarray, draws: np.ndarray, measure: str) -> np.ndarray:
    """2 θ̂ - mean θ*: the bias that plug-in values of the parametric bootstrap, (draws, ...), have, taken away."""
    with np.errstate(invalid="ignore"):  # infinite information: such systems are not corrected
        twice = pid_from_array(2 * values - draws.mean(axis=0))
    x, y, joint = np.moveaxis(_ordered(np.stack([twice.mi_x, twice.mi_y, twice.mi_joint], axis=-1)), -1, 0)
    union = np.maximum(x, y) if measure == "mmi" else twice.union
    return _keep_infinite(values, consistent(x, y, joint, union))


def by_thinning(values: np.ndarray, bias: np.ndarray, unique: np.ndarray) -> np.ndarray:
    """The exact bias taken from the mutual informations, and union = (I_x + I_y)/2 + ê.

    unique: (..., 2), ê = (U_x + U_y)/2 by `thinning` and its plug-in value in bits, which it may not exceed.
    """
    plugin = pid_from_array(values)
    told = np.stack([plugin.mi_x, plugin.mi_y, plugin.mi_joint], axis=-1)
    x, y, joint = np.moveaxis(_ordered(told - bias), -1, 0)
    half = np.minimum(unique[..., 0], unique[..., 1])
    return _keep_infinite(values, consistent(x, y, joint, (x + y) / 2 + half))


def _ordered(told: np.ndarray) -> np.ndarray:
    """Informations at least 0, the joint one at least the others."""
    x, y, joint = np.moveaxis(np.maximum(told, 0), -1, 0)
    return np.stack([x, y, np.maximum(joint, np.maximum(x, y))], axis=-1)


def consistent(x: Numbers, y: Numbers, joint: Numbers, union: Numbers) -> np.ndarray:
    """The fields of the PID with this union, which is clipped to [max(I_x, I_y), min(I_x + I_y, I_xy)]."""
    with np.errstate(invalid="ignore"):  # infinite information: such systems are not corrected
        return _from_union(x, y, joint, np.clip(union, np.maximum(x, y), np.minimum(x + y, joint)))


def _from_union(x: Numbers, y: Numbers, joint: Numbers, union: Numbers) -> np.ndarray:
    return pid_to_array(PID(x + y - union, union - y, union - x, joint - union, x, y, joint, union))


def _keep_infinite(values: np.ndarray, corrected: np.ndarray) -> np.ndarray:
    """A bias of infinite information is beside the point: such systems stay as they are."""
    infinite = ~np.isfinite(values).all(axis=-1, keepdims=True)
    return np.where(infinite, values, corrected)

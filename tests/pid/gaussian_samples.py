"""Samples of known systems for tests of the estimators, and the options of quick estimates."""

from typing import Any

import jax
import numpy as np

from pid.measures.decomposition import make_measure
from tests.helpers import pid_oracle as oracle

KEY = jax.random.key(3)
PLAIN: dict[str, Any] = {"reduce": None, "gaussianize": "none"}
QUIET: dict[str, Any] = {"ci": None, "null": None}
DIMS = (3, 3, 3)
ATOMS = ("redundancy", "unique_x", "unique_y", "synergy")
INFORMATION = ("mi_x", "mi_y", "mi_joint")


def draw(cov, dims, n, *, seed=0, repeats=None):
    """Draw samples of target, x and y: (n, d), or (repeats, n, d)."""
    rng = np.random.default_rng(seed)
    lead = (n,) if repeats is None else (repeats, n)
    rows = rng.normal(size=(*lead, len(cov))) @ np.linalg.cholesky(cov).T
    return np.split(rows, np.cumsum(dims)[:2], axis=-1)


def small(n=400, seed=0):
    cov = oracle.channel_system(np.diag([2.0, 1, 0.5]), np.diag([0.5, 1, 2]))
    return draw(cov, DIMS, n, seed=seed)


def layered(layers=3, n=400):
    target, x, y = small(n)
    rng = np.random.default_rng(1)
    noisy = np.stack([x + 0.5 * layer * rng.normal(size=x.shape) for layer in range(layers)])
    return target, noisy, y


def to_array(pid):
    return np.stack([np.asarray(field) for field in pid], axis=-1)


def measure_of(dims):
    return make_measure("broja", dims, np.float64)

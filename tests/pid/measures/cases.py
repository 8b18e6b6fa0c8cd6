"""Systems and helpers that the tests of the decompositions share."""

import numpy as np
from scipy.linalg import block_diag

from tests.helpers import pid_oracle as oracle

KNOWN = oracle.known_answers()
SHAPES = ((1, 1, 1), (2, 2, 2), (1, 6, 9), (4, 8, 3), (10, 3, 3), (5, 5, 5), (3, 10, 12))
MEASURES = ("broja", "mmi")


def system(dims, seed=0):
    """Sample a covariance of these dims."""
    return oracle.sample_system(np.random.default_rng(seed), dims)


def to_array(pid):
    """Stack the fields of a PID along a first axis."""
    return np.array([np.asarray(field) for field in pid])


def apply_maps(cov, dims, maps):
    """Return covariance and dims of (A M, B X, C Y)."""
    full = block_diag(*maps)
    return full @ cov @ full.T, tuple(len(part) for part in maps)


def with_copies(cov, dims):
    """Add duplicated, combined and constant features to every variable."""
    rng = np.random.default_rng(9)
    maps = [
        np.vstack([np.eye(n), 3 * np.eye(n)[:1], rng.normal(size=(1, n)), np.zeros((1, n))]) for n in dims
    ]
    widened, wide = apply_maps(cov, dims, maps)
    return (widened + widened.T) / 2, wide


def equal_sources(cov, dims):
    """Return covariance and dims of (M, X, X)."""
    m, x, _ = oracle.parts(dims)
    order = np.concatenate([m, x, x])
    return cov[np.ix_(order, order)], (dims[0], dims[1], dims[1])

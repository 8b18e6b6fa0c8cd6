"""Normal scores and principal scores on the host, for columns of any shape without compilation.

n samples, d columns
"""

import numpy as np
from scipy.special import ndtri


def to_unit_variance(z: np.ndarray) -> np.ndarray:
    """Standardize columns of a scale near 1, (n, d), divisor n; what varies by less than 1e-9 becomes zeros."""
    centered = z - z.mean(axis=0)
    scale = np.sqrt(np.mean(centered**2, axis=0))
    return centered / np.where(scale > 1e-9, scale, np.inf)


def normal_scores(x: np.ndarray, *, break_ties: bool = False) -> np.ndarray:
    """Compute Φ⁻¹((r - 1/2) / n) per column of x, (n, d), with ranks r, and standardize the scores.

    Ties get their average rank. With `break_ties` they get theirs in a random order that is always the same, so that
    the residual of a tied column is no function of its prediction. A constant column becomes zeros.

    Example:
        >>> import numpy as np
        >>> normal_scores(np.array([[3.0], [9.0], [4.0]])).round(2).ravel().tolist()
        [-1.22, 1.22, 0.0]
    """
    columns = np.ascontiguousarray(np.asarray(x, dtype=np.float64).T)
    n = columns.shape[1]
    scores_by_doubled_rank = ndtri(np.arange(1, 2 * n) / (2 * n))
    order = np.argsort(columns, axis=1)
    ordered = np.take_along_axis(columns, order, axis=1)
    scores = np.empty(columns.shape)
    np.put_along_axis(scores, order, scores_by_doubled_rank[None, ::2], axis=1)
    random = np.random.default_rng(0).random(n)
    for j in np.flatnonzero(np.any(ordered[:, 1:] == ordered[:, :-1], axis=1)):
        column, own = columns[j], ordered[j]
        if break_ties and own[0] < own[-1]:
            scores[j, np.lexsort((random, column))] = scores_by_doubled_rank[::2]
        else:
            doubled = np.searchsorted(own, column, "left") + np.searchsorted(own, column, "right")
            scores[j] = scores_by_doubled_rank[doubled - 1]
    return to_unit_variance(scores.T)


def principal_scores(z: np.ndarray, count: int) -> np.ndarray:
    """Compute the leading `count` principal components of standardized columns z, (n, d), with variance 1."""
    if z.shape[1] <= count:
        return z
    _, vectors = np.linalg.eigh(z.T @ z)
    return to_unit_variance(z @ vectors[:, ::-1][:, :count])

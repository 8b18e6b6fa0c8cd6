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
    by_rank = to_unit_variance(scores_by_doubled_rank[::2, None])[:, 0]  # of a column without ties
    order, ordered = np.argsort(columns, axis=1), np.sort(columns, axis=1)
    scores = np.empty(columns.shape)
    for own, ranks in zip(scores, order, strict=True):
        own[ranks] = by_rank
    random = np.random.default_rng(0).random(n)
    for j in np.flatnonzero(np.any(ordered[:, 1:] == ordered[:, :-1], axis=1)):
        column, values = columns[j], ordered[j]
        if break_ties and values[0] < values[-1]:
            scores[j, np.lexsort((random, column))] = by_rank
        else:
            doubled = np.searchsorted(values, column, "left") + np.searchsorted(values, column, "right")
            scores[j] = to_unit_variance(scores_by_doubled_rank[doubled - 1, None])[:, 0]
    return scores.T


def principal_scores(z: np.ndarray, count: int) -> np.ndarray:
    """Compute the leading `count` principal components of standardized columns z, (n, d), with variance 1."""
    if z.shape[1] <= count:
        return z
    _, vectors = np.linalg.eigh(z.T @ z)
    return to_unit_variance(z @ vectors[:, ::-1][:, :count])

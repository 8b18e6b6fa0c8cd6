"""Mutual information from nearest neighbors, beside that of a Gaussian model.

    I(A;B) = ψ(k) + ψ(n) - E[ψ(n_a + 1) + ψ(n_b + 1)] nats,

n_a and n_b the numbers of samples that are closer in a or in b, by the largest coordinate, than the k-th neighbor is in
(a, b). [Kraskov, Stögbauer & Grassberger, "Estimating mutual information", 2004, estimator 1]

The estimate has hardly a bias where a and b are independent, and a large negative one in many dimensions where they
depend strongly. It is therefore made of what the Gaussian model leaves, in few directions:

    I(A;B) ≈ Gaussian I(A;B) + I(residual of A;B).

    n samples, m coordinates of the target, d coordinates of a source
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree
from scipy.special import digamma

from pid.estimators.checks.independence import (
    linear_residual,
    neighbor_test,
    pair_residual,
    pair_test,
    reduced_sources,
    reduced_target,
    widths_of,
)
from pid.features.normal_scores import normal_scores

MAX_POINTS = 2000
"""Samples among which neighbors are searched; of more, evenly spaced ones are taken."""
JITTER = 1e-9
"""Noise that breaks ties, relative to the deviation of a column."""


class NeighborInformation(NamedTuple):
    """Information of the target with x, y and both by nearest neighbors, in bits."""

    mi_x: float
    """Gaussian I(M;X) plus what neighbors find in its residual."""

    mi_y: float
    """Gaussian I(M;Y) plus what neighbors find in its residual."""

    mi_joint: float
    """Gaussian I(M;X,Y) plus what neighbors find in its residual; at least the larger of the other two."""


def neighbor_mutual_information(a: np.ndarray, b: np.ndarray, *, neighbors: int = 4) -> float:
    """Estimate I(A;B) by the distances to the nearest neighbors.

    Args:
        a: samples (n, d_a); few coordinates of similar scale.
        b: samples (n, d_b) in the same order.
        neighbors: k, at least 1 and less than n; larger values have less variance and more bias.

    Returns:
        I(A;B) in bits; values below zero are errors of the estimate. Tied values are separated by tiny noise.

    Raises:
        ValueError: fewer than one neighbor, or not more samples than neighbors.

    Example:
        >>> import numpy as np
        >>> angle, noise = np.random.default_rng(0).uniform(size=(2, 1000, 1)) * 6.283
        >>> neighbor_mutual_information(np.cos(angle), np.cos(angle) ** 2) > 3
        True
        >>> abs(neighbor_mutual_information(np.cos(angle), np.cos(noise))) < 0.1
        True
    """
    if not 1 <= neighbors < len(a):
        raise ValueError(
            f"neighbors must be at least 1 and less than the number of samples, got {neighbors} for {len(a)} samples; "
            f"pass neighbors=4."
        )
    rng = np.random.default_rng(0)
    a, b = (v + JITTER * v.std(axis=0) * rng.normal(size=v.shape) for v in (np.asarray(a), np.asarray(b)))
    joint = np.hstack([a, b])
    distance = KDTree(joint).query(joint, k=neighbors + 1, p=np.inf)[0][:, -1]
    counts = (_count_closer(v, distance) for v in (a, b))
    nats = digamma(neighbors) + digamma(len(a)) - sum(np.mean(digamma(count)) for count in counts)
    return float(nats / np.log(2))


def _count_closer(v: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Count the samples closer than a distance to every sample, itself included."""
    if v.shape[1] == 1:
        ordered, column = np.sort(v[:, 0]), v[:, 0]
        return np.searchsorted(ordered, column + distance, "left") - np.searchsorted(
            ordered, column - distance, "right"
        )
    inside = np.nextafter(distance, 0)
    return KDTree(v).query_ball_point(v, inside, p=np.inf, return_length=True)


def neighbor_information(
    target: np.ndarray, x: np.ndarray, y: np.ndarray, *, mi: tuple[float, float, float], neighbors: int = 4
) -> NeighborInformation:
    """Estimate the three informations by nearest neighbors in few directions.

    Three kinds of directions are tried, and the largest value counts: the pair of a target and a source coordinate that
    deviates most from a Gaussian copula; a coordinate of the target's residual with the two leading eigenvectors of
    E[r s sᵀ] or E[(r² - 1) s sᵀ], the directions of its quadratic dependence on the source; and one with the few source
    coordinates in which samples with near values have the most similar residuals. Each half of the samples
    selects the directions in which the other half is measured, so that the selection invents nothing.

    Args:
        target: samples (n, m); only the ranks of each column count.
        x: samples (n, d_x) of the first source.
        y: samples (n, d_y) of the second source.
        mi: Gaussian I(M;X), I(M;Y), I(M;X,Y) in bits.
        neighbors: k of `neighbor_mutual_information`.

    Returns:
        NeighborInformation; a lower bound in tendency, because only few directions are read.

    Example:
        >>> import numpy as np
        >>> x, y, noise = np.random.default_rng(0).normal(size=(3, 900, 1))
        >>> information = neighbor_information(x**2 + 0.3 * noise, x, y, mi=(0.0, 0.0, 0.0))
        >>> information.mi_x > 1.0, information.mi_y < 0.1
        (True, True)
    """
    n = len(target)
    thinned = np.linspace(0, n - 1, min(n, MAX_POINTS)).astype(int)
    scores = [
        normal_scores(np.asarray(v)[thinned], break_ties=v is target) for v in (target, x, y)
    ]  # noise that breaks ties of the target is independent of the sources, and so changes no information
    gains = (
        _residual_information(scores[0], scores[1:2], neighbors),
        _residual_information(scores[0], scores[2:3], neighbors),
        _residual_information(scores[0], scores[1:], neighbors),
    )
    total_x, total_y, total = (value + max(0.0, gain) for value, gain in zip(mi, gains, strict=True))
    return NeighborInformation(total_x, total_y, max(total, total_x, total_y))


def _residual_information(a: np.ndarray, sources: list[np.ndarray], neighbors: int) -> float:
    """Estimate the information between the linear residual of a and the sources, by two halves."""
    s, few = np.hstack(sources), reduced_sources(sources)
    rest, ratio = linear_residual(reduced_target(a), few)
    widths = widths_of(sources)
    order = np.random.default_rng(0).permutation(len(a))
    halves = np.array_split(order, 2)
    gains = [
        [neighbor_mutual_information(*pair, neighbors=neighbors) for pair in pairs]
        for train, test in (halves, halves[::-1])
        for pairs in [_directions(a, s, (rest, ratio, few), widths, train, test)]
    ]
    return float(np.mean(gains, axis=0).max())


def _directions(
    a: np.ndarray,
    s: np.ndarray,
    residual: tuple[np.ndarray, np.ndarray, np.ndarray],
    widths: tuple[int, ...],
    train: np.ndarray,
    test: np.ndarray,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of residual and source directions for the test samples, chosen by the training samples."""
    rest, ratio, few = residual
    statistics = pair_test(a[train], s[train]).statistics
    i, j = np.unravel_index(np.argmax(statistics), statistics.shape)
    yield pair_residual(a[:, i], s[:, j])[test][:, None], s[test, j][:, None]
    r, values = rest[train], few[train]
    weights = np.hstack([r, np.square(r) - 1])
    moments = np.einsum("nw,nj,nk->wjk", weights, values, values, optimize=True) / len(train)
    moments -= np.mean(weights, axis=0)[:, None, None] * np.eye(values.shape[1])
    scale = np.repeat([1.0, np.sqrt(2)], r.shape[1])  # deviations of r and r² - 1
    chosen = int(np.argmax(np.linalg.norm(moments, axis=(1, 2)) / scale))
    eigenvalues, vectors = np.linalg.eigh(moments[chosen])
    leading = vectors[:, np.argsort(-np.abs(eigenvalues))[:2]]
    yield rest[test, chosen % r.shape[1]][:, None], few[test] @ leading
    near = neighbor_test(rest[train], ratio, few[train], widths)
    columns = list(near.columns or (0,))
    yield rest[test, near.residual][:, None], few[test][:, columns]

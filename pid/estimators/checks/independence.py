"""Tests of independence between what a Gaussian model leaves of the target and the sources.

If target and sources have a Gaussian copula, the residual of a linear prediction on normal scores is independent of
the source. All functions of the two are then uncorrelated. The tests use the bounded functions

    c_k(z) = √2 cos(k π Φ(z)),   k = 1 … K,

so that outliers count little: c_1 is a bounded z, c_2 a bounded z². Products c_1(z_j) c_1(z_k) are bounded
interactions.

    n samples, m coordinates of the target, d coordinates of a source
"""

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial import KDTree
from scipy.special import ndtr
from scipy.stats import chi2

from pid.features.normal_scores import principal_scores, to_unit_variance

NUM_COSINES = 5
"""Frequencies of each coordinate in the test of pairs."""
MAX_COORDINATES = 12
"""Coordinates of one variable in the tests of interactions; a wider variable is reduced to principal components."""
MAX_PAIRS = 1024
"""Pairs of a target coordinate and a source coordinate that are tested."""
MAX_SAMPLES = 2000
"""Samples in a test; of more, evenly spaced ones are taken."""
SOURCES_AT_ONCE = 16
"""Source coordinates whose residuals are in memory at once."""
NEIGHBORS = 6
"""Nearest neighbors whose residuals are compared."""
MAX_NEIGHBOR_COORDINATES = 4
"""Source coordinates in all of which neighbors are near; of more, only pairs are looked at."""
MAX_NEIGHBORHOODS = 9
"""Pairs of source coordinates in which neighbors are sought."""
NEIGHBOR_RANK_ERROR = 4.0
"""Share of a residual, times n, that errors of the normal scores make a smooth function of the sources.

It is per ratio of explained to residual variance, the largest of all residuals and of all source coordinates given the
others; measured, and rounded up.
"""
MIN_SINGLE_NOISE = 0.03
"""Deviation of a residual below which its differences are taken in double precision: it has lost digits of single."""
SAMPLES_PER_COORDINATE = 12
"""Samples that the linear prediction needs for each coordinate of the sources."""
RANK_ERROR = (0.15, 0.05, 0.01)
"""Variance that the error of the normal scores adds to a correlation, per ratio of explained to residual variance.

The residual is small where the prediction is good, and the error of the scores, 1/√n, is then no longer small beside
its own sampling error. For residuals, for their products, and for pairs; measured, and rounded up.
"""


class IndependenceTest(NamedTuple):
    """Result of the tests of one residual against one set of source coordinates."""

    p_value: float
    """Probability of a statistic as extreme under a Gaussian copula, corrected for the number of tests."""

    largest: float
    """Largest correlation of a function of the residual with a function of the source, in standard errors."""

    squares: float
    """Mean correlation of c_2(residual) with c_2(source), in standard errors: positive where scales are shared."""


def linear_residual(a: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the studentized residual of a, (n, m), after its least-squares prediction by s, (n, d).

    Every row is divided by √(1 - h), h its leverage, so that rows far from the center keep their variance.

    Returns:
        The residual with columns of variance 1, or 0 where the prediction is exact; and the ratio of explained to
        residual variance of each column, (m,).
    """
    values, vectors = np.linalg.eigh(s.T @ s)
    basis = s @ (vectors / np.sqrt(np.where(values > 1e-10 * values[-1], values, np.inf)))
    leverage = 1 / len(s) + np.sum(np.square(basis), axis=1, keepdims=True)
    rest = a - basis @ (basis.T @ a)
    noise = rest.var(axis=0)
    studentized = np.where(noise > 1e-12, to_unit_variance(rest / np.sqrt(np.maximum(1 - leverage, 1e-3))), 0)
    return studentized, (a.var(axis=0) - noise) / np.maximum(noise, 1e-12)


class PairTest(NamedTuple):
    """Result of the tests of all pairs of a target coordinate and a source coordinate."""

    p_value: float
    """Probability of a statistic as extreme under a Gaussian copula, corrected for the number of tests."""

    largest: float
    """Largest correlation of a cosine of the residual with a cosine of the source, in standard errors."""

    statistics: np.ndarray
    """Sum of the K² squared correlations of each pair, (m, d): χ² with K² degrees of freedom."""


def pair_test(a: np.ndarray, s: np.ndarray, *, inflation: float = 1.0) -> PairTest:
    """Test every pair of a coordinate of a, (n, m), and one of s, (n, d), on K² products of cosines.

    The residual of a_i on s_j alone is tested against s_j: by the sum of all squared correlations of a pair,
    χ² with K² degrees of freedom, and by the largest correlation. `inflation` is the factor by which dependence between
    samples raises the variance of correlations: samples per independent sample.

    Cosines are in single precision, with Φ to 2e-4, which takes an eighth of the time and moves a correlation by less
    than 0.01 standard errors.
    """
    n, m, d = len(a), a.shape[1], s.shape[1]
    rho = (a.T @ s / n).clip(-1, 1).T  # (d, m)
    noise = np.maximum(np.sqrt(1 - np.square(rho)), 1e-4)
    kind = np.float32 if noise.min() > MIN_SINGLE_NOISE else np.float64  # of differences that may be small
    left, right = (np.ascontiguousarray(v.T, kind) for v in (a, s))
    own, explained = ((1 / noise).astype(kind), (rho / noise).astype(kind))
    of_source = np.ones((d, NUM_COSINES + 1, n), np.float32)  # the last row gives means
    _cosines(right.astype(np.float32), NUM_COSINES, out=of_source[:, :-1].swapaxes(0, 1))
    means, whiten = _whitening(of_source)
    z = np.empty((d, NUM_COSINES, NUM_COSINES, m))
    values = np.empty((min(d, SOURCES_AT_ONCE), NUM_COSINES, m, n), np.float32)
    for start in range(0, d, SOURCES_AT_ONCE):
        chunk = slice(start, start + SOURCES_AT_ONCE)
        rest = left[None] * own[chunk, :, None]
        rest -= right[chunk, None] * explained[chunk, :, None]  # (c, m, n)
        cosines = values[: len(rest)]
        _cosines(rest.astype(np.float32, copy=False), NUM_COSINES, out=cosines.swapaxes(0, 1))
        columns = cosines.reshape(len(rest), -1, n)
        cross = (of_source[chunk] @ columns.transpose(0, 2, 1)).astype(float) / n  # (c, K + 1, K m)
        average = cross[:, -1:]
        variance = np.vecdot(columns, columns)[:, None] / n - np.square(average)
        scale = np.where(variance > 100 * np.finfo(np.float32).eps, variance, np.inf) ** -0.5
        correlations = whiten[chunk] @ (cross[:, :-1] - means[chunk, :, None] * average) * scale
        z[chunk] = correlations.reshape(len(rest), NUM_COSINES, NUM_COSINES, m)
    z *= np.sqrt(n) / np.sqrt(inflation * (1 + RANK_ERROR[2] * np.square(rho / noise)))[:, None, None, :]
    largest = float(np.abs(z).max())
    statistics = np.square(z).sum(axis=(1, 2)).T
    p_sum = m * d * chi2.sf(float(statistics.max()), NUM_COSINES**2)
    p_value = min(1.0, 2 * min(float(p_sum), float(z.size * 2 * ndtr(-largest))))
    return PairTest(p_value, largest, statistics)


def _whitening(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means (d, K) and matrices (d, K, K) that make rows (d, K + 1, n), the last one ones, uncorrelated.

    A column of few values has fewer than K directions.
    """
    moments = (rows @ rows[:, :-1].transpose(0, 2, 1)).astype(float) / rows.shape[2]  # (d, K + 1, K)
    means = moments[:, -1]
    cov = moments[:, :-1] - means[:, :, None] * means[:, None, :]
    variance = np.diagonal(cov, axis1=1, axis2=2)
    scale = np.where(variance > 100 * np.finfo(np.float32).eps, variance, np.inf) ** -0.5
    eigenvalues, vectors = np.linalg.eigh(cov * scale[:, :, None] * scale[:, None, :])
    roots = np.where(eigenvalues > 1e-5, eigenvalues, np.inf) ** -0.5
    return means, (vectors * roots[:, None, :]) @ vectors.transpose(0, 2, 1) * scale[:, None, :]


def pair_residual(a: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Compute the residual of one column a, (n,), after its linear prediction by one column s, (n,)."""
    rho = float(np.clip(a @ s / len(a), -1, 1))
    return (a - rho * s) / max(np.sqrt(1 - rho**2), 1e-4)


def interaction_test(
    rest: np.ndarray, ratio: np.ndarray, s: np.ndarray, *, inflation: float = 1.0
) -> IndependenceTest:
    """Test residuals and their products, (n, m), against products of source coordinates s, (n, d).

    Residuals are tested against squares and products of the source; squares and products of the residuals against the
    source, its squares and its products. Each of the two by the sum of all squared correlations, with the moments of
    a random permutation, and by the largest correlation. `ratio` and `inflation` raise the expected variance, by the
    error of the normal scores (`linear_residual`) and by dependence between samples.
    """
    n, m, d = len(rest), rest.shape[1], s.shape[1]
    left, right = _units(rest), _units(s)
    of_source, of_rest = right @ right.T, left @ left.T
    rows, columns = np.triu_indices(m, 1)
    ratios = np.concatenate([ratio, np.maximum(ratio[rows], ratio[columns])])
    blocks = (
        (slice(0, m), slice(d, None), 1 + RANK_ERROR[0] * ratio),
        (slice(m, None), slice(0, None), 1 + RANK_ERROR[1] * ratios),
    )
    p_values, sizes, largest = [], 0, 0.0
    crosses = left @ right.T
    for own, others, variance in blocks:
        cross = crosses[own, others] / np.sqrt(inflation * variance)[:, None]
        p_values.append(_permutation_p_value(n, of_rest[own, own], of_source[others, others], cross))
        sizes += cross.size
        largest = max(largest, float(np.abs(cross).max()) * np.sqrt(n))
    p_values.append(sizes * 2 * ndtr(-largest))
    energies = [_unit(squares.sum(axis=0)[:, None]) for squares in (left[m : 2 * m], right[d : 2 * d])]
    squares = float(np.sum(energies[0] * energies[1])) * np.sqrt(n / inflation)
    return IndependenceTest(min(1.0, 3 * float(min(p_values))), largest, squares)


class NeighborTest(NamedTuple):
    """Result of the tests of autocorrelation of the residuals between neighbors in a few source coordinates."""

    p_value: float
    """Probability of a statistic as extreme under a Gaussian copula, corrected for the number of tests."""

    largest: float
    """Largest autocorrelation, in standard errors."""

    residual: int
    """Column of the residual with the largest one."""

    columns: tuple[int, ...]
    """Source coordinates in which neighbors are near."""


NO_NEIGHBORS = NeighborTest(1.0, 0.0, 0, ())
"""Result where nothing was tested."""


def neighbor_test(
    rest: np.ndarray, ratio: np.ndarray, s: np.ndarray, widths: tuple[int, ...]
) -> NeighborTest:
    """Test whether residuals, (n, m), of samples with similar source coordinates s, (n, d), are alike.

    Any function of few coordinates makes them so, however often it changes its sign: a checkerboard, a ring. The
    statistic is Moran's, fᵀ W f with the weights W of the k nearest neighbors, for f = c_1 and c_2 of each residual.
    Its law under permutation is a gamma law with its first three cumulants. Neighbors are near in all coordinates, if
    these are few, or in two of them.

    Args:
        rest: residuals (n, m) of independent samples.
        ratio: of explained to residual variance, (m,), from `linear_residual`.
        s: coordinates of the sources side by side, (n, d).
        widths: number of coordinates of each source.

    Reference:
        Moran, "Notes on continuous stochastic phenomena", Biometrika 1950.
    """
    n = len(s)
    functions = _unit(np.hstack([*_cosines(rest, 2)]))
    smooth = min(1.0, NEIGHBOR_RANK_ERROR * max(float(ratio.max(initial=0)), _source_ratio(s)) / n)
    best, tests = NO_NEIGHBORS, 0
    for columns in _neighborhoods(s.shape[1], widths):
        weights = _neighbor_weights(s[:, columns])
        squared = csr_array(weights @ weights)
        variance, third = 2 * squared.diagonal().sum(), 8 * squared.multiply(weights).sum()
        moran = np.einsum("nf,nf->f", functions, weights @ functions) * n
        scores = (moran + NEIGHBORS - n * NEIGHBORS * smooth) / np.sqrt(variance)
        tests += len(scores)
        i = int(np.argmax(scores))
        if scores[i] > best.largest:
            freedom = 8 * variance**3 / third**2
            p_value = float(chi2.sf(freedom + scores[i] * np.sqrt(2 * freedom), freedom))
            best = NeighborTest(p_value, float(scores[i]), i % rest.shape[1], columns)
    return best._replace(p_value=min(1.0, max(tests, 1) * best.p_value))


def _source_ratio(s: np.ndarray) -> float:
    """Return the largest ratio of explained to residual variance of a coordinate given the others it is no copy of."""
    values, vectors = np.linalg.eigh(s.T @ s / len(s))
    inverse = np.where(values > 1e-9 * values[-1], 1 / np.maximum(values, 1e-12), 0)
    return float(np.max(np.square(vectors) @ inverse)) - 1


def _neighborhoods(d: int, widths: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the sets of source coordinates in which neighbors are sought."""
    pairs = list(combinations(range(d), 2))
    if len(pairs) > MAX_NEIGHBORHOODS and len(widths) == 2:
        pairs = [(i, widths[0] + j) for i in range(widths[0]) for j in range(widths[1])]
    pairs = pairs if len(pairs) <= MAX_NEIGHBORHOODS else []
    return [*([tuple(range(d))] if d <= MAX_NEIGHBOR_COORDINATES and d != 2 else []), *pairs]


def _neighbor_weights(s: np.ndarray) -> csr_array:
    """Return (W + Wᵀ) / 2 with W_ij = 1 if j is one of the k nearest neighbors of i, sparse."""
    n = len(s)
    nearest = KDTree(s).query(s, k=NEIGHBORS + 1)[1]
    rows = np.repeat(np.arange(n), NEIGHBORS + 1)
    others = nearest.ravel() != rows
    weights = csr_array((np.ones(others.sum()), (rows[others], nearest.ravel()[others])), shape=(n, n))
    return csr_array((weights + weights.T) / 2)


def _permutation_p_value(n: int, left: np.ndarray, right: np.ndarray, cross: np.ndarray) -> float:
    """Compute the p-value of n Σ corr² between unit columns, by the gamma law with its moments under permutation.

    `left` and `right` are the correlation matrices of the columns. The limit law is Σ λ_i μ_j χ²_1 with their
    eigenvalues λ, μ: mean tr·tr, variance 2 tr(C²) tr(C²), third cumulant 8 tr(C³) tr(C³).
    """
    first, second = _power_traces(left), _power_traces(right)
    mean, variance, third = (c * x * y for c, x, y in zip((1, 2, 8), first, second, strict=True))
    if variance <= 0:
        return 1.0
    freedom = 8 * variance**3 / third**2
    standardized = (n * float(np.square(cross).sum()) - mean) / np.sqrt(variance)
    return float(chi2.sf(freedom + standardized * np.sqrt(2 * freedom), freedom))


def _power_traces(corr: np.ndarray) -> tuple[float, float, float]:
    """Compute tr C, tr C², tr C³ of a correlation matrix C."""
    single = corr.astype(np.float32)  # moments to six digits
    return float(np.trace(corr)), float(np.sum(np.square(corr))), float(np.sum(single @ single * corr))


def _units(z: np.ndarray) -> np.ndarray:
    """Return c_1 and c_2 of every column, and c_1 c_1 of every pair, as centered unit rows of single precision.

    d columns (n, d) give rows (2 d + d (d-1) / 2, n).
    """
    d = z.shape[1]
    rows = np.empty((2 * d + d * (d - 1) // 2, len(z)), np.float32)
    rows[: 2 * d] = _cosines(z.T, 2).reshape(2 * d, -1)
    start = 2 * d
    for j in range(d - 1):
        np.multiply(rows[j + 1 : d], rows[j], out=rows[start : start + d - 1 - j])
        start += d - 1 - j
    return _unit(rows, axis=1)


def _cosines(z: np.ndarray, count: int, out: np.ndarray | None = None) -> np.ndarray:
    """Compute √2 cos(kπΦ(z)) for k = 1 … count along a new first axis, by cos((k+1)θ) = 2 cos θ cos kθ - cos (k-1)θ."""
    values = np.empty((count, *z.shape), z.dtype) if out is None else out
    if z.dtype == np.float32:  # Φ(z) ≈ (1 + tanh √(2/π)(z + 0.0447 z³))/2, and cos(π(1 + t)/2) = -sin(πt/2)
        twice = np.square(z)
        twice *= np.float32(0.044715 * math.sqrt(2 / math.pi))
        twice += np.float32(math.sqrt(2 / math.pi))
        twice *= z
        np.tanh(twice, out=twice)
        twice *= np.float32(math.pi / 2)
        np.sin(twice, out=twice)
        twice *= np.float32(-2)
    else:
        twice = 2 * np.cos(math.pi * ndtr(z))
    np.multiply(twice, z.dtype.type(math.sqrt(0.5)), out=values[0])
    before = z.dtype.type(math.sqrt(2))  # c_0
    for k in range(1, count):
        np.multiply(twice, values[k - 1], out=values[k])
        values[k] -= before
        before = values[k - 1]
    return values


def _unit(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Center along an axis and divide by the norm; what is constant becomes zeros."""
    centered = values - values.mean(axis=axis, keepdims=True)
    norm = np.sqrt(np.sum(np.square(centered), axis=axis, keepdims=True))
    rounding = max(1e-9, 10 * float(np.finfo(values.dtype).eps)) * np.sqrt(values.shape[axis])
    return centered / np.where(norm > rounding, norm, norm.dtype.type(np.inf))


def reduced_target(a: np.ndarray) -> np.ndarray:
    """Return at most `MAX_COORDINATES` coordinates of the target, standardized and uncorrelated where reduced."""
    return principal_scores(a, MAX_COORDINATES)


def reduced_sources(sources: list[np.ndarray]) -> np.ndarray:
    """Return the sources side by side, each reduced to as many principal components as the samples allow."""
    counts = widths_of(sources)
    return np.hstack([principal_scores(s, count) for s, count in zip(sources, counts, strict=True)])


def widths_of(sources: list[np.ndarray]) -> tuple[int, ...]:
    """Return the number of coordinates of each source in `reduced_sources`."""
    count = max(2, min(MAX_COORDINATES, len(sources[0]) // (SAMPLES_PER_COORDINATE * 2)))
    return tuple(min(count, s.shape[1]) for s in sources)


def gaussianize_radius(rest: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the rows of (rest, s), whitened, the lengths of a Gaussian vector in the same order of lengths.

    An elliptical distribution, such as the multivariate t distribution, becomes Gaussian.
    """
    rest, s = (_whiten(v) for v in (rest, s))
    radius = np.sqrt(np.sum(np.square(rest), axis=1) + np.sum(np.square(s), axis=1))
    shares = (np.argsort(np.argsort(radius)) + 0.5) / len(radius)
    factor = np.sqrt(chi2.ppf(shares, rest.shape[1] + s.shape[1])) / np.maximum(radius, 1e-12)
    return rest * factor[:, None], s * factor[:, None]


def _whiten(z: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    return z @ (vectors / np.sqrt(np.where(values > 1e-10 * values[-1], values, np.inf))) @ vectors.T

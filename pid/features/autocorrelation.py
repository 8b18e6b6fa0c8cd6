"""How much less a sample of dependent rows says: autocovariances, inflation of moments, effective sample size.

The plug-in ½ log det Ŝ of Gaussian samples w with S = I, Γ(k) = E w_t w_{t+k}ᵀ, has to second order the bias -T / (4n),

    T = Σ_k T(k),   T(k) = (tr Γ(k))² + tr Γ(k)²,   k = -∞ … ∞

which is d (d+1) / (4n) for independent samples. A mutual information I(A;B) then has the bias of n_eff independent
samples, n / n_eff = Σ_k r(k), r(k) = [T_AB(k) - T_A(k) - T_B(k)] / [T_AB(0) - T_A(0) - T_B(0)]. If A and B are
independent, r(k) is the product of their mean autocorrelations: Bartlett's formula. Taking the means away adds
[t_AB - t_A - t_B] / (2n), t = Σ_k tr Γ(k), which is 0 for independent samples and for independent A and B.

    n samples, D coordinates of all variables, K lags
"""

import math
from typing import NamedTuple

import numpy as np

MAX_LAGS = 200
"""Lags beyond this one, or beyond n/4, are not looked at."""
WINDOW = 3
"""A sum over lags ends at the first lag above `WINDOW` times the sum so far [Sokal 1989]."""
RANK = 1e-10
"""Directions with a variance below this share of the largest are left out."""


class Inflation(NamedTuple):
    """Autocorrelations of the products of two variables A and B, and what they do to I(A;B)."""

    ratio: float
    """n / n_eff = Σ_k r(k) over all samples."""

    of_means: float
    """n times the bias of I(A;B) in nats that comes from taking the means away, beyond that of independent samples."""

    products: np.ndarray
    """r(0) = 1, r(1), …, r(K)."""

    window: int
    """The largest lag in the sum."""


class Blocks(NamedTuple):
    """Blocks of a bootstrap of neighbors."""

    length: int
    """Number of neighbors in a block."""

    scale: float
    """Factor by which deviations of such draws are too small."""


def autocovariances(z: np.ndarray) -> np.ndarray:
    """Compute Γ(k) = Σ_t z_t z_{t+k}ᵀ / (n - k) of rows (n, D), k = 0 … K; (K+1, D, D).

    Taking away the mean lowers every Γ(k) by about Ω/n, Ω = Σ_k Γ(k), which is added again.
    """
    n = len(z)
    lags = max(1, min(MAX_LAGS, n // 4))
    z = z - z.mean(axis=0)
    gamma = np.stack([z[: n - k].T @ z[k:] for k in range(lags + 1)]) / n
    scale = np.diag(gamma[0])
    mean = np.mean(np.diagonal(gamma, axis1=1, axis2=2)[:, scale > 0] / scale[scale > 0], axis=1)
    window, _ = summation_window(mean)
    tail = gamma[1 : window + 1].sum(axis=0)
    omega = (gamma[0] + tail + tail.T) / (1 - (2 * window + 1) / n)
    return gamma * (n / (n - np.arange(lags + 1)))[:, None, None] + omega / n


def group_covariances(z: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, float]:
    """Compute Γ(0) and the mean Γ(1) of z_s z_tᵀ over pairs s ≠ t of one group, (2, D, D), and pairs per sample."""
    n = len(z)
    z = z - z.mean(axis=0)
    sums = np.zeros((int(label.max()) + 1, z.shape[1]))
    np.add.at(sums, label, z)
    pairs = float(np.sum(np.bincount(label).astype(float) ** 2)) - n
    gamma = z.T @ z / n
    between = (sums.T @ sums - n * gamma) / max(pairs, 1)
    omega = gamma + pairs / n * between
    return np.stack([gamma, between]) + omega / n, pairs / n


def summation_window(r: np.ndarray) -> tuple[int, float]:
    """Return the last lag k of a sum of autocorrelations r(0) = 1, r(1), …, and the sum 1 + 2 Σ_{1..k} r.

    Reference:
        Sokal, "Monte Carlo methods in statistical mechanics", 1989.
    """
    totals = 1 + 2 * np.cumsum(r[1:])
    enough = np.flatnonzero(np.arange(1, len(r)) >= WINDOW * np.maximum(totals, 1))
    last = int(enough[0]) if len(enough) else len(totals) - 1
    return last + 1, float(totals[last])


def moment_terms(gamma: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Compute T(k) and tr Γ(k) of the coordinates `index`, whitened by Γ(0); (2, K+1)."""
    part = gamma[:, index[:, None], index]
    values, vectors = np.linalg.eigh(part[0])
    keep = values > RANK * max(values[-1], RANK)
    whiten = vectors[:, keep] / np.sqrt(values[keep])
    part = whiten.T @ part @ whiten
    trace = np.trace(part, axis1=1, axis2=2)
    return np.stack([trace**2 + np.einsum("kij,kji->k", part, part), trace])


def inflation(gamma: np.ndarray, a: np.ndarray, b: np.ndarray, pairs: float | None = None) -> Inflation:
    """Compute what dependence between samples does to the bias of I(A;B).

    Args:
        gamma: autocovariances (K+1, D, D), or those of groups (2, D, D) with `pairs`.
        a: indices of the coordinates of A.
        b: indices of the coordinates of B.
        pairs: pairs per sample, from `group_covariances`; None for a series.

    Example:
        >>> import numpy as np
        >>> from pid.features.autocorrelation import autocovariances, inflation
        >>> z = np.random.default_rng(0).normal(size=(4000, 2))
        >>> for t in range(1, 4000):
        ...     z[t] += 0.8 * z[t - 1]
        >>> exact = (1 + 0.8**2) / (1 - 0.8**2)
        >>> abs(inflation(autocovariances(z), np.array([0]), np.array([1])).ratio / exact - 1) < 0.25
        True

    Reference:
        Bartlett, "Some aspects of the time-correlation problem", J. R. Stat. Soc. 1935.
    """
    both = moment_terms(gamma, np.concatenate([a, b]))
    terms, trace = both - moment_terms(gamma, a) - moment_terms(gamma, b)
    products = terms / terms[0] if terms[0] > 0 else np.eye(1, len(terms))[0]
    if pairs is not None:
        return Inflation(1 + pairs * float(products[1]), pairs * float(trace[1]) / 2, products, 1)
    window, total = summation_window(products)
    tail, _ = summation_window(both[1] / both[1][0])
    return Inflation(total, float(np.sum(trace[1 : tail + 1])), products, window)


def blocks_of(r: np.ndarray, n: int, length: int | None = None) -> Blocks:
    """Compute the length of circular blocks with the least mean squared error of a variance.

    b = (2 G² n / D)^{1/3} with g = Σ_k λ(k) r(k), G = Σ_k λ(k) |k| r(k), D = 4/3 g², and λ(k) = 1 up to the window,
    then falling to 0 at twice that lag. At most min(3 √n, n/3).

    Blocks see Σ_k (1 - |k|/b) r(k) of the sum Σ_k r(k). There are n/b of them, one degree of freedom is lost, and
    quantiles are those of Student's t: deviations are too small by about √[(1 - G / (g b)) (1 - b/n)] / (1 + b/n).

    Args:
        r: autocorrelations r(0) = 1, r(1), …, r(K).
        n: number of samples.
        length: length of the blocks; None computes it.

    Example:
        >>> import numpy as np
        >>> from pid.features.autocorrelation import blocks_of
        >>> blocks_of(0.81 ** np.arange(200), 900).length, blocks_of(0.0 ** np.arange(200), 900)
        (32, Blocks(length=1, scale=1.0))

    Reference:
        Politis & White, "Automatic block-length selection for the dependent bootstrap", Econometric Reviews 2004;
        correction by Patton, Politis & White, 2009.
    """
    window, _ = summation_window(r)
    k = np.arange(1, len(r))
    weighted = np.clip(2 * (1 - k / (2 * window)), 0, 1) * r[1:]
    g, moment = max(1 + 2 * float(weighted.sum()), 0.1), 2 * float((k * weighted).sum())
    if length is None:
        best = (1.5 * (moment / g) ** 2 * n) ** (1 / 3)
        length = int(np.clip(math.ceil(best), 1, max(1, min(3 * math.sqrt(n), n / 3))))
    share = min(max(1 - moment / (g * length), 0.25), 1)
    return Blocks(length, (1 + length / n) / math.sqrt(share * (1 - length / n)) if length > 1 else 1.0)

"""The structured system: diagonal channels with a known amount of every atom.

    M ~ N(0, 1),  X_i = g_i M_i + n_i,  Y_i = h_i M_i + n'_i

g = h = 2 on 4 coordinates, g = 3/2 on 2 more, h = 3/2 on 3 more, 0 elsewhere, in d = dm = dx = dy ≥ 9 dimensions:

    R = 4 · ½ log 5,  U_x = 2 · ½ log 13/4,  U_y = 3 · ½ log 13/4,  S = 4 · ½ log 9/5

With d from 4 to 8, g = 3/2, 1, 0, 1/2 and h = 1, 0, 1, 1/2.

    R repeats, n samples
"""

import numpy as np
from jaxtyping import Float
from scipy.signal import lfilter

from pid.measures import PID, decompose

Gains = tuple[np.ndarray, np.ndarray]
FREEDOM = 5.0
"""Degrees of freedom of samples with heavy tails."""
AUTOCORRELATION = 0.9
"""Correlation of neighbors in a series."""

Data = tuple[np.ndarray, np.ndarray, np.ndarray]  # target, x, y: (R, n, d)


def gains(d: int) -> Gains:
    """Return g and h of the structured system."""
    g, h = np.zeros(d), np.zeros(d)
    if d < 9:
        g[:4], h[:4] = (1.5, 1, 0, 0.5), (1, 0, 1, 0.5)
        return g, h
    g[:4] = h[:4] = 2
    g[4:6] = h[6:9] = 1.5
    return g, h


def zero_gains(d: int) -> Gains:
    """Return the gains of independent variables."""
    return np.zeros(d), np.zeros(d)


def covariance(channels: Gains) -> Float[np.ndarray, "k k"]:
    """Return the covariance of (M, X, Y)."""
    mixing = np.vstack([np.eye(len(channels[0])), *map(np.diag, channels)])
    noise = np.diag(np.repeat([0.0, 1.0, 1.0], len(channels[0])))
    return mixing @ mixing.T + noise


def truth(channels: Gains) -> PID:
    """Return the exact decomposition, in bits."""
    d = len(channels[0])
    return decompose(covariance(channels), (d, d, d))


def sample(channels: Gains, repeats: int, n: int, *seed: int) -> Data:
    """Draw independent data sets."""
    rng = np.random.default_rng(seed)
    m, noise_x, noise_y = (rng.standard_normal((repeats, n, len(channels[0]))) for _ in range(3))
    return _through_channels(channels, m, noise_x, noise_y)


def sample_heavy_tails(channels: Gains, repeats: int, n: int, *seed: int) -> Data:
    """Draw data sets whose rows (m, x, y) have a multivariate t distribution with 5 degrees of freedom.

    Its scatter matrix is the covariance of `sample`, whose decomposition is that of the elliptical copula's Gaussian.
    """
    scale = np.sqrt(FREEDOM / np.random.default_rng((*seed, 1)).chisquare(FREEDOM, (repeats, n, 1)))
    target, x, y = sample(channels, repeats, n, *seed)
    return scale * target, scale * x, scale * y


def sample_series(channels: Gains, repeats: int, n: int, *seed: int) -> Data:
    """Draw data sets in which m and both noises are autoregressive series, φ = .9, with the law of `sample` at a time.

    Products of neighbors have the autocorrelation φ^{2k}, which leaves n (1 - φ²)/(1 + φ²) independent ones, a tenth.
    """
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((3, repeats, n + 300, len(channels[0])))
    filtered = lfilter([(1 - AUTOCORRELATION**2) ** 0.5], [1, -AUTOCORRELATION], white, axis=2)
    series = np.asarray(filtered)[:, :, 300:]
    return _through_channels(channels, *series)


def _through_channels(channels: Gains, m: np.ndarray, noise_x: np.ndarray, noise_y: np.ndarray) -> Data:
    return m, channels[0] * m + noise_x, channels[1] * m + noise_y

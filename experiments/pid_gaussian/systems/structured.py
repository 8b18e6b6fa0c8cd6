"""The structured system: diagonal channels with a known amount of every atom.

    M ~ N(0, 1),  X_i = g_i M_i + n_i,  Y_i = h_i M_i + n'_i

g = h = 2 on 4 coordinates, g = 3/2 on 2 more, h = 3/2 on 3 more, 0 elsewhere, in d = dm = dx = dy ≥ 9 dimensions:

    R = 4 · ½ log 5,  U_x = 2 · ½ log 13/4,  U_y = 3 · ½ log 13/4,  S = 4 · ½ log 9/5

    R repeats, n samples
"""

import numpy as np
from jaxtyping import Float

from pid.measures import PID, decompose

Gains = tuple[np.ndarray, np.ndarray]
Data = tuple[np.ndarray, np.ndarray, np.ndarray]  # target, x, y: (R, n, d)


def gains(d: int) -> Gains:
    """Return g and h of the structured system."""
    g, h = np.zeros(d), np.zeros(d)
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
    return m, channels[0] * m + noise_x, channels[1] * m + noise_y

"""Warped systems, their information, and the small flows that the tests share."""

from math import log
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pid.flow import SeparableFlow

SMALL = SeparableFlow(couplings=2, bins=4, hidden=8, steps=160, coupling_steps=20, rounds=8, folds=3)
TINY = SeparableFlow(couplings=1, bins=4, knots=8, hidden=4, steps=4, coupling_steps=4, rounds=2)


def random(*shape, seed=0):
    """Draw independent standard normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def warped_system(seed, n, dims, *, rotate):
    """Sample x = Hx m + noise, y = Hy m + noise, then warp m, y -> cube root, x -> cube; rotate if `rotate`.

    Entries of Hx and Hy, m and the noises are N(0, 1). Returns the target, x, y, and the covariance before the warps,
    which has the mutual information of the data. [Zhao et al. 2025]
    """
    generator = np.random.default_rng(seed)
    dm, dx, dy = dims
    hx, hy = generator.normal(size=(dx, dm)), generator.normal(size=(dy, dm))
    m = generator.normal(size=(n, dm))
    x = m @ hx.T + generator.normal(size=(n, dx))
    y = m @ hy.T + generator.normal(size=(n, dy))
    mixing = np.vstack([np.eye(dm), hx, hy])
    cov = mixing @ mixing.T + np.diag([0.0] * dm + [1.0] * (dx + dy))
    warped = [np.cbrt(m), x**3, np.cbrt(y)]
    if rotate:
        warped = [v @ np.linalg.qr(generator.normal(size=(v.shape[1],) * 2))[0] for v in warped]
    return (*warped, cov)


def gaussian_system(seed, n, dims):
    """Return the samples of `warped_system` before the warps, and their covariance."""
    m, x, y, cov = warped_system(seed, n, dims, rotate=False)
    return m**3, np.cbrt(x), y**3, cov


def mutual_informations(cov, dims):
    """Compute I(M; X), I(M; Y), I(M; X, Y) in bits."""
    m, x, y = np.split(np.arange(sum(dims)), np.cumsum(dims)[:-1])

    def log_det(*parts):
        index = np.concatenate(parts)
        return np.linalg.slogdet(cov[np.ix_(index, index)])[1]

    return np.asarray(
        [(log_det(m) + log_det(*s) - log_det(m, *s)) / 2 / log(2) for s in ((x,), (y,), (x, y))]
    )


def information_of_rows(*variables):
    """Compute the mutual informations from the sample covariance of target, x and y."""
    rows = [np.asarray(v, np.float64).reshape(-1, v.shape[-1]) for v in variables]
    return mutual_informations(np.cov(np.hstack(rows).T), [v.shape[1] for v in rows])


def to_float32(*variables) -> Any:
    """Convert the variables to float32."""
    return tuple(jnp.asarray(v, jnp.float32) for v in variables)


def with_layer_axis(*variables) -> Any:
    """Convert the variables to float32 with an axis of one layer."""
    return tuple(v[None] for v in to_float32(*variables))


def keys(n, seed=0):
    """Make random keys, one per layer."""
    return jax.random.split(jax.random.key(seed), n)

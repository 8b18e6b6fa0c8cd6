"""Warped Gaussian data: the information is unchanged, but the covariance no longer determines it.

    M ~ N(0, 1),  X = H_x M + n,  Y = H_y M + n',  H entries and noises N(0, 1)
    m → ∛m,  x → x³,  y → ∛y  in every coordinate, then, if `rotated`, a random rotation of each variable

Bijections of single variables change no information, so the truth is that of the Gaussian system.
[The elementwise example of Zhao et al., "Partial information decomposition via normalizing flows in latent Gaussian
distributions", 2025]
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pid.measures import PID, decompose


class Warped(NamedTuple):
    """n samples, and their true decomposition in bits."""

    target: Float[np.ndarray, "n m"]
    x: Float[np.ndarray, "n x"]
    y: Float[np.ndarray, "n y"]
    truth: PID


def generate(n: int, target: int, source: int, seed: int, *, rotated: bool) -> Warped:
    """Generate data. Both values of `rotated` share the Gaussian system and its samples."""
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((2, source, target))
    mixing = np.vstack([np.eye(target), *h])
    noise = np.diag(np.r_[np.zeros(target), np.ones(2 * source)])
    m = rng.standard_normal((n, target))
    x, y = (m @ channel.T + rng.standard_normal((n, source)) for channel in h)
    variables = [np.cbrt(m), x**3, np.cbrt(y)]
    if rotated:
        variables = [variable @ rotation(rng, variable.shape[1]) for variable in variables]
    return Warped(*variables, truth=decompose(mixing @ mixing.T + noise, (target, source, source)))


def rotation(rng: np.random.Generator, d: int) -> Float[np.ndarray, "d d"]:
    """Return a random orthogonal matrix, uniformly distributed."""
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    return q * np.sign(np.diag(r))

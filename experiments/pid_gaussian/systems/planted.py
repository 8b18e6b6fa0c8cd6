"""Planted layers: a linear model of a network that turns vision into language, with known decompositions.

V, Q and the noises are independent N(0, 1) in d = 4 coordinates. At depth t = l / (L - 1)

    X = a V + n           vision state,    a = 2 - 1.5 t
    Y = b V + Q + n'      language state,  b = 2 t, or 0 at all depths under the knockout
    M = W_v V + W_q Q     target,          W_v = diag cos θ, W_q = diag sin θ, θ = 0, π/6, π/3, π/2

    L layers, n samples; coordinates in the order M, X, Y
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pid.measures import PID, decompose

D = 4
DIMS = (D, D, D)
ANGLES = np.pi * np.arange(D) / 6


class Samples(NamedTuple):
    """n samples of one network. All layers share noises and inputs."""

    target: Float[np.ndarray, "n d"]
    x: Float[np.ndarray, "l n d"]
    y: Float[np.ndarray, "l n d"]
    y_knocked_out: Float[np.ndarray, "n d"]  # without vision it is the same at all depths


def depths(layers: int) -> Float[np.ndarray, " l"]:
    """Return the depth t of every layer."""
    return np.linspace(0, 1, layers)


def strengths(t: Float[np.ndarray, " l"], *, knockout: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return a and b at depths t."""
    return 2 - 1.5 * t, (0 if knockout else 2) * t


def covariances(t: Float[np.ndarray, " l"], *, knockout: bool = False) -> Float[np.ndarray, "l k k"]:
    """Return the covariance of every layer.

    S_M = W_v² + W_q², S_MX = a W_v, S_MY = b W_v + W_q, S_X = a² + 1, S_XY = a b, S_Y = b² + 2.
    """
    identity, w_v, w_q = np.eye(D), np.diag(np.cos(ANGLES)), np.diag(np.sin(ANGLES))
    return np.stack(
        [
            np.block(
                [
                    [w_v**2 + w_q**2, a * w_v, b * w_v + w_q],
                    [a * w_v, (a**2 + 1) * identity, a * b * identity],
                    [b * w_v + w_q, a * b * identity, (b**2 + 2) * identity],
                ]
            )
            for a, b in zip(*strengths(t, knockout=knockout), strict=True)
        ]
    )


def truth(t: Float[np.ndarray, " l"], *, knockout: bool = False) -> PID:
    """Return the exact decomposition of every layer, in bits."""
    return decompose(covariances(t, knockout=knockout), DIMS)


def sample(t: Float[np.ndarray, " l"], n: int, *seed: int) -> Samples:
    """Draw n samples of one network at all depths, with and without the knockout."""
    v, q, noise_x, noise_y = np.random.default_rng(seed).standard_normal((4, n, D))
    a, b = (strength[:, None, None] for strength in strengths(t))
    target = v * np.cos(ANGLES) + q * np.sin(ANGLES)
    y = q + noise_y
    return Samples(target, a * v + noise_x, b * v + y, y)

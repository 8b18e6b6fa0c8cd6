"""What a separable flow maximises: the likelihood of the pairs (target, x) and (target, y) under Gaussian latents.

    ℓ = log N((z_m, z_x); S_mx) + log |det J_m| + log |det J_x|  +  the same for (m, y)

z_a = f_a(a) with one bijection per variable; J_m counts twice, for both pairs read the one target map. With a
target map per pair the sum falls into two separate problems. Flows on a pair jointly are not used: they do not
keep mutual information. [Butakov et al., "Mutual information estimation via normalizing flows", 2024; Zhao et al.,
"Partial information decomposition via normalizing flows in latent Gaussian distributions", 2025]

The mean and S are profiled out. In training, the S of largest likelihood is the covariance of the batch itself, so
-E ℓ = Σ_pairs (1/2 log det Ŝ - E log |det J|) + constant: no base parameters, nothing that lags behind the flow,
and exactly minus the Gaussian information that the latents show. On held-out rows, S comes from the rows fitted.

    n rows, d coordinates of a pair; natural logarithms
"""

from math import log, pi
from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

RIDGE = 1e-4  # added to the latents' variances, about 1: bounds the pull of a pair that determines itself
Pairs = tuple[tuple[int, int], ...]
SHARED: Pairs = ((0, 1), (0, 2))  # of the variables (target, x, y)
PER_PAIR: Pairs = ((0, 1), (3, 2))  # of (target, x, y, target again)


class Latents(NamedTuple):
    """The image of one variable's rows."""

    values: Float[Array, "n d"]
    log_det: Float[Array, " n"]  # log |det J| of each row


class Base(NamedTuple):
    """The Gaussian of one pair's latents."""

    mean: Float[Array, " d"]
    factor: Float[Array, "d d"]  # Cholesky factor of the covariance


def profiled_loss(variables: tuple[Latents, ...], pairs: Pairs) -> Float[Array, ""]:
    """-E ℓ under the batch's own covariance, up to a constant."""
    total = jnp.zeros((), variables[0].values.dtype)
    for pair in pairs:
        spread = jnp.sum(jnp.log(jnp.diagonal(_base(_joined(variables, pair)).factor)))
        total += spread - sum(jnp.mean(variables[i].log_det) for i in pair)
    return total


def spread(one: Latents) -> Float[Array, ""]:
    """The same loss of a single variable: how far it is from jointly Gaussian latents by itself."""
    return jnp.sum(jnp.log(jnp.diagonal(_base(one.values).factor))) - jnp.mean(one.log_det)


def bases(variables: tuple[Latents, ...], pairs: Pairs) -> tuple[Base, ...]:
    """The Gaussian of largest likelihood for each pair."""
    return tuple(_base(_joined(variables, pair)) for pair in pairs)


def log_likelihood(
    variables: tuple[Latents, ...], fitted: tuple[Base, ...], pairs: Pairs
) -> Float[Array, " n"]:
    """ℓ of each row under Gaussians fitted elsewhere."""
    total = jnp.zeros_like(variables[0].log_det)
    for pair, base in zip(pairs, fitted, strict=True):
        total += _normal(_joined(variables, pair), base) + sum(variables[i].log_det for i in pair)
    return total


def _joined(variables: tuple[Latents, ...], pair: tuple[int, int]) -> Array:
    return jnp.concatenate([variables[i].values for i in pair], axis=1)


def _base(z: Array) -> Base:
    mean = jnp.mean(z, axis=0)
    centred = z - mean[None]
    cov = centred.T @ centred / z.shape[0] + RIDGE * jnp.eye(z.shape[1], dtype=z.dtype)
    return Base(mean, jnp.linalg.cholesky(cov))


def _normal(z: Array, base: Base) -> Array:
    white = solve_triangular(base.factor, (z - base.mean[None]).T, lower=True)
    volume = jnp.sum(jnp.log(jnp.diagonal(base.factor))) + z.shape[1] / 2 * log(2 * pi)
    return -jnp.sum(jnp.square(white), axis=0) / 2 - volume

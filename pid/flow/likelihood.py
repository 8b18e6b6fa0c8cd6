"""The objective of a separable flow: the likelihood of the pairs (target, x) and (target, y) under Gaussian latents.

    ℓ = log N((z_m, z_x); S_mx) + log |det J_m| + log |det J_x|  +  the same for (m, y)

z_a = f_a(a) with one bijection per variable. J_m counts twice, because both pairs share the target map. With a target
map per pair the sum splits into two separate problems. Joint flows of a pair are not used: they do not keep mutual
information. [Butakov et al., "Mutual information estimation via normalizing flows", 2024; Zhao et al., "Partial
information decomposition via normalizing flows in latent Gaussian distributions", 2025]

The mean and S are profiled out. In training, the S of largest likelihood is the covariance of the batch itself, so
-E ℓ = Σ_pairs (1/2 log det Ŝ - E log |det J|) + constant. The base has no parameters of its own to train, and the
loss is minus the Gaussian information of the latents, up to a constant. For held-out rows, S comes from the
training rows.

    n rows, d coordinates of a pair; natural logarithms
"""

from math import log, pi
from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from pid.flow.config import Pairs

RIDGE = (
    1e-4  # added to variances of about 1; bounds the gradient if one variable of a pair determines the other
)


class VariableLatents(NamedTuple):
    """The latents of the rows of one variable, with their log-determinants."""

    values: Float[Array, "n d"]
    """The latents."""

    log_det: Float[Array, " n"]
    """log |det J| of each row."""


class Base(NamedTuple):
    """The base distribution of one pair: the Gaussian of its latents."""

    mean: Float[Array, " d"]
    """Mean of the latents."""

    factor: Float[Array, "d d"]
    """Cholesky factor of their covariance."""


def profiled_loss(variables: tuple[VariableLatents, ...], pairs: Pairs) -> Float[Array, ""]:
    """Compute -E ℓ under the batch's own covariance, up to a constant."""
    total = jnp.zeros((), variables[0].values.dtype)
    for pair in pairs:
        volume = jnp.sum(jnp.log(jnp.diagonal(_fit_base(_joint_latents(variables, pair)).factor)))
        total += volume - sum(jnp.mean(variables[i].log_det) for i in pair)
    return total


def single_variable_loss(latents: VariableLatents) -> Float[Array, ""]:
    """Compute the profiled loss of one variable alone, which falls as its latents become jointly Gaussian."""
    return jnp.sum(jnp.log(jnp.diagonal(_fit_base(latents.values).factor))) - jnp.mean(latents.log_det)


def fit_bases(variables: tuple[VariableLatents, ...], pairs: Pairs) -> tuple[Base, ...]:
    """Fit the Gaussian of largest likelihood to each pair."""
    return tuple(_fit_base(_joint_latents(variables, pair)) for pair in pairs)


def log_likelihood(
    variables: tuple[VariableLatents, ...], bases: tuple[Base, ...], pairs: Pairs
) -> Float[Array, " n"]:
    """Compute ℓ of each row under Gaussians that were fitted to other rows."""
    total = jnp.zeros_like(variables[0].log_det)
    for pair, base in zip(pairs, bases, strict=True):
        total += _log_normal(_joint_latents(variables, pair), base) + sum(variables[i].log_det for i in pair)
    return total


def _joint_latents(variables: tuple[VariableLatents, ...], pair: tuple[int, int]) -> Array:
    return jnp.concatenate([variables[i].values for i in pair], axis=1)


def _fit_base(z: Array) -> Base:
    mean = jnp.mean(z, axis=0)
    centered = z - mean[None]
    cov = centered.T @ centered / z.shape[0] + RIDGE * jnp.eye(z.shape[1], dtype=z.dtype)
    return Base(mean, jnp.linalg.cholesky(cov))


def _log_normal(z: Array, base: Base) -> Array:
    """Compute the log-density of each row of latents."""
    white = solve_triangular(base.factor, (z - base.mean[None]).T, lower=True)
    volume = jnp.sum(jnp.log(jnp.diagonal(base.factor))) + z.shape[1] / 2 * log(2 * pi)
    return -jnp.sum(jnp.square(white), axis=0) / 2 - volume

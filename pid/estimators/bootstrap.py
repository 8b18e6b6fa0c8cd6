"""Decompositions of many covariances around one, on device: the estimate, bootstrap draws, shuffles.

    L layers, n samples, B draws, D coordinates (target, x, y; with two targets: target, target_y, x, y), k fields

A coordinate that does not exist in a layer is replaced, in every draw, by an independent one of unit variance, which
changes nothing. Draws stream through in chunks, so that memory does not grow with their number.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pid.gaussian import covariance, systems, wishart
from pid.gaussian.systems import InformationMeasure
from pid.measures.atoms import PID, stack_fields

CHUNK = 64  # draws held at once


class Plan(NamedTuple):
    """What is decomposed and how; hashable, so that equal plans share one compiled program."""

    quantity: InformationMeasure
    two_targets: bool
    n: int


def in_bits(program: Callable[..., Array], plan: Plan, *args) -> np.ndarray:
    """Run a program of this file in float64 where the device has it, on NumPy arrays, and give bits back."""
    with systems.x64_context():
        return np.asarray(program(plan, *args)) * covariance.units_per_nat(2)


@partial(jax.jit, static_argnums=0)
def observed(plan: Plan, covs: Float[Array, "l d d"], exists: Bool[Array, "l d"]) -> Float[Array, "l k"]:
    """The plug-in values of every layer."""
    return jax.lax.map(lambda layer: _atoms(plan, *layer), (covs, exists))


@partial(jax.jit, static_argnums=(0, 4))
def parametric(
    plan: Plan, covs: Float[Array, "l d d"], exists: Bool[Array, "l d"], key: Array, draws: int
) -> Float[Array, "b l k"]:
    """Values of covariances drawn from the Wishart distribution with n - 1 degrees of freedom around each layer's.

    All layers share Bartlett's factors.
    """
    factors, nu = jax.lax.map(root, covs), plan.n - 1

    def chunk(key, count):
        drawn = wishart.sample_bartlett(key, covs.shape[-1], np.full(count, nu), covs.dtype)

        def layer(part):
            factor, mask = part
            return jax.vmap(lambda a: _atoms(plan, wishart.from_bartlett(factor, a, nu), mask))(drawn)

        return jax.lax.map(layer, (factors, exists))

    return stream(chunk, key, draws)


@partial(jax.jit, static_argnums=(0, 4))
def paired(
    plan: Plan, latents: Float[Array, "l n d"], exists: Bool[Array, "l d"], key: Array, draws: int
) -> Float[Array, "b l k"]:
    """Values of resampled samples, the same ones for all layers.

    The weighted moments Σ_i w_i z_i z_iᵀ of a chunk of draws are one matrix product with the products z z'.
    """
    n, size = latents.shape[1:]
    row, column = np.triu_indices(size)
    centred = latents - jnp.mean(latents, axis=1, keepdims=True)

    def chunk(key, count):
        weights = _counts(key, n, count).astype(latents.dtype)

        def layer(part):
            z, mask = part
            upper, mean = weights @ (z[:, row] * z[:, column]), weights @ z / n
            moments = jnp.zeros((count, size, size), z.dtype).at[:, row, column].set(upper)
            moments = moments + jnp.triu(moments, 1).mT
            covs = (moments - n * mean[:, :, None] * mean[:, None, :]) / (n - 1)
            return jax.vmap(lambda cov: _atoms(plan, cov, mask))(covs)

        return jax.lax.map(layer, (centred, exists))

    return stream(chunk, key, draws)


@partial(jax.jit, static_argnums=(0, 5))
def shuffled(
    plan: Plan,
    latents: Float[Array, "l n d"],
    covs: Float[Array, "l d d"],
    exists: Bool[Array, "l d"],
    key: Array,
    draws: int,
) -> Float[Array, "b l k"]:
    """Values with the target's samples permuted against those of both sources, the same way for all layers."""
    n = latents.shape[1]
    m = plan.quantity.dims[0] * (2 if plan.two_targets else 1)
    centred = latents - jnp.mean(latents, axis=1, keepdims=True)

    def chunk(key, count):
        orders = jax.vmap(lambda k: jax.random.permutation(k, n))(jax.random.split(key, count))

        def layer(part):
            z, cov, mask = part

            def one(order):
                across = z[order, :m].T @ z[:, m:] / (n - 1)
                return _atoms(plan, cov.at[:m, m:].set(across).at[m:, :m].set(across.T), mask)

            return jax.vmap(one)(orders)

        return jax.lax.map(layer, (centred, covs, exists))

    return stream(chunk, key, draws)


def stream(
    chunk: Callable[[Array, int], Float[Array, "l c k"]], key: Array, draws: int
) -> Float[Array, "b l k"]:
    """All draws, in as few chunks (key, count) of equal size as there must be; a few too many are dropped."""
    chunks = -(-draws // CHUNK)
    count = -(-draws // chunks)
    values = jnp.moveaxis(jax.lax.map(lambda k: chunk(k, count), jax.random.split(key, chunks)), 2, 1)
    return values.reshape(-1, *values.shape[2:])[:draws]


def _counts(key: Array, n: int, draws: int) -> Int[Array, "b n"]:
    """How often each of n samples is drawn in n draws with replacement, many times."""
    drawn = jax.random.randint(key, (draws * n,), 0, n).reshape(draws, n)
    return jax.vmap(lambda row: jnp.bincount(row, length=n))(drawn)


def root(cov: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """A with A Aᵀ = S, of a covariance that may be singular."""
    values, vectors = jnp.linalg.eigh(cov)
    return vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :]


def only_existing(cov: Float[Array, "d d"], exists: Bool[Array, " d"]) -> Float[Array, "d d"]:
    """Independent coordinates of unit variance in the place of those that do not exist."""
    return jnp.where(exists[:, None] & exists[None, :], cov, jnp.eye(cov.shape[0], dtype=cov.dtype))


def _atoms(plan: Plan, cov: Float[Array, "d d"], exists: Bool[Array, " d"]) -> Float[Array, " k"]:
    cov = only_existing(cov, exists)
    if not plan.two_targets:
        return systems.evaluate(plan.quantity, cov).values
    return _atoms_of_two_targets(plan.quantity, cov)


def _atoms_of_two_targets(quantity: InformationMeasure, cov: Float[Array, "d d"]) -> Float[Array, " k"]:
    """MMI where each pair has its own target: I_x from the first, I_y from the second, I_xy the larger of both."""
    m, size = quantity.dims[0], cov.shape[0]
    first = np.r_[:m, 2 * m : size]
    second = np.r_[m:size]
    a, b = (PID(*systems.evaluate(quantity, cov[np.ix_(i, i)]).values) for i in (first, second))
    x, y, joint = a.mi_x, b.mi_y, jnp.maximum(a.mi_joint, b.mi_joint)
    more = jnp.maximum(x, y)
    return stack_fields((x, y, joint), (jnp.minimum(x, y), more - y, more - x, joint - more))

"""A quantity of one covariance, evaluated where it is safe and fast, for one system or a batch.

By Cholesky factors where all pivots are sound; by eigenvalues, with directions that do not exist left out, where
they are not. The derivative is the quantity's own, in closed form: it needs no derivative of a factorisation, and
holds for tied and for missing directions. Batched on accelerators; on CPU one system after another, since a
vmapped graph of several LAPACK calls can hang there.

    d coordinates, k values
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from pid.gaussian import covariance
from pid.gaussian.covariance import Dims, Tolerance


@dataclass(frozen=True)
class InformationMeasure(ABC):
    """k numbers in nats that do not change when coordinates are rescaled. Members fill in the three methods."""

    dims: Dims
    tolerance: Tolerance

    @abstractmethod
    def fast(self, corr: Float[Array, "d d"]) -> tuple[Float[Array, " k"], Float[Array, ""]]:
        """The values by Cholesky factors, and the smallest squared pivot met (NaN where one failed)."""

    @abstractmethod
    def ranked(self, corr: Float[Array, "d d"]) -> Float[Array, " k"]:
        """The values of a covariance that may be singular."""

    @abstractmethod
    def gradient(self, corr: Float[Array, "d d"]) -> Float[Array, "k d d"]:
        """∂ values / ∂ corr, symmetric, in the directions that keep the rank."""


class Outcome(NamedTuple):
    """The values, and what a caller needs to judge the covariance by (`covariance.refuse`)."""

    values: Float[Array, "*b k"]
    asymmetry: Float[Array, "*b"]
    smallest: Float[Array, "*b"]  # eigenvalue, or a squared pivot where all were sound


def compute(quantity: InformationMeasure, cov: Any, base: int | float) -> Float[Array | np.ndarray, "*b k"]:
    """The values in units of `base` for covariances `(..., d, d)`.

    A concrete covariance is computed in float64 where the device has it, checked, and comes back as the kind of
    array it came as: NumPy arrays as float64. Under a trace it keeps its dtype, and nothing is checked.

    Raises:
        ValueError: a concrete covariance that is not finite, symmetric or positive semidefinite.
    """
    unit = covariance.units_per_nat(base)
    if not covariance.is_concrete(cov):
        return _over_leading_axes(quantity, cov).values * unit
    with x64_context():
        outcome = jax.tree.map(np.asarray, _compiled(quantity, to_float64(cov)))
    covariance.refuse(outcome.asymmetry, outcome.smallest, quantity.tolerance)
    values = outcome.values * unit
    return jnp.asarray(values, cov.dtype) if isinstance(cov, jax.Array) else values


def x64_context():
    """Context with float64 where the default device has it."""
    return jax.enable_x64(jax.default_backend() != "tpu")


def to_float64(x: Any) -> np.ndarray:
    """`x` on the host, in the to_float64 float the default device has."""
    return np.asarray(x, np.float32 if jax.default_backend() == "tpu" else np.float64)


def map_or_vmap(f: Callable[[Any], Any], xs: Any) -> Any:
    """f of every member along the first axis: one after another on CPU, at once on accelerators."""
    return jax.lax.platform_dependent(xs, cpu=lambda xs: jax.lax.map(f, xs), default=jax.vmap(f))


def _over_leading_axes(quantity: InformationMeasure, cov: Float[Array, "*b d d"]) -> Outcome:
    lead, size = cov.shape[:-2], cov.shape[-1]
    if not lead:
        return evaluate(quantity, cov)
    flat = jax.vmap(partial(evaluate, quantity))(cov.reshape(-1, size, size))
    return jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), flat)


_compiled = jax.jit(_over_leading_axes, static_argnums=0)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def evaluate(quantity: InformationMeasure, cov: Float[Array, "d d"]) -> Outcome:
    """The values of one system, differentiable once; `jax.vmap` gives a batch."""
    return _one_or_many(quantity, "outcome")(cov)


@evaluate.defjvp
def _evaluate_jvp(quantity, primals, tangents):
    (cov,), (direction,) = primals, tangents
    outcome = evaluate(quantity, cov)
    slopes = _one_or_many(quantity, "slopes")(cov)
    along = jnp.einsum("kij,ij->k", slopes, (direction + direction.T) / 2)
    return outcome, Outcome(along, jnp.zeros_like(outcome.asymmetry), jnp.zeros_like(outcome.smallest))


@cache
def _one_or_many(quantity: InformationMeasure, what: str):
    """One system as it is; a batch by `lax.map` on CPU, whatever the number of `vmap`s, and batched elsewhere.

    One program, outside `jax.jit` too: a derivative taken eagerly compiles it whole instead of each operation.
    """
    one, many = {
        "outcome": (partial(_outcome, quantity), partial(_outcomes, quantity)),
        "slopes": (partial(_slopes, quantity), jax.vmap(partial(_slopes, quantity))),
    }[what]

    @custom_vmap
    def single(cov):
        return one(cov)

    @single.def_vmap
    def _(axis_size, in_batched, covs):
        del axis_size, in_batched
        mapped = jax.lax.platform_dependent(covs, cpu=lambda c: jax.lax.map(single, c), default=many)
        return mapped, jax.tree.map(lambda _: True, mapped)

    return jax.jit(single)


def _prepare(cov: Float[Array, "d d"]) -> tuple[Array, Array, Array, Array]:
    """Correlation matrix (the identity where it is not finite), scales, largest asymmetry, finiteness."""
    finite = jnp.all(jnp.isfinite(cov))
    clean = jnp.where(finite, cov, jnp.eye(cov.shape[-1], dtype=cov.dtype))
    corr, scale = covariance.correlation(clean)
    asymmetry = jnp.max(jnp.abs(corr - corr.T))
    return (corr + corr.T) / 2, scale, asymmetry, finite


def _outcome(quantity: InformationMeasure, cov: Array) -> Outcome:
    corr, _, asymmetry, finite = _prepare(cov)
    values, pivot = quantity.fast(corr)
    sound = pivot > quantity.tolerance.pivot
    values, smallest = jax.lax.cond(sound, lambda: (values, pivot), lambda: _by_rank(quantity, corr))
    return _mark(values, asymmetry, smallest, finite)


def _outcomes(quantity: InformationMeasure, covs: Array) -> Outcome:
    """A batch; the eigenvalues of ranks are computed only if some system needs them."""
    corr, _, asymmetry, finite = jax.vmap(_prepare)(covs)
    values, pivot = jax.vmap(quantity.fast)(corr)
    sound = pivot > quantity.tolerance.pivot

    def repaired():
        by_rank, least = jax.vmap(partial(_by_rank, quantity))(corr)
        return jnp.where(sound[:, None], values, by_rank), jnp.where(sound, pivot, least)

    values, smallest = jax.lax.cond(jnp.all(sound), lambda: (values, pivot), repaired)
    return jax.vmap(_mark)(values, asymmetry, smallest, finite)


def _by_rank(quantity: InformationMeasure, corr: Array) -> tuple[Array, Array]:
    return quantity.ranked(corr), jnp.linalg.eigvalsh(corr)[0]


def _mark(values: Array, asymmetry: Array, smallest: Array, finite: Array) -> Outcome:
    return Outcome(jnp.where(finite, values, jnp.nan), jnp.where(finite, asymmetry, jnp.nan), smallest)


def _slopes(quantity: InformationMeasure, cov: Array) -> Float[Array, "k d d"]:
    corr, scale, _, finite = _prepare(cov)
    return jnp.where(finite, quantity.gradient(corr) / scale[None, :, None] / scale[None, None, :], jnp.nan)

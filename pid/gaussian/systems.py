"""Evaluation of information measures on one covariance or a batch, with their derivatives.

Where all Cholesky pivots are sound, a measure is computed from Cholesky factors. Elsewhere it is computed from
eigenvalues, without the directions that do not exist. Its derivative has a closed form, which differentiates no
factorization and holds for tied and for missing directions. A batch runs in parallel on accelerators. On CPU it runs
one system after another, because a vmapped graph of several LAPACK calls can hang there.

    d coordinates, k values
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
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
    """k numbers in nats that do not change when coordinates are rescaled; members implement the three methods."""

    dims: Dims
    """Sizes of target, x and y."""

    tolerance: Tolerance
    """Numerical tolerance for the dtype that the covariance was rounded to."""

    @abstractmethod
    def from_cholesky(self, corr: Float[Array, "d d"]) -> tuple[Float[Array, " k"], Float[Array, ""]]:
        """The values by Cholesky factors, and the smallest squared pivot of all factors (NaN where one failed)."""

    @abstractmethod
    def from_eigh(self, corr: Float[Array, "d d"]) -> Float[Array, " k"]:
        """The values of a covariance that may be singular, by eigenvalues."""

    @abstractmethod
    def gradient(self, corr: Float[Array, "d d"]) -> Float[Array, "k d d"]:
        """∂ values / ∂ corr, symmetric, in the directions that keep the rank."""


class Outcome(NamedTuple):
    """The values of a measure, and the numbers that `covariance.check_covariance` checks."""

    values: Float[Array, "*b k"]
    asymmetry: Float[Array, "*b"]
    """Largest |S_ij - S_ji| on the correlation scale; NaN where the covariance is not finite."""

    smallest_eigenvalue: Float[Array, "*b"]
    """On the correlation scale; a squared pivot where all pivots were sound."""


def compute(measure: InformationMeasure, cov: Any, base: int | float) -> Float[Array | np.ndarray, "*b k"]:
    """The values in units of `base` for covariances `(..., d, d)`.

    A concrete covariance is computed in float64 where the device has it, checked, and returned as the kind of array
    that was passed: NumPy arrays as float64. Under a trace it keeps its dtype, and nothing is checked.

    Raises:
        ValueError: a concrete covariance that is not finite, symmetric or positive semidefinite.
    """
    unit = covariance.units_per_nat(base)
    if not covariance.is_concrete(cov):
        return _over_leading_axes(measure, cov).values * unit
    with x64_context():
        outcome = jax.tree.map(np.asarray, evaluate_leading_axes(measure, to_float64(cov)))
    covariance.check_covariance(outcome.asymmetry, outcome.smallest_eigenvalue, measure.tolerance)
    values = outcome.values * unit
    return jnp.asarray(values, cov.dtype) if isinstance(cov, jax.Array) else values


def x64_context() -> AbstractContextManager:
    """A context with float64 where the default device has it."""
    return jax.enable_x64(jax.default_backend() != "tpu")


def to_float64(x: Any) -> np.ndarray:
    """`x` on the host in float64, or in float32 where the default device is a TPU."""
    return np.asarray(x, np.float32 if jax.default_backend() == "tpu" else np.float64)


def map_or_vmap(f: Callable[[Any], Any], xs: Any) -> Any:
    """Apply f along the first axis: one member after another on CPU, all at once on accelerators."""
    return jax.lax.platform_dependent(xs, cpu=lambda xs: jax.lax.map(f, xs), default=jax.vmap(f))


def _over_leading_axes(measure: InformationMeasure, cov: Float[Array, "*b d d"]) -> Outcome:
    lead, size = cov.shape[:-2], cov.shape[-1]
    if not lead:
        return evaluate(measure, cov)
    flat = jax.vmap(partial(evaluate, measure))(cov.reshape(-1, size, size))
    return jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), flat)


evaluate_leading_axes = jax.jit(_over_leading_axes, static_argnums=0)
"""The outcome for covariances `(..., d, d)`: one compiled program per measure and shape."""


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def evaluate(measure: InformationMeasure, cov: Float[Array, "d d"]) -> Outcome:
    """The values of one system, differentiable once; `jax.vmap` gives a batch."""
    return _one_or_many(measure, "outcome")(cov)


@evaluate.defjvp
def _evaluate_jvp(measure: InformationMeasure, primals: tuple[Array], tangents: tuple[Array]) -> tuple:
    (cov,), (direction,) = primals, tangents
    outcome = evaluate(measure, cov)
    slopes = _one_or_many(measure, "slopes")(cov)
    along = jnp.einsum("kij,ij->k", slopes, (direction + direction.T) / 2)
    zeros = (jnp.zeros_like(outcome.asymmetry), jnp.zeros_like(outcome.smallest_eigenvalue))
    return outcome, Outcome(along, *zeros)


@cache
def _one_or_many(measure: InformationMeasure, kind: str) -> Callable[[Array], Any]:
    """The program for one system; under `vmap` it becomes `lax.map` on CPU and a batched program elsewhere.

    It is jitted even outside `jax.jit`: an eager derivative then compiles once instead of once per operation.
    """
    one, many = {
        "outcome": (partial(_outcome, measure), partial(evaluate_batch, measure)),
        "slopes": (partial(_slopes, measure), jax.vmap(partial(_slopes, measure))),
    }[kind]

    @custom_vmap
    def single(cov: Array) -> Any:
        return one(cov)

    @single.def_vmap
    def _(axis_size: int, in_batched: list, covs: Array) -> tuple:
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


def _outcome(measure: InformationMeasure, cov: Array) -> Outcome:
    corr, _, asymmetry, finite = _prepare(cov)
    values, pivot = measure.from_cholesky(corr)
    sound = pivot > measure.tolerance.pivot
    values, smallest = jax.lax.cond(sound, lambda: (values, pivot), lambda: _by_rank(measure, corr))
    return _mark(values, asymmetry, smallest, finite)


def evaluate_batch(measure: InformationMeasure, covs: Float[Array, "n d d"]) -> Outcome:
    """The outcomes of a batch in parallel; eigenvalues are computed only if some system needs them."""
    corr, _, asymmetry, finite = jax.vmap(_prepare)(covs)
    values, pivot = jax.vmap(measure.from_cholesky)(corr)
    sound = pivot > measure.tolerance.pivot

    def with_eigenvalues() -> tuple[Array, Array]:
        by_rank, least = jax.vmap(partial(_by_rank, measure))(corr)
        return jnp.where(sound[:, None], values, by_rank), jnp.where(sound, pivot, least)

    values, smallest = jax.lax.cond(jnp.all(sound), lambda: (values, pivot), with_eigenvalues)
    return jax.vmap(_mark)(values, asymmetry, smallest, finite)


def _by_rank(measure: InformationMeasure, corr: Array) -> tuple[Array, Array]:
    return measure.from_eigh(corr), jnp.linalg.eigvalsh(corr)[0]


def _mark(values: Array, asymmetry: Array, smallest: Array, finite: Array) -> Outcome:
    """The outcome, with NaN where the covariance is not finite."""
    return Outcome(jnp.where(finite, values, jnp.nan), jnp.where(finite, asymmetry, jnp.nan), smallest)


def _slopes(measure: InformationMeasure, cov: Array) -> Float[Array, "k d d"]:
    corr, scale, _, finite = _prepare(cov)
    return jnp.where(finite, measure.gradient(corr) / scale[None, :, None] / scale[None, None, :], jnp.nan)

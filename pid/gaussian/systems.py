"""Evaluation of information measures on one covariance or a batch, with their derivatives.

Where all Cholesky pivots are sound, a measure is computed from Cholesky factors. Elsewhere it is computed from
eigenvalues, without the directions that do not exist. Its derivative has a closed form, which differentiates no
factorization and holds for tied and for missing directions. A batch runs in parallel on accelerators. On CPU it runs
one system after another, because a vmapped graph of several LAPACK calls can hang there.

    d coordinates, k values
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from pid.gaussian import covariance
from pid.gaussian.covariance import Dims, Tolerance, highest_precision


@dataclass(frozen=True)
class InformationMeasure(ABC):
    """Base class of k quantities in nats, at least 0, that rescaled coordinates do not change.

    Subclasses have the three methods.
    """

    dims: Dims
    """Sizes of target, x and y."""

    tolerance: Tolerance
    """Numerical tolerance for the dtype that the covariance was rounded to."""

    @abstractmethod
    def from_cholesky(self, corr: Float[Array, "d d"]) -> tuple[Float[Array, " k"], Float[Array, ""]]:
        """Compute the values by Cholesky factors, and the smallest squared pivot of all factors (NaN if one fails)."""

    @abstractmethod
    def from_eigh(self, corr: Float[Array, "d d"]) -> Float[Array, " k"]:
        """Compute the values by eigenvalues, for a covariance that may be singular."""

    @abstractmethod
    def gradient(self, corr: Float[Array, "d d"]) -> Float[Array, "k d d"]:
        """Compute ∂ values / ∂ corr, symmetric, in the directions that keep the rank."""


class Outcome(NamedTuple):
    """The values of a measure, and the numbers that `covariance.check_covariance` checks."""

    values: Float[Array, "*b k"]
    """Values of the measure in nats."""

    asymmetry: Float[Array, "*b"]
    """Largest |S_ij - S_ji| on the correlation scale; NaN where the covariance is not finite."""

    smallest_eigenvalue: Float[Array, "*b"]
    """Smallest eigenvalue on the correlation scale; the smallest squared pivot where all pivots are sound."""


def compute(measure: InformationMeasure, cov: Any, base: Any) -> Float[Array | np.ndarray, "*b k"]:
    """Compute the values in units of `base` for covariances `(..., d, d)`.

    A concrete covariance is computed in float64 where the device has it, checked, and returned as the kind of array
    that was passed: NumPy arrays as float64. Under a trace it keeps its dtype, and nothing is checked.

    Raises:
        ValueError: a concrete covariance that is not finite, symmetric or positive semidefinite.
    """
    unit = covariance.units_per_nat(base)
    if not covariance.is_concrete(cov):
        wide = cov.astype(jnp.promote_types(cov.dtype, jnp.float32))  # LAPACK has no half precision
        return (_over_leading_axes(measure, wide).values * unit).astype(cov.dtype)
    with x64_context():
        outcome = jax.tree.map(np.asarray, evaluate_leading_axes(measure, to_float64(cov)))
    covariance.check_covariance(outcome.asymmetry, outcome.smallest_eigenvalue, measure.tolerance)
    values = outcome.values * unit
    return jnp.asarray(values, cov.dtype) if isinstance(cov, jax.Array) else values


@contextmanager
def x64_context() -> Iterator[None]:
    """Enable float64 where the default device has it, and all digits of products of float32."""
    with jax.enable_x64(jax.default_backend() != "tpu"), jax.default_matmul_precision("highest"):
        yield


def to_float64(x: Any) -> np.ndarray:
    """Convert `x` to an array on the host in float64, or in float32 where the default device is a TPU."""
    return np.asarray(x, np.float32 if jax.default_backend() == "tpu" else np.float64)


def map_or_vmap(f: Callable[[Any], Any], xs: Any) -> Any:
    """Apply f along the first axis: one element after another on CPU, all at once on accelerators."""
    return jax.lax.platform_dependent(xs, cpu=lambda xs: jax.lax.map(f, xs), default=jax.vmap(f))


def _over_leading_axes(measure: InformationMeasure, cov: Float[Array, "*b d d"]) -> Outcome:
    lead, size = cov.shape[:-2], cov.shape[-1]
    if not lead:
        return evaluate(measure, cov)
    flat = jax.vmap(partial(evaluate, measure))(cov.reshape(-1, size, size))
    return jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), flat)


evaluate_leading_axes = jax.jit(_over_leading_axes, static_argnums=0)
"""Evaluate a measure on covariances `(..., d, d)`: one compiled program per measure and shape."""


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def evaluate(measure: InformationMeasure, cov: Float[Array, "d d"]) -> Outcome:
    """Evaluate a measure on one system; differentiable once, and batched by `jax.vmap`."""
    return _single_or_batched(measure, "outcome")(cov)


@evaluate.defjvp
@highest_precision
def _evaluate_jvp(measure: InformationMeasure, primals: tuple[Array], tangents: tuple[Array]) -> tuple:
    (cov,), (tangent,) = primals, tangents
    outcome = evaluate(measure, cov)
    gradients = _single_or_batched(measure, "gradients")(cov)
    values_tangent = jnp.einsum("kij,ij->k", gradients, (tangent + tangent.T) / 2)
    zeros = (jnp.zeros_like(outcome.asymmetry), jnp.zeros_like(outcome.smallest_eigenvalue))
    return outcome, Outcome(values_tangent, *zeros)


@cache
def _single_or_batched(measure: InformationMeasure, kind: str) -> Callable[[Array], Any]:
    """Make the program for one system; under `vmap` it becomes `lax.map` on CPU and a batched program elsewhere.

    It is jitted even outside `jax.jit`: an eager derivative then compiles once instead of once per operation.
    """
    single_program, batch_program = {
        "outcome": (partial(_outcome, measure), partial(evaluate_batch, measure)),
        "gradients": (partial(_gradients, measure), jax.vmap(partial(_gradients, measure))),
    }[kind]

    @custom_vmap
    def program(cov: Array) -> Any:
        return single_program(cov)

    @program.def_vmap
    def _(axis_size: int, in_batched: list, covs: Array) -> tuple:
        del axis_size, in_batched
        mapped = jax.lax.platform_dependent(
            covs, cpu=lambda c: jax.lax.map(program, c), default=batch_program
        )
        return mapped, jax.tree.map(lambda _: True, mapped)

    return jax.jit(program)


def _prepare(cov: Float[Array, "d d"]) -> tuple[Array, Array, Array, Array]:
    """Return the correlation matrix (the identity if `cov` is not finite), scales, largest asymmetry, finiteness."""
    finite = jnp.all(jnp.isfinite(cov))
    clean = jnp.where(finite, cov, jnp.eye(cov.shape[-1], dtype=cov.dtype))
    corr, scale = covariance.correlation(clean)
    asymmetry = jnp.max(jnp.abs(corr - corr.T))
    return (corr + corr.T) / 2, scale, asymmetry, finite


@highest_precision
def _outcome(measure: InformationMeasure, cov: Array) -> Outcome:
    corr, _, asymmetry, finite = _prepare(cov)
    values, pivot = measure.from_cholesky(corr)
    sound = pivot > measure.tolerance.pivot
    values, smallest = jax.lax.cond(sound, lambda: (values, pivot), lambda: _evaluate_by_eigh(measure, corr))
    return _finish(measure, values, asymmetry, smallest, finite)


@highest_precision
def evaluate_batch(measure: InformationMeasure, covs: Float[Array, "n d d"]) -> Outcome:
    """Evaluate a measure on a batch in parallel; eigenvalues are computed only if some system needs them."""
    corr, _, asymmetry, finite = jax.vmap(_prepare)(covs)
    values, pivot = jax.vmap(measure.from_cholesky)(corr)
    sound = pivot > measure.tolerance.pivot

    def with_eigenvalues() -> tuple[Array, Array]:
        values_by_eigh, smallest_by_eigh = jax.vmap(partial(_evaluate_by_eigh, measure))(corr)
        return jnp.where(sound[:, None], values, values_by_eigh), jnp.where(sound, pivot, smallest_by_eigh)

    values, smallest = jax.lax.cond(jnp.all(sound), lambda: (values, pivot), with_eigenvalues)
    return jax.vmap(partial(_finish, measure))(values, asymmetry, smallest, finite)


def _evaluate_by_eigh(measure: InformationMeasure, corr: Array) -> tuple[Array, Array]:
    return measure.from_eigh(corr), jnp.linalg.eigvalsh(corr)[0]


def _finish(
    measure: InformationMeasure, values: Array, asymmetry: Array, smallest: Array, finite: Array
) -> Outcome:
    """Return the outcome without negative rounding, and with NaN where the covariance is not finite."""
    values = clip_rounding(values, jnp.maximum(smallest, measure.tolerance.pivot), sum(measure.dims))
    return Outcome(jnp.where(finite, values, jnp.nan), jnp.where(finite, asymmetry, jnp.nan), smallest)


def clip_rounding(values: Float[Array, " k"], pivot: Float[Array, ""], d: int) -> Float[Array, " k"]:
    """Replace negative values by 0 where rounding explains them; the exact ones are not negative.

    The rounding of a log-determinant grows with d, with its value and with the inverse of the smallest pivot. At most
    √ε counts as rounding, 1.5e-8 in float64: negative values of covariances that are not positive semidefinite stay.
    """
    eps = jnp.finfo(values.dtype).eps
    largest = jnp.max(jnp.where(jnp.isfinite(values), values, 0))
    rounding = jnp.minimum(eps * (16 * d * (1 + largest) + 4 / pivot), eps**0.5)
    return jnp.where((values < 0) & (values >= -rounding), 0, values)


@highest_precision
def _gradients(measure: InformationMeasure, cov: Array) -> Float[Array, "k d d"]:
    corr, scale, _, finite = _prepare(cov)
    return jnp.where(finite, measure.gradient(corr) / scale[None, :, None] / scale[None, None, :], jnp.nan)

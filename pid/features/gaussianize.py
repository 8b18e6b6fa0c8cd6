"""Preprocessing of one variable at a time: standardization, PCA, rank-Gaussian scores.

Bijections of one variable (standardization, whitening, rank-Gaussian scores of continuous data) leave mutual
information and its decomposition unchanged. PCA loses the information in the components that it drops.

    n samples, d coordinates, k components
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float, Int

from pid.interface.scalars import real_number, whole_number


@dataclass(frozen=True)
class PCA:
    """Number of principal components to keep: fixed, or the fewest that reach a share of the variance.

    Exactly one of the two fields is set.

    Raises:
        ValueError: both fields or neither are set, components < 1, or a variance outside (0, 1].

    Example:
        >>> from pid import PCA
        >>> PCA()
        PCA(components=8, variance=None)
        >>> PCA(components=None, variance=0.95)
        PCA(components=None, variance=0.95)
    """

    components: int | Any | None = 8
    """Number of components, at least 1; a variable of lower rank keeps all its components."""

    variance: float | Any | None = None
    """Share of the total variance to keep, in (0, 1], such as 0.95; needs components=None."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if (self.components is None) == (self.variance is None):
            raise ValueError(
                f"PCA needs exactly one of components and variance, got components={self.components} and "
                f"variance={self.variance}; pass PCA(components=8) or PCA(components=None, variance=0.95)."
            )
        for name, convert, rule, remedy in (
            ("components", whole_number, "PCA needs a whole number of components", "the default is 8"),
            ("variance", real_number, "PCA needs a share of variance", "write 95 % as 0.95"),
        ):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, convert(rule, value, remedy))
        if self.components is not None and self.components < 1:
            raise ValueError(f"PCA needs components >= 1, got {self.components}; the default is 8.")
        if self.variance is not None and not 0 < self.variance <= 1:
            raise ValueError(
                f"PCA needs 0 < variance <= 1, a share of the total, got {self.variance}; write 95 % as 0.95."
            )


class StandardizedColumns(NamedTuple):
    """Columns of mean 0 and variance 1, with their mean and scale: x = mean + scale · values."""

    values: Float[Array, "n d"]
    """The standardized columns; zeros where a column is constant."""

    mean: Float[Array, " d"]
    """Mean of each column of x."""

    scale: Float[Array, " d"]
    """Standard deviation of each column of x, divisor n; 1 where the column is constant."""

    constant: Bool[Array, " d"]
    """Whether the column is constant up to rounding."""


class PrincipalComponents(NamedTuple):
    """The leading principal components of centered rows."""

    scores: Float[Array, "n k"]
    """Coordinates of the rows; zero where a component is absent."""

    variances: Float[Array, " k"]
    """Variance of each component before whitening, descending, divisor n."""

    total: Float[Array, ""]
    """Variance of all d coordinates together."""

    directions: Float[Array, "d k"]
    """Orthonormal columns; zero where a component is absent."""

    present: Bool[Array, " k"]
    """Whether the component exists: its variance is above rounding."""


@jax.jit
def standardize(x: Float[Array, "n d"]) -> StandardizedColumns:
    """Compute (x - mean) / sd per column, divisor n; a column that varies only by rounding becomes zeros."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    shifted = x - x[:1]  # before the mean, which a large common offset would round
    center = jnp.mean(shifted, axis=0)
    centered = shifted - center[None]
    scale = jnp.sqrt(jnp.mean(jnp.square(centered), axis=0))
    constant = scale <= 8 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x), axis=0)
    scale = jnp.where(constant, 1, scale)
    values = jnp.where(constant[None], 0, centered / scale[None])
    return StandardizedColumns(values, x[0] + center, scale, constant)


@partial(jax.jit, static_argnames=("k", "whiten"))
def principal_components(x: Float[Array, "n d"], k: int, *, whiten: bool = False) -> PrincipalComponents:
    """Compute the min(k, n, d) leading eigenvectors of S = xᵀx/n, and the scores x·direction of every row.

    If n ≥ d, S itself is decomposed. If n < d, the Gram matrix xxᵀ/n = U diag(λ) Uᵀ is decomposed: it has the λ of S,
    and the directions are xᵀu / √(nλ). A direction with λ below 1e-10 of the largest (float32: 1e-5) is absent.
    The entry of largest modulus in a direction is positive. Shapes depend on k, n and d alone, so one compiled program
    serves many variables.

    Args:
        x: rows with columns of mean zero (`standardize`).
        k: number of components, at least 1.
        whiten: divide every score by √λ.

    Raises:
        ValueError: k < 1.
    """
    if k < 1:
        raise ValueError(f"principal_components needs k >= 1, got {k}; 8 is usual for about 900 samples.")
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    n, d = x.shape
    k = min(k, n, d)
    wide = n < d
    second_moment = (
        jnp.matmul(x, x.T, precision="highest") if wide else jnp.matmul(x.T, x, precision="highest")
    )
    values, vectors = jnp.linalg.eigh(second_moment / n)
    variances, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
    present = variances > (1e-10 if x.dtype == jnp.float64 else 1e-5) * variances[0]
    variances = jnp.where(present, variances, 0)
    deviation = jnp.sqrt(jnp.where(present, variances, 1))
    if wide:
        vectors = jnp.matmul(x.T, vectors, precision="highest") / (n**0.5 * deviation)[None]
    directions = jnp.where(present[None], vectors * _signs(vectors)[None], 0)
    scores = jnp.matmul(x, directions, precision="highest")
    if whiten:
        scores = scores / deviation[None]
    total = jnp.sum(jnp.mean(jnp.square(x), axis=0))
    return PrincipalComponents(scores, variances, total, directions, present)


def count_components(
    variances: Float[Array, "*b k"], total: Float[Array, "*b"], share: float
) -> Int[Array, "*b"]:
    """Count the components to keep: the smallest j with λ_1 + ... + λ_j ≥ share · total, but at most k.

    `variances` are the λ in descending order.
    """
    cumulative = jnp.cumsum(variances, axis=-1)
    rounding = 8 * variances.shape[-1] * jnp.finfo(variances.dtype).eps
    num_below = jnp.sum(cumulative < share * (1 - rounding) * total[..., None], axis=-1)
    return jnp.minimum(num_below + 1, variances.shape[-1])


@jax.jit
def rank_gaussian(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Compute the rank-Gaussian scores Φ⁻¹((r - 1/2) / n) per column, r = 1..n the rank, and standardize them.

    These are the scores of the Gaussian copula. Ties get their average rank. Only the order within a column counts:
    an increasing map of a column changes nothing, to the last bit. A constant column becomes zeros.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    doubled_rank = jax.vmap(_doubled_rank, in_axes=1, out_axes=1)(x)
    return standardize(ndtri(doubled_rank.astype(x.dtype) / (2 * x.shape[0]))).values


def _doubled_rank(column: Float[Array, " n"]) -> Int[Array, " n"]:
    """Return twice the average rank minus one: the numbers of smaller and of not larger entries added."""
    ordered = jnp.sort(column)
    return jnp.searchsorted(ordered, column, side="left") + jnp.searchsorted(ordered, column, side="right")


def _signs(vectors: Float[Array, "d k"]) -> Float[Array, " k"]:
    """Return ±1 per column: the sign of its entry of largest modulus."""
    largest = jnp.argmax(jnp.abs(vectors), axis=0)
    return jnp.where(jnp.take_along_axis(vectors, largest[None], axis=0)[0] < 0, -1, 1).astype(vectors.dtype)

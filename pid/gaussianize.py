"""Standardise, reduce, and give every coordinate a Gaussian marginal, before information is measured.

Each map acts on one variable alone. Those that are bijections (standardise, whiten, rank-Gaussian scores of
continuous data) leave mutual information and its decomposition as they are; PCA loses what it drops.

    n samples, d coordinates, k components
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float, Int


@dataclass(frozen=True)
class PCA:
    """How a variable is reduced: to a fixed number of components, or to the fewest that keep a share of variance.

    Raises ValueError unless exactly one of the two is given, components >= 1, and 0 < variance <= 1.
    """

    components: int | None = 8
    """Number of components; a variable with fewer directions keeps those it has."""

    variance: float | None = None
    """Share of the total variance to keep, such as 0.95; needs components=None."""

    def __post_init__(self):
        if (self.components is None) == (self.variance is None):
            raise ValueError(
                f"PCA needs exactly one of components and variance, got components={self.components} and "
                f"variance={self.variance}; pass PCA(components=8) or PCA(components=None, variance=0.95)."
            )
        if self.components is not None and self.components < 1:
            raise ValueError(f"PCA needs components >= 1, got {self.components}; the default is 8.")
        if self.variance is not None and not 0 < self.variance <= 1:
            raise ValueError(
                f"PCA needs 0 < variance <= 1, a share of the total, got {self.variance}; write 95 % as 0.95."
            )


class Standardized(NamedTuple):
    """Columns of mean 0 and variance 1, and what was taken from them: x = mean + scale · values."""

    values: Float[Array, "n d"]
    mean: Float[Array, " d"]
    scale: Float[Array, " d"]  # standard deviation, divisor n; 1 where the column is constant
    constant: Bool[Array, " d"]


class Components(NamedTuple):
    """The leading principal components of centred rows."""

    scores: Float[Array, "n k"]  # zero where a component is absent
    variances: Float[Array, " k"]  # descending, divisor n, before whitening
    total: Float[Array, ""]  # variance of all d coordinates together
    directions: Float[Array, "d k"]  # orthonormal columns; zero where absent
    present: Bool[Array, " k"]


@jax.jit
def standardize(x: Float[Array, "n d"]) -> Standardized:
    """(x - mean) / sd per column, divisor n; a column that varies only by rounding becomes zeros."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    shifted = x - x[:1]  # first, so that a large common offset does not drown what varies
    centre = jnp.mean(shifted, axis=0)
    centred = shifted - centre[None]
    scale = jnp.sqrt(jnp.mean(jnp.square(centred), axis=0))
    constant = scale <= 8 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x), axis=0)
    scale = jnp.where(constant, 1, scale)
    values = jnp.where(constant[None], 0, centred / scale[None])
    return Standardized(values, x[0] + centre, scale, constant)


@partial(jax.jit, static_argnames=("k", "whiten"))
def principal_components(x: Float[Array, "n d"], k: int, *, whiten: bool = False) -> Components:
    """The min(k, n, d) leading eigenvectors of S = x'x/n, and the scores x·direction of every row.

    n >= d: S itself. n < d: the Gram matrix xx'/n = U diag(λ) U', whose λ are those of S and whose directions
    are x'u / √(nλ). `x` has columns of mean zero (`standardize`). `whiten` divides every score by √λ. A
    direction with λ below 1e-10 of the largest (float32: 1e-5) is absent. The entry of largest modulus in a
    direction is positive. Shapes depend on k, n and d alone, so one program serves many variables.
    Raises ValueError if k < 1.
    """
    if k < 1:
        raise ValueError(f"principal_components needs k >= 1, got {k}; 8 suits some 900 samples.")
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    n, d = x.shape
    k = min(k, n, d)
    wide = n < d
    second = jnp.matmul(x, x.T, precision="highest") if wide else jnp.matmul(x.T, x, precision="highest")
    values, vectors = jnp.linalg.eigh(second / n)
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
    return Components(scores, variances, jnp.sum(jnp.mean(jnp.square(x), axis=0)), directions, present)


def count_components(
    variances: Float[Array, "*b k"], total: Float[Array, "*b"], share: float
) -> Int[Array, "*b"]:
    """The smallest j with λ_1 + ... + λ_j >= share · total; k if even all k fall short. `variances` descend."""
    kept = jnp.cumsum(variances, axis=-1)
    rounding = 8 * variances.shape[-1] * jnp.finfo(variances.dtype).eps
    short = jnp.sum(kept < share * (1 - rounding) * total[..., None], axis=-1)
    return jnp.minimum(short + 1, variances.shape[-1])


@jax.jit
def rank_gaussian(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Φ⁻¹((r - 1/2) / n) per column, r = 1..n the rank, then standardised: the scores of the Gaussian copula.

    Ties get their average rank. Only the order within a column counts: an increasing map of a column changes
    nothing, to the last bit. A constant column becomes zeros.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    middle = jax.vmap(_middle_rank, in_axes=1, out_axes=1)(x)
    return standardize(ndtri(middle.astype(x.dtype) / (2 * x.shape[0]))).values


def _middle_rank(column: Float[Array, " n"]) -> Int[Array, " n"]:
    """Twice the average rank minus one: how many are below, plus how many are not above."""
    ordered = jnp.sort(column)
    return jnp.searchsorted(ordered, column, side="left") + jnp.searchsorted(ordered, column, side="right")


def _signs(vectors: Float[Array, "d k"]) -> Float[Array, " k"]:
    """±1 per column, so that its entry of largest modulus becomes positive."""
    largest = jnp.argmax(jnp.abs(vectors), axis=0)
    return jnp.where(jnp.take_along_axis(vectors, largest[None], axis=0)[0] < 0, -1, 1).astype(vectors.dtype)

"""Mutual information of jointly Gaussian variables, from the posterior covariances of the target.

    I(M;X) = ½ log det S_M / det S_{M|X},      S_{M|X} = S_M - S_MX S_X⁻¹ S_XM

and the same for Y and for the pair (X, Y). [Venkatesh, Bennett, Gale, Ramirez, Heller, Durand, Olsen & Mihalas,
"Gaussian Partial Information Decomposition", NeurIPS 2023; standard results on Gaussian vectors]

    m, x, y widths of target and sources, d their sum
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from pid.gaussian import covariance, systems
from pid.gaussian.covariance import Dims, Tolerance
from pid.gaussian.systems import InformationMeasure


class MI(NamedTuple):
    """Mutual information of the target with x, with y, and with both, each of the batch shape."""

    x: Float[Array | np.ndarray, "*b"]
    y: Float[Array | np.ndarray, "*b"]
    joint: Float[Array | np.ndarray, "*b"]


def mutual_information(cov: Any, dims: Any, *, base: int | float = 2) -> MI:
    """I(M;X), I(M;Y) and I(M;X,Y) of covariances `(..., d, d)`, in bits unless `base` says otherwise.

    Directions that do not exist (constant, duplicated or collinear features, y = x) are left out and change
    nothing; a target that is a function of a source has infinite information. Concrete covariances are checked;
    NumPy arrays are computed in float64 and come back as NumPy arrays.

    Raises:
        ValueError: dims that do not fit; a covariance that is not finite, symmetric (to 1e-10 on the correlation
            scale, float32 1e-5) or positive semidefinite (smallest eigenvalue at least -1e-9, float32 -1e-4).
    """
    cov = cov if hasattr(cov, "dtype") else np.asarray(cov)
    dims = covariance.check_shape(cov, dims)
    covariance.check_dtype(cov)
    values = systems.compute(Information(dims, covariance.tolerance_of(cov.dtype)), cov, base)
    return MI(*(values[..., i] for i in range(3)))


def entropy(cov: Float[Array, "*b d d"], *, base: int | float = 2) -> Float[Array, "*b"]:
    """Differential entropy ½ log det(2πe S) of a Gaussian with non-singular covariance S."""
    log_determinant = jnp.linalg.slogdet(cov)[1]
    return (log_determinant + cov.shape[-1] * (1 + np.log(2 * np.pi))) / 2 * covariance.units_per_nat(base)


class Posteriors(NamedTuple):
    """Covariances of the target given x and given y, log-determinants without and with both, smallest pivot²."""

    log_prior: Float[Array, ""]
    x: Float[Array, "m m"]
    y: Float[Array, "m m"]
    log_joint: Float[Array, ""]
    pivot: Float[Array, ""]


def posteriors(corr: Float[Array, "d d"], dims: Dims) -> Posteriors:
    """By one Cholesky factor of (x, y, target), whose last block is that of S_{M|XY}, and one of y."""
    m, x, _ = dims
    s = covariance.blocks(corr, dims)
    sources_first = jnp.roll(corr, (-m, -m), (0, 1))
    whole, of_y, prior = cholesky(sources_first), cholesky(s.yy), cholesky(s.mm)
    by_x = whole[-m:, :x]
    by_y = solve_triangular(of_y, s.my.T, lower=True)
    pivots = [jnp.diagonal(factor) for factor in (whole, of_y, prior)]
    return Posteriors(
        log_prior=log_det(prior),
        x=s.mm - by_x @ by_x.T,
        y=s.mm - by_y.T @ by_y,
        log_joint=log_det(whole[-m:, -m:]),
        pivot=jnp.min(jnp.concatenate(pivots)) ** 2,
    )


def cholesky(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Lower Cholesky factor; NaN where there is none."""
    return jnp.linalg.cholesky(matrix, symmetrize_input=False)


def log_det(factor: Float[Array, "n n"]) -> Float[Array, ""]:
    """log det of L Lᵀ."""
    return 2 * jnp.sum(jnp.log(jnp.diagonal(factor)))


class Ranked(NamedTuple):
    """The target whitened within its rank, and what it is told: posterior covariances in those coordinates.

    `whiten` maps target coordinates to white ones, wᵀ S_M w = 1 on the directions that exist and 0 elsewhere,
    where posteriors are 1: nothing was unknown and nothing is learnt. `gain_*` are the regressions S_MX S_X⁺.
    """

    whiten: Float[Array, "m m"]
    x: Float[Array, "m m"]
    y: Float[Array, "m m"]
    joint: Float[Array, "m m"]
    gain_x: Float[Array, "m x"]
    gain_y: Float[Array, "m y"]
    gain_joint: Float[Array, "m xy"]


def ranked_posteriors(corr: Float[Array, "d d"], dims: Dims, tolerance: Tolerance) -> Ranked:
    """Posteriors of a covariance that may be singular, by eigenvalues."""
    m, x, _ = dims
    white = whitener(corr[:m, :m], tolerance.rank)
    sources = {"x": slice(m, m + x), "y": slice(m + x, None), "joint": slice(m, None)}
    posterior, gain = {}, {}
    for name, part in sources.items():
        told = whitener(corr[part, part], tolerance.rank)
        seen = white.T @ corr[:m, part] @ told
        posterior[name] = jnp.eye(m, dtype=corr.dtype) - seen @ seen.T
        gain[f"gain_{name}"] = corr[:m, part] @ told @ told.T
    return Ranked(white, **posterior, **gain)


def whitener(matrix: Float[Array, "n n"], rank: float) -> Float[Array, "n n"]:
    """W with Wᵀ S W = 1 on the eigenvectors that exist; the columns of the others are zero."""
    values, vectors = jnp.linalg.eigh(matrix, symmetrize_input=False)
    exists = values > rank * jnp.maximum(values[-1], rank)
    return vectors * jnp.where(exists, 1 / jnp.sqrt(jnp.where(exists, values, 1)), 0)[None, :]


class Spectrum(NamedTuple):
    """log det over the eigenvalues that are not zero, and how many are."""

    log_det: Float[Array, ""]
    zeros: Float[Array, ""]


def spectrum(posterior: Float[Array, "m m"], zero: float) -> Spectrum:
    """Of a posterior covariance in white coordinates: an eigenvalue of zero is a direction known exactly."""
    values = jnp.linalg.eigvalsh(posterior, symmetrize_input=False)
    known = values < zero
    return Spectrum(jnp.sum(jnp.log(jnp.where(known, 1, values))), jnp.sum(known, dtype=values.dtype))


def information_of(seen: Spectrum) -> Float[Array, ""]:
    """-½ log det of a posterior in white coordinates; infinite where a direction is known exactly."""
    return jnp.where(seen.zeros > 0, jnp.inf, -seen.log_det / 2)


class Information(InformationMeasure):
    """(I(M;X), I(M;Y), I(M;X,Y))."""

    def fast(self, corr: Float[Array, "d d"]) -> tuple[Float[Array, " k"], Float[Array, ""]]:
        """½ (log det S_M - log det S_{M|·})."""
        told = posteriors(corr, self.dims)
        factors = [cholesky(told.x), cholesky(told.y)]
        logs = jnp.stack([*map(log_det, factors), told.log_joint])
        pivots = [jnp.min(jnp.diagonal(factor)) ** 2 for factor in factors]
        return (told.log_prior - logs) / 2, jnp.min(jnp.stack([told.pivot, *pivots]))

    def ranked(self, corr: Float[Array, "d d"]) -> Float[Array, " k"]:
        """-½ log det in white coordinates, or infinite."""
        told = ranked_posteriors(corr, self.dims, self.tolerance)
        zero = self.tolerance.infinite
        return jnp.stack([information_of(spectrum(part, zero)) for part in (told.x, told.y, told.joint)])

    def gradient(self, corr: Float[Array, "d d"]) -> Float[Array, "k d d"]:
        """½ (Eᵀ S_M⁺ E - Jᵀ S_{M|X}⁺ J), where J u = u_M - S_MX S_X⁺ u_X is the residual."""
        return information_slopes(ranked_posteriors(corr, self.dims, self.tolerance), self.dims)


def information_slopes(told: Ranked, dims: Dims) -> Float[Array, "k d d"]:
    """∂ (I(M;X), I(M;Y), I(M;X,Y)) / ∂ S: see `Information.gradient`."""
    residuals = residual_maps(told, dims)
    prior = jnp.pad(told.whiten @ told.whiten.T, (0, dims[1] + dims[2]))
    inverses = [told.whiten @ jnp.linalg.inv(v) @ told.whiten.T for v in (told.x, told.y, told.joint)]
    return jnp.stack([(prior - j.T @ p @ j) / 2 for j, p in zip(residuals, inverses, strict=True)])


def residual_maps(told: Ranked, dims: Dims) -> tuple[Array, Array, Array]:
    """The maps J, (m, d), from all coordinates to what x, y and both leave of the target."""
    m, x, y = dims
    target = jnp.eye(m, dtype=told.whiten.dtype)

    def padded(gain: Array, before: int, after: int) -> Float[Array, "m d"]:
        return jnp.concatenate([target, jnp.pad(-gain, ((0, 0), (before, after)))], axis=1)

    return padded(told.gain_x, 0, y), padded(told.gain_y, x, 0), padded(told.gain_joint, 0, 0)

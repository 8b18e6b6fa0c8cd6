"""Certificates of a decomposition: a coupling that attains the union information, and a bound that proves it minimal.

In white target coordinates X = H_x M + n_x, Y = H_y M + n_y with white noises, P_x = 1 + H_xᵀH_x and P_y likewise.
Let W diagonalize both, Wᵀ P_y W = 1, Wᵀ P_x W = Λ, and F = W⁻ᵀ max(Λ, 1) W⁻¹ - 1, so that F ≥ H_xᵀH_x and F ≥ H_yᵀH_y.

    primal   Both sources are degraded versions of Z = F^½ M + n. Degrading them independently correlates the noises by
             Γ* = H_x F⁺ H_yᵀ, and every feasible Γ bounds the union information from above by I_Γ(M;X,Y).
    dual     For any coupling and any V = f(M), I(M;X|Y) ≥ I(V;X) - I(V;Y). With V the functionals of the target that x
             determines at least as well as y (λ ≥ 1), I_y + I(V;X) - I(V;Y) bounds the union information from below.

The two bounds are equal, so the closed form is exact, and Gaussian couplings are optimal.

    m, x, y widths
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pid.gaussian import covariance, systems
from pid.gaussian.covariance import Dims, Tolerance, highest_precision
from pid.gaussian.information import cholesky, log_det, whitener
from pid.measures.decomposition import decompose

Numbers = Array | np.ndarray
NOISELESS = 1e-12  # a noise of smaller variance counts as zero
ROUNDING = 1e-9  # a share of the union below which a negative number counts as zero


class Certificate(NamedTuple):
    """Numerical proof of the union information of one system or of a batch.

    The true union information lies between `dual` and `primal`.

    Example:
        >>> import numpy as np
        >>> from pid import Certificate, certificate
        >>> proof = certificate(np.eye(3), dims=(1, 1, 1))
        >>> isinstance(proof, Certificate), proof.coupling.shape
        (True, (1, 1))
    """

    union: Float[Numbers, "*b"]
    """Union information of the closed form, in bits."""

    primal: Float[Numbers, "*b"]
    """I(M;X,Y) under `coupling`, in bits: an upper bound of the union information."""

    dual: Float[Numbers, "*b"]
    """A lower bound of the union information, in bits."""

    gap: Float[Numbers, "*b"]
    """primal - dual, in bits; rounding error if the closed form is right, and 0 where it would be negative rounding."""

    eigenvalues: Float[Numbers, "*b m"]
    """λ, descending; along its direction the target has λ times as much variance given y as given x."""

    directions: Float[Numbers, "*b m m"]
    """The directions of the eigenvalues: columns in target units, w with wᵀ S_{M|Y}⁻¹ w = 1."""

    coupling: Float[Numbers, "*b x y"]
    """Γ*, the correlation of the whitened noises L⁻¹n of x and y, L the Cholesky factor of S_{X|M} or S_{Y|M}."""


def certificate(cov: Any, dims: Any) -> Certificate:
    """Certify the union information of the BROJA decomposition by a primal and a dual bound.

    Directions of the target that do not exist have eigenvalue 1 and a zero column. Sources without a Cholesky
    factor are whitened by eigenvectors.

    Args:
        cov: concrete covariances `(..., d, d)` of real numbers, coordinates in the order target, x, y.
        dims: (d_target, d_x, d_y), three positive integers that add up to d.

    Returns:
        Certificate of NumPy arrays in float64, information in bits.

    Raises:
        ValueError: the cases of `decompose`; infinite information, which cannot be certified.

    Example:
        >>> import numpy as np
        >>> from pid import certificate
        >>> cov = np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 2.0]])  # x = m + n_1, y = m + n_2
        >>> proof = certificate(cov, dims=(1, 1, 1))
        >>> round(float(proof.union), 3), abs(float(proof.gap)) < 1e-6
        (0.5, True)

    Reference:
        Bertschinger, Rauh, Olbrich, Jost & Ay, "Quantifying unique information", Entropy 16, 2014, for the union
        information as a minimum over couplings.
    """
    if not covariance.is_concrete(cov):
        raise ValueError(
            "a certificate needs a concrete covariance, got a traced one; call it outside jax.jit."
        )
    cov = np.asarray(covariance.to_covariance(cov))
    dims = covariance.check_shape(cov, dims)
    union = np.asarray(decompose(cov, dims).union)
    if not np.all(np.isfinite(union)):
        raise ValueError(
            "a certificate needs finite information, got a target that is a function of a source; remove the "
            "coordinates of the target that a source copies."
        )
    tolerance = covariance.tolerance_of(cov.dtype)
    with systems.x64_context():
        results = jax.tree.map(np.asarray, _certify_all(systems.to_float64(cov), dims, tolerance))
    primal, dual = (_clip(result * covariance.units_per_nat(2), union) for result in results[:2])
    gap = _clip(primal - dual, union)
    return Certificate(union.astype(primal.dtype), primal, dual, gap, *results[2:])


def _clip(values: Any, union: Any) -> Any:
    """Replace negative values by 0 where they are rounding of numbers as large as the union."""
    return np.where((values < 0) & (values >= -ROUNDING * (1 + union)), 0, values)[()]


@partial(jax.jit, static_argnums=(1, 2))
@highest_precision
def _certify_all(cov: Array, dims: Dims, tolerance: Tolerance) -> tuple:
    flat = cov.reshape(-1, *cov.shape[-2:])
    results = jax.lax.map(partial(_certify, dims=dims, tolerance=tolerance), flat)
    return jax.tree.map(lambda result: result.reshape(*cov.shape[:-2], *result.shape[1:]), results)


class Channels(NamedTuple):
    """Both sources as noisy linear functions of the white target, and the factor of the target's covariance."""

    x: Float[Array, "x m"]
    """H_x."""

    y: Float[Array, "y m"]
    """H_y."""

    prior: Float[Array, "m m"]
    """A with S_M = A Aᵀ."""

    exists: Float[Array, " m"]
    """1 where the white coordinate exists, else 0."""


@highest_precision
def channels(cov: Float[Array, "d d"], dims: Dims, tolerance: Tolerance) -> Channels:
    """Compute the channels H_x and H_y with white noise; whitening uses Cholesky factors where they exist."""
    corr, scale = covariance.correlation((cov + cov.T) / 2)
    s = covariance.blocks(corr, dims)
    white, factor = _whitening(s.mm, tolerance)
    cross_x, cross_y = white.T @ s.mx, white.T @ s.my

    def channel(cross: Array, source: Array) -> Array:
        return _whitening(source - cross.T @ cross, tolerance)[0].T @ cross.T

    exists = jnp.where(jnp.sum(jnp.square(white), axis=0) > 0, 1.0, 0.0)
    return Channels(channel(cross_x, s.xx), channel(cross_y, s.yy), scale[: dims[0], None] * factor, exists)


def _whitening(matrix: Float[Array, "n n"], tolerance: Tolerance) -> tuple[Array, Array]:
    """Return W and A with Wᵀ S W = 1 and S = A Aᵀ.

    They come from the Cholesky factor where it is sound, else from the eigenvectors that exist.
    """
    lower = cholesky(matrix)
    sound = jnp.min(jnp.diagonal(lower)) ** 2 > tolerance.pivot
    by_rank = whitener(matrix, tolerance.rank)
    safe = jnp.where(sound, lower, jnp.eye(matrix.shape[-1], dtype=matrix.dtype))
    white = jnp.where(sound, jnp.linalg.inv(safe).T, by_rank)
    return white, jnp.where(sound, safe, matrix @ by_rank)


def _certify(cov: Float[Array, "d d"], dims: Dims, tolerance: Tolerance) -> tuple:
    """Return primal and dual in nats, eigenvalues, directions and coupling of one system."""
    h = channels(cov, dims, tolerance)
    identity = jnp.eye(dims[0], dtype=cov.dtype)
    p_x, p_y = identity + h.x.T @ h.x, identity + h.y.T @ h.y
    lower = cholesky(p_y)
    inverse = jnp.linalg.inv(lower)
    ratios, vectors = jnp.linalg.eigh(inverse @ p_x @ inverse.T)
    w = inverse.T @ vectors
    back = lower @ vectors  # W⁻ᵀ
    dominating = back * jnp.maximum(ratios, 1)[None, :] @ back.T - identity  # F
    coupling = h.x @ _inverse_within_rank(dominating, tolerance) @ h.y.T
    order = jnp.argsort(-ratios)
    directions = h.prior @ (w * h.exists[:, None])
    return (
        union_information(h.x, h.y, coupling),
        _dual(p_x, p_y, p_y @ w, ratios >= 1),
        ratios[order],
        directions[:, order],
        coupling,
    )


def _inverse_within_rank(matrix: Float[Array, "m m"], tolerance: Tolerance) -> Float[Array, "m m"]:
    values, vectors = jnp.linalg.eigh(matrix)
    exists = values > tolerance.rank * jnp.maximum(values[-1], 1)
    return vectors * jnp.where(exists, 1 / jnp.where(exists, values, 1), 0)[None, :] @ vectors.T


@highest_precision
def union_information(
    x: Float[Array, "x m"], y: Float[Array, "y m"], coupling: Float[Array, "x y"]
) -> Float[Array, ""]:
    """Compute I(M;X,Y) in nats for white noises of the channels x and y with correlation `coupling`, |Γ|₂ ≤ 1.

    It is ½ log det(1 + Hᵀ K⁺ H) with H = [H_x; H_y], K = [[1, Γ], [Γᵀ, 1]]. In the singular vectors of Γ, K splits into
    pairs with eigenvalues 1 ± σ. The difference of a pair with σ = 1 has no noise. It is assumed to carry no signal,
    as is the case where x and y agree; otherwise the information would be infinite.
    """
    left, sigma, right = jnp.linalg.svd(coupling)
    pairs, difference_noise = sigma.shape[0], 1 - sigma
    a, b = left.T @ x, right @ y
    noisy = difference_noise[:, None] > NOISELESS
    sums = (a[:pairs] + b[:pairs]) / jnp.sqrt(2 * (1 + sigma))[:, None]
    differences = (a[:pairs] - b[:pairs]) / jnp.sqrt(2 * jnp.maximum(difference_noise, NOISELESS))[:, None]
    signal = jnp.concatenate([sums, jnp.where(noisy, differences, 0), a[pairs:], b[pairs:]])
    return log_det(cholesky(jnp.eye(x.shape[1], dtype=x.dtype) + signal.T @ signal)) / 2


def _dual(p_x: Array, p_y: Array, functionals: Float[Array, "m m"], mask: Array) -> Float[Array, ""]:
    """Compute I(M;Y) + I(V;X) - I(V;Y) in nats; V are the functionals of the target in the columns of `mask`."""
    log_dets = []
    for precision in (p_x, p_y):
        variance = functionals.T @ jnp.linalg.solve(precision, functionals)
        selected = mask[:, None] & mask[None, :]
        log_dets.append(
            jnp.linalg.slogdet(jnp.where(selected, variance, jnp.diag(jnp.where(mask, 0, 1.0))))[1]
        )
    return (jnp.linalg.slogdet(p_y)[1] + log_dets[1] - log_dets[0]) / 2

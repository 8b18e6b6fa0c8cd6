"""The proof of a decomposition, in numbers: a coupling that attains the union information, and a bound below it.

In white target coordinates X = H_x M + n_x, Y = H_y M + n_y with white noises, P_x = 1 + H_xᵀH_x and P_y likewise.
Let W diagonalise both, Wᵀ P_y W = 1, Wᵀ P_x W = Λ, and F = W⁻ᵀ max(Λ, 1) W⁻¹ - 1, so that F ≥ H_xᵀH_x and F ≥ H_yᵀH_y.

    primal   Both sources are degraded versions of Z = F^½ M + n. Degrading them independently correlates the noises by
             Γ* = H_x F⁺ H_yᵀ, and every feasible Γ bounds the union information from above by I_Γ(M;X,Y).
    dual     For any coupling and any V = f(M), I(M;X|Y) ≥ I(V;X) - I(V;Y). With V the functionals on which x is
             not behind, I_y + I(V;X) - I(V;Y) bounds the union information from below.

They meet, so the closed form is exact, and Gaussian couplings are optimal.

    m, x, y widths
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pid.gaussian import covariance, systems
from pid.gaussian.covariance import Dims, Tolerance
from pid.gaussian.information import cholesky, log_det, whitener
from pid.measures.decomposition import decompose

Numbers = Array | np.ndarray
NOISELESS = 1e-12  # a noise of less variance is none


class Certificate(NamedTuple):
    """What proves the union information of one system or of a batch, in bits."""

    union: Float[Numbers, "*b"]  # the closed form
    primal: Float[Numbers, "*b"]  # I(M;X,Y) under `coupling`: no less than the union
    dual: Float[Numbers, "*b"]  # no more than the union
    gap: Float[Numbers, "*b"]  # primal - dual
    eigenvalues: Float[Numbers, "*b m"]  # λ, descending; above 1, x knows that direction better than y
    directions: Float[Numbers, "*b m m"]  # columns, in target units: one posterior standard deviation given y
    coupling: Float[
        Numbers, "*b x y"
    ]  # Γ*: correlation of the whitened noises L⁻¹n, L the Cholesky factor of S_{X|M}


def certificate(cov: Any, dims: Any) -> Certificate:
    """Certify the BROJA decomposition of covariances `(..., d, d)`, as NumPy arrays in float64.

    Directions of the target that do not exist have eigenvalue 1 and a zero column; sources without a Cholesky
    factor are whitened by eigenvectors.

    Raises:
        ValueError: what `decompose` refuses, and infinite information, for which there is nothing to certify.
    """
    dims = covariance.check_shape(cov, dims)
    union = np.asarray(decompose(cov, dims).union)
    if not np.all(np.isfinite(union)):
        raise ValueError(
            "a certificate needs finite information, got a target that is a function of a source; remove the "
            "coordinates of the target that a source copies."
        )
    tolerance = covariance.tolerance_of(np.asarray(cov).dtype)
    with systems.x64_context():
        parts = jax.tree.map(np.asarray, _certify_all(systems.to_float64(cov), dims, tolerance))
    primal, dual = (part * covariance.units_per_nat(2) for part in parts[:2])
    return Certificate(union.astype(primal.dtype), primal, dual, primal - dual, *parts[2:])


@partial(jax.jit, static_argnums=(1, 2))
def _certify_all(cov: Array, dims: Dims, tolerance: Tolerance) -> tuple:
    flat = cov.reshape(-1, *cov.shape[-2:])
    parts = jax.lax.map(partial(_certify, dims=dims, tolerance=tolerance), flat)
    return jax.tree.map(lambda part: part.reshape(*cov.shape[:-2], *part.shape[1:]), parts)


class Channels(NamedTuple):
    """Both sources as noisy linear functions of the white target, and the factor that whitened it."""

    x: Float[Array, "x m"]
    y: Float[Array, "y m"]
    prior: Float[Array, "m m"]  # A with S_M = A Aᵀ
    exists: Float[Array, " m"]  # 0 where the white coordinate does not exist


def channels(cov: Float[Array, "d d"], dims: Dims, tolerance: Tolerance) -> Channels:
    """H_x and H_y with white noise, for the whitening by Cholesky factors where they exist."""
    corr, scale = covariance.correlation((cov + cov.T) / 2)
    s = covariance.blocks(corr, dims)
    white, factor = _whitening(s.mm, tolerance)
    read_x, read_y = white.T @ s.mx, white.T @ s.my

    def channel(read: Array, source: Array) -> Array:
        return _whitening(source - read.T @ read, tolerance)[0].T @ read.T

    exists = jnp.where(jnp.sum(jnp.square(white), axis=0) > 0, 1.0, 0.0)
    return Channels(channel(read_x, s.xx), channel(read_y, s.yy), scale[: dims[0], None] * factor, exists)


def _whitening(matrix: Float[Array, "n n"], tolerance: Tolerance) -> tuple[Array, Array]:
    """W and A with Wᵀ S W = 1 and S = A Aᵀ: from the Cholesky factor, or from the eigenvectors that exist."""
    lower = cholesky(matrix)
    sound = jnp.min(jnp.diagonal(lower)) ** 2 > tolerance.pivot
    by_rank = whitener(matrix, tolerance.rank)
    safe = jnp.where(sound, lower, jnp.eye(matrix.shape[-1], dtype=matrix.dtype))
    white = jnp.where(sound, jnp.linalg.inv(safe).T, by_rank)
    return white, jnp.where(sound, safe, matrix @ by_rank)


def _certify(cov: Float[Array, "d d"], dims: Dims, tolerance: Tolerance) -> tuple:
    """Primal and dual in nats, eigenvalues, directions, coupling."""
    h = channels(cov, dims, tolerance)
    one = jnp.eye(dims[0], dtype=cov.dtype)
    p_x, p_y = one + h.x.T @ h.x, one + h.y.T @ h.y
    lower = cholesky(p_y)
    inverse = jnp.linalg.inv(lower)
    ratios, vectors = jnp.linalg.eigh(inverse @ p_x @ inverse.T)
    w = inverse.T @ vectors
    back = lower @ vectors  # W⁻ᵀ
    least = back * jnp.maximum(ratios, 1)[None, :] @ back.T - one
    coupling = h.x @ _inverse_within_rank(least, tolerance) @ h.y.T
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


def union_information(
    x: Float[Array, "x m"], y: Float[Array, "y m"], coupling: Float[Array, "x y"]
) -> Float[Array, ""]:
    """I(M;X,Y) in nats when the white noises of the channels x and y are correlated by `coupling`, |Γ|₂ ≤ 1.

    ½ log det(1 + Hᵀ K⁺ H), H = [H_x; H_y], K = [[1, Γ], [Γᵀ, 1]]. In the singular vectors of Γ, K falls apart into
    pairs with eigenvalues 1 ± σ. The difference of a pair with σ = 1 has no noise; it is taken to carry nothing, as
    is so where x and y agree, else the information would be infinite.
    """
    left, sigma, right = jnp.linalg.svd(coupling)
    pairs, room = sigma.shape[0], 1 - sigma
    a, b = left.T @ x, right @ y
    noisy = room[:, None] > NOISELESS
    together = (a[:pairs] + b[:pairs]) / jnp.sqrt(2 * (1 + sigma))[:, None]
    apart = (a[:pairs] - b[:pairs]) / jnp.sqrt(2 * jnp.maximum(room, NOISELESS))[:, None]
    seen = jnp.concatenate([together, jnp.where(noisy, apart, 0), a[pairs:], b[pairs:]])
    return log_det(cholesky(jnp.eye(x.shape[1], dtype=x.dtype) + seen.T @ seen)) / 2


def _dual(p_x: Array, p_y: Array, functionals: Float[Array, "m m"], kept: Array) -> Float[Array, ""]:
    """I(M;Y) + I(V;X) - I(V;Y) in nats for V the kept columns: their variances given x and given y."""
    given = []
    for precision in (p_x, p_y):
        variance = functionals.T @ jnp.linalg.solve(precision, functionals)
        chosen = kept[:, None] & kept[None, :]
        given.append(jnp.linalg.slogdet(jnp.where(chosen, variance, jnp.diag(jnp.where(kept, 0, 1.0))))[1])
    return (jnp.linalg.slogdet(p_y)[1] + given[1] - given[0]) / 2

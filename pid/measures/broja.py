"""The decomposition of Bertschinger, Rauh, Olbrich, Jost & Ay (BROJA) for Gaussians, in closed form.

Let λ_i, v_i solve S_{M|Y} v = λ S_{M|X} v: along v the target is λ times as uncertain after y as after x. Then

    U_x = Σ_{λ>1} ½ log λ        U_y = Σ_{λ<1} ½ log 1/λ        R = I_x - U_x        S = I_xy - U_x - U_y - R

This is the minimum over all couplings of the sources that keep the pairs (M,X) and (M,Y), Gaussian or not:
`certification` has the coupling that attains it and the bound that proves it.

Where directions of the target are known exactly, the same in terms of μ, (S_{M|X}) u = μ (S_{M|X} + S_{M|Y}) u,
λ = (1-μ)/μ, with V = S_{M|X} + S_{M|Y} in white coordinates:

    I_x = -½ [log det V + Σ log μ]                  I_y = -½ [log det V + Σ log(1-μ)]
    R   = -½ [log det V + Σ log max(μ, 1-μ)]        union = -½ [log det V + Σ log min(μ, 1-μ)]

    d coordinates, m of them the target's
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from pid.gaussian.information import (
    Posteriors,
    Ranked,
    cholesky,
    information_of,
    information_slopes,
    log_det,
    posteriors,
    ranked_posteriors,
    residual_maps,
    spectrum,
)
from pid.gaussian.systems import InformationMeasure
from pid.measures import atoms


class Broja(InformationMeasure):
    """The fields of a PID."""

    def fast(self, corr: Float[Array, "d d"]) -> tuple[Float[Array, " k"], Float[Array, ""]]:
        """Two Cholesky factors of sources, one of S_{M|X}, and the eigenvalues λ."""
        told = posteriors(corr, self.dims)
        of_x = cholesky(told.x)
        pivot = jnp.minimum(told.pivot, jnp.min(jnp.diagonal(of_x)) ** 2)
        ratios = uncertainty_ratios(told, of_x, pivot > self.tolerance.pivot)
        logs = jnp.log(jnp.where(ratios > 0, ratios, 1)) / 2
        unique_x, unique_y = jnp.sum(jnp.maximum(logs, 0)), jnp.sum(jnp.maximum(-logs, 0))
        x = (told.log_prior - log_det(of_x)) / 2
        redundancy, joint = x - unique_x, (told.log_prior - told.log_joint) / 2
        y = redundancy + unique_y
        parts = (redundancy, unique_x, unique_y, joint - unique_x - y)
        least = jnp.where(jnp.min(ratios) > 0, pivot * jnp.minimum(jnp.min(ratios), 1), jnp.nan)
        return atoms.stack_fields((x, y, joint), parts), jnp.where(pivot > 0, least, jnp.nan)

    def ranked(self, corr: Float[Array, "d d"]) -> Float[Array, " k"]:
        """The form in μ. Synergy beside infinite information is its limit: that of the rest of the target."""
        told = ranked_posteriors(corr, self.dims, self.tolerance)
        pencil = compare_uncertainty(told, self.tolerance.infinite)
        joint_rest = spectrum(told.joint, self.tolerance.infinite)
        union_rest = spectrum(pencil.least, self.tolerance.infinite)
        joint = information_of(joint_rest)
        redundancy = pencil.information(jnp.maximum(pencil.shares, 1 - pencil.shares))
        unique_x, unique_y = pencil.excess(pencil.shares), pencil.excess(1 - pencil.shares)
        more_is_known = joint_rest.zeros > union_rest.zeros
        synergy = jnp.where(more_is_known, jnp.inf, (union_rest.log_det - joint_rest.log_det) / 2)
        information = (redundancy + unique_x, redundancy + unique_y, joint)
        return atoms.stack_fields(information, (redundancy, unique_x, unique_y, synergy))

    def gradient(self, corr: Float[Array, "d d"]) -> Float[Array, "k d d"]:
        """dU_x = ½ Σ_{λ>1} (wᵀ dS_{M|Y} w / λ - wᵀ dS_{M|X} w), wᵀ S_{M|X} w = 1; ties λ = 1 count half."""
        told = ranked_posteriors(corr, self.dims, self.tolerance)
        x, y, joint = information_slopes(told, self.dims)
        factor = jnp.linalg.cholesky(told.x)
        ratios, vectors = jnp.linalg.eigh(_whitened(told.y, factor))
        w = told.whiten @ solve_triangular(factor, vectors, lower=True, trans="T")
        logs = jnp.log(ratios)
        weight = jnp.where(jnp.abs(logs) < self.tolerance.tie, 0.5, logs > 0)
        of_x, of_y, _ = residual_maps(told, self.dims)
        of_x, of_y = of_x.T @ w, of_y.T @ w
        unique_x = (of_y * (weight / ratios)[None, :] @ of_y.T - of_x * weight[None, :] @ of_x.T) / 2
        redundancy, unique_y = x - unique_x, y - x + unique_x
        return atoms.stack_fields((x, y, joint), (redundancy, unique_x, unique_y, joint - unique_x - y))


def uncertainty_ratios(told: Posteriors, of_x: Float[Array, "m m"], sound: Array) -> Float[Array, " m"]:
    """λ, ascending; from a factor of S_{M|X}. Of the identity where the factor is not sound."""
    safe = jnp.where(sound, of_x, jnp.eye(of_x.shape[-1], dtype=of_x.dtype))
    pair = jnp.where(sound, told.y, jnp.eye(of_x.shape[-1], dtype=of_x.dtype))
    return jnp.linalg.eigvalsh(_whitened(pair, safe), symmetrize_input=False)


def _whitened(matrix: Float[Array, "m m"], factor: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """L⁻¹ V L⁻ᵀ, symmetric to the last bit."""
    half = solve_triangular(factor, matrix, lower=True)
    whole = solve_triangular(factor, half.T, lower=True)
    return (whole + whole.T) / 2


class Pencil(NamedTuple):
    """The posteriors given x and given y in common coordinates: μ and 1-μ of their sum V.

    A direction known from both sources has log V infinite and μ = ½.
    """

    log_sum: Float[Array, ""]  # log det V, -inf with a direction known from both
    shares: Float[
        Array, " m"
    ]  # μ, exactly 0 where x knows a direction and y does not, and 1 the other way round
    least: Float[Array, "m m"]  # the covariance of what neither source knows: min(μ, 1-μ) in place of μ

    def information(self, shares: Float[Array, " m"]) -> Float[Array, ""]:
        """-½ [log det V + Σ log shares]."""
        return -(self.log_sum + jnp.sum(jnp.log(shares))) / 2

    def excess(self, shares: Float[Array, " m"]) -> Float[Array, ""]:
        """Σ_{μ<½} ½ log (1-μ)/μ."""
        return jnp.sum(jnp.where(shares < 0.5, jnp.log((1 - shares) / shares), 0)) / 2


def compare_uncertainty(told: Ranked, zero: float) -> Pencil:
    """Diagonalise both posteriors together."""
    sums, axes = jnp.linalg.eigh(told.x + told.y)
    known = sums < zero
    root = jnp.sqrt(jnp.where(known, 1, sums))
    white = axes / root[None, :]
    inner = white.T @ told.x @ white
    outside = known[:, None] | known[None, :]
    shares, turn = jnp.linalg.eigh(jnp.where(outside, jnp.diag(jnp.where(known, 0.5, 0)), inner))
    shares = jnp.where(shares < zero, 0, jnp.where(shares > 1 - zero, 1, shares))
    back = (axes * jnp.where(known, 0, root)[None, :]) @ turn
    log_sum = jnp.where(jnp.any(known), -jnp.inf, jnp.sum(jnp.log(jnp.where(known, 1, sums))))
    return Pencil(log_sum, shares, back * jnp.minimum(shares, 1 - shares)[None, :] @ back.T)

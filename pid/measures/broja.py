"""The decomposition of Bertschinger, Rauh, Olbrich, Jost & Ay (BROJA) for Gaussians, in closed form.

Let λ_i, v_i solve S_{M|Y} v = λ S_{M|X} v. Along v the target has λ times as much variance given y as given x. Then

    U_x = Σ_{λ>1} ½ log λ        U_y = Σ_{λ<1} ½ log 1/λ        R = I_x - U_x        S = I_xy - U_x - U_y - R

The union information R + U_x + U_y is the minimum of I(M;X,Y) over all couplings of the sources that keep the pairs
(M,X) and (M,Y), Gaussian or not. `certification` has the coupling that attains it and the bound that proves it.

Where a source determines directions of the target, λ is 0 or infinite. The same solution is then expressed by μ,
S_{M|X} u = μ (S_{M|X} + S_{M|Y}) u, λ = (1-μ)/μ, with V = S_{M|X} + S_{M|Y} in white coordinates:

    I_x = -½ [log det V + Σ log μ]                  I_y = -½ [log det V + Σ log(1-μ)]
    R   = -½ [log det V + Σ log max(μ, 1-μ)]        union = -½ [log det V + Σ log min(μ, 1-μ)]

    d coordinates, of which m belong to the target
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from pid.gaussian.information import (
    Posteriors,
    WhitePosteriors,
    cholesky,
    information_from_spectrum,
    information_gradients,
    log_det,
    posteriors_from_cholesky,
    posteriors_from_eigh,
    residual_maps,
    spectrum,
)
from pid.gaussian.systems import InformationMeasure
from pid.measures import atoms


class Broja(InformationMeasure):
    """The BROJA decomposition: the fields of a PID."""

    def from_cholesky(self, corr: Float[Array, "d d"]) -> tuple[Float[Array, " k"], Float[Array, ""]]:
        """Compute the fields from the eigenvalues λ, by Cholesky factors, and the smallest squared pivot."""
        posteriors = posteriors_from_cholesky(corr, self.dims)
        factor_x = cholesky(posteriors.x)
        pivot = jnp.minimum(posteriors.pivot, jnp.min(jnp.diagonal(factor_x)) ** 2)
        ratios = uncertainty_ratios(posteriors, factor_x, pivot > self.tolerance.pivot)
        logs = jnp.log(jnp.where(ratios > 0, ratios, 1)) / 2
        unique_x, unique_y = jnp.sum(jnp.maximum(logs, 0)), jnp.sum(jnp.maximum(-logs, 0))
        x = (posteriors.log_det_prior - log_det(factor_x)) / 2
        redundancy, joint = x - unique_x, (posteriors.log_det_prior - posteriors.log_det_joint) / 2
        y = redundancy + unique_y
        atom_values = (redundancy, unique_x, unique_y, joint - unique_x - y)
        least = jnp.where(jnp.min(ratios) > 0, pivot * jnp.minimum(jnp.min(ratios), 1), jnp.nan)
        return atoms.stack_fields((x, y, joint), atom_values), jnp.where(pivot > 0, least, jnp.nan)

    def from_eigh(self, corr: Float[Array, "d d"]) -> Float[Array, " k"]:
        """Compute the fields from μ; where information is infinite, the synergy is about the rest of the target."""
        posteriors = posteriors_from_eigh(corr, self.dims, self.tolerance)
        pencil = compare_uncertainty(posteriors, self.tolerance.zero_variance)
        joint_spectrum = spectrum(posteriors.joint, self.tolerance.zero_variance)
        union_spectrum = spectrum(pencil.union, self.tolerance.zero_variance)
        joint = information_from_spectrum(joint_spectrum)
        redundancy = pencil.information(jnp.maximum(pencil.shares, 1 - pencil.shares))
        unique_x, unique_y = pencil.excess(pencil.shares), pencil.excess(1 - pencil.shares)
        joint_has_more_zeros = joint_spectrum.num_zeros > union_spectrum.num_zeros
        synergy = jnp.where(
            joint_has_more_zeros, jnp.inf, (union_spectrum.log_det - joint_spectrum.log_det) / 2
        )
        information = (redundancy + unique_x, redundancy + unique_y, joint)
        return atoms.stack_fields(information, (redundancy, unique_x, unique_y, synergy))

    def gradient(self, corr: Float[Array, "d d"]) -> Float[Array, "k d d"]:
        """Compute the derivatives of the fields, by first-order perturbation of the eigenvalues λ.

        dU_x = ½ Σ_{λ>1} (wᵀ dS_{M|Y} w / λ - wᵀ dS_{M|X} w), wᵀ S_{M|X} w = 1; ties λ = 1 count half.
        """
        posteriors = posteriors_from_eigh(corr, self.dims, self.tolerance)
        x, y, joint = information_gradients(posteriors, self.dims)
        factor = jnp.linalg.cholesky(posteriors.x)
        ratios, vectors = jnp.linalg.eigh(_whiten(posteriors.y, factor))
        w = posteriors.whiten @ solve_triangular(factor, vectors, lower=True, trans="T")
        logs = jnp.log(ratios)
        weight = jnp.where(jnp.abs(logs) < self.tolerance.tie, 0.5, logs > 0)
        residual_x, residual_y, _ = residual_maps(posteriors, self.dims)
        projected_x, projected_y = residual_x.T @ w, residual_y.T @ w
        unique_x = (
            projected_y * (weight / ratios)[None, :] @ projected_y.T
            - projected_x * weight[None, :] @ projected_x.T
        ) / 2
        redundancy, unique_y = x - unique_x, y - x + unique_x
        return atoms.stack_fields((x, y, joint), (redundancy, unique_x, unique_y, joint - unique_x - y))


def uncertainty_ratios(
    posteriors: Posteriors, factor_x: Float[Array, "m m"], sound: Array
) -> Float[Array, " m"]:
    """Return the eigenvalues λ, ascending, from a Cholesky factor of S_{M|X}; ones if the factor is not sound."""
    safe = jnp.where(sound, factor_x, jnp.eye(factor_x.shape[-1], dtype=factor_x.dtype))
    posterior_y = jnp.where(sound, posteriors.y, jnp.eye(factor_x.shape[-1], dtype=factor_x.dtype))
    return jnp.linalg.eigvalsh(_whiten(posterior_y, safe), symmetrize_input=False)


def _whiten(matrix: Float[Array, "m m"], factor: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """Compute L⁻¹ V L⁻ᵀ, symmetric to the last bit."""
    half = solve_triangular(factor, matrix, lower=True)
    white = solve_triangular(factor, half.T, lower=True)
    return (white + white.T) / 2


class Pencil(NamedTuple):
    """Both posteriors in coordinates that diagonalize them: the shares μ and 1-μ of their sum V.

    A direction that both sources determine has μ = ½ and makes log det V minus infinity.
    """

    log_det_sum: Float[Array, ""]
    """log det V; -inf where both sources determine a direction."""

    shares: Float[Array, " m"]
    """μ; exactly 0 where x alone determines a direction, and exactly 1 where y alone does."""

    union: Float[Array, "m m"]
    """Posterior covariance for the union information: V with min(μ, 1-μ) in place of 1."""

    def information(self, shares: Float[Array, " m"]) -> Float[Array, ""]:
        """Return -½ [log det V + Σ log shares]."""
        return -(self.log_det_sum + jnp.sum(jnp.log(shares))) / 2

    def excess(self, shares: Float[Array, " m"]) -> Float[Array, ""]:
        """Return Σ_{μ<½} ½ log (1-μ)/μ."""
        return jnp.sum(jnp.where(shares < 0.5, jnp.log((1 - shares) / shares), 0)) / 2


def compare_uncertainty(posteriors: WhitePosteriors, zero: float) -> Pencil:
    """Diagonalize the posteriors given x and given y together; eigenvalues below `zero` count as zero."""
    sums, axes = jnp.linalg.eigh(posteriors.x + posteriors.y)
    determined = sums < zero
    root = jnp.sqrt(jnp.where(determined, 1, sums))
    white = axes / root[None, :]
    inner = white.T @ posteriors.x @ white
    outside = determined[:, None] | determined[None, :]
    shares, rotation = jnp.linalg.eigh(jnp.where(outside, jnp.diag(jnp.where(determined, 0.5, 0)), inner))
    shares = jnp.where(shares < zero, 0, jnp.where(shares > 1 - zero, 1, shares))
    unwhiten = (axes * jnp.where(determined, 0, root)[None, :]) @ rotation
    log_det_sum = jnp.where(jnp.any(determined), -jnp.inf, jnp.sum(jnp.log(jnp.where(determined, 1, sums))))
    return Pencil(log_det_sum, shares, unwhiten * jnp.minimum(shares, 1 - shares)[None, :] @ unwhiten.T)

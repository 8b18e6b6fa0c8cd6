"""Minimum mutual information (MMI): R = min(I_x, I_y).

At least one of the unique atoms is 0. MMI equals BROJA if one source is a degraded version of the other, in
particular for a scalar target. [Barrett, "Exploration of synergistic and redundant information sharing in static
and dynamical Gaussian systems", Physical Review E 91, 2015; the redundancy of PID Flow]

    d coordinates
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pid.gaussian.information import (
    Information,
    conditional_from_spectra,
    information_from_spectrum,
    information_gradients,
    posteriors_from_eigh,
    spectra,
    spectrum,
)
from pid.gaussian.systems import InformationMeasure
from pid.measures import atoms


class MinimumInformation(InformationMeasure):
    """The MMI decomposition: the fields of a PID."""

    def from_cholesky(self, corr: Float[Array, "d d"]) -> tuple[Float[Array, " k"], Float[Array, ""]]:
        """Compute the fields from the three mutual informations, and the smallest squared pivot."""
        (x, y, joint), pivot = Information(self.dims, self.tolerance).from_cholesky(corr)
        atom_values = (
            jnp.minimum(x, y),
            jnp.maximum(x - y, 0),
            jnp.maximum(y - x, 0),
            joint - jnp.maximum(x, y),
        )
        return atoms.stack_fields((x, y, joint), atom_values), pivot

    def from_eigh(self, corr: Float[Array, "d d"]) -> Float[Array, " k"]:
        """Compute the fields with S = min(I(M;Y|X), I(M;X|Y))."""
        x, y, joint = spectra(corr, self.dims, self.tolerance)
        more_x, more_y = conditional_from_spectra(x, y, joint)
        i_x, i_y = information_from_spectrum(x), information_from_spectrum(y)
        unique_x = jnp.where(more_x > more_y, more_x - jnp.where(more_x > more_y, more_y, 0), 0)
        unique_y = jnp.where(more_y > more_x, more_y - jnp.where(more_y > more_x, more_x, 0), 0)
        atom_values = (jnp.minimum(i_x, i_y), unique_x, unique_y, jnp.minimum(more_x, more_y))
        return atoms.stack_fields((i_x, i_y, information_from_spectrum(joint)), atom_values)

    def gradient(self, corr: Float[Array, "d d"]) -> Float[Array, "k d d"]:
        """Compute the derivatives: ∂R is the gradient of the smaller information, or the mean of both if they tie."""
        posteriors = posteriors_from_eigh(corr, self.dims, self.tolerance)
        x, y, joint = information_gradients(posteriors, self.dims)
        i_x, i_y = (
            information_from_spectrum(spectrum(cov, self.tolerance.zero_variance))
            for cov in (posteriors.x, posteriors.y)
        )
        tie = jnp.abs(i_x - i_y) < self.tolerance.tie
        weight_x = jnp.where(tie, 0.5, i_x < i_y)
        redundancy = weight_x * x + (1 - weight_x) * y
        larger = x + y - redundancy
        atom_values = (redundancy, x - redundancy, y - redundancy, joint - larger)
        return atoms.stack_fields((x, y, joint), atom_values)

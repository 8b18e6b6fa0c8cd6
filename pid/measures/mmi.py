"""Minimum mutual information (MMI): R = min(I_x, I_y).

One of the unique parts is always 0. It equals BROJA if one source is a degraded version of the other, in
particular for a scalar target. [Barrett, "Exploration of synergistic and redundant information sharing in static
and dynamical Gaussian systems", Physical Review E 91, 2015; the redundancy of PID Flow]

    d coordinates
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pid.gaussian.information import (
    Information,
    information_of,
    information_slopes,
    ranked_posteriors,
    spectrum,
)
from pid.gaussian.systems import InformationMeasure
from pid.measures import atoms


class Minimum(InformationMeasure):
    """The fields of a PID."""

    def fast(self, corr: Float[Array, "d d"]) -> tuple[Float[Array, " k"], Float[Array, ""]]:
        """From the three mutual informations."""
        (x, y, joint), pivot = Information(self.dims, self.tolerance).fast(corr)
        parts = (jnp.minimum(x, y), jnp.maximum(x - y, 0), jnp.maximum(y - x, 0), joint - jnp.maximum(x, y))
        return atoms.stack_fields((x, y, joint), parts), pivot

    def ranked(self, corr: Float[Array, "d d"]) -> Float[Array, " k"]:
        """S = min(I(M;Y|X), I(M;X|Y)), whose terms are finite where as many directions are known without as with."""
        told = ranked_posteriors(corr, self.dims, self.tolerance)
        x, y, joint = (spectrum(part, self.tolerance.infinite) for part in (told.x, told.y, told.joint))
        more_y, more_x = (
            jnp.where(joint.zeros > one.zeros, jnp.inf, (one.log_det - joint.log_det) / 2) for one in (x, y)
        )
        i_x, i_y = information_of(x), information_of(y)
        unique_x = jnp.where(more_x > more_y, more_x - jnp.where(more_x > more_y, more_y, 0), 0)
        unique_y = jnp.where(more_y > more_x, more_y - jnp.where(more_y > more_x, more_x, 0), 0)
        parts = (jnp.minimum(i_x, i_y), unique_x, unique_y, jnp.minimum(more_x, more_y))
        return atoms.stack_fields((i_x, i_y, information_of(joint)), parts)

    def gradient(self, corr: Float[Array, "d d"]) -> Float[Array, "k d d"]:
        """That of the smaller information; half of each where they tie."""
        told = ranked_posteriors(corr, self.dims, self.tolerance)
        x, y, joint = information_slopes(told, self.dims)
        i_x, i_y = (information_of(spectrum(part, self.tolerance.infinite)) for part in (told.x, told.y))
        tied = jnp.abs(i_x - i_y) < self.tolerance.tie
        of_x = jnp.where(tied, 0.5, i_x < i_y)
        redundancy = of_x * x + (1 - of_x) * y
        larger = x + y - redundancy
        parts = (redundancy, x - redundancy, y - redundancy, joint - larger)
        return atoms.stack_fields((x, y, joint), parts)

"""The four atoms of two sources' information on a target, and their sums."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Values = Float[Array | np.ndarray, "*b"]


class Shares(NamedTuple):
    """The atoms as fractions of I(M;X,Y); they add up to 1."""

    redundancy: Values
    unique_x: Values
    unique_y: Values
    synergy: Values


class PID(NamedTuple):
    """A partial information decomposition; every field has the batch shape, in one unit.

    I(M;X) = R + U_x,  I(M;Y) = R + U_y,  I(M;X,Y) = R + U_x + U_y + S,  union = R + U_x + U_y.
    """

    redundancy: Values
    unique_x: Values
    unique_y: Values
    synergy: Values
    mi_x: Values
    mi_y: Values
    mi_joint: Values
    union: Values

    def shares(self) -> Shares:
        """The atoms as fractions of `mi_joint`; NaN where that is 0 or infinite."""
        return Shares(*(_share(atom, self.mi_joint) for atom in self[:4]))


def _share(part: Values, whole: Values) -> Values:
    xp = jnp if hasattr(whole, "aval") else np
    possible = (whole > 0) & xp.isfinite(whole)
    return xp.where(possible, part / xp.where(possible, whole, 1), xp.nan)


def stack_fields(
    information: tuple[Values, Values, Values] | Values, atoms: tuple[Values, Values, Values, Values]
) -> Float[Array, "k *s"]:
    """The fields of a PID along a first axis, from (I_x, I_y, I_xy) and (R, U_x, U_y, S)."""
    redundancy, unique_x, unique_y, synergy = atoms
    union = redundancy + unique_x + unique_y
    return jnp.stack([redundancy, unique_x, unique_y, synergy, *information, union])

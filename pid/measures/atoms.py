"""The four atoms of the information that two sources carry about a target, and their sums."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Values = Float[Array | np.ndarray, "*b"]


class Shares(NamedTuple):
    """The atoms as fractions of I(M;X,Y); they add up to 1."""

    redundancy: Values
    """R / I(M;X,Y)."""

    unique_x: Values
    """U_x / I(M;X,Y)."""

    unique_y: Values
    """U_y / I(M;X,Y)."""

    synergy: Values
    """S / I(M;X,Y)."""


class PID(NamedTuple):
    """Partial information decomposition of the information that sources x and y carry about a target.

        I(M;X) = R + U_x,  I(M;Y) = R + U_y,  I(M;X,Y) = R + U_x + U_y + S,  union = R + U_x + U_y

    Every field has the batch shape. All fields are in bits, unless `decompose` was called with another base. Fields
    are infinite where the target is a function of a source.

    Example:
        >>> import numpy as np
        >>> from pid import PID, decompose
        >>> cov = np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 2.0]])  # x = m + n_1, y = m + n_2
        >>> pid = decompose(cov, dims=(1, 1, 1))
        >>> isinstance(pid, PID), round(float(pid.union), 3), round(float(pid.shares().synergy), 3)
        (True, 0.5, 0.369)
    """

    redundancy: Values
    """R: information that either source gives alone."""

    unique_x: Values
    """U_x: information that only x gives."""

    unique_y: Values
    """U_y: information that only y gives."""

    synergy: Values
    """S: information that only x and y together give."""

    mi_x: Values
    """I(M;X), the mutual information of the target with x."""

    mi_y: Values
    """I(M;Y), the mutual information of the target with y."""

    mi_joint: Values
    """I(M;X,Y), the mutual information of the target with both sources."""

    union: Values
    """R + U_x + U_y, the information that x and y give without their synergy."""

    def shares(self) -> Shares:
        """Return the atoms as fractions of `mi_joint`.

        Returns:
            Shares, each field of the batch shape; NaN where `mi_joint` is 0 or infinite.
        """
        return Shares(*(_share(atom, self.mi_joint) for atom in self[:4]))


class Interval(NamedTuple):
    """Lower and upper end of an interval for every field of a PID.

    Example:
        >>> import pid
        >>> ends = pid.Interval(low=pid.PID(*[0.0] * 8), high=pid.PID(*[1.0] * 8))
        >>> ends.high.synergy - ends.low.synergy
        1.0
    """

    low: PID
    """Lower ends, in bits."""

    high: PID
    """Upper ends, in bits."""


def _share(atom: Values, total: Values) -> Values:
    xp = jnp if hasattr(total, "aval") else np
    defined = (total > 0) & xp.isfinite(total)
    return xp.where(defined, atom / xp.where(defined, total, 1), xp.nan)


def stack_fields(
    information: tuple[Values, Values, Values] | Values, atoms: tuple[Values, Values, Values, Values]
) -> Float[Array, "k *s"]:
    """Stack the fields of a PID along a first axis, from (I_x, I_y, I_xy) and (R, U_x, U_y, S)."""
    redundancy, unique_x, unique_y, synergy = atoms
    union = redundancy + unique_x + unique_y
    return jnp.stack([redundancy, unique_x, unique_y, synergy, *information, union])

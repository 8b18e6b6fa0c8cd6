"""The path graph of a token sequence: its edges, and the rule at the ends of its runs.

B batch, T tokens, D channels, j token index
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

Boundary = Literal["neumann", "periodic", "dirichlet", "copy"]
BOUNDARIES: tuple[str, ...] = get_args(Boundary)


@partial(jax.tree_util.register_dataclass, data_fields=("left", "right", "valid"), meta_fields=("boundary",))
@dataclass(frozen=True)
class Path:
    """The edges of a path graph and the rule at the ends of its runs.

    All masks are bool `(..., T, 1)`, or `(..., T, D)` if channels differ.
    """

    left: Bool[Array, "*b t _"]
    """Whether an edge joins token j to token j-1."""
    right: Bool[Array, "*b t _"]
    """Whether an edge joins token j to token j+1."""
    valid: Bool[Array, "*b t _"] | None
    """Whether position j holds a token rather than padding; None if there is no padding."""
    boundary: str
    """The rule at the ends of a run, one of `BOUNDARIES`."""

    @property
    def active(self) -> Bool[Array, "*b t _"] | None:
        """Mask of the tokens that may change; None means all.

        These are the valid tokens, without the ends of a run under "copy".
        """
        if self.boundary != "copy":
            return self.valid
        return self.left & self.right


def run_ids(segment_ids: Int[Array, "*b t"]) -> Int[Array, "*b t"]:
    """Number the runs 1, 2, … from the left; 0 stays padding.

    A run is a maximal chain of neighbors with one positive id. Equal ids on both sides of a hole are two runs.

    Args:
        segment_ids: integers `(..., T)`, 0 for padding.

    Returns:
        The number of the run of every token, `(..., T)`.

    Example:
        >>> import jax.numpy as jnp
        >>> run_ids(jnp.array([7, 7, 0, 7, 3])).tolist()
        [1, 1, 0, 2, 3]
    """
    previous = jnp.concatenate([jnp.zeros_like(segment_ids[..., :1]), segment_ids[..., :-1]], axis=-1)
    starts = (segment_ids > 0) & (segment_ids != previous)
    return jnp.where(segment_ids > 0, jnp.cumsum(starts, axis=-1, dtype=jnp.int32), 0)


def rows(u: Array, start: int, stop: int) -> Array:
    """Return the tokens `start … stop-1` of `(..., T, D)`."""
    return jax.lax.slice_in_dim(u, start, stop, axis=-2)


def path(length: int, segment_ids: Int[Array, "*b t"] | None, boundary: str, *, ndim: int = 2) -> Path:
    """Build the path graph of `length` tokens.

    Args:
        length: the number of tokens T.
        segment_ids: integers `(..., T)`, 0 for padding; None is one segment without padding.
        boundary: the rule at the ends of a run, one of `BOUNDARIES`.
        ndim: the rank of the states. The masks have at least this rank, so that they broadcast.

    Returns:
        The edges, the mask of valid tokens and the boundary.

    Raises:
        ValueError: the boundary is unknown, or is "periodic" with segments: a ring has no segment ends.

    Example:
        >>> import jax.numpy as jnp
        >>> path(4, jnp.array([1, 1, 2, 0]), "neumann").right[:, 0].tolist()
        [True, False, False, False]
    """
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary must be one of {', '.join(BOUNDARIES)}, got {boundary!r}.")
    if segment_ids is None:
        token = jnp.arange(length).reshape((1,) * (ndim - 2) + (length, 1))
        ring = boundary == "periodic"
        return Path((token > 0) | ring, (token < length - 1) | ring, None, boundary)
    if boundary == "periodic":
        raise ValueError(
            "boundary 'periodic' closes the whole sequence to a ring and knows no segments, got segment_ids; "
            "use 'neumann', 'dirichlet' or 'copy', or drop segment_ids."
        )
    ids = segment_ids[..., None]
    ids = ids.reshape((1,) * (ndim - ids.ndim) + ids.shape)
    edge = (rows(ids, 1, length) == rows(ids, 0, length - 1)) & (rows(ids, 1, length) > 0)
    wall = jnp.zeros_like(rows(ids, 0, 1), dtype=bool)
    left, right = jnp.concatenate([wall, edge], axis=-2), jnp.concatenate([edge, wall], axis=-2)
    return Path(left, right, ids > 0, boundary)

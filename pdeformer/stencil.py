"""The path graph of a token sequence: who is whose neighbour, and the difference operators on it.

Tokens 0 … T-1 form a path. Two neighbouring tokens are joined by an edge only inside one segment
(`segment_ids`: 0 is padding, equal positive ids belong together); a maximal chain of joined tokens is a
*run*. Everything else follows from the edges: padding, holes and packed sequences need no other rule.

Operators act along axis -2 of `(..., T, D)`; the token spacing is 1.

    B batch, T tokens, D channels, j token index, n steps, g taps
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Boundary = Literal["neumann", "periodic", "dirichlet", "copy"]
Rate = float | Array
BOUNDARIES: tuple[str, ...] = get_args(Boundary)


@partial(jax.tree_util.register_dataclass, data_fields=("left", "right", "valid"), meta_fields=("boundary",))
@dataclass(frozen=True)
class Path:
    """The edges of a path graph and the rule at the ends of its runs.

    `left[j]` (`right[j]`) tells whether token j is joined to token j-1 (j+1); `valid[j]` whether it is a token
    at all. All are bool `(..., T, 1)`, or `(..., T, D)` where channels differ; `valid` is None when every token is.
    """

    left: Bool[Array, "*b t _"]
    right: Bool[Array, "*b t _"]
    valid: Bool[Array, "*b t _"] | None
    boundary: str

    @property
    def active(self) -> Bool[Array, "*b t _"] | None:
        """Tokens that may change: the valid ones, without the ends of a run under "copy". None means all."""
        if self.boundary != "copy":
            return self.valid
        return self.left & self.right


class Neighbours(NamedTuple):
    """The values to the left and right of every token: u[j-1] and u[j+1], or the ghost value beyond a wall."""

    left: Float[Array, "*b t d"]
    right: Float[Array, "*b t d"]


def run_ids(segment_ids: Int[Array, "*b t"]) -> Int[Array, "*b t"]:
    """Number the runs 1, 2, … from the left; 0 stays padding.

    A run is a maximal chain of neighbours with one positive id, so equal ids on both sides of a hole become
    two runs.
    """
    before = jnp.concatenate([jnp.zeros_like(segment_ids[..., :1]), segment_ids[..., :-1]], axis=-1)
    starts = (segment_ids > 0) & (segment_ids != before)
    return jnp.where(segment_ids > 0, jnp.cumsum(starts, axis=-1, dtype=jnp.int32), 0)


def rows(u: Array, start: int, stop: int) -> Array:
    """Tokens `start … stop-1` of `(..., T, D)`."""
    return jax.lax.slice_in_dim(u, start, stop, axis=-2)


def path(length: int, segment_ids: Int[Array, "*b t"] | None, boundary: str, *, ndim: int = 2) -> Path:
    """Build the path graph of `length` tokens, its masks of rank `ndim` or more: that of the states they meet.

    Raises:
        ValueError: unknown boundary; "periodic" with segments, since a ring has no segment ends.
    """
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary must be one of {', '.join(BOUNDARIES)}, got {boundary!r}.")
    if segment_ids is None:
        inner = jnp.arange(length).reshape((1,) * (ndim - 2) + (length, 1))
        ring = boundary == "periodic"
        return Path((inner > 0) | ring, (inner < length - 1) | ring, None, boundary)
    if boundary == "periodic":
        raise ValueError(
            "boundary 'periodic' closes the whole sequence to a ring and knows no segments, got segment_ids; "
            "use 'neumann', 'dirichlet' or 'copy', or drop segment_ids."
        )
    ids = segment_ids[..., None]
    ids = ids.reshape((1,) * (ndim - ids.ndim) + ids.shape)
    joined = (rows(ids, 1, length) == rows(ids, 0, length - 1)) & (rows(ids, 1, length) > 0)
    wall = jnp.zeros_like(rows(ids, 0, 1), dtype=bool)
    left, right = jnp.concatenate([wall, joined], axis=-2), jnp.concatenate([joined, wall], axis=-2)
    return Path(left, right, ids > 0, boundary)


def neighbours(u: Float[Array, "*b t d"], graph: Path) -> Neighbours:
    """Both neighbours of every token.

    Beyond a wall stands a ghost: u[j] itself (Neumann and copy, so that the difference vanishes), 0
    (Dirichlet), or the other end of the ring (periodic).
    """
    length = u.shape[-2]
    left = jnp.concatenate([rows(u, length - 1, length), rows(u, 0, length - 1)], axis=-2)
    right = jnp.concatenate([rows(u, 1, length), rows(u, 0, 1)], axis=-2)
    if graph.boundary == "periodic":
        return Neighbours(left, right)
    ghost = jnp.zeros_like(u) if graph.boundary == "dirichlet" else u
    return Neighbours(jnp.where(graph.left, left, ghost), jnp.where(graph.right, right, ghost))


def _where_active(graph: Path, change: Array) -> Array:
    return change if graph.active is None else jnp.where(graph.active, change, 0)


def laplacian(u: Float[Array, "*b t d"], graph: Path) -> Float[Array, "*b t d"]:
    """Graph Laplacian in flux form: (Lu)_j = (u_{j+1} - u_j) - (u_j - u_{j-1}).

    Symmetric with spectrum in [-4, 0] except under "copy", whose end rows are zero. Σ_j (Lu)_j = 0 for
    Neumann and periodic. With Neumann walls it is the half-sample (cell-centred) second difference, second
    order accurate for u_x = 0 at the walls. [Zhang & Zhou, "Where to Add PDE Diffusion in Transformers", 2026]
    """
    left, right = neighbours(u, graph)
    return _where_active(graph, (right - u) - (u - left))


def upwind(u: Float[Array, "*b t d"], down: Rate, up: Rate, graph: Path) -> Float[Array, "*b t d"]:
    """Conservative upwind transport: `down` carries mass to lower index, `up` to higher; u_t = (down - up) u_x.

    The flux to the left through the edge j+1/2 is F = down·u_{j+1} - up·u_j, the change of token j is
    F_{j+1/2} - F_{j-1/2}. Neumann closes the wall (F = 0 there), Dirichlet leaves it open with a ghost of 0,
    periodic is a ring, and copy keeps the end rows at zero. Linear in u and in the rates, which broadcast
    against u.
    """
    left, right = neighbours(u, graph)
    if graph.boundary == "neumann":
        to_left = jnp.where(graph.right, down * right - up * u, 0)
        from_left = jnp.where(graph.left, down * u - up * left, 0)
        return to_left - from_left
    return _where_active(graph, down * (right - u) + up * (left - u))


def difference(
    u: Float[Array, "*b t d"], offset: int = 1, runs: Int[Array, "*b t"] | None = None
) -> Float[Array, "*b e d"]:
    """(D_k u)_j = e_{j,j+k} (u_{j+k} - u_j), j = 0 … T-k-1: one row per edge of length k = `offset`.

    An edge exists when both of its ends lie in one run (`run_ids`). Valid for 1 ≤ k < T.
    """
    length = u.shape[-2]
    edge = rows(u, offset, length) - rows(u, 0, length - offset)
    if runs is None:
        return edge
    tail, head = runs[..., offset:], runs[..., : length - offset]
    return jnp.where(((tail == head) & (tail > 0))[..., None], edge, 0)


def divergence(flux: Float[Array, "*b e d"], offset: int = 1) -> Float[Array, "*b t d"]:
    """-D_kᵀ F: what flows along every edge of length k = `offset` enters its left end and leaves its right end.

    Hence Σ_j (-D_kᵀ F)_j = 0 for any flux, and divergence(difference(u)) is the Neumann Laplacian.
    """
    return _pad_rows(flux, 0, offset) - _pad_rows(flux, offset, 0)


def receive(flux: Float[Array, "*b e d"], offset: int = 1) -> Float[Array, "*b t d"]:
    """The causal half of the divergence: only the right (later) end of an edge changes, by -F."""
    return -_pad_rows(flux, offset, 0)


def _pad_rows(u: Array, before: int, after: int) -> Array:
    return jnp.pad(u, ((0, 0),) * (u.ndim - 2) + ((before, after), (0, 0)))


def half_line_taps(taps: Float[Array, "*b k d"]) -> Float[Array, "*b m d"]:
    """w_k = g(k) + g(k+1), k = 0 … n, from symmetric taps g(-n) … g(n): the causal heat kernel.

    It is what a diffusion on the half line of past tokens, started at the wall, leaves there: w ≥ 0 and
    Σ w = 1 when g has these properties; one step is the token shift (1-α, α).
    """
    reach = taps.shape[-2] // 2
    return rows(taps, reach, 2 * reach + 1) + _pad_rows(rows(taps, reach + 1, 2 * reach + 1), 0, 1)


def frequencies(length: int, boundary: str) -> Float[np.ndarray, " k"]:
    """Angular frequencies ω of the modes of `length` tokens; the Laplacian's eigenvalues are -4 sin²(ω/2).

    Neumann: cosines, ω = πk/T, k = 0 … T-1. Dirichlet: sines, ω = πk/(T+1), k = 1 … T. Periodic: ω = 2πk/T.
    """
    k = np.arange(length)
    match boundary:
        case "neumann":
            return np.pi * k / length
        case "dirichlet":
            return np.pi * (k + 1) / (length + 1)
        case "periodic":
            return 2 * np.pi * k / length
    raise ValueError(f"boundary {boundary!r} has no orthogonal modes; use neumann, dirichlet or periodic.")


def laplacian_matrix(
    length: int, segment_ids: Int[np.ndarray, " t"] | None = None, boundary: str = "neumann"
) -> Float[np.ndarray, "t t"]:
    """The dense twin of `laplacian`, one edge at a time: slow, obvious, for tests and for looking at."""
    ids = np.ones(length, int) if segment_ids is None else np.asarray(segment_ids)
    ring = boundary == "periodic"
    matrix = np.zeros((length, length))
    for j in np.flatnonzero(ids > 0):
        beside = [i % length for i in (j - 1, j + 1) if ring or 0 <= i < length]
        joined = [i for i in beside if ids[i] == ids[j]]
        if boundary == "copy" and len(joined) < 2:
            continue
        for i in joined:
            matrix[j, i] += 1
        matrix[j, j] -= 2 if boundary == "dirichlet" else len(joined)
    return matrix

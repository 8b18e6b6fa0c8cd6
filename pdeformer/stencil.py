"""The path graph of a token sequence, and the difference operators on it.

Tokens 0 … T-1 form a path. An edge joins two neighboring tokens only inside one segment (`segment_ids`: 0 is
padding, equal positive ids belong together). A *run* is a maximal chain of joined tokens. Everything else
follows from the edges: padding, holes and packed sequences need no other rule.

Operators act along axis -2 of `(..., T, D)`. The token spacing is 1.

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


class Neighbors(NamedTuple):
    """The values of both neighbors of every token, with a ghost value beyond a wall."""

    left: Float[Array, "*b t d"]
    """u[j-1]."""
    right: Float[Array, "*b t d"]
    """u[j+1]."""


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


def neighbors(u: Float[Array, "*b t d"], graph: Path) -> Neighbors:
    """Return the values of both neighbors of every token.

    The ghost value beyond a wall is u[j] itself for Neumann and copy, so that the difference vanishes. It is 0
    for Dirichlet, and the other end of the ring for periodic.

    Args:
        u: values `(..., T, D)`.
        graph: the path graph, see `path`.

    Returns:
        The left and the right neighbors, each of the shape of `u`.
    """
    length = u.shape[-2]
    left = jnp.concatenate([rows(u, length - 1, length), rows(u, 0, length - 1)], axis=-2)
    right = jnp.concatenate([rows(u, 1, length), rows(u, 0, 1)], axis=-2)
    if graph.boundary == "periodic":
        return Neighbors(left, right)
    ghost = jnp.zeros_like(u) if graph.boundary == "dirichlet" else u
    return Neighbors(jnp.where(graph.left, left, ghost), jnp.where(graph.right, right, ghost))


def _where_active(graph: Path, change: Array) -> Array:
    return change if graph.active is None else jnp.where(graph.active, change, 0)


def laplacian(u: Float[Array, "*b t d"], graph: Path) -> Float[Array, "*b t d"]:
    """Apply the graph Laplacian in flux form.

    (Lu)_j = (u_{j+1} - u_j) - (u_j - u_{j-1}). L is symmetric with spectrum in [-4, 0], except under "copy",
    whose end rows are zero. Σ_j (Lu)_j = 0 for Neumann and periodic. With Neumann walls it is the half-sample
    (cell-centered) second difference. It is second-order accurate for u_x = 0 at the walls.

    Args:
        u: values `(..., T, D)`.
        graph: the path graph, see `path`.

    Returns:
        L u, of the shape of `u`.

    Example:
        >>> import jax.numpy as jnp
        >>> u = jnp.array([[1.0], [4.0], [9.0], [16.0]])
        >>> laplacian(u, path(4, None, "neumann"))[:, 0].tolist()
        [3.0, 2.0, 2.0, -7.0]

    Reference:
        Zhang & Zhou, "Where to Add PDE Diffusion in Transformers", 2026.
    """
    left, right = neighbors(u, graph)
    return _where_active(graph, (right - u) - (u - left))


def upwind(u: Float[Array, "*b t d"], down: Rate, up: Rate, graph: Path) -> Float[Array, "*b t d"]:
    """Apply conservative upwind transport, the right side of u_t = (down - up) u_x.

    The flux to the left through the edge j+1/2 is F_{j+1/2} = down·u_{j+1} - up·u_j. The change of token j is
    F_{j+1/2} - F_{j-1/2}. Neumann closes the wall: F = 0 there. Dirichlet leaves it open with a ghost value
    of 0. Periodic is a ring. Copy sets the change of the end rows to zero. The result is linear in u and in the rates.

    Args:
        u: values `(..., T, D)`.
        down: the rate, in tokens per step, that carries mass to lower index; ≥ 0, broadcast against `u`.
        up: the rate that carries mass to higher index; ≥ 0, broadcast against `u`.
        graph: the path graph, see `path`.

    Returns:
        The change of every token, of the shape of `u`.

    Example:
        >>> import jax.numpy as jnp
        >>> u = jnp.array([[1.0], [10.0], [100.0]])
        >>> upwind(u, 0.5, 0.0, path(3, None, "neumann"))[:, 0].tolist()
        [5.0, 45.0, -50.0]
    """
    left, right = neighbors(u, graph)
    if graph.boundary == "neumann":
        to_left = jnp.where(graph.right, down * right - up * u, 0)
        from_left = jnp.where(graph.left, down * u - up * left, 0)
        return to_left - from_left
    return _where_active(graph, down * (right - u) + up * (left - u))


def difference(
    u: Float[Array, "*b t d"], offset: int = 1, runs: Int[Array, "*b t"] | None = None
) -> Float[Array, "*b e d"]:
    """Return the differences along all edges of length k = `offset`.

    (D_k u)_j = e_{j,j+k} (u_{j+k} - u_j) for j = 0 … T-k-1, with e = 1 if both ends lie in one run, else 0.

    Args:
        u: values `(..., T, D)`.
        offset: the length k of an edge, 1 ≤ k < T.
        runs: the run of every token as `run_ids` numbers it; None is one run without padding.

    Returns:
        One row per edge, `(..., T-k, D)`.
    """
    length = u.shape[-2]
    edge = rows(u, offset, length) - rows(u, 0, length - offset)
    if runs is None:
        return edge
    tail, head = runs[..., offset:], runs[..., : length - offset]
    return jnp.where(((tail == head) & (tail > 0))[..., None], edge, 0)


def divergence(flux: Float[Array, "*b e d"], offset: int = 1) -> Float[Array, "*b t d"]:
    """Return -D_kᵀ F: a flux F enters the left end of its edge and leaves the right end.

    Hence Σ_j (-D_kᵀ F)_j = 0 for any flux, and divergence(difference(u)) is the Neumann Laplacian.

    Args:
        flux: one row per edge of length k, `(..., T-k, D)`.
        offset: the length k of an edge, 1 ≤ k < T.

    Returns:
        The change of every token, `(..., T, D)`.
    """
    return _pad_rows(flux, 0, offset) - _pad_rows(flux, offset, 0)


def receive(flux: Float[Array, "*b e d"], offset: int = 1) -> Float[Array, "*b t d"]:
    """Return the causal half of the divergence: only the right (later) end of an edge changes, by -F.

    Args:
        flux: one row per edge of length k, `(..., T-k, D)`.
        offset: the length k of an edge, 1 ≤ k < T.

    Returns:
        The change of every token, `(..., T, D)`.
    """
    return -_pad_rows(flux, offset, 0)


def _pad_rows(u: Array, before: int, after: int) -> Array:
    return jnp.pad(u, ((0, 0),) * (u.ndim - 2) + ((before, after), (0, 0)))


def half_line_taps(taps: Float[Array, "*b k d"]) -> Float[Array, "*b m d"]:
    """Return the causal heat kernel of symmetric taps.

    w_k = g(k) + g(k+1), k = 0 … n, from the taps g(-n) … g(n). It is the kernel of a diffusion on the half line of
    past tokens with a wall behind the present token. If g ≥ 0 and Σ g = 1, then w ≥ 0 and Σ w = 1.
    One step is the token shift (1-α, α).

    Args:
        taps: the two-sided kernel `(..., 2n+1, D)`.

    Returns:
        The one-sided kernel `(..., n+1, D)`, lag 0 first.

    Example:
        >>> import jax.numpy as jnp
        >>> half_line_taps(jnp.array([[0.25], [0.5], [0.25]]))[:, 0].tolist()
        [0.75, 0.25]
    """
    n = taps.shape[-2] // 2
    return rows(taps, n, 2 * n + 1) + _pad_rows(rows(taps, n + 1, 2 * n + 1), 0, 1)


def frequencies(length: int, boundary: str) -> Float[np.ndarray, " k"]:
    """Return the angular frequencies ω of the modes of `length` tokens.

    The Laplacian's eigenvalues are -4 sin²(ω/2). Neumann: cosines, ω = πk/T, k = 0 … T-1. Dirichlet: sines,
    ω = πk/(T+1), k = 1 … T. Periodic: complex exponentials, ω = 2πk/T, k = 0 … T-1.

    Args:
        length: the number of tokens T.
        boundary: "neumann", "dirichlet" or "periodic".

    Returns:
        T frequencies in radians per token.

    Raises:
        ValueError: the boundary has no orthogonal modes.

    Example:
        >>> [round(float(w), 3) for w in frequencies(4, "neumann")]
        [0.0, 0.785, 1.571, 2.356]
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
    """Return the dense matrix of `laplacian`, filled one edge at a time. It is slow: use it for tests and inspection.

    Args:
        length: the number of tokens T.
        segment_ids: integers `(T,)`, 0 for padding; None is one segment without padding.
        boundary: the rule at the ends of a run, one of `BOUNDARIES`.

    Returns:
        The float64 matrix `(T, T)`.

    Example:
        >>> laplacian_matrix(3).tolist()
        [[-1.0, 1.0, 0.0], [1.0, -2.0, 1.0], [0.0, 1.0, -1.0]]
    """
    ids = np.ones(length, int) if segment_ids is None else np.asarray(segment_ids)
    ring = boundary == "periodic"
    matrix = np.zeros((length, length))
    for j in np.flatnonzero(ids > 0):
        adjacent = [i % length for i in (j - 1, j + 1) if ring or 0 <= i < length]
        ends = [i for i in adjacent if ids[i] == ids[j]]
        if boundary == "copy" and len(ends) < 2:
            continue
        for i in ends:
            matrix[j, i] += 1
        matrix[j, j] -= 2 if boundary == "dirichlet" else len(ends)
    return matrix

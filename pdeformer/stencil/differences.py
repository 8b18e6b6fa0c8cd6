"""Difference operators on the path graph of a token sequence.

Operators act along axis -2 of `(..., T, D)`. The token spacing is 1.

    B batch, T tokens, D channels, j token index, n steps, g taps
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pdeformer.stencil.path_graph import Path, rows

Rate = float | Array


class Neighbors(NamedTuple):
    """The values of both neighbors of every token, with a ghost value beyond a wall."""

    left: Float[Array, "*b t d"]
    """u[j-1]."""
    right: Float[Array, "*b t d"]
    """u[j+1]."""


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
        >>> from pdeformer.stencil import path
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
        >>> from pdeformer.stencil import path
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

"""Taps of a run of tokens by reflected index: one pass over segments, padding and runs of any length.

A wall is a mirror. With g the taps of n steps on the infinite line and m_k(j) the token that is met k places from
token j when every wall of its run reflects::

    neumann      y_j = Σ_k g(k) u[m_k(j)]            the mirror lies half a token beyond the end of the run
    dirichlet    y_j = Σ_k g(k) s_k(j) u[m_k(j)]     it lies one token beyond: s = 0 there, -1 after an odd number
    periodic     y_j = Σ_k g(k) u[(j + k) mod T]

The first two need a symmetric operator. Advection and "copy" have no mirror: there the row of M of a token depends on
its distances a and b to both ends of its run, which count up to n + 1. A table holds the rows of all distances::

    y_j = Σ_k M[a(j), b(j), k] u[j + k]              summed over the tokens j + k of the run

No token of another run is ever read.

    T tokens, D channels, j token index, n steps, k = -n … n
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pdeformer.integrators import explicit
from pdeformer.integrators.explicit import Linear, impulse_response, integrate
from pdeformer.pde import AdvectionDiffusion
from pdeformer.stencil import Path, rows


class Runs(NamedTuple):
    """The ends of the run of every token; a token of padding is a run of its own."""

    first: Array
    """The first token, int32 `(..., T)`."""
    last: Array
    """The last token, int32 `(..., T)`."""
    token: Array
    """The token itself, int32 `(1, …, T)`."""


def find_runs(graph: Path) -> Runs:
    """Return the ends of the run of every token of a graph whose masks do not depend on the channel."""
    left, right = graph.left[..., 0], graph.right[..., 0]
    axis = left.ndim - 1
    token = jnp.arange(left.shape[-1], dtype=jnp.int32).reshape((1,) * axis + (-1,))
    first = jax.lax.cummax(jnp.where(left, 0, token), axis=axis)
    last = jax.lax.cummin(jnp.where(right, left.shape[-1] - 1, token), axis=axis, reverse=True)
    return Runs(first, last, token)


def take_tokens(u: Array, index: Array) -> Array:
    """Return u[..., index[..., j], :] for every j.

    Args:
        u: values `(..., T, D)`.
        index: tokens in bounds, int32 `(..., J)`; leading axes of size 1 broadcast.

    Returns:
        The values `(..., J, D)`.
    """

    def take(u: Array, index: Array) -> Array:
        return u.at[index].get(mode="promise_in_bounds")

    shared = [isinstance(size, int) and size == 1 for size in index.shape[:-1]]
    for is_shared in reversed(shared):
        take = jax.vmap(take, in_axes=(0, None if is_shared else 0))
    return take(
        u, index.reshape([size for size, one in zip(index.shape, [*shared, False], strict=True) if not one])
    )


def apply(pde: Linear, u: Array, graph: Path, steps: int, *, adjoint: bool = False) -> Array:
    """Compute `steps` steps of dt = 1 on every run; arguments and result are those of `explicit.integrate`.

    Padding may hold any number, NaN included, and does not change.
    """

    def evolve_all(u: Array, pde: Linear) -> Array:
        if has_mirror(pde, graph) and not _is_narrow(u):
            taps = impulse_response(pde, steps)
            taps = jnp.flip(taps, axis=-2) if adjoint else taps
            after = _convolve(taps, u, graph, symmetric=not isinstance(pde, AdvectionDiffusion))
        elif has_table(pde, u, graph, steps):
            after = _multiply(_table(pde, graph.boundary, steps, adjoint=adjoint), u, graph)
        else:
            after = integrate(pde, without_padding(u, graph), graph, steps, adjoint=adjoint)
        return keep_padding(u, after, graph)

    return run_alone(evolve_all, u, pde)


def sensitivity(pde: Linear, direction: Linear, u: Array, graph: Path, steps: int) -> Array:
    """Return (∂M/∂c · ċ) u; arguments are those of `explicit.sensitivity`."""

    def differentiate(u: Array, pde: Linear, direction: Linear) -> Array:
        if has_mirror(pde, graph) and not _is_narrow(u):
            taps = jax.jvp(partial(impulse_response, steps=steps), (pde,), (direction,))[1]
            change = _convolve(taps, u, graph, symmetric=not isinstance(pde, AdvectionDiffusion))
        elif has_table(pde, u, graph, steps):
            table = partial(_table, boundary=graph.boundary, steps=steps, adjoint=False)
            change = _multiply(jax.jvp(table, (pde,), (direction,))[1], u, graph)
        else:
            change = explicit.sensitivity(pde, direction, without_padding(u, graph), graph, steps)
        return change if graph.valid is None else jnp.where(graph.valid, change, 0)

    return run_alone(differentiate, u, pde, direction)


def without_padding(u: Array, graph: Path) -> Array:
    """Return `u` in at least float32, with zeros in place of padding, so that no number there reaches a result."""
    u = u.astype(jnp.promote_types(u.dtype, jnp.float32))
    return u if graph.valid is None else jnp.where(graph.valid, u, 0)


def keep_padding(u: Array, after: Array, graph: Path) -> Array:
    """Return the state `after`, with the tokens of padding of `u`."""
    return after if graph.valid is None else jnp.where(graph.valid, after, u)


def has_mirror(pde: Linear, graph: Path) -> bool:
    """Return whether a wall of the graph reflects, so that `_convolve` serves."""
    symmetric = graph.boundary in ("neumann", "dirichlet") and not isinstance(pde, AdvectionDiffusion)
    return graph.left.shape[-1] == 1 and (symmetric or graph.boundary == "periodic")


def _is_narrow(u: Array) -> bool:
    """Return whether tokens of one channel are moved number by number, which on CPU is slower than explicit steps."""
    return isinstance(u.shape[-1], int) and u.shape[-1] == 1 and jax.default_backend() == "cpu"


def run_alone(function: Callable[..., Array], u: Array, *arrays: Any) -> Array:
    """Return function(u, *arrays); on CPU XLA fuses it with nothing else.

    Otherwise XLA would take every token again for every use of the result, and tokens of a result for every tap.
    """
    if jax.default_backend() != "cpu":
        return function(u, *arrays)
    shape = jax.eval_shape(function, u, *arrays)
    always = jax.lax.optimization_barrier(jnp.array(1)) > 0
    return jax.lax.cond(always, function, lambda u, *_: jnp.zeros_like(u, shape.dtype), u, *arrays)


def store_on_cpu(*arrays: Array) -> tuple[Array, ...]:
    """Store small arrays on CPU, where a loop over tokens and channels would compute them once per channel."""
    return tuple(jax.lax.optimization_barrier(arrays)) if jax.default_backend() == "cpu" else arrays


def _convolve(taps: Array, u: Array, graph: Path, *, symmetric: bool) -> Array:
    """Return Σ_k taps(k) s_k u[m_k]; the tokens of a symmetric pair are added first."""
    steps = taps.shape[-2] // 2
    runs = find_runs(graph)
    offsets = [0, *(sign * k for k in range(1, steps + 1) for sign in (1, -1))]
    index, sign = zip(*(_reflect(runs, k, graph.boundary) for k in offsets), strict=True)
    index = store_on_cpu(*index)

    def term(i: int) -> Array:
        values, factor = take_tokens(u, index[i]).astype(taps.dtype), sign[i]
        return values if factor is None else factor[..., None] * values

    total = rows(taps, steps, steps + 1) * u
    for k in range(1, steps + 1):
        right, left = term(2 * k - 1), term(2 * k)
        tap = rows(taps, steps + k, steps + k + 1)
        # taps[n + k] is the effect on the token k places to the right
        total += (
            tap * (right + left) if symmetric else tap * left + rows(taps, steps - k, steps - k + 1) * right
        )
    return total


def _reflect(runs: Runs, k: int, boundary: str) -> tuple[Array, Array | None]:
    """Return the token that is met k places to the right of every token, and its sign, None for 1."""
    size = runs.last - runs.first + 1
    if boundary == "dirichlet":  # the nodes 0 and size + 1 are the mirrors
        node = modulo(runs.token - runs.first + 1 + k, 2 * (size + 1))
        beyond = node > size
        sign = jnp.where((node == 0) | (node == size + 1), 0, jnp.where(beyond, -1, 1))
        node = jnp.where(beyond, 2 * (size + 1) - node, node)
        return runs.first + jnp.clip(node - 1, 0, size - 1), sign.astype(jnp.float32)
    if boundary == "periodic":
        return modulo(runs.token + k, runs.token.size), None
    place = modulo(runs.token - runs.first + k, 2 * size)
    return runs.first + jnp.minimum(place, 2 * size - 1 - place), None


def modulo(x: Array, period: Array | int) -> Array:
    """Return x mod period by a quotient in float32, because CPUs divide integers one at a time.

    The quotients are small, and half a unit keeps them away from integers.
    """
    quotient = jnp.floor((x.astype(jnp.float32) + 0.5) / jnp.asarray(period, jnp.float32))
    rest = x - period * quotient.astype(jnp.int32)
    return jnp.where(rest < 0, rest + period, jnp.where(rest >= period, rest - period, rest))


def has_table(pde: Linear, u: Array, graph: Path, steps: int) -> bool:
    """Return whether all sequences share the coefficients, and the table is no larger than a state."""
    leaves = jax.tree.leaves(pde)
    shared = graph.left.shape[-1] == 1 and all(c.size == c.shape[-1] for c in leaves)
    numbers = (steps + 2) ** 2 * (2 * steps + 3) * max(c.shape[-1] for c in leaves)
    return shared and all(isinstance(size, int) for size in u.shape) and numbers <= u.size


def _table(pde: Linear, boundary: str, steps: int, *, adjoint: bool) -> Array:
    """Return the rows of M for all distances to the ends of a run, `((n + 2)², 2n + 3, D)`.

    A row of M is a column of its adjoint: the response to the middle of a run of 2n + 3 tokens, cut at both distances.
    """
    margin = steps + 1  # the adjoint of "copy" reaches one token further than the steps
    size = 2 * margin + 1
    before, after = (x.reshape(-1, 1, 1) for x in np.divmod(np.arange((margin + 1) ** 2), margin + 1))
    node = np.arange(size)[:, None]
    valid = (node >= margin - before) & (node <= margin + after)
    left, right = valid & (node > margin - before), valid & (node < margin + after)
    graph = Path(jnp.asarray(left), jnp.asarray(right), jnp.asarray(valid), boundary)
    pde = jax.tree.map(lambda c: c.reshape(1, 1, -1), pde)
    leaves = jax.tree.leaves(pde)
    shape = (len(valid), size, max(c.shape[-1] for c in leaves))
    middle = jnp.zeros_like(leaves[0], jnp.result_type(*leaves), shape=shape).at[:, margin].set(1)
    return integrate(pde, middle, graph, steps, adjoint=not adjoint)


def _multiply(table: Array, u: Array, graph: Path) -> Array:
    """Return Σ_k M[a, b, k] u[j + k] over the tokens of every run."""
    margin = table.shape[1] // 2
    first, last, token = find_runs(graph)
    entry = jnp.minimum(token - first, margin) * (margin + 1) + jnp.minimum(last - token, margin)
    entry, table = store_on_cpu(entry, table)

    def term(k: int) -> Array:
        inside = (token + k >= first) & (token + k <= last)
        weight = table[:, margin + k].at[entry].get(mode="promise_in_bounds")
        return weight * take_tokens(u, jnp.where(inside, token + k, token))  # the weight beyond a wall is 0

    terms = [term(k) for k in range(1 - margin, margin)]
    return sum(terms[1:], terms[0])

"""The convex program of BROJA for discrete variables, solved by a primal-dual interior-point method.

With a = p(t, x) and b = p(t, y), the union information is H(T) plus the optimum of the dual pair

    min  Σ q log q(t|x,y)              over q ≥ 0 with q(t,x) = a and q(t,y) = b
    max  Σ a λ + Σ b μ                 over λ(t,x), μ(t,y) with g(x,y) = log Σ_t exp(λ + μ) ≤ 0 in every cell (x,y).

At the optimum q(t|x,y) = exp(λ + μ - g), and w(x,y) = q(x,y) is the multiplier of g(x,y) ≤ 0. The method follows
w · (-g) = τ to τ = 0 by Newton steps. A step solves one symmetric positive definite system in (λ, μ), from which the
blocks of λ are eliminated. λ + c and μ - c of one t are the same, so one μ of each t stays fixed. Marginals of
probability 0 have neither λ nor μ. All arithmetic is elementwise over the batch, which is the last axis.

    T, X, Y sizes of the alphabets, B tables; nats

Reference:
    Makkeh, Theis & Vicente, "BROJA-2PID: a robust estimator for bivariate partial information decomposition", Entropy
    20, 2018, for the dual. Boyd & Vandenberghe, "Convex Optimization", 2004, section 11.7, for the method.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pid.discrete.dense_solve import solve_spd

SMALLEST = 1e-14
"""A marginal probability below this counts as 0 for the method, but not for the bounds."""
ABSENT = -40.0
"""λ and μ of marginals that count as 0."""
GOAL = 5e-10
"""The method stops where Σ w (-g) and the violation of the marginals are below this."""
LAST_CENTER = 1e-10
"""Smallest τ: below, the steps would lose their precision before the marginals are right."""
MAX_STEPS = 150
BOUNDARY = 0.95
"""Share of the way to w = 0 or s = 0 that a step may go."""
LARGEST_CHANGE = 3.0
"""Largest change of λ and of μ in one step, in nats: the exponential is not linear further out."""
SMALLEST_FACTOR = 0.1
"""Smallest factor by which one step tries to lower τ."""
CENTRALITY = 0.1
"""Smallest s / τ that the method follows."""
SLACK = 10.0
"""Smallest s of the start. A large one is close to the path, because q(x,y) of the start is the aim for w s / τ."""


class Solution(NamedTuple):
    """Approximate optimum of the program and of its dual, for a batch in the last axis."""

    coupling: Float[Array, "T X Y B"]
    """q; its marginals are those of the table up to `GOAL`."""

    potential_x: Float[Array, "T X B"]
    """λ."""

    potential_y: Float[Array, "T Y B"]
    """μ."""

    steps: Int[Array, ""]
    """Newton steps of the slowest table."""


class _Change(NamedTuple):
    """A step: changes of λ, μ, w and s."""

    potential_x: Float[Array, "T X B"]
    potential_y: Float[Array, "T Y B"]
    weight: Float[Array, "X Y B"]
    slack: Float[Array, "X Y B"]


class _Point(NamedTuple):
    """A point of the method (λ, μ, w, s), with q(t|x,y) and with s + g, which is 0 at the end."""

    potential_x: Float[Array, "T X B"]
    potential_y: Float[Array, "T Y B"]
    weight: Float[Array, "X Y B"]
    slack: Float[Array, "X Y B"]
    posterior: Float[Array, "T X Y B"]
    violation: Float[Array, "X Y B"]


class _Marginals(NamedTuple):
    """The table as the method sees it."""

    x: Float[Array, "T X B"]
    y: Float[Array, "T Y B"]
    cells: Bool[Array, "X Y B"]
    share: Float[Array, "X Y B"]


def solve(table: Float[Array, "T X Y B"]) -> Solution:
    """Solve the program for tables p(t, x, y), each of sum 1."""
    marginal_x, marginal_y = jnp.sum(table, 2), jnp.sum(table, 1)
    exists_x, exists_y = marginal_x > SMALLEST, marginal_y > SMALLEST
    exists = exists_x[:, :, None] & exists_y[:, None]
    cells = jnp.any(exists, 0)
    marginal_x, marginal_y = jnp.where(exists_x, marginal_x, 0), jnp.where(exists_y, marginal_y, 0)
    start = _start(marginal_x, marginal_y, exists_x, exists_y, cells)
    marginals = _Marginals(marginal_x, marginal_y, cells, start[2])
    gauge = jnp.arange(table.shape[2])[None, :, None] == jnp.argmax(marginal_y, 1)[:, None]
    free_y = exists_y & ~gauge

    def evaluate(potential_x: Array, potential_y: Array, weight: Array, slack: Array) -> _Point:
        sums = jnp.where(exists, potential_x[:, :, None] + potential_y[:, None], -jnp.inf)
        top = jnp.where(cells, jnp.max(sums, 0), 0)
        powers = jnp.exp(sums - top[None])
        total = jnp.sum(powers, 0)
        log_total = jnp.where(cells, top + jnp.log(jnp.where(cells, total, 1)), 0)
        posterior = powers / jnp.where(cells, total, 1)[None]
        violation = jnp.where(cells, slack + log_total, 0)
        return _Point(potential_x, potential_y, weight, slack, posterior, violation)

    def is_open(point: _Point) -> Bool[Array, " B"]:
        error_x, error_y = _violations(point, marginals)
        error = jnp.sum(jnp.abs(error_x), (0, 1)) + jnp.sum(jnp.abs(error_y), (0, 1))
        infeasible = jnp.max(jnp.abs(point.violation), (0, 1))
        return (_surrogate_gap(point) > GOAL) | (error > GOAL) | (infeasible > GOAL)

    def advance(carry: tuple[_Point, Array, Array]) -> tuple[_Point, Array, Array]:
        point, moving, count = carry
        share = jnp.maximum(marginals.share, CENTRALITY * point.weight)
        change = _newton_direction(point, marginals._replace(share=share), exists_x, free_y)
        largest = jnp.maximum(
            jnp.max(jnp.abs(change.potential_x), (0, 1)), jnp.max(jnp.abs(change.potential_y), (0, 1))
        )
        reach = jnp.minimum(
            _step_to_boundary(point.weight, change.weight), _step_to_boundary(point.slack, change.slack)
        )
        length = jnp.minimum(jnp.minimum(1, BOUNDARY * reach), LARGEST_CHANGE / largest)
        length = jnp.where(moving & jnp.isfinite(length), length, 0)
        moved = evaluate(
            *(
                old + length * jnp.where(length > 0, new, 0)
                for old, new in zip(point[:4], change, strict=True)
            )
        )
        return moved, moving & (length > 0) & is_open(moved), count + 1

    flat = evaluate(*start, jnp.zeros_like(start[2]))
    top = jnp.max(jnp.where(cells, flat.violation, -jnp.inf), (0, 1))
    slack = jnp.where(cells, SLACK + top - flat.violation, 1)
    first = evaluate(flat.potential_x - SLACK - top, flat.potential_y, flat.weight, slack)
    point, _, steps = jax.lax.while_loop(
        lambda carry: jnp.any(carry[1]) & (carry[2] < MAX_STEPS),
        advance,
        (first, is_open(first), jnp.asarray(0)),
    )
    coupling = point.weight[None] * point.posterior
    return Solution(
        coupling,
        jnp.where(exists_x, point.potential_x, ABSENT),
        jnp.where(exists_y, point.potential_y, ABSENT),
        steps,
    )


def _start(
    marginal_x: Float[Array, "T X B"],
    marginal_y: Float[Array, "T Y B"],
    exists_x: Bool[Array, "T X B"],
    exists_y: Bool[Array, "T Y B"],
    cells: Bool[Array, "X Y B"],
) -> tuple[Array, Array, Array]:
    """Return the logarithms and weights of q = p(t) p(x|t) p(y|t), which has the right marginals."""
    target = jnp.sum(marginal_x, 1)
    conditional = marginal_y / jnp.where(target > 0, target, 1)[:, None]
    potential_x = jnp.log(jnp.where(exists_x, marginal_x, 1))
    potential_y = jnp.log(jnp.where(exists_y, conditional, 1))
    weight = jnp.sum(marginal_x[:, :, None] * conditional[:, None], 0)
    sums_x, sums_y = jnp.sum(marginal_x, 0), jnp.sum(marginal_y, 0)
    potential_x = potential_x - jnp.log(jnp.where(sums_x > 0, sums_x, 1))[None]
    potential_y = potential_y - jnp.log(jnp.where(sums_y > 0, sums_y, 1))[None]
    return potential_x, potential_y, jnp.where(cells, weight, 0)


def _violations(point: _Point, marginals: _Marginals) -> tuple[Float[Array, "T X B"], Float[Array, "T Y B"]]:
    coupling = point.weight[None] * point.posterior
    return jnp.sum(coupling, 2) - marginals.x, jnp.sum(coupling, 1) - marginals.y


def _surrogate_gap(point: _Point) -> Float[Array, " B"]:
    return jnp.sum(point.weight * point.slack, (0, 1))


def _step_to_boundary(values: Float[Array, "X Y B"], change: Float[Array, "X Y B"]) -> Float[Array, " B"]:
    """Return the longest step that keeps values nonnegative."""
    shrinks = change < 0
    ratios = jnp.where(shrinks, -values / jnp.where(shrinks, change, -1), jnp.inf)
    return jnp.min(ratios, (0, 1))


def _newton_direction(
    point: _Point, marginals: _Marginals, free_x: Bool[Array, "T X B"], free_y: Bool[Array, "T Y B"]
) -> _Change:
    """Return the step towards w s = σ τ ω, with σ from the length of the step for σ = 0.

    K du with K = w diag(r) + (w/s - w) r rᵀ, r = q(·|x,y), is the change of q in one cell beside r (σ τ / s - w).
    """
    r, w, s = point.posterior, point.weight, point.slack
    size_t, size_x, size_y = r.shape[:3]
    ratio = w / s
    outer = (ratio - w)[None, None] * r[:, None] * r[None, :]
    kernel = outer + (w[None] * r)[:, None] * jnp.eye(size_t)[:, :, None, None, None]  # T T X Y B
    diagonal_x = jnp.eye(size_t)[:, :, None, None]
    # blocks of λ: for each x a T by T matrix
    block_x = jnp.sum(kernel, 3)
    on_x = free_x[:, None] & free_x[None]
    block_x = jnp.where(on_x, block_x, diagonal_x)
    block_y = jnp.sum(kernel, 2)
    on_y = free_y[:, None] & free_y[None]
    block_y = jnp.where(on_y, block_y, diagonal_x)
    cross = jnp.where(free_x[:, None, :, None] & free_y[None, :, None, :], kernel, 0)  # T(λ) T(μ) X Y B
    inverse_slack = r * (marginals.share / s)[None]
    shift = r * (ratio * point.violation)[None]
    right_x = jnp.stack([marginals.x - jnp.sum(shift, 2), -jnp.sum(inverse_slack, 2)], 1)  # T 2 X B
    right_y = jnp.stack([marginals.y - jnp.sum(shift, 1), -jnp.sum(inverse_slack, 1)], 1)  # T 2 Y B
    right_x = jnp.where(free_x[:, None], right_x, 0)
    right_y = jnp.where(free_y[:, None], right_y, 0)
    batch = r.shape[-1]
    unknowns = size_t * size_y
    cross_flat = cross.transpose(0, 2, 1, 3, 4).reshape(size_t, size_x, unknowns, batch)
    # solve A_x [Z, z] = [C_x, right]: systems over (x, B)
    sides = jnp.concatenate([cross_flat.transpose(0, 2, 1, 3), right_x], 1)  # T (U+2) X B
    solved = solve_spd(block_x.reshape(size_t, size_t, -1), sides.reshape(size_t, unknowns + 2, -1)).reshape(
        sides.shape
    )
    schur_terms = jnp.einsum("txub,tvxb->uvb", cross_flat, solved)
    diagonal = block_y[:, :, :, None] * jnp.eye(size_y)[None, None, :, :, None]  # T T Y Y B
    diagonal = diagonal.transpose(0, 2, 1, 3, 4).reshape(unknowns, unknowns, batch)
    schur = diagonal - schur_terms[:, :unknowns]
    reduced = right_y.transpose(0, 2, 1, 3).reshape(unknowns, 2, batch) - schur_terms[:, unknowns:]
    change_y = solve_spd(schur, reduced)  # U 2 B
    change_x = solved[:, unknowns:] - jnp.einsum("tuxb,ukb->tkxb", solved[:, :unknowns], change_y)
    change_y = change_y.reshape(size_t, size_y, 2, batch)
    change_x = change_x.transpose(0, 2, 1, 3)  # T X 2 B
    sums = change_x[:, :, None] + change_y[:, None]  # T X Y 2 B
    slope = jnp.sum(r[:, :, :, None] * sums, 0)  # X Y 2 B  (-ds)
    slack_0 = -point.violation - slope[:, :, 0]
    weight_0 = -w - ratio * slack_0
    weight_1 = marginals.share / s + ratio * slope[:, :, 1]
    total = jnp.sum(marginals.share, (0, 1))
    mean = _surrogate_gap(point) / total
    length = jnp.minimum(
        jnp.minimum(1, _step_to_boundary(w, weight_0)),
        _step_to_boundary(s, jnp.where(marginals.cells, slack_0, 0)),
    )
    after = jnp.sum((w + length * weight_0) * (s + length * slack_0), (0, 1)) / total
    center = jnp.maximum(mean * jnp.clip(after / mean, SMALLEST_FACTOR, 1), LAST_CENTER)
    return _Change(
        change_x[:, :, 0] + center * change_x[:, :, 1],
        change_y[:, :, 0] + center * change_y[:, :, 1],
        jnp.where(marginals.cells, weight_0 + center * weight_1, 0),
        jnp.where(marginals.cells, slack_0 - center * slope[:, :, 1], 0),
    )

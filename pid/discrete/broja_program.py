"""The convex program of BROJA for discrete variables, solved by a primal-dual interior-point method.

With a = p(t, x) and b = p(t, y), the union information is H(T) plus the optimum of the dual pair

    min  Σ q log q(t|x,y)              over q ≥ 0 with q(t,x) = a and q(t,y) = b
    max  Σ a λ + Σ b μ                 over λ(t,x), μ(t,y) with g(x,y) = log Σ_t exp(λ + μ) ≤ 0 in every cell (x,y).

At the optimum q(t|x,y) = exp(λ + μ - g), and w(x,y) = q(x,y) is the multiplier of g(x,y) ≤ 0. The method has a slack
s(x,y) > 0 in every cell and follows w s = τ ω, s + g = 0 to τ = 0 by Newton steps, where ω is q(x,y) of the start
q = p(t) p(x|t) p(y|t). So weighted, the start lies close to the path, and rare values do not stray from it. A step
solves one symmetric positive definite system in (λ, μ), from which the blocks of λ are eliminated. λ + c and μ - c of
one t are the same, so one μ of each t stays fixed. Marginals of probability 0 have neither λ nor μ. All arithmetic is
elementwise over the batch, which is the last axis.

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
GOAL = 2e-9
"""The method stops where Σ w s, the violation of the marginals and |s + g| are below this."""
LAST_CENTER = 3e-10
"""Smallest τ: below, the steps would lose their precision before the marginals are right."""
MAX_STEPS = 100
RIDGE = 1e-13
"""Share by which the diagonals of the system grow: λ and μ of some tables are not unique."""
NEARLY = 1e-6
"""The method returns the point of least error. It stops where that is below this and the steps go away from it."""
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

    def error_of(point: _Point) -> Float[Array, " B"]:
        error_x, error_y = _violations(point, marginals)
        wrong = jnp.sum(jnp.abs(error_x), (0, 1)) + jnp.sum(jnp.abs(error_y), (0, 1))
        infeasible = jnp.max(jnp.abs(point.violation), (0, 1))
        error = jnp.maximum(jnp.maximum(_surrogate_gap(point), wrong), infeasible)
        return jnp.where(jnp.isfinite(error), error, jnp.inf)

    def advance(
        carry: tuple[_Point, _Point, Array, Array, Array],
    ) -> tuple[_Point, _Point, Array, Array, Array]:
        point, best, least, moving, count = carry
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

        def move(old: Float[Array, "r c B"], new: Float[Array, "r c B"]) -> Float[Array, "r c B"]:
            factor = length[None, None]
            return old + jnp.where(factor > 0, factor * new, 0)

        moved = evaluate(*(move(old, new) for old, new in zip(point[:4], change, strict=True)))
        error = error_of(moved)
        is_better = (error < least)[None, None]
        best = best._replace(
            weight=jnp.where(is_better, moved.weight, best.weight),
            potential_x=jnp.where(is_better, moved.potential_x, best.potential_x),
            potential_y=jnp.where(is_better, moved.potential_y, best.potential_y),
            posterior=jnp.where(is_better[None], moved.posterior, best.posterior),
        )
        moving = moving & (length > 0) & (error > GOAL) & ((error < 1e3 * least) | (least > NEARLY))
        return moved, best, jnp.minimum(error, least), moving, count + 1

    flat = evaluate(*start, jnp.zeros_like(start[2]))
    top = jnp.max(jnp.where(cells, flat.violation, -jnp.inf), (0, 1))
    slack = jnp.where(cells, (SLACK + top)[None, None] - flat.violation, 1)
    first = evaluate(flat.potential_x - (SLACK + top)[None, None], flat.potential_y, flat.weight, slack)
    least = error_of(first)
    _, point, _, _, steps = jax.lax.while_loop(
        lambda carry: jnp.any(carry[3]) & (carry[4] < MAX_STEPS),
        advance,
        (first, first, least, least > GOAL, jnp.asarray(0)),
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
    ratio, wide = w / s, jnp.eye(r.shape[0], dtype=r.dtype)[:, :, None, None, None]
    kernel = (ratio - w)[None, None] * r[:, None] * r[None] + (w[None] * r)[:, None] * wide
    fixed, moved = r * (ratio * point.violation)[None], -r * (marginals.share / s)[None]
    change_x, change_y = _solve_by_blocks(
        kernel,
        jnp.stack([marginals.x - jnp.sum(fixed, 2), jnp.sum(moved, 2)], 1),
        jnp.stack([marginals.y - jnp.sum(fixed, 1), jnp.sum(moved, 1)], 1),
        free_x,
        free_y,
    )
    slope = jnp.sum(r[:, None] * (change_x[:, :, :, None] + change_y[:, :, None]), 0)
    slack_0 = jnp.where(marginals.cells, -point.violation - slope[0], 0)
    weight_0, weight_1 = -w - ratio * slack_0, marginals.share / s + ratio * slope[1]
    total = jnp.sum(marginals.share, (0, 1))
    mean = _surrogate_gap(point) / total
    length = jnp.minimum(1, jnp.minimum(_step_to_boundary(w, weight_0), _step_to_boundary(s, slack_0)))
    length = length[None, None]
    after = jnp.sum((w + length * weight_0) * (s + length * slack_0), (0, 1)) / total
    center = jnp.maximum(mean * jnp.clip(after / mean, SMALLEST_FACTOR, 1), LAST_CENTER)[None, None]
    return _Change(
        change_x[:, 0] + center * change_x[:, 1],
        change_y[:, 0] + center * change_y[:, 1],
        jnp.where(marginals.cells, weight_0 + center * weight_1, 0),
        jnp.where(marginals.cells, slack_0 - center * slope[1], 0),
    )


def _solve_by_blocks(
    kernel: Float[Array, "T T X Y B"],
    right_x: Float[Array, "T k X B"],
    right_y: Float[Array, "T k Y B"],
    free_x: Bool[Array, "T X B"],
    free_y: Bool[Array, "T Y B"],
) -> tuple[Float[Array, "T k X B"], Float[Array, "T k Y B"]]:
    """Solve Σ_y K (dλ + dμ) = right_x, Σ_x K (dλ + dμ) = right_y by elimination of dλ; what is not free stays 0."""
    size_t, _, size_x, size_y, batch = kernel.shape
    is_diagonal = jnp.eye(size_t, dtype=bool)[:, :, None, None]
    sides, unknowns = right_x.shape[1], size_t * size_y
    eye = jnp.eye(size_t, dtype=kernel.dtype)[:, :, None, None]
    block_x = jnp.where(free_x[:, None] & free_x[None], jnp.sum(kernel, 3), eye)
    block_y = jnp.where(free_y[:, None] & free_y[None], jnp.sum(kernel, 2), eye)
    block_x = jnp.where(is_diagonal, block_x * (1 + RIDGE), block_x)
    block_y = jnp.where(is_diagonal, block_y * (1 + RIDGE), block_y)
    cross = jnp.where(free_x[:, None, :, None] & free_y[None, :, None], kernel, 0)
    cross = cross.transpose(0, 1, 3, 2, 4).reshape(size_t, unknowns, size_x, batch)
    augmented = jnp.concatenate([cross, jnp.where(free_x[:, None], right_x, 0)], 1)
    solved = solve_spd(
        block_x.reshape(size_t, size_t, -1), augmented.reshape(size_t, unknowns + sides, -1)
    ).reshape(augmented.shape)
    terms = jnp.einsum("tuxb,tvxb->uvb", cross, solved)
    diagonal = (
        block_y.transpose(0, 2, 1, 3)[:, :, :, None]
        * jnp.eye(size_y, dtype=kernel.dtype)[None, :, None, :, None]
    )
    schur = diagonal.reshape(unknowns, unknowns, batch) - terms[:, :unknowns]
    reduced = jnp.where(free_y[:, None], right_y, 0).transpose(0, 2, 1, 3).reshape(unknowns, sides, batch)
    change_y = solve_spd(schur, reduced - terms[:, unknowns:])
    change_x = solved[:, unknowns:] - jnp.einsum("tuxb,ukb->tkxb", solved[:, :unknowns], change_y)
    return change_x, change_y.reshape(size_t, size_y, sides, batch).transpose(0, 2, 1, 3)

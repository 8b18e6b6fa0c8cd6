"""Bounds of the union information of a table from any approximate solution of its program.

primal   A coupling q is rounded to one with exactly the marginals p(t,x) and p(t,y); its information bounds the union
         information from above.
dual     λ is lowered until Σ_t exp(λ(t,x) + μ(t,y)) ≤ 1 in every cell; then H(T) + Σ p(t,x) λ + Σ p(t,y) μ bounds it
         from below, because Σ q log q(t|x,y) ≥ Σ q (λ + μ) for every q (Gibbs' inequality).

Neither depends on the method of solution.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def round_to_marginals(
    coupling: Float[Array, "T X Y B"], marginal_x: Float[Array, "T X B"], marginal_y: Float[Array, "T Y B"]
) -> Float[Array, "T X Y B"]:
    """Return a coupling with exactly these marginals, close to a given one.

    Reference:
        Altschuler, Weed & Rigollet, "Near-linear time approximation algorithms for optimal transport via Sinkhorn
        iteration", NeurIPS 2017, algorithm 2.
    """
    coupling = coupling * _shrinkage(marginal_x, jnp.sum(coupling, 2))[:, :, None]
    coupling = coupling * _shrinkage(marginal_y, jnp.sum(coupling, 1))[:, None]
    missing_x = jnp.maximum(marginal_x - jnp.sum(coupling, 2), 0)
    missing_y = jnp.maximum(marginal_y - jnp.sum(coupling, 1), 0)
    total = jnp.sum(missing_x, 1)
    return coupling + missing_x[:, :, None] * (missing_y / jnp.where(total > 0, total, 1)[:, None])[:, None]


def _shrinkage(wanted: Array, sums: Array) -> Array:
    return jnp.minimum(1, wanted / jnp.where(sums > 0, sums, 1))


def bounds(
    table: Float[Array, "T X Y B"],
    coupling: Float[Array, "T X Y B"],
    potential_x: Float[Array, "T X B"],
    potential_y: Float[Array, "T Y B"],
) -> tuple[Float[Array, "T X Y B"], Float[Array, " B"], Float[Array, " B"], Array, Array]:
    """Return the rounded coupling, the bounds from above and from below in nats, and the feasible λ and μ."""
    marginal_x, marginal_y = jnp.sum(table, 2), jnp.sum(table, 1)
    target = jnp.sum(marginal_x, 1)
    rounded = round_to_marginals(coupling, marginal_x, marginal_y)
    entropy = -jnp.sum(_xlogx(target), 0)
    primal = entropy + jnp.sum(_xlogx(rounded), (0, 1, 2)) - jnp.sum(_xlogx(jnp.sum(rounded, 0)), (0, 1))
    possible = (marginal_x > 0)[:, :, None] & (marginal_y > 0)[:, None]
    sums = jnp.where(possible, potential_x[:, :, None] + potential_y[:, None], -jnp.inf)
    excess = jnp.max(jax.nn.logsumexp(sums, axis=0), 1)
    lowered = potential_x - jnp.where(jnp.isfinite(excess), excess, 0)[None]
    dual = entropy + jnp.sum(marginal_x * lowered, (0, 1)) + jnp.sum(marginal_y * potential_y, (0, 1))
    return rounded, primal, dual, lowered, potential_y


def _xlogx(p: Array) -> Array:
    return p * jnp.log(jnp.where(p > 0, p, 1))

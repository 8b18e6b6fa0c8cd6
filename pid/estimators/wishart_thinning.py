"""The unique information without the bias of choosing directions on the samples it is measured on.

The plug-in's U_x sums log λ over the directions that the samples themselves show as better known from x; noise spreads
the λ, and the sum of what exceeds 1 comes out high. Here a sample covariance S, νS ~ Wishart(ν, Σ), is split into two
independent ones, without the samples:

    νS = W₁ + W₂,  W₁ = ν L B Lᵀ,  S = L Lᵀ,  B = C⁻¹ A₁ C⁻ᵀ,  A_i ~ Wishart(n_i, 1),  C Cᵀ = A₁ + A₂

so that W_i ~ Wishart(n_i, Σ). The k directions V with λ > 1 are chosen on one part, and I(V;X) - I(V;Y), which is at
most U_x (`certificate`), is measured on the other, where its bias is known exactly:

    E [log det VᵀŜ_{M|Y}V - log det VᵀŜ_{M|X}V] = log ratio + Σ_{i<k} ψ((n-d_y-i)/2) - ψ((n-d_x-i)/2)

The same for y with λ < 1. What is lost by imperfect directions falls as 1/p with the share p = n₁/ν of the part that
chose them: two shares are extrapolated to 1/p → 0. The mean over many splits is ê, an estimate of (U_x + U_y)/2;

    union = (I_x + I_y)/2 + ê,    ê no larger than the plug-in's.

    L layers, B draws, K splits, D coordinates, m of them the target's, ν = n - 1
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import digamma
from jaxtyping import Array, Bool, Float, Int

from pid.estimators.bootstrap import Plan, only_existing, root, stream
from pid.gaussian import covariance, systems, wishart
from pid.gaussian.information import cholesky, log_det

SPLITS = 60
HALF = 0.5  # the larger share
LEAST, MOST = 0.25, 0.4  # the smaller share: a quarter, or what D dimensions need, but no more than this
TIE = 1e-9  # |log λ| below this is no direction of either


class Sizes(NamedTuple):
    """Degrees of freedom of the first part at both shares."""

    even: int
    uneven: int


def sizes(d: int, nu: int) -> Sizes | None:
    """Where ν degrees of freedom in d dimensions are split, None where they are too few (ν below about 2.5 d)."""
    share = max(LEAST, (d + 1) / nu)
    return Sizes(round(HALF * nu), round(share * nu)) if share <= MOST else None


class Layer(NamedTuple):
    """A covariance by its factor, which coordinates exist, and how many of target, x and y; of one layer or all."""

    root: Float[Array, "*l d d"]
    exists: Bool[Array, "*l d"]
    counts: Int[Array, "*l 3"]


@partial(jax.jit, static_argnums=0)
def of_estimate(
    plan: Plan, covs: Float[Array, "l d d"], exists: Bool[Array, "l d"], counts: Int[Array, "l 3"], key: Array
) -> Float[Array, "l 2"]:
    """ê and its plug-in value for every layer, in nats; all layers share the splits."""
    factors = _wishart_factors(key, SPLITS, covs.shape[-1], plan.n - 1, covs.dtype)
    splits = systems.map_or_vmap(_beta, factors)

    def layer(part):
        values = _half_unique(plan, part, splits)
        return jnp.stack([jnp.mean(values[:-1]), values[-1]])

    return jax.lax.map(layer, Layer(jax.lax.map(root, covs), exists, counts))


@partial(jax.jit, static_argnums=(0, 5))
def of_draws(
    plan: Plan,
    covs: Float[Array, "l d d"],
    exists: Bool[Array, "l d"],
    counts: Int[Array, "l 3"],
    key: Array,
    draws: int,
) -> Float[Array, "b l 3"]:
    """ê from one split and from another, and the plug-in value, of the draws that `parametric` makes with this key.

    The covariance of the first two over draws is the sampling variance of ê, free of the noise of splitting.
    """
    d, nu = covs.shape[-1], plan.n - 1
    layers = Layer(jax.lax.map(root, covs), exists, counts)

    def one(part):
        drawn, factors = part
        splits = systems.map_or_vmap(_beta, factors)
        return jax.lax.map(
            lambda layer: _half_unique(plan, layer._replace(root=layer.root @ drawn), splits), layers
        )

    def chunk(key, count):
        drawn = wishart.sample_bartlett(key, d, np.full(count, nu), covs.dtype) / nu**0.5
        factors = _wishart_factors(jax.random.fold_in(key, 1), 2 * count, d, nu, covs.dtype)
        values = systems.map_or_vmap(one, (drawn, factors.reshape(count, 2, *factors.shape[1:])))
        return jnp.moveaxis(values, 0, 1)

    return stream(chunk, key, draws)


def _wishart_factors(key: Array, splits: int, d: int, nu: int, dtype) -> Float[Array, "k 2 2 d d"]:
    """For K splits, Bartlett factors of both parts at both shares: [split, share, part]."""
    parts = sizes(d, nu)
    assert parts is not None
    freedom = [[first, nu - first] for first in parts]
    return wishart.sample_bartlett(key, d, np.broadcast_to(freedom, (splits, 2, 2)), dtype)


def _beta(factors: Float[Array, "2 2 d d"]) -> Float[Array, "2 d d"]:
    """At each share, a matrix Beta variate B: Wishart(n₁) within Wishart(n₁) + Wishart(n₂), of their factors."""

    def share(pair):
        first, second = pair
        part = solve_triangular(cholesky(first @ first.T + second @ second.T), first, lower=True)
        return part @ part.T

    return systems.map_or_vmap(share, factors)


def _half_unique(plan: Plan, layer: Layer, splits: Float[Array, "k 2 d d"]) -> Float[Array, " k+1"]:
    """ê of K splits, and the plug-in value, where directions are chosen and measured on the same covariance.

    A split has a value f at each share p, q; (p f(p) - q f(q)) / (p - q) is f = c + c'/p at 1/p = 0.
    """
    d, nu = layer.exists.shape[-1], plan.n - 1
    parts = sizes(d, nu)
    assert parts is not None
    whole = layer.root @ layer.root.T
    first = jnp.einsum("ij,ksjl,ml->ksim", layer.root, splits, layer.root)
    share = (np.array(parts) / nu)[None, :, None, None]
    halves = jnp.stack([first / share, (whole[None, None] - first) / (1 - share)], axis=2).reshape(-1, d, d)
    covs = jax.vmap(only_existing, (0, None))(jnp.concatenate([halves, whole[None]]), layer.exists)
    given = systems.map_or_vmap(partial(_posteriors, plan), covs)

    place = 4 * np.arange(len(splits))  # of the parts of each split: even, even', uneven, uneven'
    chosen, measured = (
        jax.tree.map(lambda v, i=i: v[np.append(np.add.outer(place, i), -1)], given)
        for i in ([0, 1, 2], [1, 0, 3])
    )
    freedom = np.append(np.tile([nu - parts.even, parts.even, nu - parts.uneven], len(splits)), nu)
    values = systems.map_or_vmap(
        lambda task: _chosen_and_measured(task[0], task[1], layer.counts, task[2]),
        (chosen, measured, jnp.asarray(freedom, covs.dtype)),
    )
    each_way, itself = values[:-1].reshape(-1, 3), values[-1:]
    even, uneven = (each_way[:, 0] + each_way[:, 1]) / 2, each_way[:, 2]
    extrapolated = (parts.even * even - parts.uneven * uneven) / (parts.even - parts.uneven)
    return jnp.concatenate([extrapolated, itself])


class Given(NamedTuple):
    """The target's covariance given x and given y, each to a common scale."""

    x: Float[Array, "m m"]
    y: Float[Array, "m m"]


def _posteriors(plan: Plan, cov: Float[Array, "d d"]) -> Given:
    s = covariance.blocks(cov, plan.quantity.dims)
    seen = [
        solve_triangular(cholesky(source), read.T, lower=True)
        for source, read in ((s.xx, s.mx), (s.yy, s.my))
    ]
    return Given(*(s.mm - a.T @ a for a in seen))


def _chosen_and_measured(
    chosen: Given, measured: Given, counts: Int[Array, " 3"], n: Float[Array, ""]
) -> Float[Array, ""]:
    """½ (U_x + U_y) in nats: directions of λ ≷ 1 by `chosen`, log ratios by `measured`, of n degrees of freedom."""
    factor = cholesky(chosen.x)
    inner = solve_triangular(factor, solve_triangular(factor, chosen.y, lower=True).T, lower=True)
    ratios, vectors = jnp.linalg.eigh((inner + inner.T) / 2)
    w = solve_triangular(factor, vectors, lower=True, trans="T")
    i = jnp.arange(ratios.shape[0], dtype=ratios.dtype)
    steps = digamma((n - counts[2] - i) / 2) - digamma((n - counts[1] - i) / 2)
    excess = jnp.concatenate([jnp.zeros(1, ratios.dtype), jnp.cumsum(steps)])

    def ratio(kept):
        both = kept[:, None] & kept[None, :]
        logs = [
            log_det(cholesky(jnp.where(both, w.T @ v @ w, jnp.diag(jnp.where(kept, 0, 1.0)))))
            for v in (measured.y, measured.x)
        ]
        return logs[0] - logs[1] - excess[jnp.sum(kept)]

    logs = jnp.log(ratios)
    return (ratio(logs > TIE) - ratio(logs < -TIE)) / 4


LINEAR = np.array(
    [[0.5, 0.5, 0, -1], [0.5, -0.5, 0, 1], [-0.5, 0.5, 0, 1], [-0.5, -0.5, 1, -1], [0.5, 0.5, 0, 1]]
)
"""(R, U_x, U_y, S, union) from (I_x, I_y, I_xy, ê)."""


def atoms(told: np.ndarray, half: float) -> np.ndarray:
    """(R, U_x, U_y, S, union), not clipped, from (I_x, I_y, I_xy) and ê: U_x = ê + (I_x - I_y)/2 and so on."""
    return LINEAR @ np.append(told, half)


def spread(told: np.ndarray, thinned: np.ndarray) -> np.ndarray:
    """Standard deviations of `atoms` over the draws of one layer: mutual informations (B, 3), `of_draws` (B, 3)."""
    cov = np.zeros((4, 4))
    cov[:3, :3] = np.cov(told.T)
    cov[3, :3] = cov[:3, 3] = np.cov(np.c_[told, thinned[:, :2].mean(axis=1)].T)[3, :3]
    cov[3, 3] = max(np.cov(thinned[:, 0], thinned[:, 1])[0, 1], thinned[:, 2].var(ddof=1))
    return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", LINEAR, cov, LINEAR), 0))

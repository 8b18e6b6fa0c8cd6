"""Unique information without the bias of selecting and measuring directions on the same samples.

The plug-in U_x sums ½ log λ over the directions with λ > 1. Sampling noise spreads the λ, which biases the sum upwards.
Here a sample covariance S, νS ~ Wishart(ν, Σ), is split into two independent ones, without the samples:

    νS = W₁ + W₂,  W₁ = ν L B Lᵀ,  S = L Lᵀ,  B = C⁻¹ A₁ C⁻ᵀ,  A_i ~ Wishart(n_i, 1),  C Cᵀ = A₁ + A₂

so that W_i ~ Wishart(n_i, Σ). The k directions V with λ > 1 are selected on one part. On the other part I(V;X) - I(V;Y)
is measured, which is at most U_x (`certificate`) and has an exactly known bias:

    E [log det VᵀŜ_{M|Y}V - log det VᵀŜ_{M|X}V] = log ratio + Σ_{i<k} ψ((n-d_y-i)/2) - ψ((n-d_x-i)/2)

The same holds for y with λ < 1. The loss from imperfect directions is proportional to 1/p with the share p = n₁/ν of
the part that selects them; results at two shares are extrapolated to 1/p → 0. The mean over many splits is ê, an
estimate of (U_x + U_y)/2, the half unique information, and

    union = (I_x + I_y)/2 + ê,    ê at most its plug-in value.

    L layers, B draws, K splits, D coordinates, m of them the target's, ν = n - 1
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import digamma
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from pid.estimators import bootstrap
from pid.estimators.bootstrap import (
    CHUNK,
    BootstrapSpec,
    map_in_batches,
    matrix_root,
    replace_missing,
    stream_draws,
)
from pid.estimators.covariance_fit import CovarianceFit
from pid.gaussian import covariance, systems, wishart
from pid.gaussian.information import cholesky

SPLITS = 60
"""Splits over which the estimate is averaged."""
MAX_DRAWS = 50
"""Parametric draws that are split; their deviations are those of all draws to 10 %."""
LARGE_SHARE = 0.5
"""Larger of the two shares of the degrees of freedom that select directions."""
MIN_SMALL_SHARE, MAX_SMALL_SHARE = 0.25, 0.4
"""Bounds of the smaller share: a quarter, or more if D dimensions need it, up to the second number."""
TIE = 1e-9
"""A direction with |log λ| below this belongs to neither source."""


class SplitSizes(NamedTuple):
    """Degrees of freedom of the first part at both shares."""

    even: int
    uneven: int


def split_sizes(d: int, nu: int) -> SplitSizes | None:
    """Return how ν degrees of freedom in d dimensions are split; None if ν is below about 2.5 d."""
    share = max(MIN_SMALL_SHARE, (d + 1) / nu)
    return SplitSizes(round(LARGE_SHARE * nu), round(share * nu)) if share <= MAX_SMALL_SHARE else None


class Layer(NamedTuple):
    """Root of a covariance, mask of its coordinates, and their counts in target, x and y; for one layer or all."""

    root: Float[Array, "*l d d"]
    mask: Bool[Array, "*l d"]
    counts: Int[Array, "*l 3"]


def estimate_half_unique(fit: CovarianceFit, key: jax.Array) -> np.ndarray:
    """Estimate ê and its plug-in value for every layer, in bits, (L, 2)."""
    arrays = (fit.covs, fit.features.mask, fit.features.counts)
    return bootstrap.run_in_bits(half_unique_values, bootstrap.spec_of(fit), *arrays, key)


def draw_half_unique(fit: CovarianceFit, key: jax.Array, draws: int) -> np.ndarray:
    """Estimate ê from two splits, and its plug-in value, for the first parametric draws of this key; bits, (B, L, 3).

    They are at most `MAX_DRAWS` of the `draws`.
    """
    arrays = (fit.covs, fit.features.mask, fit.features.counts)
    return bootstrap.run_in_bits(half_unique_draws, bootstrap.spec_of(fit), *arrays, key, draws)


@partial(jax.jit, static_argnums=0)
def half_unique_values(
    spec: BootstrapSpec,
    covs: Float[Array, "l d d"],
    masks: Bool[Array, "l d"],
    counts: Int[Array, "l 3"],
    key: Array,
) -> Float[Array, "l 2"]:
    """Compute ê and its plug-in value for every layer, in nats; all layers share the splits."""
    factors = sample_split_factors(key, SPLITS, covs.shape[-1], spec.n - 1, covs.dtype)
    splits = systems.map_or_vmap(beta_variates, factors)

    def values_of(layer: Layer) -> Array:
        values = _half_unique(spec, layer, splits)
        return jnp.stack([jnp.mean(values[:-1]), values[-1]])

    roots = map_in_batches(matrix_root, covs, covs[0].size)
    return map_in_batches(values_of, Layer(roots, masks, counts), (4 * SPLITS + 1) * covs[0].size)


@partial(jax.jit, static_argnums=(0, 5))
def half_unique_draws(
    spec: BootstrapSpec,
    covs: Float[Array, "l d d"],
    masks: Bool[Array, "l d"],
    counts: Int[Array, "l 3"],
    key: Array,
    draws: int,
) -> Float[Array, "b l 3"]:
    """Compute ê from two splits, and its plug-in value, for the draws of `parametric_values` with this key, in nats.

    The covariance of the first two over draws is the sampling variance of ê, without the noise of splitting. Only the
    first `MAX_DRAWS` draws are split.
    """
    d, nu, parts = covs.shape[-1], spec.n - 1, 9  # two splits have eight parts, and the whole is the ninth
    layers = Layer(map_in_batches(matrix_root, covs, covs[0].size), masks, counts)

    def draw(arrays: tuple[Array, Array]) -> Array:
        bartlett, factors = arrays
        splits = systems.map_or_vmap(beta_variates, factors)
        return map_in_batches(
            lambda layer: _half_unique(spec, layer._replace(root=layer.root @ bartlett), splits),
            layers,
            CHUNK * parts * d * d,
        )

    def chunk(key: Array, count: int) -> Array:
        bartlett = wishart.sample_bartlett(key, d, np.full(count, nu), covs.dtype) / nu**0.5
        factors = sample_split_factors(jax.random.fold_in(key, 1), 2 * count, d, nu, covs.dtype)
        values = systems.map_or_vmap(draw, (bartlett, factors.reshape(count, 2, *factors.shape[1:])))
        return jnp.moveaxis(values, 0, 1)

    return stream_draws(chunk, key, draws, parts * covs.size, first=MAX_DRAWS)


def sample_split_factors(
    key: Array, splits: int, d: int, nu: int, dtype: DTypeLike
) -> Float[Array, "k 2 2 d d"]:
    """Sample Bartlett factors of both parts at both shares, for K splits: [split, share, part]."""
    sizes = split_sizes(d, nu)
    assert sizes is not None
    freedom = [[first, nu - first] for first in sizes]
    return wishart.sample_bartlett(key, d, np.broadcast_to(freedom, (splits, 2, 2)), dtype)


def beta_variates(factors: Float[Array, "2 2 d d"]) -> Float[Array, "2 d d"]:
    """Compute the matrix Beta variate B = C⁻¹ A₁ C⁻ᵀ at each share, from the Bartlett factors of A₁ and A₂."""

    def share(pair: Array) -> Array:
        first, second = pair
        root = solve_triangular(cholesky(first @ first.T + second @ second.T), first, lower=True)
        return root @ root.T

    return systems.map_or_vmap(share, factors)


def _half_unique(spec: BootstrapSpec, layer: Layer, splits: Float[Array, "k 2 d d"]) -> Float[Array, " k+1"]:
    """Compute ê of K splits, and the plug-in value, which selects and measures directions on the same covariance.

    If f(p) = c + c'/p, then (p f(p) - q f(q)) / (p - q) = c, the limit 1/p → 0 from two shares p and q.
    """
    d, nu = layer.mask.shape[-1], spec.n - 1
    sizes = split_sizes(d, nu)
    assert sizes is not None
    full = layer.root @ layer.root.T
    first = jnp.einsum("ij,ksjl,ml->ksim", layer.root, splits, layer.root)
    share = (np.array(sizes) / nu)[None, :, None, None]
    halves = jnp.stack([first / share, (full[None, None] - first) / (1 - share)], axis=2).reshape(-1, d, d)
    covs = jax.vmap(replace_missing, (0, None))(jnp.concatenate([halves, full[None]]), layer.mask)
    posteriors = systems.map_or_vmap(partial(_posteriors, spec), covs)

    offset = 4 * np.arange(len(splits))  # each split has four parts: even, even', uneven, uneven'
    selecting, measuring = (
        jax.tree.map(lambda v, i=i: v[np.append(np.add.outer(offset, i), -1)], posteriors)
        for i in ([0, 1, 2], [1, 0, 3])
    )
    freedom = np.append(np.tile([nu - sizes.even, sizes.even, nu - sizes.uneven], len(splits)), nu)
    values = systems.map_or_vmap(
        lambda task: _select_and_measure(task[0], task[1], layer.counts, task[2]),
        (selecting, measuring, jnp.asarray(freedom, covs.dtype)),
    )
    by_order, plugin = values[:-1].reshape(-1, 3), values[-1:]
    even, uneven = (by_order[:, 0] + by_order[:, 1]) / 2, by_order[:, 2]
    extrapolated = (sizes.even * even - sizes.uneven * uneven) / (sizes.even - sizes.uneven)
    return jnp.concatenate([extrapolated, plugin])


class Posteriors(NamedTuple):
    """The target's covariances given x and given y, up to a common factor."""

    x: Float[Array, "m m"]
    y: Float[Array, "m m"]

    factor_x: Float[Array, "m m"]
    """Cholesky factor of the covariance given x."""


def _posteriors(spec: BootstrapSpec, cov: Float[Array, "d d"]) -> Posteriors:
    """Compute the posteriors from the Cholesky factors of (x, target) and (y, target): the last blocks are theirs."""
    s, m = covariance.blocks(cov, spec.measure.dims), spec.measure.dims[0]
    factor_x, factor_y = (
        cholesky(jnp.block([[source, cross.T], [cross, s.mm]]))[-m:, -m:]
        for source, cross in ((s.xx, s.mx), (s.yy, s.my))
    )
    return Posteriors(factor_x @ factor_x.T, factor_y @ factor_y.T, factor_x)


def _select_and_measure(
    selecting: Posteriors, measuring: Posteriors, counts: Int[Array, " 3"], n: Float[Array, ""]
) -> Float[Array, ""]:
    """Compute ½ (U_x + U_y) in nats.

    Directions with λ > 1 and λ < 1 are selected on `selecting`; their log ratios are measured on `measuring`, which
    has n degrees of freedom.
    """
    inverse = solve_triangular(
        selecting.factor_x, jnp.eye(len(selecting.x), dtype=selecting.x.dtype), lower=True
    )
    inner = inverse @ selecting.y @ inverse.T
    ratios, vectors = jnp.linalg.eigh((inner + inner.T) / 2, symmetrize_input=False)
    w = inverse.T @ vectors
    i = jnp.arange(ratios.shape[0], dtype=ratios.dtype)
    steps = digamma((n - counts[2] - i) / 2) - digamma((n - counts[1] - i) / 2)
    excess = jnp.concatenate([jnp.zeros(1, ratios.dtype), jnp.cumsum(steps)])
    logs = jnp.log(ratios)
    sides = logs > TIE, logs < -TIE
    same_side = (sides[0][:, None] & sides[0][None, :]) | (sides[1][:, None] & sides[1][None, :])
    ties = jnp.diag(jnp.where(sides[0] | sides[1], 0, 1.0))

    def log_pivots(cov: Array) -> Array:  # those of both sides by one factor
        return 2 * jnp.log(jnp.diagonal(cholesky(jnp.where(same_side, w.T @ cov @ w, ties))))

    differences = log_pivots(measuring.y) - log_pivots(measuring.x)
    x, y = (jnp.sum(jnp.where(side, differences, 0)) - excess[jnp.sum(side)] for side in sides)
    return (x - y) / 4


LINEAR = np.array(
    [[0.5, 0.5, 0, -1], [0.5, -0.5, 0, 1], [-0.5, 0.5, 0, 1], [-0.5, -0.5, 1, -1], [0.5, 0.5, 0, 1]]
)
"""(R, U_x, U_y, S, union) from (I_x, I_y, I_xy, ê)."""


def atoms_of(information: np.ndarray, half_unique: float) -> np.ndarray:
    """Compute (R, U_x, U_y, S, union) from (I_x, I_y, I_xy) and ê, not clipped: U_x = ê + (I_x - I_y)/2, ..."""
    return LINEAR @ np.append(information, half_unique)


def atom_deviations(information: np.ndarray, half_unique: np.ndarray) -> np.ndarray:
    """Compute the standard deviations of `atoms_of` over the draws of one layer.

    Args:
        information: I_x, I_y and I_xy of the draws, (B, 3).
        half_unique: result of `draw_half_unique` for the layer, (B, 3).
    """
    cov = np.zeros((4, 4))
    cov[:3, :3] = np.cov(information.T)
    cov[3, :3] = cov[:3, 3] = np.cov(np.c_[information, half_unique[:, :2].mean(axis=1)].T)[3, :3]
    cov[3, 3] = max(np.cov(half_unique[:, 0], half_unique[:, 1])[0, 1], half_unique[:, 2].var(ddof=1))
    return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", LINEAR, cov, LINEAR), 0))

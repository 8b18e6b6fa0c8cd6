"""The bijection of one variable: standardization, a linear mix, Gaussian marginals, then coupling layers.

    u = (v - mean) / sd
    s = L U W u                   W fixed before training, L unit lower, U upper triangular with diagonal e^a
    z = ψ(s)                      ψ_i: the spline through the quantiles of coordinate i, fitted, not trained
    z <- reverse(C_j(L_j U_j z))  j = 1..c; C_j moves the second half by splines that depend on the first half

A constant column is padding. All parts but the couplings map it to 0 and keep it apart from the other columns.

With W = I and the parameters of `init_params` this is the Gaussian copula of the variable (in reverse order if c is
odd). One coordinate has nothing to couple to: its bijection is ψ.

    n rows, d coordinates, h = d // 2 conditioning coordinates, c couplings, p numbers per spline, H hidden units
"""

from functools import partial
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pid.features.gaussianize import standardize
from pid.flow.spline import Knots, Spline, free_knots, gaussian_knots, identity_knots


class CouplingParams(NamedTuple):
    """Parameters of c coupling layers: the mix before each, and the network that places its knots."""

    mix: Float[Array, "c d d"]
    """L below the diagonal, a on it, U above it."""

    weight_in: Float[Array, "c h w"]
    bias_in: Float[Array, "c w"]
    weight_out: Float[Array, "c w o"]
    bias_out: Float[Array, "c o"]


class Params(NamedTuple):
    """The parameters that training optimizes."""

    mix: Float[Array, "d d"]
    """The first mix: L below the diagonal, a on it, U above it."""

    couplings: CouplingParams


class Bijection(NamedTuple):
    """The map from one variable to its latents: numbers fitted to rows, and parameters for training."""

    mean: Float[Array, " d"]
    """Mean of the training rows."""

    scale: Float[Array, " d"]
    """Standard deviation of the training rows."""

    varies: Bool[Array, " d"]
    """Whether a column varies; a constant column is padding."""

    directions: Float[Array, "d d"]
    """W, fixed before training."""

    log_det_directions: Float[Array, ""]
    """log |det W|."""

    params: Params
    """The parameters that training optimizes."""

    knots: Knots
    """Knots (d, K+1) of the marginal splines ψ."""


def init_params(rows: Float[Array, "n d"], couplings: int, hidden: int, bins: int, key: Array) -> Params:
    """Return parameters of the identity for d columns: the first layer of the networks is random, the second zero."""
    d, zeros = rows.shape[1], partial(jnp.zeros, dtype=rows.dtype)
    c, h, o = (couplings if d > 1 else 0), d // 2, (d - d // 2) * (3 * bins - 1)
    weight = jax.random.normal(key, (c * h * hidden,), rows.dtype).reshape(c, h, hidden) / max(h, 1) ** 0.5
    network = (weight, zeros((c, hidden)), zeros((c, hidden, o)), zeros((c, o)))
    return Params(zeros((d, d)), CouplingParams(zeros((c, d, d)), *network))


def init_bijection(rows: Float[Array, "n d"], params: Params, knots: int) -> Bijection:
    """Return the bijection that only standardizes `rows`: W = I, ψ(s) = s, with `params` from `init_params`."""
    columns, identity = standardize(rows), jnp.eye(rows.shape[1], dtype=rows.dtype)
    zero = jnp.zeros((), rows.dtype)
    marginals = identity_knots(columns.values, knots)
    return Bijection(columns.mean, columns.scale, ~columns.constant, identity, zero, params, marginals)


def without_couplings(bijection: Bijection) -> Bijection:
    """Return the bijection without its coupling layers: it ends with ψ."""
    empty = jax.tree.map(lambda a: a[:0], bijection.params.couplings)
    return bijection._replace(params=bijection.params._replace(couplings=empty))


@jax.jit  # training calls it many times with equal shapes: jit traces it once
def fit_marginals(bijection: Bijection, rows: Float[Array, "n d"]) -> Bijection:
    """Return the bijection with its marginal splines fitted to these rows."""
    s, bins = _linear(bijection, rows)[0], bijection.knots.x.shape[1] - 1
    gaussian, identity = gaussian_knots(s, bins), identity_knots(s, bins)
    varies = bijection.varies[:, None]
    return bijection._replace(knots=jax.tree.map(lambda a, b: jnp.where(varies, a, b), gaussian, identity))


@partial(jax.jit, static_argnames="tail_bound")  # traced once, like `fit_marginals`
def forward(
    bijection: Bijection, rows: Float[Array, "n d"], tail_bound: float
) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
    """Return the latents of `rows`, and log |det dz/dv| of each row."""
    s, constant = _linear(bijection, rows)
    z, log_slope = Spline(bijection.knots).forward_and_log_det(s)

    def layer(carry: tuple, params: CouplingParams) -> tuple:
        z, total = carry
        lower, upper, log_det = _triangles(params.mix)
        output, change = _coupling(params, z.shape[1], tail_bound).forward_and_log_det(z @ (lower @ upper).T)
        return (jnp.flip(jnp.asarray(output), axis=1), total + change + log_det), None

    start = (z, jnp.sum(log_slope, axis=1) + constant)
    (z, log_det), _ = jax.lax.scan(layer, start, bijection.params.couplings)
    return z, log_det


def inverse(bijection: Bijection, latents: Float[Array, "n d"], tail_bound: float) -> Float[Array, "n d"]:
    """Return the rows that have these latents."""

    def layer(z: Array, params: CouplingParams) -> tuple:
        lower, upper, _ = _triangles(params.mix)
        mixed = _coupling(params, z.shape[1], tail_bound).inverse(z[:, ::-1])
        return jnp.linalg.solve(lower @ upper, mixed.T).T, None

    z = jax.lax.scan(layer, latents, bijection.params.couplings, reverse=True)[0]
    lower, upper, _ = _triangles(_mix(bijection))
    s = Spline(bijection.knots).inverse(z)
    u = jnp.linalg.solve(lower @ upper @ bijection.directions, s.T).T
    return u * bijection.scale[None] + bijection.mean[None]


def _linear(bijection: Bijection, rows: Array) -> tuple[Array, Array]:
    """Return the coordinates s, and log |det ds/dv|, which is the same for every row."""
    lower, upper, log_det = _triangles(_mix(bijection))
    u = (rows - bijection.mean[None]) / bijection.scale[None]
    constant = log_det + bijection.log_det_directions - jnp.sum(jnp.log(bijection.scale))
    return u @ (lower @ upper @ bijection.directions).T, constant


def _mix(bijection: Bijection) -> Array:
    """Return the parameters of the first mix, with those of padding set to 0."""
    return jnp.where(jnp.outer(bijection.varies, bijection.varies), bijection.params.mix, 0)


def _triangles(mix: Array) -> tuple[Array, Array, Array]:
    """Return the factors L and U and log |det LU|, from one matrix of parameters."""
    d, logs = mix.shape[0], jnp.diagonal(mix)
    lower = jnp.tril(mix, -1) + jnp.eye(d, dtype=mix.dtype)
    return lower, jnp.triu(mix, 1) + jnp.diag(jnp.exp(logs)), jnp.sum(logs)


def _coupling(params: CouplingParams, d: int, tail_bound: float) -> Any:
    """Build a coupling: a network computes the knots of the second half's splines from the first half."""

    def place_knots(first: Any) -> Any:
        hidden = jnp.tanh(first @ params.weight_in + params.bias_in[None])
        raw = hidden @ params.weight_out + params.bias_out[None]
        return raw.reshape(*raw.shape[:-1], d - d // 2, -1)

    return distrax.SplitCoupling(
        split_index=d // 2,
        event_ndims=1,
        conditioner=place_knots,
        bijector=lambda raw: Spline(free_knots(raw, tail_bound)),
    )

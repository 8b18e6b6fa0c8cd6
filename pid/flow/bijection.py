"""The bijection of one variable: standardise, mix linearly, Gaussianise the marginals, then coupling layers.

    u = (v - mean) / sd
    s = L U W u                   W fixed at the start, L unit lower, U upper triangular with diagonal e^a
    z = ψ(s)                      ψ_i: the spline through the quantiles of coordinate i, fitted, not trained
    z <- reverse(C_j(L_j U_j z))  j = 1..c; C_j moves the second half by splines that depend on the first half

A constant column is no coordinate but padding: all parts but the couplings leave it at 0 and apart from the others.

With W = I and the trained numbers of `untrained` this is the Gaussian copula of the variable (in reverse order if c is
odd). One coordinate has nothing to couple to: its bijection is ψ.

    n rows, d coordinates, h = d // 2 conditioning coordinates, c couplings, p numbers per spline, H hidden units
"""

from functools import partial
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pid.flow.spline import Knots, Spline, free_knots, gaussian_knots, identity_knots
from pid.gaussianize import standardize


class Coupling(NamedTuple):
    """The trained numbers of c coupling layers: the mix before each, and the network that places its knots."""

    mix: Float[Array, "c d d"]  # below the diagonal L, on it a, above it U
    weight_in: Float[Array, "c h w"]
    bias_in: Float[Array, "c w"]
    weight_out: Float[Array, "c w o"]
    bias_out: Float[Array, "c o"]


class Trained(NamedTuple):
    """What the likelihood trains."""

    mix: Float[Array, "d d"]
    couplings: Coupling


class Bijection(NamedTuple):
    """One variable's map to its latent: what is fitted to rows, and what is trained."""

    mean: Float[Array, " d"]
    scale: Float[Array, " d"]
    real: Bool[Array, " d"]  # whether a column varies, or is padding
    start: Float[Array, "d d"]
    log_start: Float[Array, ""]  # log |det start|
    trained: Trained
    knots: Knots  # (d, K+1)


def untrained(rows: Float[Array, "n d"], couplings: int, hidden: int, bins: int, key: Array) -> Trained:
    """The identity for the d columns; the inner weights of the networks are random, their outer ones zero."""
    d, zeros = rows.shape[1], partial(jnp.zeros, dtype=rows.dtype)
    c, h, o = (couplings if d > 1 else 0), d // 2, (d - d // 2) * (3 * bins - 1)
    weight = jax.random.normal(key, (c * h * hidden,), rows.dtype).reshape(c, h, hidden) / max(h, 1) ** 0.5
    network = (weight, zeros((c, hidden)), zeros((c, hidden, o)), zeros((c, o)))
    return Trained(zeros((d, d)), Coupling(zeros((c, d, d)), *network))


def standardizing(rows: Float[Array, "n d"], trained: Trained, knots: int) -> Bijection:
    """The standardisation of `rows` and nothing else: W = I, ψ(s) = s; `trained` as from `untrained`."""
    fitted, start = standardize(rows), jnp.eye(rows.shape[1], dtype=rows.dtype)
    none = jnp.zeros((), rows.dtype)
    knots_of = identity_knots(fitted.values, knots)
    return Bijection(fitted.mean, fitted.scale, ~fitted.constant, start, none, trained, knots_of)


def without_couplings(bijection: Bijection) -> Bijection:
    """The same map up to ψ."""
    none = jax.tree.map(lambda a: a[:0], bijection.trained.couplings)
    return bijection._replace(trained=bijection.trained._replace(couplings=none))


@jax.jit  # a training calls it many times on the same shapes: traced once
def calibrate(bijection: Bijection, rows: Float[Array, "n d"]) -> Bijection:
    """The same map with the marginal splines fitted to these rows."""
    s, bins = _linear(bijection, rows)[0], bijection.knots.x.shape[1] - 1
    fitted, plain = gaussian_knots(s, bins), identity_knots(s, bins)
    real = bijection.real[:, None]
    return bijection._replace(knots=jax.tree.map(lambda a, b: jnp.where(real, a, b), fitted, plain))


@partial(jax.jit, static_argnames="reach")  # traced once, as `calibrate`
def forward(
    bijection: Bijection, rows: Float[Array, "n d"], reach: float
) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
    """The latents of `rows`, and log |det dz/dv| of each row."""
    s, constant = _linear(bijection, rows)
    z, log_slope = Spline(bijection.knots).forward_and_log_det(s)

    def layer(carry: tuple, one: Coupling) -> tuple:
        z, total = carry
        lower, upper, log_det = _triangles(one.mix)
        moved, change = _coupling(one, z.shape[1], reach).forward_and_log_det(z @ (lower @ upper).T)
        return (jnp.flip(jnp.asarray(moved), axis=1), total + change + log_det), None

    start = (z, jnp.sum(log_slope, axis=1) + constant)
    (z, log_det), _ = jax.lax.scan(layer, start, bijection.trained.couplings)
    return z, log_det


def inverse(bijection: Bijection, latents: Float[Array, "n d"], reach: float) -> Float[Array, "n d"]:
    """The rows whose latents these are."""

    def layer(z: Array, one: Coupling) -> tuple:
        lower, upper, _ = _triangles(one.mix)
        mixed = _coupling(one, z.shape[1], reach).inverse(z[:, ::-1])
        return jnp.linalg.solve(lower @ upper, mixed.T).T, None

    z = jax.lax.scan(layer, latents, bijection.trained.couplings, reverse=True)[0]
    lower, upper, _ = _triangles(_mix(bijection))
    s = Spline(bijection.knots).inverse(z)
    u = jnp.linalg.solve(lower @ upper @ bijection.start, s.T).T
    return u * bijection.scale[None] + bijection.mean[None]


def _linear(bijection: Bijection, rows: Array) -> tuple[Array, Array]:
    """s, and log |det ds/dv|, the same for every row."""
    lower, upper, log_det = _triangles(_mix(bijection))
    u = (rows - bijection.mean[None]) / bijection.scale[None]
    constant = log_det + bijection.log_start - jnp.sum(jnp.log(bijection.scale))
    return u @ (lower @ upper @ bijection.start).T, constant


def _mix(bijection: Bijection) -> Array:
    """The free numbers of the first mix, those of padding 0."""
    return jnp.where(jnp.outer(bijection.real, bijection.real), bijection.trained.mix, 0)


def _triangles(mix: Array) -> tuple[Array, Array, Array]:
    """L, U and log |det LU| from one matrix of free numbers."""
    d, logs = mix.shape[0], jnp.diagonal(mix)
    lower = jnp.tril(mix, -1) + jnp.eye(d, dtype=mix.dtype)
    return lower, jnp.triu(mix, 1) + jnp.diag(jnp.exp(logs)), jnp.sum(logs)


def _coupling(one: Coupling, d: int, reach: float) -> Any:
    """The second half by splines whose knots a network places by the first half."""

    def place_knots(first: Any) -> Any:
        hidden = jnp.tanh(first @ one.weight_in + one.bias_in[None])
        raw = hidden @ one.weight_out + one.bias_out[None]
        return raw.reshape(*raw.shape[:-1], d - d // 2, -1)

    return distrax.SplitCoupling(
        split_index=d // 2,
        event_ndims=1,
        conditioner=place_knots,
        bijector=lambda raw: Spline(free_knots(raw, reach)),
    )

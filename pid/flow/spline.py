"""Increasing piecewise rational-quadratic functions of one number, through given knots with given slopes.

In the bin between the knots (x₀, y₀, slope δ₀) and (x₁, y₁, δ₁), with s = (y₁ - y₀)/(x₁ - x₀), t = (x - x₀)/(x₁ - x₀):

    y     = y₀ + (y₁ - y₀) (s t² + δ₀ t(1-t)) / q,       q = s + (δ₁ + δ₀ - 2s) t(1-t)
    dy/dx = s² (δ₁ t² + 2 s t(1-t) + δ₀ (1-t)²) / q²

and straight lines of the end slopes outside. [Durkan, Bekasov, Murray & Papamakarios, "Neural spline flows", 2019]

    n rows, d coordinates, K bins
"""

from math import expm1, log
from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

LEAST = 1e-3  # of a free spline: the smallest bin as a share of the range, and the smallest slope
NARROWEST = 1e-6  # of a fitted spline: the smallest bin as a share of the column's range, for ties


class Knots(NamedTuple):
    """K + 1 points of an increasing function, and its slopes there."""

    x: Float[Array, "*b k"]
    y: Float[Array, "*b k"]
    slope: Float[Array, "*b k"]


class _Bin(NamedTuple):
    """The bin an argument falls in: its corner, width, height and two slopes."""

    x: Array
    y: Array
    width: Array
    height: Array
    left: Array
    right: Array


class Spline(distrax.Bijector):
    """Elementwise: the knots have the shape of the argument, or one that broadcasts to it, and one axis more."""

    def __init__(self, knots: Knots):
        super().__init__(event_ndims_in=0)
        self.knots = knots

    def forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        """y(x) and log dy/dx."""
        place = _find(self.knots, x, self.knots.x)
        t = (x - place.x) / place.width
        inside, log_slope = _rational(place, jnp.clip(t, 0, 1))
        below, above = place.left * (x - place.x), place.right * (x - place.x - place.width) + place.height
        y = place.y + jnp.where(t < 0, below, jnp.where(t > 1, above, inside))
        return y, _outside(t, place, log_slope)

    def inverse_and_log_det(self, y: Array) -> tuple[Array, Array]:
        """x(y) and log dx/dy: t is the root in [0, 1] of a quadratic."""
        place = _find(self.knots, y, self.knots.y)
        rise, s = (y - place.y) / place.height, place.height / place.width
        inner = jnp.clip(rise, 0, 1)
        bend = (place.left + place.right - 2 * s) * inner
        a, b, c = s - place.left + bend, place.left - bend, -s * inner
        t = -2 * c / (b + jnp.sqrt(jnp.maximum(b * b - 4 * a * c, 0)))
        below = (y - place.y) / place.left
        above = place.width + (y - place.y - place.height) / place.right
        x = place.x + jnp.where(rise < 0, below, jnp.where(rise > 1, above, place.width * t))
        return x, -_outside(rise, place, _rational(place, jnp.clip(t, 0, 1))[1])


def gaussian_knots(s: Float[Array, "n d"], bins: int) -> Knots:
    """Through (quantile of a column at Φ(z), z) for K + 1 equally spaced z, |z| <= Φ⁻¹(1 - 3/n): x, y (d, K+1).

    The spline then gives each column an all but Gaussian marginal: the copula, smoothed. The slope at a knot is
    the geometric mean of the two secants beside it.
    """
    n = s.shape[0]
    with jax.ensure_compile_time_eval():  # constants of n and K
        reach = -ndtri(jnp.asarray(3.0 / n, s.dtype))
        z = jnp.linspace(-reach, reach, bins + 1)
        place = n * ndtr(z) - 0.5
        low = jnp.clip(jnp.floor(place).astype(int), 0, n - 2)
        share = (place - low)[:, None]
    ordered = ascending(s)
    quantiles = (ordered[low] * (1 - share) + ordered[low + 1] * share).T
    span = quantiles[:, -1:] - quantiles[:, :1]
    width = jnp.maximum(jnp.diff(quantiles, axis=1), NARROWEST * jnp.where(span > 0, span, 1))
    x = jnp.concatenate([quantiles[:, :1], quantiles[:, :1] + jnp.cumsum(width, axis=1)], axis=1)
    secant = (z[1:] - z[:-1])[None] / width
    slope = jnp.sqrt(secant[:, 1:] * secant[:, :-1])
    slope = jnp.concatenate([secant[:, :1], slope, secant[:, -1:]], axis=1)
    return Knots(x, jnp.broadcast_to(z[None], x.shape), slope)


def ascending(s: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Every column sorted, as whole numbers in the order of the floats: on CPU six times faster than as floats.

    The bits of a float, those of a negative one but for the sign turned over, are a whole number of the same rank.
    """
    if s.dtype != jnp.float32:
        return jnp.sort(s, axis=0)
    rank = jnp.sort(_turned(jax.lax.bitcast_convert_type(s, jnp.int32)), axis=0)
    return jax.lax.bitcast_convert_type(_turned(rank), jnp.float32)


def _turned(bits: Array) -> Array:
    return bits ^ ((bits >> 31) & jnp.iinfo(jnp.int32).max)


def identity_knots(s: Float[Array, "n d"], bins: int) -> Knots:
    """Of the spline y = x for each column, whatever it holds."""
    x = jnp.broadcast_to(jnp.linspace(-1, 1, bins + 1, dtype=s.dtype)[None], (s.shape[1], bins + 1))
    return Knots(x, x, jnp.ones_like(x))


def free_knots(raw: Float[Array, "*b p"], reach: float) -> Knots:
    """Knots on [-reach, reach] from p = 3K - 1 real numbers: zeros give the identity, and it is so outside.

    K numbers for the widths and K for the heights through a softmax, K - 1 for the inner slopes through a
    softplus; the end slopes are 1.
    """
    bins = (raw.shape[-1] + 1) // 3
    widths, heights, slopes = raw[..., :bins], raw[..., bins : 2 * bins], raw[..., 2 * bins :]
    at_zero = log(expm1(1 - LEAST))
    inner = LEAST + jax.nn.softplus(slopes + at_zero)
    end = jnp.ones((*raw.shape[:-1], 1), raw.dtype)
    return Knots(_edges(widths, reach), _edges(heights, reach), jnp.concatenate([end, inner, end], axis=-1))


def _edges(raw: Array, reach: float) -> Array:
    """K real numbers to K + 1 increasing numbers from -reach to reach."""
    share = LEAST + (1 - LEAST * raw.shape[-1]) * jax.nn.softmax(raw, axis=-1)
    start = jnp.full((*raw.shape[:-1], 1), -reach, raw.dtype)
    return jnp.concatenate([start, 2 * reach * jnp.cumsum(share, axis=-1) - reach], axis=-1)


def _find(knots: Knots, value: Array, edges: Array) -> _Bin:
    """The bin of every value; beyond the ends, the first or the last."""
    inner = jnp.broadcast_to(edges[..., 1:-1], (*value.shape, edges.shape[-1] - 2))
    index = jnp.sum(value[..., None] >= inner, axis=-1)
    x, y, slope = knots
    bins = jnp.stack(
        [x[..., :-1], y[..., :-1], jnp.diff(x), jnp.diff(y), slope[..., :-1], slope[..., 1:]], axis=-1
    )
    bins = jnp.broadcast_to(bins, (*value.shape, *bins.shape[-2:]))
    chosen = jnp.take_along_axis(bins, index[..., None, None], axis=-2, mode="promise_in_bounds")
    return _Bin(*jnp.moveaxis(chosen[..., 0, :], -1, 0))


def _rational(place: _Bin, t: Array) -> tuple[Array, Array]:
    """y - y₀ and log dy/dx at t in [0, 1]."""
    s, mixed = place.height / place.width, t * (1 - t)
    q = s + (place.left + place.right - 2 * s) * mixed
    y = place.height * (s * t * t + place.left * mixed) / q
    rate = place.right * t * t + 2 * s * mixed + place.left * jnp.square(1 - t)
    return y, 2 * jnp.log(s / q) + jnp.log(rate)


def _outside(t: Array, place: _Bin, log_slope: Array) -> Array:
    return jnp.where(t < 0, jnp.log(place.left), jnp.where(t > 1, jnp.log(place.right), log_slope))

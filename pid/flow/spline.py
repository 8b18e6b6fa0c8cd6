"""Rational-quadratic splines: increasing functions of one number, defined by knots and their slopes.

In the bin between the knots (x₀, y₀, slope δ₀) and (x₁, y₁, δ₁), with s = (y₁ - y₀)/(x₁ - x₀), t = (x - x₀)/(x₁ - x₀):

    y     = y₀ + (y₁ - y₀) (s t² + δ₀ t(1-t)) / q,       q = s + (δ₁ + δ₀ - 2s) t(1-t)
    dy/dx = s² (δ₁ t² + 2 s t(1-t) + δ₀ (1-t)²) / q²

and straight lines with the end slopes outside the knots. [Durkan, Bekasov, Murray & Papamakarios, "Neural spline
flows", 2019]

    n rows, d coordinates, K bins
"""

from math import expm1, log
from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

MIN_BIN = 1e-3  # of a free spline: the smallest bin as a share of the range
MIN_SLOPE = 1e-3  # of a free spline
MIN_FITTED_BIN = 1e-6  # of a fitted spline: the smallest bin as a share of the column's range, for ties


class Knots(NamedTuple):
    """K + 1 points of an increasing function, and its slopes there."""

    x: Float[Array, "*b k"]
    """Arguments of the points, increasing."""

    y: Float[Array, "*b k"]
    """Values of the points, increasing."""

    slope: Float[Array, "*b k"]
    """Slopes at the points, positive."""


class _Bin(NamedTuple):
    """The bin of an argument: its lower left corner, width, height, and the slopes at its two ends."""

    x: Array
    y: Array
    width: Array
    height: Array
    left_slope: Array
    right_slope: Array


class Spline(distrax.Bijector):
    """The elementwise spline through `knots`.

    The knots have the shape of the argument, or one that broadcasts to it, and one more axis.
    """

    def __init__(self, knots: Knots):
        """Store the knots."""
        super().__init__(event_ndims_in=0)
        self.knots = knots

    def forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        """Return the values y(x) and log dy/dx."""
        bin_ = _find_bin(self.knots, x, self.knots.x)
        t = (x - bin_.x) / bin_.width
        inside, log_slope = _rational(bin_, jnp.clip(t, 0, 1))
        below, above = (
            bin_.left_slope * (x - bin_.x),
            bin_.right_slope * (x - bin_.x - bin_.width) + bin_.height,
        )
        y = bin_.y + jnp.where(t < 0, below, jnp.where(t > 1, above, inside))
        return y, _with_tails(t, bin_, log_slope)

    def inverse_and_log_det(self, y: Array) -> tuple[Array, Array]:
        """Return the arguments x(y) and log dx/dy, from the root t in [0, 1] of a quadratic."""
        bin_ = _find_bin(self.knots, y, self.knots.y)
        rise, s = (y - bin_.y) / bin_.height, bin_.height / bin_.width
        inner = jnp.clip(rise, 0, 1)
        bend = (bin_.left_slope + bin_.right_slope - 2 * s) * inner
        a, b, c = s - bin_.left_slope + bend, bin_.left_slope - bend, -s * inner
        t = -2 * c / (b + jnp.sqrt(jnp.maximum(b * b - 4 * a * c, 0)))
        below = (y - bin_.y) / bin_.left_slope
        above = bin_.width + (y - bin_.y - bin_.height) / bin_.right_slope
        x = bin_.x + jnp.where(rise < 0, below, jnp.where(rise > 1, above, bin_.width * t))
        return x, -_with_tails(rise, bin_, _rational(bin_, jnp.clip(t, 0, 1))[1])


def gaussian_knots(s: Float[Array, "n d"], bins: int) -> Knots:
    """Return knots (d, K+1) of the spline that makes the marginal of each column nearly Gaussian: the smoothed copula.

    It passes through (quantile of the column at Φ(z), z) for K + 1 equally spaced z, |z| ≤ Φ⁻¹(1 - 3/n). The slope
    at a knot is the geometric mean of the slopes of the two adjacent secants.
    """
    n = s.shape[0]
    with jax.ensure_compile_time_eval():  # constants of n and K
        z_max = -ndtri(jnp.asarray(3.0 / n, s.dtype))
        z = jnp.linspace(-z_max, z_max, bins + 1)
        position = n * ndtr(z) - 0.5
        low = jnp.clip(jnp.floor(position).astype(int), 0, n - 2)
        share = (position - low)[:, None]
    ordered = sort_columns(s)
    quantiles = (ordered[low] * (1 - share) + ordered[low + 1] * share).T
    span = quantiles[:, -1:] - quantiles[:, :1]
    width = jnp.maximum(jnp.diff(quantiles, axis=1), MIN_FITTED_BIN * jnp.where(span > 0, span, 1))
    x = jnp.concatenate([quantiles[:, :1], quantiles[:, :1] + jnp.cumsum(width, axis=1)], axis=1)
    secant = (z[1:] - z[:-1])[None] / width
    slope = jnp.sqrt(secant[:, 1:] * secant[:, :-1])
    slope = jnp.concatenate([secant[:, :1], slope, secant[:, -1:]], axis=1)
    return Knots(x, jnp.broadcast_to(z[None], x.shape), slope)


def sort_columns(s: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Sort every column in ascending order; float32 is sorted as integers, which is six times faster on CPU.

    The bits of floats, read as integers, have the order of the floats if all bits but the sign of negative ones are
    inverted.
    """
    if s.dtype != jnp.float32:
        return jnp.sort(s, axis=0)
    rank = jnp.sort(_integer_order(jax.lax.bitcast_convert_type(s, jnp.int32)), axis=0)
    return jax.lax.bitcast_convert_type(_integer_order(rank), jnp.float32)


def _integer_order(bits: Array) -> Array:
    """Invert all bits but the sign of negative numbers; the function is its own inverse."""
    return bits ^ ((bits >> 31) & jnp.iinfo(jnp.int32).max)


def identity_knots(s: Float[Array, "n d"], bins: int) -> Knots:
    """Return knots of the spline y = x for each column, whatever its values."""
    x = jnp.broadcast_to(jnp.linspace(-1, 1, bins + 1, dtype=s.dtype)[None], (s.shape[1], bins + 1))
    return Knots(x, x, jnp.ones_like(x))


def free_knots(raw: Float[Array, "*b p"], tail_bound: float) -> Knots:
    """Return knots on [-tail_bound, tail_bound] from p = 3K - 1 unconstrained numbers; zeros give the identity.

    K numbers give the widths and K the heights through a softmax, K - 1 the inner slopes through a softplus. The
    end slopes are 1, so the spline is the identity beyond the tail bound.
    """
    bins = (raw.shape[-1] + 1) // 3
    widths, heights, slopes = raw[..., :bins], raw[..., bins : 2 * bins], raw[..., 2 * bins :]
    offset = log(expm1(1 - MIN_SLOPE))
    inner = MIN_SLOPE + jax.nn.softplus(slopes + offset)
    end = jnp.ones((*raw.shape[:-1], 1), raw.dtype)
    return Knots(
        _edges(widths, tail_bound), _edges(heights, tail_bound), jnp.concatenate([end, inner, end], axis=-1)
    )


def _edges(raw: Array, tail_bound: float) -> Array:
    """Map K real numbers to K + 1 increasing numbers from -tail_bound to tail_bound."""
    share = MIN_BIN + (1 - MIN_BIN * raw.shape[-1]) * jax.nn.softmax(raw, axis=-1)
    start = jnp.full((*raw.shape[:-1], 1), -tail_bound, raw.dtype)
    return jnp.concatenate([start, 2 * tail_bound * jnp.cumsum(share, axis=-1) - tail_bound], axis=-1)


def _find_bin(knots: Knots, value: Array, edges: Array) -> _Bin:
    """Return the bin of every value; beyond the ends, the first or the last bin."""
    inner = jnp.broadcast_to(edges[..., 1:-1], (*value.shape, edges.shape[-1] - 2))
    index = jnp.sum(value[..., None] >= inner, axis=-1)
    x, y, slope = knots
    bins = jnp.stack(
        [x[..., :-1], y[..., :-1], jnp.diff(x), jnp.diff(y), slope[..., :-1], slope[..., 1:]], axis=-1
    )
    bins = jnp.broadcast_to(bins, (*value.shape, *bins.shape[-2:]))
    selected = jnp.take_along_axis(bins, index[..., None, None], axis=-2, mode="promise_in_bounds")
    return _Bin(*jnp.moveaxis(selected[..., 0, :], -1, 0))


def _rational(bin_: _Bin, t: Array) -> tuple[Array, Array]:
    """Return the rise y - y₀ and log dy/dx at t in [0, 1]."""
    s, mixed = bin_.height / bin_.width, t * (1 - t)
    q = s + (bin_.left_slope + bin_.right_slope - 2 * s) * mixed
    y = bin_.height * (s * t * t + bin_.left_slope * mixed) / q
    rate = bin_.right_slope * t * t + 2 * s * mixed + bin_.left_slope * jnp.square(1 - t)
    return y, 2 * jnp.log(s / q) + jnp.log(rate)


def _with_tails(t: Array, bin_: _Bin, log_slope: Array) -> Array:
    """Return the log-slope inside the bin, or that of the straight lines beyond the first and last knot."""
    return jnp.where(t < 0, jnp.log(bin_.left_slope), jnp.where(t > 1, jnp.log(bin_.right_slope), log_slope))

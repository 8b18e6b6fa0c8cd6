"""Covariances of (target, x, y): checks, blocks, correlation scale and numerical tolerances.

d = d_m + d_x + d_y coordinates, in the order target, x, y
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from pid.interface.scalars import real_number

Dims = tuple[int, int, int]
highest_precision = jax.default_matmul_precision("highest")
"""Decorator of functions whose products have all digits of float32, on TPU and GPU too.

One pass of bfloat16, the default of a TPU, would cost thousandths of a bit. Rules of derivatives and of batches are
traced later than what calls them, and need it themselves.
"""


class Tolerance(NamedTuple):
    """Thresholds of numerical rounding, all on the correlation scale."""

    asymmetry: float
    """Largest |S_ij - S_ji| of a matrix that counts as symmetric."""

    negative_eigenvalue: float
    """A positive semidefinite matrix may have eigenvalues this far below zero."""

    pivot: float
    """A factorization with a squared Cholesky pivot below this is not trusted; eigenvalues then decide the rank."""

    rank: float
    """A direction whose eigenvalue is below this share of the largest does not exist."""

    zero_variance: float
    """A conditional variance below this is zero, and the information infinite."""

    tie: float
    """Generalized eigenvalues this close to 1 (in log) count as ties in derivatives."""


DOUBLE = Tolerance(
    asymmetry=1e-10, negative_eigenvalue=1e-9, pivot=1e-12, rank=1e-10, zero_variance=1e-12, tie=1e-9
)
SINGLE = Tolerance(
    asymmetry=1e-5, negative_eigenvalue=1e-4, pivot=1e-6, rank=1e-5, zero_variance=1e-6, tie=1e-4
)


def tolerance_of(dtype: Any) -> Tolerance:
    """Return the tolerance for covariances that were rounded to `dtype`.

    In float16 and bfloat16 a direction counts as zero below twice the spacing of numbers at 1, .002 and .016.
    """
    if np.dtype(dtype) in (np.float64, np.longdouble):
        return DOUBLE
    eps = float(jnp.finfo(dtype).eps)
    if eps < 1e-6:
        return SINGLE
    return Tolerance(8 * eps, 8 * eps, *(4 * [2 * eps]))


class Blocks(NamedTuple):
    """The blocks of a covariance: S_MM, S_MX, S_MY, S_XX, S_XY, S_YY."""

    mm: Float[Array, "*b m m"]
    mx: Float[Array, "*b m x"]
    my: Float[Array, "*b m y"]
    xx: Float[Array, "*b x x"]
    xy: Float[Array, "*b x y"]
    yy: Float[Array, "*b y y"]


def blocks(cov: Float[Array, "*b d d"], dims: Dims) -> Blocks:
    """Split a covariance `(..., d, d)` into its blocks."""
    m, x = dims[0], dims[0] + dims[1]
    return Blocks(
        cov[..., :m, :m],
        cov[..., :m, m:x],
        cov[..., :m, x:],
        cov[..., m:x, m:x],
        cov[..., m:x, x:],
        cov[..., x:, x:],
    )


def is_concrete(x: object) -> bool:
    """Return whether `x` is a concrete value rather than a tracer."""
    return not isinstance(x, Tracer)


def check_dims(dims: Any, variables: tuple[str, ...] = ("target", "x", "y")) -> tuple[int, ...]:
    """Check the dims of some variables, and return them as Python integers.

    Raises:
        ValueError: they are not one positive integer for each variable.
    """
    sizes = tuple(dims) if np.ndim(dims) == 1 else ()
    numbers = [np.asarray(n) for n in sizes if is_concrete(n)]
    if len(numbers) != len(variables) or not all(
        n.dtype.kind in "iu" and n.ndim == 0 and n > 0 for n in numbers
    ):
        count = {2: "two", 3: "three"}[len(variables)]
        names = f"{', '.join(variables[:-1])} and {variables[-1]}"
        example = (1,) * len(variables)
        raise ValueError(
            f"dims must be {count} positive integers, of {names}, got {dims!r}; pass for example {example}."
        )
    return tuple(map(int, numbers))


def check_shape(cov: Any, dims: Any) -> Dims:
    """Check that a covariance and its dims fit, and return the dims as Python integers.

    Raises:
        ValueError: dims are not three positive integers, or do not add up to the size of a square covariance.
    """
    m, x, y = check_dims(dims)
    check_size(cov, (m, x, y), "target, x, y")
    return m, x, y


def check_size(cov: Any, sizes: tuple[int, ...], order: str) -> None:
    """Raise ValueError unless dims add up to the size of a square covariance."""
    shape, size = np.shape(cov), sum(sizes)
    if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] != size:
        raise ValueError(
            f"a covariance of dims {sizes} must have shape (..., {size}, {size}), got {shape}; "
            f"order its rows and columns {order}."
        )


def to_covariance(cov: Any) -> Any:
    """Return a covariance as an array of real floating numbers: integers, lists and tables are converted.

    Args:
        cov: array, nested lists, or table of numbers. JAX arrays stay JAX arrays.

    Raises:
        ValueError: what is no array of real numbers.
    """
    if not isinstance(cov, jax.Array):
        if isinstance(cov, np.ma.MaskedArray) and np.ma.getmaskarray(cov).any():
            raise ValueError(
                f"a covariance must be complete, got {int(np.ma.getmaskarray(cov).sum())} masked entries; estimate it "
                f"from complete samples."
            )
        try:
            cov = np.asarray(cov)
            cov = cov.astype(float) if cov.dtype == object else cov
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"a covariance must be an array of real numbers, got {type(cov).__name__} ({error}); pass rows of "
                f"equal length."
            ) from error
    if jnp.issubdtype(cov.dtype, jnp.integer):
        return cov.astype(float)
    if not jnp.issubdtype(cov.dtype, jnp.floating):
        raise ValueError(
            f"a covariance must be real and floating, got dtype {cov.dtype}; pass that of real samples, as "
            f"np.cov gives it."
        )
    return cov


def correlation(cov: Float[Array, "d d"]) -> tuple[Float[Array, "d d"], Float[Array, " d"]]:
    """Return the correlation matrix and the standard deviations; a constant coordinate keeps scale 1 and a zero row."""
    variance = jnp.diagonal(cov)
    scale = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), 1)
    return cov / scale[:, None] / scale[None, :], scale


def check_covariance(asymmetry: np.ndarray, smallest_eigenvalue: np.ndarray, tolerance: Tolerance) -> None:
    """Check that covariances are finite, symmetric and positive semidefinite.

    Args:
        asymmetry: the largest |S_ij - S_ji| of each system on the correlation scale; NaN if it is not finite.
        smallest_eigenvalue: the smallest eigenvalue of each system, on the same scale.
        tolerance: bounds on the asymmetry and on negative eigenvalues that rounding may cause.

    Raises:
        ValueError: a broken rule; the message has the rule, the first system that breaks it, its value and the remedy.
    """
    rules = (
        (np.isnan(asymmetry), asymmetry, "finite", "drop or impute the samples it came from"),
        (asymmetry > tolerance.asymmetry, asymmetry, "symmetric", "use (S + S.T) / 2 if the rest is right"),
        (
            ~(smallest_eigenvalue >= -tolerance.negative_eigenvalue),
            smallest_eigenvalue,
            "positive semidefinite",
            "estimate all blocks from the same samples, or shrink it towards its diagonal",
        ),
    )
    violations = {
        "finite": "NaN or infinity",
        "symmetric": "entries that differ by",
        "positive semidefinite": "a smallest eigenvalue of",
    }
    for violated, value, rule, remedy in rules:
        if not np.any(violated):
            continue
        index = np.unravel_index(int(np.argmax(violated)), np.shape(violated))
        location = f" in system {tuple(map(int, index))}" if index else ""
        amount = (
            "" if rule == "finite" else f" {float(np.asarray(value)[index]):.6g} on the correlation scale"
        )
        raise ValueError(f"a covariance must be {rule}, got {violations[rule]}{amount}{location}; {remedy}.")


def units_per_nat(base: Any) -> float:
    """Return the number of units in one nat for a logarithm of this base: 1 / ln(base).

    Raises:
        ValueError: a base that is not a number above 1.
    """
    rule, remedy = "base must be a number above 1 (2 for bits, math.e for nats)", "pass base=2"
    number = real_number(rule, base, remedy)
    if not (math.isfinite(number) and number > 1):
        raise ValueError(f"{rule}, got {base!r}; {remedy}.")
    return 1.0 / math.log(number)

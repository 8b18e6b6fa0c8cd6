"""Sample covariances: random draws by Bartlett's factor, and the exact bias of their log-determinants.

For n Gaussian samples with covariance S, (n-1) Ŝ is Wishart with ν = n-1 degrees of freedom, and in nats

    E log det Ŝ - log det S = Σ_{i=1..d} ψ((ν-i+1)/2) + d log(2/ν)  =: b(d)
    E Î(A;B) - I(A;B)       = ½ [b(d_A) + b(d_B) - b(d_A + d_B)]

    d coordinates, n samples, ν degrees of freedom
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma
from jaxtyping import Array, Float, Int

from pid.gaussian import covariance
from pid.gaussian.information import MI

Key = jax.Array


def log_determinant_bias(
    d: int | Int[Array, "*b"], n: int, *, max_d: int | None = None
) -> Float[Array, "*b"]:
    """Bias b(d) of the log-determinant of a sample covariance, in nats.

    Args:
        d: number of coordinates, or an array of numbers, which may be traced.
        n: number of samples, more than d.
        max_d: the largest value that d may take; needed where d is traced.
    """
    largest = int(np.max(d)) if max_d is None else max_d
    i, nu = jnp.arange(1, largest + 1), n - 1
    terms = digamma((nu - i + 1) / 2) + jnp.log(2 / nu)
    total = jnp.concatenate([jnp.zeros(1), jnp.cumsum(terms)])
    return total[jnp.asarray(d)]


def information_bias(dims: Sequence[int], n: int, *, base: int | float = 2) -> MI:
    """Bias of the plug-in estimates of I(M;X), I(M;Y) and I(M;X,Y) from n Gaussian samples.

    Subtract it from the estimates.

    Args:
        dims: (d_m, d_x, d_y), or a fourth number with them: the rank of both sources together where that is not
            d_x + d_y.
        n: number of samples.
        base: base of the logarithm: 2 gives bits.

    Raises:
        ValueError: n - 1 is smaller than the number of dimensions, for which no bias exists.
    """
    m, x, y, both = (int(d) for d in (*dims, dims[1] + dims[2])[:4])
    if n - 1 < m + both:
        raise ValueError(
            f"the bias of log-determinants needs more samples than dimensions, got n={n} and {m + both} "
            f"dimensions; reduce the variables further or add samples."
        )
    return MI(*(_pair_bias(m, d, n, m + both) * covariance.units_per_nat(base) for d in (x, y, both)))


@partial(jax.jit, static_argnames=("n", "max_d"))
def _pair_bias(
    m: int | Int[Array, "*b"], d: int | Int[Array, "*b"], n: int, max_d: int
) -> Float[Array, "*b"]:
    """½ [b(m) + b(d) - b(m+d)] in nats; m and d may be traced, m + d ≤ `max_d`."""
    b = [log_determinant_bias(size, n, max_d=max_d) for size in (m, d, m + d)]
    return (b[0] + b[1] - b[2]) / 2


def sample(key: Key, cov: Float[Array, "d d"], n: int) -> Float[Array, "n d"]:
    """Draw n samples of N(0, S), S non-singular."""
    factor = jnp.linalg.cholesky(cov)
    return jax.random.normal(key, (n, cov.shape[-1]), cov.dtype) @ factor.T


def sample_bartlett(key: Key, d: int, nu: Any, dtype: Any = float) -> Float[Array, "*b d d"]:
    """Draw the Bartlett factor: lower triangular A with A Aᵀ ~ Wishart(1, ν).

    a_ii² ~ χ²(ν-i+1), i = 1 … d, and the entries below the diagonal are standard normal. Draws one factor for each
    ν of an array `*b`; needs ν ≥ d. [Bartlett, "On the theory of statistical regression", 1933]
    """
    on_diagonal, below = jax.random.split(key)
    nu = jnp.asarray(nu, dtype)
    diagonal = jnp.sqrt(sample_chi_square(on_diagonal, jnp.subtract.outer(nu, jnp.arange(d, dtype=dtype))))
    i, (row, column) = np.arange(d), np.tril_indices(d, -1)
    normals = jax.random.normal(below, (nu.size * row.size,), dtype).reshape(*nu.shape, row.size)
    zeros = jnp.zeros((*nu.shape, d, d), dtype)
    return zeros.at[..., i, i].set(diagonal).at[..., row, column].set(normals, unique_indices=True)


def sample_chi_square(key: Key, freedom: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Draw independent χ²(ν) variates, one for each ν > 0, exactly.

    They are 2 Γ(ν/2), with Γ(a) = Γ(a+1) U^{1/a} and Γ(a+1) = c v, c = a + 2/3, v = (1 + z/√(9c))³, z normal. A
    draw is accepted where v > 0 and log u < z²/2 + c - c v + c log v. All variates are drawn again until each has
    been accepted: one by one, as `jax.random.gamma` does it on CPU, takes ten times as long.
    [Marsaglia & Tsang, "A simple method for generating gamma variables", 2000]

    The numbers are drawn along one axis, because XLA takes far longer to compile random numbers of several axes.
    """
    shape, dtype = freedom.reshape(-1) / 2, freedom.dtype
    c = shape + 2 / 3
    power, key = jax.random.split(key)

    def draw_again(state: tuple[Array, Array, Key]) -> tuple[Array, Array, Key]:
        v, accepted, key = state
        for_z, for_u, key = jax.random.split(key, 3)
        z = jax.random.normal(for_z, shape.shape, dtype)
        u = jax.random.uniform(for_u, shape.shape, dtype)
        proposal = (1 + z / jnp.sqrt(9 * c)) ** 3
        bound = z**2 / 2 + c - c * proposal + c * jnp.log(jnp.where(proposal > 0, proposal, 1))
        accept = (proposal > 0) & (jnp.log(u) < bound)
        return jnp.where(~accepted & accept, proposal, v), accepted | accept, key

    start = (jnp.ones_like(shape), jnp.zeros(shape.shape, bool), key)
    v = jax.lax.while_loop(lambda state: ~jnp.all(state[1]), draw_again, start)[0]
    variates = 2 * c * v * jax.random.uniform(power, shape.shape, dtype) ** (1 / shape)
    return variates.reshape(freedom.shape)


def sample_covariance(key: Key, factor: Float[Array, "d d"], nu: int) -> Float[Array, "d d"]:
    """Draw the covariance of ν + 1 samples of N(0, S) without the samples: Ŝ = L A Aᵀ Lᵀ / ν.

    `factor` is any L with S = L Lᵀ. Needs ν ≥ d.
    """
    return from_bartlett(factor, sample_bartlett(key, factor.shape[-1], nu, factor.dtype), nu)


def from_bartlett(factor: Float[Array, "d d"], a: Float[Array, "d d"], nu: int) -> Float[Array, "d d"]:
    """The sample covariance L A Aᵀ Lᵀ / ν of a Bartlett factor A."""
    mixed = factor @ a
    return mixed @ mixed.T / nu

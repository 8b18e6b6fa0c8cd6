"""Covariances of samples: random ones by Bartlett's factor, and the exact bias of their log-determinants.

For n Gaussian samples with covariance S, (n-1) Ŝ is Wishart with ν = n-1 degrees of freedom, and in nats

    E log det Ŝ - log det S = Σ_{i=1..d} ψ((ν-i+1)/2) + d log(2/ν)  =: b(d)
    E Î(A;B) - I(A;B)       = ½ [b(d_A) + b(d_B) - b(d_A + d_B)]

    d coordinates, n samples, ν degrees of freedom
"""

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


def log_determinant_bias(d: int | Int[Array, "*b"], n: int, *, most: int | None = None) -> Float[Array, "*b"]:
    """b(d) in nats, for n > d samples.

    d: a number, or an array of numbers, traced ones included; `most` is then the largest it may be.
    """
    largest = int(np.max(d)) if most is None else most
    i, nu = jnp.arange(1, largest + 1), n - 1
    terms = digamma((nu - i + 1) / 2) + jnp.log(2 / nu)
    total = jnp.concatenate([jnp.zeros(1), jnp.cumsum(terms)])
    return total[jnp.asarray(d)]


def information_bias(dims, n: int, *, base: int | float = 2) -> MI:
    """The plug-in bias of I(M;X), I(M;Y) and I(M;X,Y) from n samples: subtract it.

    dims: (d_m, d_x, d_y), or with a fourth number, the rank of both sources together where that is not d_x + d_y.

    Raises:
        ValueError: n - 1 is smaller than the dimensions, for which no bias exists.
    """
    m, x, y, both = (int(d) for d in (*dims, dims[1] + dims[2])[:4])
    if n - 1 < m + both:
        raise ValueError(
            f"the bias of log-determinants needs more samples than dimensions, got n={n} and {m + both} "
            f"dimensions; reduce the variables further or add samples."
        )
    return MI(*(shared_bias(m, d, n, m + both) * covariance.units_per_nat(base) for d in (x, y, both)))


@partial(jax.jit, static_argnames=("n", "most"))
def shared_bias(m, d, n: int, most: int) -> Float[Array, "*b"]:
    """½ [b(m) + b(d) - b(m+d)] in nats; m and d may be traced, m + d ≤ `most`."""
    b = [log_determinant_bias(size, n, most=most) for size in (m, d, m + d)]
    return (b[0] + b[1] - b[2]) / 2


def sample(key: Key, cov: Float[Array, "d d"], n: int) -> Float[Array, "n d"]:
    """n samples of N(0, S), S non-singular."""
    factor = jnp.linalg.cholesky(cov)
    return jax.random.normal(key, (n, cov.shape[-1]), cov.dtype) @ factor.T


def sample_bartlett(key: Key, d: int, nu: Any, dtype: Any = float) -> Float[Array, "*b d d"]:
    """Lower triangular A with A Aᵀ ~ Wishart(1, ν): a_ii² ~ χ²(ν-i+1), i = 1 … d, and standard normal below.

    One for each ν of an array `*b`. [Bartlett, "On the theory of statistical regression", 1933] Needs ν ≥ d.
    """
    on, below = jax.random.split(key)
    nu = jnp.asarray(nu, dtype)
    diagonal = jnp.sqrt(chi_square(on, jnp.subtract.outer(nu, jnp.arange(d, dtype=dtype))))
    i, (row, column) = np.arange(d), np.tril_indices(d, -1)
    normals = jax.random.normal(below, (nu.size * row.size,), dtype).reshape(*nu.shape, row.size)
    zeros = jnp.zeros((*nu.shape, d, d), dtype)
    return zeros.at[..., i, i].set(diagonal).at[..., row, column].set(normals, unique_indices=True)


def chi_square(key: Key, freedom: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Independent χ²(ν) variates, one for each ν > 0, exactly.

    2 Γ(ν/2), Γ(a) = Γ(a+1) U^{1/a}, and Γ(a+1) = c v, c = a + 2/3, v = (1 + z/√(9c))³ with z normal, kept where
    v > 0 and log u < z²/2 + c - c v + c log v: all are drawn again until each is kept. One by one, as
    `jax.random.gamma` does it on CPU, takes ten times as long.
    [Marsaglia & Tsang, "A simple method for generating gamma variables", 2000]

    Drawn along one axis: XLA takes far longer to compile random numbers of several.
    """
    shape, dtype = freedom.reshape(-1) / 2, freedom.dtype
    c = shape + 2 / 3
    power, key = jax.random.split(key)

    def again(state):
        v, kept, key = state
        for_z, for_u, key = jax.random.split(key, 3)
        z = jax.random.normal(for_z, shape.shape, dtype)
        u = jax.random.uniform(for_u, shape.shape, dtype)
        new = (1 + z / jnp.sqrt(9 * c)) ** 3
        bound = z**2 / 2 + c - c * new + c * jnp.log(jnp.where(new > 0, new, 1))
        fits = (new > 0) & (jnp.log(u) < bound)
        return jnp.where(~kept & fits, new, v), kept | fits, key

    start = (jnp.ones_like(shape), jnp.zeros(shape.shape, bool), key)
    v = jax.lax.while_loop(lambda state: ~jnp.all(state[1]), again, start)[0]
    drawn = 2 * c * v * jax.random.uniform(power, shape.shape, dtype) ** (1 / shape)
    return drawn.reshape(freedom.shape)


def sample_covariance(key: Key, factor: Float[Array, "d d"], nu: int) -> Float[Array, "d d"]:
    """The covariance Ŝ of ν + 1 samples of N(0, S), without drawing them: L A Aᵀ Lᵀ / ν.

    L: a factor of S = L Lᵀ, any. Needs ν ≥ d.
    """
    return from_bartlett(factor, sample_bartlett(key, factor.shape[-1], nu, factor.dtype), nu)


def from_bartlett(factor: Float[Array, "d d"], a: Float[Array, "d d"], nu: int) -> Float[Array, "d d"]:
    """L A Aᵀ Lᵀ / ν."""
    mixed = factor @ a
    return mixed @ mixed.T / nu

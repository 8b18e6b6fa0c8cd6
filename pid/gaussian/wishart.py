"""Sample covariances: random draws by Bartlett's factor, and the exact bias of their log-determinants.

For n Gaussian samples with covariance S, (n-1) Ŝ is Wishart with ν = n-1 degrees of freedom, and in nats

    E log det Ŝ - log det S = Σ_{i=1..d} ψ((ν-i+1)/2) + d log(2/ν)  =: b(d)
    E Î(A;B) - I(A;B)       = ½ [b(d_A) + b(d_B) - b(d_A + d_B)]

    d coordinates, n samples, ν degrees of freedom
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma
from jaxtyping import Array, Float, Int

from pid.gaussian import covariance
from pid.gaussian.covariance import highest_precision
from pid.gaussian.information import MI
from pid.interface.deprecation import accept_former_keyword

Key = jax.Array


@accept_former_keyword("most", "max_d")
def log_determinant_bias(
    d: int | Int[Array, "*b"], n: int | float, *, max_d: int | None = None
) -> Float[Array, "*b"]:
    """Compute the bias b(d) of the log-determinant of a sample covariance, in nats.

    Args:
        d: number of coordinates, or an array of such numbers, which may be traced.
        n: number of samples, more than d; an effective number need not be an integer.
        max_d: the largest value that d may take; required if d is traced.
    """
    largest = int(np.max(d)) if max_d is None else max_d
    i, nu = jnp.arange(1, largest + 1), n - 1
    terms = digamma((nu - i + 1) / 2) + jnp.log(2 / nu)
    total = jnp.concatenate([jnp.zeros(1), jnp.cumsum(terms)])
    return total[jnp.asarray(d)]


def information_bias(dims: Sequence[int], n: int, *, base: Any = 2) -> MI:
    """Compute the bias of the plug-in estimates of I(M;X), I(M;Y) and I(M;X,Y) from n Gaussian samples.

    Subtract it from the estimates.

    Args:
        dims: (d_m, d_x, d_y), or (d_m, d_x, d_y, r) with r the rank of both sources together, if that is not
            d_x + d_y.
        n: number of samples.
        base: base of the logarithm: 2 gives bits.

    Raises:
        ValueError: n - 1 is smaller than the number of dimensions; the bias does not exist then.
    """
    m, x, y, joint = (int(d) for d in (*dims, dims[1] + dims[2])[:4])
    if n - 1 < m + joint:
        raise ValueError(
            f"the bias of log-determinants needs more samples than dimensions, got n={n} and {m + joint} "
            f"dimensions; reduce the variables further or add samples."
        )
    unit = covariance.units_per_nat(base)
    return MI(*(np.asarray(pair_bias(m, d, n) * unit) for d in (x, y, joint)))


def pair_bias(m: int, d: int, n: int) -> float:
    """Compute ½ [b(m) + b(d) - b(m+d)] in nats on the host: `log_determinant_bias` compiles for every shape."""
    from scipy.special import digamma as host_digamma  # its import takes longer than that of pid

    steps = np.append(0, np.cumsum(host_digamma((n - np.arange(1, m + d + 1)) / 2)))
    return float(steps[m] + steps[d] - steps[m + d]) / 2


@highest_precision
def sample(key: Key, cov: Float[Array, "d d"], n: int) -> Float[Array, "n d"]:
    """Draw n samples of N(0, S), S non-singular."""
    factor = jnp.linalg.cholesky(cov)
    return jax.random.normal(key, (n, cov.shape[-1]), cov.dtype) @ factor.T


def sample_bartlett(key: Key, d: int, nu: Any, dtype: Any = float) -> Float[Array, "*b d d"]:
    """Draw the Bartlett factor: lower triangular A with A Aᵀ ~ Wishart(1, ν).

    a_ii² ~ χ²(ν-i+1), i = 1 … d, and the entries below the diagonal are standard normal. One factor is
    drawn for each ν of an array `*b`, ν ≥ d. [Bartlett, "On the theory of statistical regression", 1933]
    """
    diagonal_key, normal_key = jax.random.split(key)
    nu = jnp.asarray(nu, dtype)
    diagonal = jnp.sqrt(sample_chi_square(diagonal_key, jnp.subtract.outer(nu, jnp.arange(d, dtype=dtype))))
    i, (row, column) = np.arange(d), np.tril_indices(d, -1)
    # Normals of single precision take a third of the time, and are as random: their steps are 1e-7.
    normals = jax.random.normal(normal_key, (nu.size * row.size,), np.float32).astype(dtype)
    normals = normals.reshape(*nu.shape, row.size)
    entries = jnp.concatenate([diagonal, normals], axis=-1)
    places = (
        np.concatenate([i, row]),
        np.concatenate([i, column]),
    )  # one scatter: two take three times as long
    return jnp.zeros((*nu.shape, d, d), dtype).at[..., *places].set(entries, unique_indices=True)


def sample_chi_square(key: Key, freedom: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Draw independent χ²(ν) variates, one for each ν > 0, exactly.

    They are 2 Γ(ν/2) with gamma variates Γ(a) = Γ(a+1) U^{1/a}, Γ(a+1) = c v, c = a + 2/3, v = (1 + z/√(9c))³, z
    normal. A draw is accepted if v > 0 and log u < z²/2 + c - c v + c log v. The loop draws all variates again until
    each has been accepted: a loop for every variate, as in `jax.random.gamma` on CPU, takes ten times as long.
    [Marsaglia & Tsang, "A simple method for generating gamma variables", 2000]

    The numbers are drawn along one axis, because XLA takes far longer to compile random numbers of several axes.
    """
    shape, dtype = freedom.reshape(-1) / 2, freedom.dtype
    c = shape + 2 / 3
    power_key, key = jax.random.split(key)

    def draw_again(state: tuple[Array, Array, Key]) -> tuple[Array, Array, Key]:
        v, accepted, key = state
        z_key, u_key, key = jax.random.split(key, 3)
        z = jax.random.normal(z_key, shape.shape, dtype)
        u = jax.random.uniform(u_key, shape.shape, dtype)
        proposal = (1 + z / jnp.sqrt(9 * c)) ** 3
        bound = z**2 / 2 + c - c * proposal + c * jnp.log(jnp.where(proposal > 0, proposal, 1))
        accept = (proposal > 0) & (jnp.log(u) < bound)
        return jnp.where(~accepted & accept, proposal, v), accepted | accept, key

    init = (jnp.ones_like(shape), jnp.zeros(shape.shape, bool), key)
    v = jax.lax.while_loop(lambda state: ~jnp.all(state[1]), draw_again, init)[0]
    variates = 2 * c * v * jax.random.uniform(power_key, shape.shape, dtype) ** (1 / shape)
    return variates.reshape(freedom.shape)


def sample_covariance(key: Key, factor: Float[Array, "d d"], nu: int) -> Float[Array, "d d"]:
    """Draw the covariance of ν + 1 samples of N(0, S) without the samples: Ŝ = L A Aᵀ Lᵀ / ν.

    `factor` is any L with S = L Lᵀ. Needs ν ≥ d.
    """
    return from_bartlett(factor, sample_bartlett(key, factor.shape[-1], nu, factor.dtype), nu)


@highest_precision
def from_bartlett(factor: Float[Array, "d d"], a: Float[Array, "d d"], nu: int) -> Float[Array, "d d"]:
    """Return the sample covariance L A Aᵀ Lᵀ / ν of a Bartlett factor A."""
    root = factor @ a
    return root @ root.T / nu

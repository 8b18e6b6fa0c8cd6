"""Decompositions on device: of the estimated covariances, of bootstrap draws and of shuffles.

    L layers, n samples, B draws, D coordinates (target, x, y; with two targets: target, target_y, x, y), F fields

A coordinate that a layer does not have is replaced, in every draw, by an independent one of unit variance, which
changes nothing. Draws are computed in chunks and moments in blocks of samples, so that memory grows neither with the
number of draws nor with n D². The CPU takes one layer of one chunk after another, an accelerator as many layers and
chunks at once as `MAX_ENTRIES` allows, since a factorization of 50 small matrices leaves it idle.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pid.estimators.config import Bootstrap
from pid.estimators.covariance_fit import CovarianceFit
from pid.features.resampling import (
    INDEPENDENT,
    Sampling,
    bootstrap_weights,
    null_orders,
    permutations_on_host,
)
from pid.gaussian import covariance, systems, wishart
from pid.gaussian.systems import InformationMeasure
from pid.measures.atoms import PID, stack_fields
from pid.measures.decomposition import make_measure

CHUNK = 64
"""Maximum number of draws in memory at once."""
MAX_ENTRIES = 1 << 22
"""Maximum number of entries of covariances that an accelerator works on at once: 10,000 systems of 20 coordinates."""
MAX_PRODUCTS = 1 << 21
"""Maximum number of products of two coordinates in memory at once: 16 MiB in float64."""


class BootstrapSpec(NamedTuple):
    """Static arguments of the programs in this file. Equal specs have equal hashes and share one compiled program."""

    measure: InformationMeasure
    """Measure that is evaluated for every covariance."""

    two_targets: bool
    """Whether each pair has a target of its own."""

    n: int
    """Number of independent samples with the same bias; n itself if samples are independent."""


def spec_of(fit: CovarianceFit) -> BootstrapSpec:
    """Return the static arguments for these covariances."""
    return BootstrapSpec(
        make_measure(fit.measure, fit.dims, np.float64), fit.two_targets, fit.effective_n or fit.n
    )


def run_in_bits(program: Callable[..., Array], spec: BootstrapSpec, *args: Any) -> np.ndarray:
    """Run a program that returns nats, in float64 where the device has it, and return bits."""
    with systems.x64_context():
        return np.asarray(program(spec, *args)) * covariance.units_per_nat(2)


def plugin(fit: CovarianceFit) -> np.ndarray:
    """Compute the uncorrected fields of a PID in bits, (L, F)."""
    return run_in_bits(plugin_values, spec_of(fit), fit.covs, fit.features.mask)


def draw(fit: CovarianceFit, ci: Bootstrap, key: jax.Array) -> np.ndarray:
    """Compute uncorrected bootstrap draws of the kind of `ci`, in bits, (B, L, F)."""
    return draw_parametric(fit, key, ci.draws) if ci.kind == "parametric" else draw_paired(fit, key, ci.draws)


def draw_parametric(fit: CovarianceFit, key: jax.Array, draws: int) -> np.ndarray:
    """Compute uncorrected draws of the parametric bootstrap in bits, (B, L, F)."""
    return run_in_bits(parametric_values, spec_of(fit), fit.covs, fit.features.mask, key, draws)


def draw_paired(fit: CovarianceFit, key: jax.Array, draws: int) -> np.ndarray:
    """Compute uncorrected draws of the paired bootstrap in bits, (B, L, F)."""
    features = fit.features
    return run_in_bits(
        paired_values,
        spec_of(fit),
        features.values,
        features.mask,
        key,
        draws,
        fit.sampling._replace(min_shift=None),
    )


def draw_shuffled(fit: CovarianceFit, key: jax.Array, draws: int) -> np.ndarray:
    """Compute uncorrected values with the target shuffled against both sources, in bits, (B, L, F)."""
    features, sampling = fit.features, fit.sampling._replace(block=1)
    orders = None
    if jax.default_backend() == "cpu" and sampling.groups is None and sampling.min_shift is None:
        with systems.x64_context():
            keys, count = _chunk_keys(key, draws)
            orders = permutations_on_host(keys, fit.n, count)
    return run_in_bits(
        shuffled_values, spec_of(fit), features.values, fit.covs, features.mask, key, draws, sampling, orders
    )


@partial(jax.jit, static_argnums=0)
def plugin_values(
    spec: BootstrapSpec, covs: Float[Array, "l d d"], masks: Bool[Array, "l d"]
) -> Float[Array, "l k"]:
    """Compute the plug-in values of every layer, in nats."""
    return map_in_batches(lambda layer: _atoms(spec, *layer), (covs, masks), covs[0].size)


@partial(jax.jit, static_argnums=(0, 4))
def parametric_values(
    spec: BootstrapSpec, covs: Float[Array, "l d d"], masks: Bool[Array, "l d"], key: Array, draws: int
) -> Float[Array, "b l k"]:
    """Compute the values of covariances drawn from the Wishart distribution of each layer, in nats.

    The distribution has n - 1 degrees of freedom. All layers share the Bartlett factors.
    """
    factors, nu = map_in_batches(matrix_root, covs, covs[0].size), spec.n - 1

    def chunk(key: Array, count: int) -> Array:
        bartlett = wishart.sample_bartlett(key, covs.shape[-1], np.full(count, nu), covs.dtype)

        def layer(arrays: tuple[Array, Array]) -> Array:
            factor, mask = arrays
            return jax.vmap(lambda a: _atoms(spec, wishart.from_bartlett(factor, a, nu), mask))(bartlett)

        return map_in_batches(layer, (factors, masks), count * covs[0].size)

    return stream_draws(chunk, key, draws, covs.size)


@partial(jax.jit, static_argnums=(0, 4))
def paired_values(
    spec: BootstrapSpec,
    features: Float[Array, "l n d"],
    masks: Bool[Array, "l d"],
    key: Array,
    draws: int,
    sampling: Sampling = INDEPENDENT,
) -> Float[Array, "b l k"]:
    """Compute the values of resampled samples, the same ones for all layers, in nats.

    The weighted moments Σ_i w_i z_i z_iᵀ of a chunk of draws are one matrix product with the products z z', summed
    over blocks of samples.
    """
    n, size = features.shape[1:]
    row, column = np.triu_indices(size)
    centered = features - jnp.mean(features, axis=1, keepdims=True)

    def chunk(key: Array, count: int) -> Array:
        weights = bootstrap_weights(key, n, count, sampling).astype(features.dtype)

        def layer(arrays: tuple[Array, Array]) -> Array:
            z, mask = arrays
            upper, mean = _weighted_products(weights, z), weights @ z / n
            moments = jnp.zeros((count, size, size), z.dtype).at[:, row, column].set(upper)
            moments = moments + jnp.triu(moments, 1).mT
            covs = (moments - n * mean[:, :, None] * mean[:, None, :]) / (n - 1)
            return jax.vmap(lambda cov: _atoms(spec, cov, mask))(covs)

        return map_in_batches(layer, (centered, masks), count * size**2)

    return stream_draws(chunk, key, draws, len(masks) * size**2)


@partial(jax.jit, static_argnums=(0, 5))
def shuffled_values(
    spec: BootstrapSpec,
    features: Float[Array, "l n d"],
    covs: Float[Array, "l d d"],
    masks: Bool[Array, "l d"],
    key: Array,
    draws: int,
    sampling: Sampling = INDEPENDENT,
    chunk_orders: Int[Array | np.ndarray, "c q n"] | None = None,
) -> Float[Array, "b l k"]:
    """Compute values with the target reordered against both sources, by the same orders for all layers, in nats.

    The orders of every chunk of draws are `chunk_orders` if they are there already. Groups of different sizes repeat or
    drop samples of the target, whose covariance is then computed again.
    """
    n = features.shape[1]
    m = spec.measure.dims[0] * (2 if spec.two_targets else 1)
    centered = features - jnp.mean(features, axis=1, keepdims=True)

    def chunk(key_or_orders: Array, count: int) -> Array:
        orders = null_orders(key_or_orders, n, count, sampling) if chunk_orders is None else key_or_orders

        def layer(arrays: tuple[Array, Array, Array]) -> Array:
            z, cov, mask = arrays

            def shuffle(order: Array) -> Array:
                target = z[order, :m]
                cross = target.T @ z[:, m:] / (n - 1)
                shuffled = cov.at[:m, m:].set(cross).at[m:, :m].set(cross.T)
                if sampling.groups is not None:
                    target = target - jnp.mean(target, axis=0, keepdims=True)
                    shuffled = shuffled.at[:m, :m].set(target.T @ target / (n - 1))
                return shuffled

            fits = orders.size * m <= MAX_PRODUCTS
            covs = jax.vmap(shuffle)(orders) if fits else jax.lax.map(shuffle, orders)
            return jax.vmap(lambda cov: _atoms(spec, cov, mask))(covs)

        return map_in_batches(layer, (centered, covs, masks), count * covs[0].size)

    return stream_draws(chunk, key, draws, covs.size, chunks=chunk_orders)


def map_in_batches(f: Callable[[Any], Any], xs: Any, entries: int) -> Any:
    """Apply f along the first axis: one element after another on CPU, many at once on accelerators.

    `entries` is the number of entries of the covariances of one element.
    """
    size = None if jax.default_backend() == "cpu" else max(1, MAX_ENTRIES // entries)
    return jax.lax.map(f, xs, batch_size=size)


def stream_draws(
    chunk: Callable[[Array, int], Float[Array, "l c k"]],
    key: Array,
    draws: int,
    entries: int,
    first: int | None = None,
    chunks: Array | np.ndarray | None = None,
) -> Float[Array, "b l k"]:
    """Compute all draws, or the `first` of them, by the fewest chunks `chunk(key, count)` of equal size.

    `entries` is the number of entries of the covariances of one draw. The draws do not depend on how many chunks run at
    once. `chunks` takes the place of the keys of the chunks, where what is random is there already.
    """
    keys, count = _chunk_keys(key, draws)
    wanted = draws if first is None else min(first, draws)
    inputs = jnp.asarray(keys if chunks is None else chunks)[: -(-wanted // count)]
    values = jnp.moveaxis(map_in_batches(lambda c: chunk(c, count), inputs, count * entries), 2, 1)
    return values.reshape(-1, *values.shape[2:])[:wanted]


def _chunk_keys(key: Array, draws: int) -> tuple[Array, int]:
    """Return the keys of the chunks, and the number of draws in each."""
    chunks = -(-draws // CHUNK)
    return jax.random.split(key, chunks), -(-draws // chunks)


def _weighted_products(weights: Float[Array, "c n"], z: Float[Array, "n d"]) -> Float[Array, "c p"]:
    """Compute Σ_i w_i z_ia z_ib for all a ≤ b, with at most `MAX_PRODUCTS` products in memory at once."""
    (n, size), count = z.shape, len(weights)
    row, column = np.triu_indices(size)
    num_blocks = -(-n * row.size // MAX_PRODUCTS)
    if num_blocks == 1:
        return weights @ (z[:, row] * z[:, column])
    rows = -(-n // num_blocks)
    blocks = jnp.pad(z, ((0, num_blocks * rows - n), (0, 0))).reshape(num_blocks, rows, size)
    padded = jnp.pad(weights, ((0, 0), (0, num_blocks * rows - n)))

    def add_block(total: Array, index: Array) -> tuple[Array, None]:
        block = blocks[index]
        part = jax.lax.dynamic_slice_in_dim(padded, index * rows, rows, axis=1)
        return total + part @ (block[:, row] * block[:, column]), None

    return jax.lax.scan(add_block, jnp.zeros((count, row.size), z.dtype), jnp.arange(num_blocks))[0]


def matrix_root(cov: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Return A with A Aᵀ = S for a covariance that may be singular."""
    values, vectors = jnp.linalg.eigh(cov)
    return vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :]


def replace_missing(cov: Float[Array, "d d"], mask: Bool[Array, " d"]) -> Float[Array, "d d"]:
    """Replace the coordinates that a layer does not have by independent ones of unit variance."""
    return jnp.where(mask[:, None] & mask[None, :], cov, jnp.eye(cov.shape[0], dtype=cov.dtype))


def _atoms(spec: BootstrapSpec, cov: Float[Array, "d d"], mask: Bool[Array, " d"]) -> Float[Array, " k"]:
    cov = replace_missing(cov, mask)
    if not spec.two_targets:
        return systems.evaluate(spec.measure, cov).values
    return _atoms_of_two_targets(spec.measure, cov)


def _atoms_of_two_targets(measure: InformationMeasure, cov: Float[Array, "d d"]) -> Float[Array, " k"]:
    """Compute MMI where each pair has its own target.

    I_x is that of the first target, I_y that of the second, I_xy the larger of the two.
    """
    m, size = measure.dims[0], cov.shape[0]
    first = np.r_[:m, 2 * m : size]
    second = np.r_[m:size]
    a, b = (PID(*systems.evaluate(measure, cov[np.ix_(i, i)]).values) for i in (first, second))
    x, y, joint = a.mi_x, b.mi_y, jnp.maximum(a.mi_joint, b.mi_joint)
    larger = jnp.maximum(x, y)
    return stack_fields((x, y, joint), (jnp.minimum(x, y), larger - y, larger - x, joint - larger))

"""Cross-fitting: every row is transformed by a flow that was trained without it, for all layers in one program.

The latents of a flow are defined up to an invertible linear map per variable, and this map differs from fold to fold.
Latents of several folds, pooled without alignment, would cancel each other's dependence. Each fold is therefore
mapped, variable by variable, onto the same coordinates, the copula scores c of its own training rows:

    z <- (z - E z) A,     A = E[z zᵀ]⁻¹ E[z cᵀ]

If two folds agree up to a linear map, z₂ = z₁ B, then z₂ A₂ = z₁ A₁ exactly, and an invertible A changes neither
information nor decomposition. A is estimated from training rows alone, so it does not depend on the rows of the
fold. It is invertible if the smallest canonical correlation between z and c is above zero; this number is returned.

    L layers, n rows, F folds
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float

from pid.features.gaussianize import rank_gaussian, standardize
from pid.flow.config import FlowConfig, Rows, check_rows
from pid.flow.model import FlowLatents, transform
from pid.flow.training import KINDS, HeldOutScores, select_model, train_with_holdout
from pid.gaussian.covariance import highest_precision

RIDGE = 1e-6  # added to the covariance of the latents in A; their variances are about 1


class CrossFit(NamedTuple):
    """Cross-fitted latents of every row, layer by layer; v runs over the bijections, target first."""

    latents: FlowLatents
    """Rank-Gaussian columns; those of the copula in layers where the flow does not beat it."""

    beats_copula: Bool[Array, " layers"]
    """Whether the flow beats the copula in the layer."""

    held_out: HeldOutScores
    """Scores of each layer over all rows, each row scored by the flow that was trained without it."""

    ks: Float[Array, "layers v"]
    """Largest Kolmogorov-Smirnov distance of a latent column, standardized, from the normal distribution."""

    alignment: Float[Array, "layers v"]
    """Smallest canonical correlation of latents and copula scores over folds."""


class FoldResult(NamedTuple):
    """The held-out rows of one fold, under the flow that was trained on all others."""

    test_scores: Float[Array, "kinds h"]
    """Log-likelihood of each row, nats."""

    latents: Rows
    """Aligned latents (h, d) of the flow, per bijection."""

    alignment: Float[Array, " v"]
    """Smallest canonical correlation of latents and copula scores."""


def cross_fit(
    flow: FlowConfig,
    target: Float[Array, "layers n m"],
    x: Float[Array, "layers n dx"],
    y: Float[Array, "layers n dy"],
    keys: Array,
) -> CrossFit:
    """Transform L problems to Gaussian latents by cross-fitting, with `flow.folds` trainings each.

    Narrower layers are padded on the right with columns of zeros, whose latents are zeros. A flow with couplings
    accepts no padding, because a coupling reads one half of the columns to move the other. There is one compiled
    program per shape and configuration. On CPU every core takes a layer, fold after fold. On an accelerator all
    layers run in parallel.

    Args:
        flow: the configuration, such as a `SeparableFlow`.
        target: samples of the target, layer by layer.
        x: the same samples of x.
        y: the same samples of y.
        keys: one key per layer.

    Raises:
        ValueError: the cases of `SeparableFlow.fit`, and another number of keys than layers.
    """
    check_rows(target, x, y, padded=not flow.couplings)
    if keys.shape[0] != target.shape[0]:
        raise ValueError(
            f"cross_fit needs one key per layer, got {keys.shape[0]} keys for {target.shape[0]} layers; use "
            f"jax.random.split(key, {target.shape[0]})."
        )
    arrays = [jnp.asarray(v, jnp.float32) for v in (target, x, y)]
    if jax.default_backend() != "cpu":
        return _cross_fit_layers(flow, *arrays, keys)
    layers = on_all_cores(
        lambda layer: cross_fit_layer(flow, *(v[layer] for v in (*arrays, keys))), len(keys)
    )
    return jax.tree.map(lambda *v: jnp.stack(v), *layers)


def on_all_cores(f: Callable[[int], Any], count: int) -> list:
    """Return [f(0), f(1), …]. f(0) runs first, because it may compile the program of all; the rest is parallel."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        first = pool.submit(lambda: jax.block_until_ready(f(0))).result()
        return [first, *pool.map(lambda i: jax.block_until_ready(f(i)), range(1, count))]


def _map_folds(f: Callable, arguments: tuple) -> Any:
    """Map over folds: in parallel on accelerators, one by one on CPU, where batched LAPACK graphs can hang."""
    return jax.lax.map(f, arguments) if jax.default_backend() == "cpu" else jax.vmap(f)(arguments)


@partial(jax.jit, static_argnames="flow")
def _cross_fit_layers(flow: FlowConfig, target: Array, x: Array, y: Array, keys: Array) -> CrossFit:
    return jax.vmap(partial(cross_fit_layer, flow))(target, x, y, keys)


@partial(jax.jit, static_argnames="flow")
@highest_precision
def cross_fit_layer(flow: FlowConfig, target: Array, x: Array, y: Array, key: Array) -> CrossFit:
    """Cross-fit one layer: one compiled program per shape and configuration."""
    rows, n = flow.bijection_inputs(target, x, y), target.shape[0]
    shuffle, train_key = jax.random.split(key)
    order = jax.random.permutation(shuffle, n)
    numbers, keys = jnp.arange(flow.folds), jax.random.split(train_key, flow.folds)
    folds = _map_folds(lambda fold: transform_fold(flow, rows, order, *fold), (numbers, keys))
    inverse_order = jnp.argsort(order)  # the folds are consecutive in `order`
    pooled = tuple(z.reshape(-1, z.shape[-1])[:n][inverse_order] for z in folds.latents)
    test_scores = jnp.moveaxis(folds.test_scores, 0, 1).reshape(len(KINDS), -1)[:, :n]
    held_out, beats = select_model(test_scores)
    scores = [jnp.where(beats, rank_gaussian(z), rank_gaussian(v)) for z, v in zip(pooled, rows, strict=True)]
    latents = FlowLatents(*scores)
    ks = jnp.stack([_kolmogorov_distance(z) for z in pooled])
    return CrossFit(latents, beats, held_out, ks, jnp.min(folds.alignment, axis=0))


def transform_fold(flow: FlowConfig, rows: Rows, order: Array, number: Array, key: Array) -> FoldResult:
    """Train on all rows but fold `number` of `order`, and transform that fold; its rows do not affect the map."""
    n = rows[0].shape[0]
    size = -(-n // flow.folds)
    position = (
        number * size + jnp.arange(n)
    ) % n  # the fold's rows come first; the last fold may wrap around
    fold, others = (tuple(v[order[p]] for v in rows) for p in (position[:size], position[size:]))
    training = train_with_holdout(flow, others, fold, key)
    bijections = jax.tree.map(lambda a: a[KINDS.index("flow")], training.models.bijections)
    latents = transform(bijections, tuple(v[order[position]] for v in rows), flow.tail_bound)
    pairs = zip(latents, others, strict=True)
    aligned = [align(z.values[size:], z.values[:size], v) for z, v in pairs]
    return FoldResult(training.test_scores, tuple(z for z, _ in aligned), jnp.stack([c for _, c in aligned]))


def align(
    train_latents: Float[Array, "n d"], fold_latents: Float[Array, "h d"], train_rows: Float[Array, "n d"]
) -> tuple[Float[Array, "h d"], Float[Array, ""]]:
    """Map the latents of a fold by A to the coordinates of the training rows' copula scores.

    Returns:
        The aligned latents, and the smallest canonical correlation of latents and scores.
    """
    mean, n, d = jnp.mean(train_latents, axis=0), train_latents.shape[0], train_latents.shape[1]
    z, c = train_latents - mean[None], rank_gaussian(train_rows)
    padding = jnp.diag(jnp.all(train_rows == 0, axis=0)).astype(z.dtype)  # gives padded columns correlation 1
    factor_z, factor_c = (
        jnp.linalg.cholesky(v.T @ v / n + padding + RIDGE * jnp.eye(d, dtype=v.dtype)) for v in (z, c)
    )
    half = solve_triangular(factor_z, z.T @ c / n + padding, lower=True)
    correlations = jnp.linalg.svd(solve_triangular(factor_c, half.T, lower=True), compute_uv=False)
    map_half = solve_triangular(factor_z.T, half, lower=False)
    return (fold_latents - mean[None]) @ map_half, correlations[-1]


def _kolmogorov_distance(z: Float[Array, "n d"]) -> Float[Array, ""]:
    """Return the largest |F̂ - Φ| over all columns that vary, each standardized."""
    n, scores = z.shape[0], standardize(z)
    normal = ndtr(jnp.sort(scores.values, axis=0))
    steps = jnp.arange(n + 1, dtype=z.dtype)[:, None] / n
    distance = jnp.maximum(jnp.abs(normal - steps[1:]), jnp.abs(normal - steps[:-1]))
    return jnp.max(jnp.where(scores.constant[None], 0, distance))

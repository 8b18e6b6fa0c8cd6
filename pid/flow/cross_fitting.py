"""Cross-fitting: every row's latent from a flow that never saw the row, for all layers in one program.

A flow's latents are defined up to an invertible linear map per variable, and each fold ends up with another one: put
side by side as they are, the folds would cancel each other's dependence. Each fold is therefore mapped, variable by
variable, onto the same coordinates, the copula scores c of its own training rows:

    z <- (z - E z) A,     A = E[z z']⁻¹ E[z c']

If two folds agree up to a linear map, z₂ = z₁ B, then z₂ A₂ = z₁ A₁ exactly, and an invertible A changes neither
information nor decomposition. A is estimated from training rows alone, so nothing leaks. It is invertible as
long as the smallest canonical correlation between z and c is above zero; that number is returned.

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

from pid.flow.model import Rows, image
from pid.flow.separable import FlowLatents, HeldOut, SeparableFlow, check_rows, fit_fold, judge
from pid.flow.training import KINDS
from pid.gaussianize import rank_gaussian, standardize

RIDGE = 1e-6  # of the latents' covariance in A; their variances are about 1


class CrossFit(NamedTuple):
    """Latents of every row, layer by layer, and what they rest on; v runs over the bijections, target first."""

    latents: FlowLatents  # rank-Gaussian columns; of the copula in layers where the flow does not beat it
    beats_copula: Bool[Array, " layers"]
    held_out: HeldOut  # (layers,), over all rows, each scored by the fold that held it out
    ks: Float[
        Array, "layers v"
    ]  # largest Kolmogorov distance of a latent column, standardised, from the normal
    alignment: Float[Array, "layers v"]  # smallest canonical correlation of latents and copula over folds


class Part(NamedTuple):
    """One fold, seen from a training on all the others."""

    log_likelihood: Float[Array, "kinds h"]  # nats
    latents: Rows  # (h, d) per bijection, of the flow, aligned
    alignment: Float[Array, " v"]


def cross_fit(
    flow: SeparableFlow,
    target: Float[Array, "layers n m"],
    x: Float[Array, "layers n dx"],
    y: Float[Array, "layers n dy"],
    keys: Array,
) -> CrossFit:
    """Gaussianise L problems, `flow.folds` trainings each; `keys` has one key per layer.

    Narrower layers are padded on the right with columns of zeros, which get latents of zeros. A flow with couplings
    takes none: they read one half of the columns to move the other.

    One compiled program per shape and configuration. On CPU every core takes a layer, fold after fold; on an
    accelerator all run side by side.

    Raises ValueError as `SeparableFlow.fit` does, and for another number of keys than layers.
    """
    check_rows(target, x, y, padded=not flow.couplings)
    if keys.shape[0] != target.shape[0]:
        raise ValueError(
            f"cross_fit needs one key per layer, got {keys.shape[0]} keys for {target.shape[0]} layers; use "
            f"jax.random.split(key, {target.shape[0]})."
        )
    arrays = [jnp.asarray(v, jnp.float32) for v in (target, x, y)]
    if jax.default_backend() != "cpu":
        return _layers(flow, *arrays, keys)
    one_by_one = on_all_cores(lambda at: _layer(flow, *(v[at] for v in (*arrays, keys))), len(keys))
    return jax.tree.map(lambda *v: jnp.stack(v), *one_by_one)


def on_all_cores(f: Callable[[int], Any], count: int) -> list:
    """[f(0), f(1), …]: the first by itself, for it may compile what the others run, those then a few at once."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        first = pool.submit(lambda: jax.block_until_ready(f(0))).result()
        return [first, *pool.map(lambda at: jax.block_until_ready(f(at)), range(1, count))]


def _over(f: Callable, arguments: tuple) -> Any:
    """Side by side on accelerators; one by one on CPU, where batched LAPACK graphs are known to hang."""
    return jax.lax.map(f, arguments) if jax.default_backend() == "cpu" else jax.vmap(f)(arguments)


@partial(jax.jit, static_argnames="flow")
def _layers(flow: SeparableFlow, target: Array, x: Array, y: Array, keys: Array) -> CrossFit:
    return jax.vmap(partial(_layer, flow))(target, x, y, keys)


@partial(jax.jit, static_argnames="flow")
@jax.default_matmul_precision("highest")
def _layer(flow: SeparableFlow, target: Array, x: Array, y: Array, key: Array) -> CrossFit:
    rows, n = flow.rows(target, x, y), target.shape[0]
    shuffle, train_key = jax.random.split(key)
    order = jax.random.permutation(shuffle, n)
    numbers, keys = jnp.arange(flow.folds), jax.random.split(train_key, flow.folds)
    parts = _over(lambda one: held_part(flow, rows, order, *one), (numbers, keys))
    back = jnp.argsort(order)  # the parts lie one after the other in this order
    pooled = tuple(z.reshape(-1, z.shape[-1])[:n][back] for z in parts.latents)
    held_out, beats = judge(jnp.moveaxis(parts.log_likelihood, 0, 1).reshape(len(KINDS), -1)[:, :n])
    scores = [jnp.where(beats, rank_gaussian(z), rank_gaussian(v)) for z, v in zip(pooled, rows, strict=True)]
    latents = FlowLatents(*scores)
    ks = jnp.stack([_kolmogorov(z) for z in pooled])
    return CrossFit(latents, beats, held_out, ks, jnp.min(parts.alignment, axis=0))


def held_part(flow: SeparableFlow, rows: Rows, order: Array, number: Array, key: Array) -> Part:
    """Train on all rows but fold `number` of `order`, and map that fold; what it holds cannot matter for the map."""
    n = rows[0].shape[0]
    size = -(-n // flow.folds)
    place = (number * size + jnp.arange(n)) % n  # the fold first, then all others; the last may wrap around
    held, kept = (tuple(v[order[p]] for v in rows) for p in (place[:size], place[size:]))
    fold = fit_fold(flow, kept, held, key)
    bijections = jax.tree.map(lambda a: a[KINDS.index("flow")], fold.models.bijections)
    latents = image(bijections, tuple(v[order[place]] for v in rows), flow.reach)
    aligned = [align(z.values[size:], z.values[:size], v) for z, v in zip(latents, kept, strict=True)]
    return Part(fold.judged, tuple(z for z, _ in aligned), jnp.stack([c for _, c in aligned]))


def align(
    kept: Float[Array, "n d"], held: Float[Array, "h d"], rows: Float[Array, "n d"]
) -> tuple[Float[Array, "h d"], Float[Array, ""]]:
    """`held` in the coordinates of the copula scores of `rows`, and the smallest canonical correlation."""
    mean, n, d = jnp.mean(kept, axis=0), kept.shape[0], kept.shape[1]
    z, c = kept - mean[None], rank_gaussian(rows)
    padding = jnp.diag(jnp.all(rows == 0, axis=0)).astype(z.dtype)  # known to itself
    factor_z, factor_c = (
        jnp.linalg.cholesky(v.T @ v / n + padding + RIDGE * jnp.eye(d, dtype=v.dtype)) for v in (z, c)
    )
    half = solve_triangular(factor_z, z.T @ c / n + padding, lower=True)
    correlations = jnp.linalg.svd(solve_triangular(factor_c, half.T, lower=True), compute_uv=False)
    return (held - mean[None]) @ solve_triangular(factor_z.T, half, lower=False), correlations[-1]


def _kolmogorov(z: Float[Array, "n d"]) -> Float[Array, ""]:
    """max |F̂ - Φ| over all columns that vary, each standardised."""
    n, scores = z.shape[0], standardize(z)
    normal = ndtr(jnp.sort(scores.values, axis=0))
    steps = jnp.arange(n + 1, dtype=z.dtype)[:, None] / n
    distance = jnp.maximum(jnp.abs(normal - steps[1:]), jnp.abs(normal - steps[:-1]))
    return jnp.max(jnp.where(scores.constant[None], 0, distance))

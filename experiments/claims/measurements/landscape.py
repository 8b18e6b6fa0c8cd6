"""Claim: a "better optimization landscape".

The measurements are the top Hessian eigenvalue and slices of the loss around the weights. A slice moves the weights
along a random direction that is filter-normalized: every row of a matrix has the norm of the weights' row, and biases
and LayerNorm do not move. [Li, Xu, Taylor, Studer & Goldstein, "Visualizing the Loss Landscape of Neural Nets", 2018]
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from experiments.claims.config import Landscape, Training
from experiments.claims.trained import classifiers
from experiments.claims.trained.hessian import Extremes, extremes, lanczos
from experiments.claims.trained.network import Alpha
from experiments.claims.trained.short_training import Trained
from experiments.run.report.claim_lines import Line, count, opinion, ratio, spread


@dataclass(frozen=True)
class LandscapeResult:
    """Curvature and slices of the loss.

    First axis: variants, the plain one first; then seeds. Last axis of eigenvalues and losses: at the start, after
    training.
    """

    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    largest: Float[np.ndarray, "variant seed 2"]
    """Largest eigenvalue of the Hessian of the loss in nats."""
    smallest: Float[np.ndarray, "variant seed 2"]
    residual: Float[np.ndarray, "variant seed 2"]
    """Relative residual of the largest eigenvalue."""
    loss: Float[np.ndarray, "variant seed 2"]
    """Loss on the fixed batch, nats."""
    offsets: Float[np.ndarray, " point"]
    """Offsets of the points of a slice, in units of a filter's norm."""
    slices: Float[np.ndarray, "variant seed direction point"]
    """Loss around the trained weights, nats."""
    plane: Float[np.ndarray, "variant point point"]
    """Loss around the trained weights over two directions, first seed."""

    @property
    def rise(self) -> Float[np.ndarray, "variant seed"]:
        """Mean rise of the loss half-way to the end of the slices, nats."""
        distance = np.abs(np.abs(self.offsets) - self.offsets[-1] / 2)
        is_half_way = distance <= distance.min() + 1e-9
        return (self.slices[..., is_half_way] - self.loss[..., 1][..., None, None]).mean(axis=(-2, -1))


def direction(key: Key[Array, ""], weights: Any) -> Any:
    """Return a random filter-normalized direction."""
    flat, unravel = ravel_pytree(weights)
    noise = unravel(jax.random.normal(key, flat.shape, flat.dtype))

    def normalize(path: Any, d: Array, w: Array) -> Array:
        name = jax.tree_util.keystr(path)
        if "bias" in name or "norm" in name:
            return jnp.zeros_like(d)
        return d * jnp.linalg.norm(w, axis=-1, keepdims=True) / jnp.linalg.norm(d, axis=-1, keepdims=True)

    return jax.tree_util.tree_map_with_path(normalize, noise, weights)


def along(
    f: Callable[[Any], Array], at: Any, directions: tuple[Any, ...], offsets: Float[Array, "point k"]
) -> Float[Array, " point"]:
    """Return f(at + Σ_k offsets[:, k] · directions[k])."""

    def value(offset: Array) -> Array:
        return f(
            jax.tree.map(
                lambda w, *ds: w + sum(s * d for s, d in zip(offset, ds, strict=True)), at, *directions
            )
        )

    return jax.lax.map(value, offsets)


class _LossSurface:
    """The loss around weights on a fixed batch, which a key determines; compiled once for all weights."""

    def __init__(self, training: Training, size: Landscape) -> None:
        self.offsets, self._count = np.linspace(-size.radius, size.radius, size.points), size.directions

        def loss(alpha: Alpha, key: Array) -> Callable[[Any], Array]:
            rows = classifiers.draw(training, size.rows, key)
            return lambda w: classifiers.loss(w, rows, alpha, training)[0]

        self._lanczos = jax.jit(lambda w, alpha, key: lanczos(loss(alpha, key), w, key, size.iterations))
        self._along = jax.jit(
            lambda w, alpha, key, directions, offsets: along(loss(alpha, key), w, directions, offsets)
        )
        self._directions = jax.jit(
            lambda w, key: [direction(k, w) for k in jax.random.split(key, max(2, size.directions))]
        )

    def eigenvalues(self, w: Any, alpha: Alpha, key: Array) -> Extremes:
        return extremes(self._lanczos(w, alpha, key))

    def slices(self, w: Any, alpha: Alpha, key: Array) -> list[Float[np.ndarray, " point"]]:
        directions = self._directions(w, key)[: self._count]
        return [self._row(w, alpha, key, (d, d), self.offsets, 0 * self.offsets) for d in directions]

    def plane(self, w: Any, alpha: Alpha, key: Array) -> list[Float[np.ndarray, " point"]]:
        directions = tuple(self._directions(w, key)[:2])
        return [self._row(w, alpha, key, directions, self.offsets, y) for y in self.offsets]

    def loss(self, w: Any, alpha: Alpha, key: Array) -> float:
        """Return the loss at the weights themselves, as a slice of extent 0, to reuse the compiled program."""
        return float(self._row(w, alpha, key, (w, w), 0 * self.offsets, 0.0)[0])

    def _row(
        self, w: Any, alpha: Alpha, key: Array, directions: tuple[Any, Any], x: Any, y: Any
    ) -> np.ndarray:
        offsets = np.stack(np.broadcast_arrays(x, y), 1).astype(np.float32)
        return np.asarray(self._along(w, alpha, key, directions, offsets))


def measure(training: Training, size: Landscape, seeds: tuple[int, ...]) -> LandscapeResult:
    """Train every variant with every seed, and measure around its weights."""
    trained, variants = classifiers.trained(training, seeds), classifiers.variants(training)
    surface = _LossSurface(training, size)

    def for_each(function: Callable[[Trained, Alpha, Array], Any]) -> np.ndarray:
        return np.array(
            [
                [function(trained[name, seed], alpha, jax.random.key(20_000 + seed)) for seed in seeds]
                for name, alpha in variants.items()
            ]
        )

    eigenvalues = for_each(lambda run, *args: [surface.eigenvalues(w, *args) for w in (run.first, run.last)])
    largest, smallest, residual = np.moveaxis(eigenvalues, -1, 0)
    key = jax.random.key(20_000 + seeds[0])
    return LandscapeResult(
        tuple(variants),
        seeds,
        largest,
        smallest,
        residual,
        for_each(lambda run, *args: [surface.loss(w, *args) for w in (run.first, run.last)]),
        surface.offsets,
        for_each(lambda run, *args: surface.slices(run.last, *args)),
        np.array(
            [surface.plane(trained[name, seeds[0]].last, alpha, key) for name, alpha in variants.items()]
        ),
    )


def verdict(result: LandscapeResult) -> list[Line]:
    """Judge the claim by the measured numbers."""
    plain, lines = result.largest[0], []
    for i, name in enumerate(result.variants):
        if not i:
            continue
        start, end = (result.largest[i] / plain).T
        rise = result.rise[i] / result.rise[0]
        lines.append(
            Line(
                f"the {name} makes the landscape smoother",
                f"top Hessian eigenvalue {ratio(start)} at the start, {ratio(end)} after training "
                f"({spread(result.largest[i, :, 1])}, plain {spread(plain[:, 1])}), at loss "
                f"{spread(result.loss[i, :, 1])}, plain {spread(result.loss[0, :, 1])}; rise of the loss along slices "
                f"{ratio(rise)}",
                f"{opinion(end)}: eigenvalue after training {count(end)}, at the start {count(start)}, "
                f"rise {count(rise)}",
            )
        )
    return lines

"""Claim: the PDE "stabilizes gradient flow".

The measurements are gradient norms with and without the PDE. At the start: the norm of the gradient of every encoder
layer, and of all weights. In training: the global norm of every step, and its unsteadiness, which is the standard
deviation of ln(norm) after the warm-up. Variants share initial weights and batches, so ratios are paired by seed.
"""

from dataclasses import dataclass

import jax
import numpy as np
import optax
from jaxtyping import Float

from experiments.claims.config import Training
from experiments.claims.trained import classifiers
from experiments.run.report.claim_lines import Line, count, opinion, ratio, spread

ROWS = 256  # rows of the batch for the gradients at the start


@dataclass(frozen=True)
class GradientsResult:
    """Gradient norms. First axis: variants, the plain one first; second axis: seeds."""

    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    layers: Float[np.ndarray, "variant seed layer"]
    """Norm of the gradient of an encoder layer at the start."""
    start: Float[np.ndarray, "variant seed"]
    """Global norm at the start."""
    norms: Float[np.ndarray, "variant seed step"]
    """Global norm of every training step."""
    losses: Float[np.ndarray, "variant seed step"]

    def ratio(self, values: Float[np.ndarray, "variant seed"]) -> dict[str, Float[np.ndarray, " seed"]]:
        """Return the ratio of every PDE variant to the plain network, by seed."""
        return {name: values[i] / values[0] for i, name in enumerate(self.variants) if i}

    @property
    def evenness(self) -> Float[np.ndarray, "variant seed"]:
        """Gradient norm of the first layer divided by that of the last, at the start."""
        return self.layers[..., 0] / self.layers[..., -1]

    @property
    def typical(self) -> Float[np.ndarray, "variant seed"]:
        """Geometric mean of the global norm over the training."""
        return np.exp(np.mean(np.log(self.norms), axis=-1))

    @property
    def unsteadiness(self) -> Float[np.ndarray, "variant seed"]:
        """Standard deviation of ln(norm) over the steps after the warm-up."""
        return np.std(np.log(self.norms[..., self.norms.shape[-1] // 10 :]), axis=-1)


def measure(size: Training, seeds: tuple[int, ...]) -> GradientsResult:
    """Train every variant with every seed, and take the gradients at the start."""
    trained, variants = classifiers.trained(size, seeds), classifiers.variants(size)

    @jax.jit
    def gradient(weights, alpha, key):
        rows = classifiers.draw(size, ROWS, key)
        return jax.grad(lambda w: classifiers.loss(w, rows, alpha, size)[0])(weights)

    gradients = [
        [gradient(trained[name, s].first, alpha, jax.random.key(10_000 + s)) for s in seeds]
        for name, alpha in variants.items()
    ]
    return GradientsResult(
        tuple(variants),
        seeds,
        np.array([[_per_layer(g.layers) for g in row] for row in gradients]),
        np.array([[float(optax.tree.norm(g)) for g in row] for row in gradients]),
        np.array([[trained[name, s].norms for s in seeds] for name in variants]),
        np.array([[trained[name, s].losses for s in seeds] for name in variants]),
    )


def _per_layer(stacked: dict[str, jax.Array]) -> Float[np.ndarray, " layer"]:
    squares = [
        np.square(np.asarray(x)).reshape(len(x), -1).sum(1, dtype=np.float64) for x in stacked.values()
    ]
    return np.sqrt(np.sum(squares, axis=0))


def verdict(result: GradientsResult) -> list[Line]:
    """Judge the claim by the measured numbers."""
    measures = (
        ("global norm at the start", result.start),
        ("mean norm in training", result.typical),
        ("unsteadiness", result.unsteadiness),
    )
    evenness = dict(zip(result.variants, result.evenness, strict=True))
    lines = []
    for name in result.variants[1:]:
        ratios = {quantity: result.ratio(values)[name] for quantity, values in measures}
        lines.append(
            Line(
                f"gradients are steadier with the {name}",
                "; ".join(f"{quantity} {ratio(r)}" for quantity, r in ratios.items())
                + f"; first/last layer {spread(evenness[name])}, plain {spread(evenness[result.variants[0]])}",
                f"{opinion(ratios['unsteadiness'])}: unsteadiness {count(ratios['unsteadiness'])}, norm "
                f"{count(ratios['mean norm in training'])}",
            )
        )
    return lines

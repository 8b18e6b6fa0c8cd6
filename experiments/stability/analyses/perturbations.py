"""Analysis 5, sensitivity: how a perturbation of the first state grows from layer to layer.

Three measures of the same networks: a random tangent vector, carried along by forward differentiation; a difference of
finite size ε ‖u_0‖ in the same direction; and the spectral norm of the Jacobian ‖∂u_L/∂u_0‖, the largest growth of any
small perturbation. A random direction grows by the root mean square of the singular values, so far less than the norm.

    L layers, S seeds, Z sizes
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.run.report.claim_lines import Line, by_sign, power_of_ten
from experiments.run.report.paired import mean_difference
from experiments.stability.analyses.corners import (
    NORMS,
    RESIDUALS,
    STAGES,
    Corner,
    Networks,
    coefficients_of,
    over_corners,
)
from experiments.stability.config import Analyses
from experiments.stability.networks.sequence_classifier import embed
from pdeformer import diagnostics, simulator
from pdeformer.simulator import SimulatorConfig

ROWS = 2
"""Test rows that are perturbed together."""
ITERATIONS = 20
"""Power iterations for the norm of the Jacobian."""


@dataclass(frozen=True)
class Perturbations:
    """Growth of perturbations. Axes: norm, stage (random weights, trained), residual, seed, then as stated."""

    sizes: tuple[float, ...]
    """Sizes ε of the finite perturbations, relative to the first state."""
    tangent: Float[np.ndarray, "2 2 2 s l"]
    """log10 of the growth of a random tangent vector up to each layer."""
    finite: Float[np.ndarray, "2 2 2 s z l"]
    """log10 of the growth of a finite perturbation in the same direction up to each layer; NaN where not finite."""
    jacobian: Float[np.ndarray, "2 2 2 s"]
    """log10 of ‖∂u_L/∂u_0‖₂."""
    jacobian_change: Float[np.ndarray, "2 2 2 s"]
    """Relative change of that norm in the last power iteration; below 0.01 it has converged."""

    def at(
        self, name: str, *, norm: str = "pre", stage: int = 1, residual: float = 1.0
    ) -> Float[np.ndarray, "s ..."]:
        """Return a measure of one corner, by seed."""
        return getattr(self, name)[NORMS.index(norm), stage, RESIDUALS.index(residual)]


class Growth(NamedTuple):
    """The measures of one network."""

    tangent: Float[Array, " l"]
    finite: Float[Array, "z l"]
    jacobian: Float[Array, ""]
    jacobian_change: Float[Array, ""]


def measure(networks: Networks) -> Perturbations:
    """Measure the first and the last snapshot of every network."""
    size = networks.size
    shape = (ROWS, size.tokens, size.width)
    directions = np.stack(
        [np.random.default_rng((seed, 4)).standard_normal(shape) for seed in networks.seeds]
    )
    directions = (directions / np.sqrt(np.sum(directions**2, axis=(1, 2, 3), keepdims=True))).astype(
        np.float32
    )
    growth = over_corners(
        _measure_corner, networks, (0, -1), networks.ids[:, :ROWS], directions, optimize=False
    )
    return Perturbations(networks.size.perturbations, *map(np.asarray, growth))


def _measure_corner(
    corner: Corner, ids: Array, direction: Array, *, config: SimulatorConfig, size: Analyses
) -> Growth:
    """Run the rows, and beside them as further rows of the batch the disturbed ones; rows do not read each other."""
    u = embed(corner.parameters, ids)
    lengths = jnp.asarray(size.perturbations) * jnp.linalg.norm(u)
    copies = 1 + len(size.perturbations)
    factors = jnp.concatenate([jnp.zeros(1), lengths])[:, None, None, None]

    def states(u: Array, tangent: Array | None = None) -> simulator.Simulation:
        weights, coefficients = corner.parameters.layers, coefficients_of(corner.residual)
        return simulator.simulate(
            u, weights, config, coefficients, record=simulator.record_state, tangent=tangent
        )

    tangent = jnp.concatenate([direction, jnp.zeros((len(lengths) * ROWS, *u.shape[1:]))])
    run = states((u[None] + factors * direction[None]).reshape(-1, *u.shape[1:]), tangent)
    by_copy = run.records.reshape(config.layers, copies, -1)
    apart = jnp.linalg.norm(by_copy[:, 1:] - by_copy[:, :1], axis=-1).T
    norm = diagnostics.jacobian_norm(
        lambda u: states(u).u, u, key=jax.random.key(corner.seed), iterations=ITERATIONS
    )
    return Growth(
        jnp.cumsum(jnp.asarray(run.growth)) / jnp.log(10.0),
        jnp.log10(apart / lengths[:, None]),
        jnp.log10(norm.norm),
        norm.change,
    )


def verdict(result: Perturbations) -> list[Line]:
    """Judge the growth in the four corners, finite sizes, and the norm of the Jacobian."""
    growth = [_growth(result, stage, residual) for stage in range(len(STAGES)) for residual in RESIDUALS]
    return [*growth, _finite(result), _jacobian(result)]


def _growth(result: Perturbations, stage: int, residual: float) -> Line:
    values = [result.at("tangent", norm=norm, stage=stage, residual=residual)[:, -1] for norm in NORMS]
    difference = mean_difference(values[1] - values[0])
    norms = [result.at("jacobian", norm=norm, stage=stage, residual=residual) for norm in NORMS]
    return Line(
        f"LayerNorm lets perturbations grow less ({STAGES[stage]}, residual {'on' if residual else 'off'})",
        f"growth of a random perturbation over all layers: without norm {power_of_ten(10 ** values[0])}, pre-LN "
        f"{power_of_ten(10 ** values[1])}, log10 of their ratio {difference.format(digits=2)}; norm of the Jacobian "
        f"{power_of_ten(10 ** norms[0])} and {power_of_ten(10 ** norms[1])}",
        by_sign(difference, "the opposite here", "supported here")
        if np.isfinite(difference.value)
        else "not finite",
    )


def _finite(result: Perturbations) -> Line:
    tangent, finite = result.at("tangent")[:, -1], result.at("finite")[:, :, -1]
    differences = [mean_difference(values - tangent) for values in finite.T]
    parts = [
        f"ε = {size:g}: {difference.format(digits=3)}"
        for size, difference in zip(result.sizes, differences, strict=True)
    ]
    return Line(
        "a finite perturbation grows as the tangent does (trained, pre-LN, residual on)",
        f"log10 of finite over tangent growth, {'; '.join(parts)}",
        "; ".join(_of_size(size, d.value) for size, d in zip(result.sizes, differences, strict=True)),
    )


def _of_size(size: float, difference: float) -> str:
    return f"{'yes' if abs(difference) < 0.05 else 'no, it is not small'} at {size:g}"


def _jacobian(result: Perturbations) -> Line:
    excess = mean_difference(result.at("jacobian") - result.at("tangent")[:, -1])
    change = float(np.nanmax(result.at("jacobian_change")))
    return Line(
        "‖∂u_L/∂u_0‖ is far above the growth of a random perturbation (trained, pre-LN, residual on)",
        f"log10 of their ratio {excess.format(digits=2)}; last change of the power iteration {change:.1g}",
        by_sign(excess, "supported here", "the opposite here"),
    )

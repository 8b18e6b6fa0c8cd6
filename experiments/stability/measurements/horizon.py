"""Is an instability numerical or intrinsic? The same time in more and finer steps, and by better integrators.

A network with the residual connection is du/dt = F(u) in explicit Euler steps of dt = 1. An effect that a finer dt or a
better integrator removes is numerical; one that stays is a property of the equation. All forces are added (parallel
splitting), since sequential splitting is first order by itself. Settings share weights and inputs.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.run.report.claim_lines import Line, interval
from experiments.run.report.paired import mean_difference
from experiments.stability.config import Horizon, Network
from experiments.stability.measurements.initialization import EXPLODED
from experiments.stability.measurements.random_networks import (
    Measured,
    draw_networks,
    first_state,
    initial_norm,
    make_config,
    simulate_settings,
)
from pdeformer import diagnostics
from pdeformer.simulator import Coefficients, Observation, SimulatorConfig

NORMS = ("none", "pre")
EXACT = "Euler with exact diffusion"


@dataclass(frozen=True)
class HorizonResult:
    """Numbers at the horizon. Axes: norm, scheme, gain, diffusivity, seed."""

    schemes: tuple[str, ...]
    """Names of integrator and number of steps per layer."""
    steps: tuple[int, ...]
    """Steps per layer of every scheme."""
    layers: int
    gains: tuple[float, ...]
    diffusivities: tuple[float, ...]
    seeds: tuple[int, ...]
    initial_roughness: Float[np.ndarray, " seed"]
    """Roughness of the first state."""
    log10_growth: Float[np.ndarray, "norm scheme gain diffusivity seed"]
    """log10 of the growth of the norm over the horizon; inf where the state is not finite."""
    exponent: Float[np.ndarray, "norm scheme gain diffusivity seed"]
    """Lyapunov exponent per layer; NaN where the state is not finite."""
    roughness: Float[np.ndarray, "norm scheme gain diffusivity seed"]
    """Roughness of the last state; NaN where it is not finite."""

    def at(
        self, name: str, scheme: str, *, norm: str, gain: int, diffusivity: int = 0
    ) -> Float[np.ndarray, " seed"]:
        """Return a quantity of one scheme by seed; gain and diffusivity are indices."""
        return getattr(self, name)[NORMS.index(norm), self.schemes.index(scheme), gain, diffusivity]


class LastState(NamedTuple):
    """What is recorded of a layer."""

    norm: Float[Array, ""]
    """Root mean square of the entries."""
    roughness: Float[Array, ""]
    """Dirichlet energy over the squared norm."""


def measure_last(observation: Observation) -> LastState:
    """Return norm and roughness of one state; NaN or infinite where it is not finite."""
    u = observation.u
    return LastState(jnp.sqrt(jnp.mean(jnp.square(u))), jnp.mean(diagnostics.roughness(u)))


def schemes_of(size: Horizon) -> dict[str, dict[str, Any]]:
    """Return the switches of every scheme: Euler at all step sizes, Runge-Kutta at the finest one."""
    finest = size.substeps[-1]
    chosen: dict[str, dict[str, Any]] = {
        f"Euler, {n} per layer": {"integrator": "euler", "substeps": n} for n in size.substeps
    }
    chosen[f"RK4, {finest} per layer"] = {"integrator": "rk4", "substeps": finest}
    return chosen | {EXACT: {"integrator": "euler", "substeps": 1, "diffusion": "exact"}}


def measure(size: Horizon, network: Network, seeds: tuple[int, ...]) -> HorizonResult:
    """Simulate all networks: one program for each norm and scheme."""
    networks = draw_networks(network, make_config(network, size.layers), size.gains, seeds)
    diffusivity = np.asarray(size.diffusivities)
    ones = np.ones_like(diffusivity)
    schemes = schemes_of(size)
    configs = [
        make_config(network, size.layers, norm=norm, splitting="parallel", **switches)
        for norm in NORMS
        for switches in schemes.values()
    ]

    def simulate(config: SimulatorConfig) -> Measured:
        settings = Coefficients(ones, ones, ones, diffusivity, 0 * ones, ones / config.substeps)
        return simulate_settings(networks, settings, network, config, record=measure_last, compilation=0)

    runs = [simulate(config) for config in configs]

    def stack(values: list[np.ndarray]) -> np.ndarray:
        shape = (len(NORMS), len(schemes), len(size.gains), len(seeds), len(diffusivity))
        return np.moveaxis(np.stack(values).reshape(shape), 3, 4)

    norms = stack([run.statistics.norm[..., -1] for run in runs])
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.log10(norms / initial_norm(network, seeds))
    return HorizonResult(
        tuple(schemes),
        tuple(switches["substeps"] for switches in schemes.values()),
        size.layers,
        size.gains,
        size.diffusivities,
        seeds,
        np.array([np.mean(diagnostics.roughness(first_state(network, seed))) for seed in seeds]),
        np.where(np.isnan(growth), np.inf, growth),
        stack([run.growth.mean(-1) for run in runs]),
        stack([run.statistics.roughness[..., -1] for run in runs]),
    )


def verdict(result: HorizonResult) -> list[Line]:
    """Judge by the coarsest Euler scheme and the finest Runge-Kutta scheme."""
    coarse, fine = result.schemes[0], f"RK4, {max(result.steps)} per layer"
    lines = [_growth(result, coarse, fine, norm) for norm in NORMS] + [_exponent(result, coarse, fine)]
    if result.diffusivities[-1] > 0.5:
        lines.append(_stencil(result, coarse, fine))
    return lines


def _growth(result: HorizonResult, coarse: str, fine: str, norm: str) -> Line:
    at = partial(result.at, "log10_growth", norm=norm, gain=len(result.gains) - 1)
    before, after = at(coarse), at(fine)
    threshold = np.log10(EXPLODED)
    if np.all(before > threshold):
        word = "intrinsic" if np.all(after > threshold) else "numerical: finer steps cure it"
    else:
        word = "no explosion" if np.all(after <= threshold) else "the equation explodes, coarse steps hide it"
    return Line(
        f"the growth at gain {result.gains[-1]:.3g} over {result.layers} layers is numerical (norm {norm})",
        f"log10 of the growth: {coarse} {interval(before)}; {fine} {interval(after)}",
        word,
    )


def _exponent(result: HorizonResult, coarse: str, fine: str) -> Line:
    pairs = [result.at("exponent", scheme, norm="pre", gain=0) for scheme in (coarse, fine)]
    difference = mean_difference(pairs[1] - pairs[0])
    return Line(
        "the standard network at gain 1 is chaotic only because of its steps",
        f"Lyapunov exponent per layer: {coarse} {interval(pairs[0])}; {fine} {interval(pairs[1])}; difference "
        f"{difference.format(digits=3)}",
        _exponent_word(*(mean_difference(pair).sign for pair in pairs)),
    )


def _exponent_word(coarse: int, fine: int) -> str:
    """Return the verdict from the signs of two exponents."""
    if coarse > 0:
        return "no: the equation itself lets perturbations grow" if fine > 0 else "yes: finer steps cure it"
    return "perturbations do not grow beyond chance"


def _stencil(result: HorizonResult, coarse: str, fine: str) -> Line:
    at = partial(result.at, "roughness", norm="none", gain=0, diffusivity=len(result.diffusivities) - 1)
    before, after, cured = at(coarse), at(fine), at(EXACT)
    rough = np.nan_to_num(before, nan=2.0)
    numerical = np.all(rough > result.initial_roughness) and np.all(after < result.initial_roughness)
    return Line(
        f"diffusion beyond its bound (D dt = {result.diffusivities[-1]:g} > 1/2) amplifies",
        f"roughness, at first {interval(result.initial_roughness)}: {coarse} {interval(before)}; {fine} "
        f"{interval(after)}; exact diffusion {interval(cured)}",
        "numerical: finer or exact steps cure it" if numerical else "did not happen",
    )

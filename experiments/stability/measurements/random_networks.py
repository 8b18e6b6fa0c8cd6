"""Programs over a grid of random networks, and the numbers of their layers.

    G points of a grid, L layers
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments.stability.config import Network
from pdeformer import simulator
from pdeformer.simulator import Coefficients, SimulatorConfig, StateStatistics

NORMS = ("none", "pre", "post")


class Points(NamedTuple):
    """Settings and seeds; arrays of one point, or of G points."""

    seed: Int[Array | np.ndarray, "*g"]
    gain: Float[Array | np.ndarray, "*g"]
    coefficients: Coefficients


class Measured(NamedTuple):
    """Numbers of one simulation, or of G."""

    statistics: StateStatistics
    """Statistics after every layer."""
    growth: Any
    """Natural logarithm of the growth of a random perturbation in every layer."""
    first_nonfinite: Any
    """First time step, counted from 1, after which the state is not finite; -1 if none."""


def make_config(network: Network, layers: int, **switches) -> SimulatorConfig:
    """Return the configuration of a random network."""
    return SimulatorConfig(
        layers=layers, width=network.width, heads=network.heads, ffn=network.ffn, **switches
    )


def first_state(network: Network, seed: Any) -> Float[Array, "b t d"]:
    """Draw independent tokens from N(0, 1)."""
    key = jax.random.fold_in(jax.random.key(seed), 1)
    return jax.random.normal(key, (network.rows, network.tokens, network.width))


def trajectory(
    seed: Array, gain: Array, *, network: Network, config: SimulatorConfig
) -> Float[Array, "l b t d"]:
    """Return the states of the standard network of one point after each layer."""
    weights = simulator.init_weights(config, jax.random.key(seed), gain=gain)
    u = first_state(network, seed)
    return simulator.simulate(u, weights, config, observe=simulator.record_state).records


def simulate_point(
    points: Points, reference: Array | None = None, *, network: Network, config: SimulatorConfig
) -> Measured:
    """Simulate one point, and measure every layer and the growth of a random perturbation."""
    weights = simulator.init_weights(config, jax.random.key(points.seed), gain=points.gain)
    u = first_state(network, points.seed)
    tangent = jax.random.normal(jax.random.fold_in(jax.random.key(points.seed), 2), u.shape)
    run = simulator.simulate(
        *(u, weights, config, points.coefficients),
        observe=simulator.measure_state,
        reference=reference,
        tangent=tangent,
    )
    return Measured(run.records, jnp.asarray(run.growth), run.first_nonfinite)


def initial_norm(network: Network, seeds: tuple[int, ...]) -> Float[np.ndarray, " seed"]:
    """Return the root mean square of the first state of every seed."""
    states = jax.vmap(partial(first_state, network))(jnp.asarray(seeds))
    return np.sqrt(np.mean(np.square(np.asarray(states, np.float64)), axis=(1, 2, 3)))


def combinations(*axes: tuple[float, ...] | tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Return every combination of the axes, flattened in the order of a nested loop."""
    return tuple(grid.ravel() for grid in np.meshgrid(*map(np.asarray, axes), indexing="ij"))

"""Programs over a grid of random networks, and the numbers of their layers.

G points of a grid, L layers
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments.stability.config import Network
from experiments.stability.networks.fast_compilation import fast_compilation
from experiments.stability.networks.sequence_classifier import attend_at_once
from pdeformer import simulator
from pdeformer.simulator import Coefficients, Observation, SimulatorConfig, SimulatorWeights

NORMS = ("none", "pre", "post")


class Networks(NamedTuple):
    """Random networks of G pairs of gain and seed; what they share is computed once."""

    seed: Int[np.ndarray, " g"]
    gain: Float[np.ndarray, " g"]
    weights: SimulatorWeights
    """Weights with a leading axis of networks."""


class Measured(NamedTuple):
    """Numbers of one simulation, or of G."""

    statistics: Any
    """What was recorded after every layer."""
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


def draw_networks(
    network: Network, config: SimulatorConfig, gains: tuple[float, ...], seeds: tuple[int, ...]
) -> Networks:
    """Draw the weights of every pair of gain and seed."""
    gain, seed = combinations(gains, seeds)
    gain, seed = gain.astype(np.float32), seed.astype(np.int32)
    return Networks(seed, gain, _run_grid(partial(_draw, config), seed, gain, level=0))


def _draw(config: SimulatorConfig, seed: Array, gain: Array) -> SimulatorWeights:
    return attend_at_once(simulator.init_weights(config, jax.random.key(seed), gain=gain))


def trajectories(networks: Networks, network: Network, config: SimulatorConfig) -> Float[Array, "g l b t d"]:
    """Return the states of every network after each layer."""
    run = partial(_trajectory, network=network, config=config)
    return _run_grid(run, networks.seed, networks.weights)


def _trajectory(
    seed: Array, weights: SimulatorWeights, *, network: Network, config: SimulatorConfig
) -> Array:
    u = first_state(network, seed)
    return simulator.simulate(u, weights, config, record=simulator.record_state).records


def simulate_settings(
    networks: Networks,
    settings: Coefficients,
    network: Network,
    config: SimulatorConfig,
    reference: Array | None = None,
    record: Callable[[Observation], Any] = simulator.measure_state,
    compilation: Literal[0, 1] = 1,
) -> Measured:
    """Simulate every network with every setting; the results have the axes network, setting, and perhaps layer.

    Args:
        networks: G networks.
        settings: coefficients of K settings.
        network: their sizes.
        config: the switches of the program.
        reference: states of every network with which the others are compared.
        record: what is recorded of every layer.
        compilation: level of `fast_compilation`.
    """
    count = len(networks.seed)
    repeated = Coefficients(*(np.broadcast_to(x, (count, np.size(x))).astype(np.float32) for x in settings))
    run = partial(_simulate, network=network, config=config, record=record)
    arrays = networks.seed, networks.weights, repeated, reference
    return jax.device_get(_run_grid(run, *arrays, level=compilation))


def _simulate(
    seed: Array,
    weights: SimulatorWeights,
    settings: Coefficients,
    reference: Array | None,
    *,
    network: Network,
    config: SimulatorConfig,
    record: Callable[[Observation], Any],
) -> Measured:
    """Simulate one network with all settings, which share weights, first state and perturbation."""
    u = first_state(network, seed)
    tangent = jax.random.normal(jax.random.fold_in(jax.random.key(seed), 2), u.shape)

    def simulate(coefficients: Coefficients) -> Measured:
        run = simulator.simulate(
            *(u, weights, config, coefficients), record=record, reference=reference, tangent=tangent
        )
        return Measured(run.records, jnp.asarray(run.growth), run.first_nonfinite)

    return jax.vmap(simulate)(settings)


def _run_grid(run: Callable[..., Any], *points: Any, level: Literal[0, 1] = 1) -> Any:
    return simulator.run_grid(run, *points, compiler_options=fast_compilation(level))


def initial_norm(network: Network, seeds: tuple[int, ...]) -> Float[np.ndarray, " seed"]:
    """Return the root mean square of the first state of every seed."""
    states = jax.vmap(partial(first_state, network))(jnp.asarray(seeds))
    return np.sqrt(np.mean(np.square(np.asarray(states, np.float64)), axis=(1, 2, 3)))


def combinations(*axes: tuple[float, ...] | tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Return every combination of the axes, flattened in the order of a nested loop."""
    return tuple(grid.ravel() for grid in np.meshgrid(*map(np.asarray, axes), indexing="ij"))

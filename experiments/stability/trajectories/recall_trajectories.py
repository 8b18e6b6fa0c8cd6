"""The states of small Transformers, one per seed, trained to recall the first token of a row of random tokens.

S seeds, P = L+1 states, B rows, T tokens, D channels
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from experiments.stability.config import Fit
from experiments.stability.networks.fast_compilation import fast_compilation
from experiments.stability.networks.sequence_classifier import Parameters, classify, embed, init
from experiments.stability.trajectories.vmapped_training import Schedule, train_points
from pdeformer import simulator
from pdeformer.simulator import Coefficients, SimulatorConfig

TRAIN, FIT, TEST = range(3)
"""Streams of random rows."""


class RecallTrajectories(NamedTuple):
    """States of the networks of all seeds, before the first layer and after each."""

    fit: Float[np.ndarray, "s p b t d"]
    """States on the rows that are fitted."""
    test: Float[np.ndarray, "s p b2 t d"]
    """States on rows held out of the fit."""
    next_states: Float[np.ndarray, "s l b2 t d"]
    """What each layer of the network makes of the state before it on the held-out rows."""
    accuracy: Float[np.ndarray, " s"]
    """Accuracy of the networks on the held-out rows."""


def network_config(size: Fit) -> SimulatorConfig:
    """Return the configuration of the networks, standard pre-LN Transformers."""
    return SimulatorConfig(layers=size.layers, width=size.width, heads=size.heads, ffn=size.ffn)


def draw_rows(size: Fit, rows: int, key: Key[Array, ""]) -> Int[Array, "b t"]:
    """Draw rows of random tokens."""
    return jax.random.randint(key, (rows, size.tokens), 0, size.vocabulary)


def row_key(seed: int | Array, stream: int) -> Key[Array, ""]:
    """Return the key of the rows of a seed for training, fit or test."""
    return jax.random.fold_in(jax.random.key(seed), stream)


def record_trajectories(size: Fit, seeds: tuple[int, ...]) -> RecallTrajectories:
    """Train the networks of all seeds, and record their states."""
    config = network_config(size)
    seed = jnp.asarray(seeds, jnp.int32)

    def loss(parameters: Parameters, data: None, key: Key[Array, ""]) -> tuple[Array, Array]:
        del data
        ids = draw_rows(size, size.train_batch, key)
        logits = classify(parameters, ids, config, Coefficients())
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 0])
        return jnp.mean(nats), jnp.mean(jnp.argmax(logits, -1) == ids[:, 0])

    def draw_weights(seed: Array) -> Parameters:
        return init(config, size.vocabulary, size.vocabulary, jax.random.key(seed))

    draw = jax.jit(jax.vmap(draw_weights), compiler_options=fast_compilation(0))
    parameters, _ = train_points(
        *(loss, draw(seed), None, jax.vmap(partial(row_key, stream=TRAIN))(seed)),
        Schedule(size.train_steps, size.train_learning_rate, len(seeds) * size.train_batch * size.tokens),
        title=f"{len(seeds)} Transformers",
        metric="accuracy",
    )
    records = simulator.run_grid(
        partial(_record, size=size, config=config), parameters, seed, compiler_options=fast_compilation(0)
    )
    return RecallTrajectories(*map(np.asarray, records))


def _record(
    parameters: Parameters, seed: Array, *, size: Fit, config: SimulatorConfig
) -> tuple[Array, Array, Array, Array]:
    """Return states on both sets of rows, the next states by the layers alone, and the accuracy of one network."""

    def states(ids: Array) -> Float[Array, "p b t d"]:
        first = embed(parameters, ids)
        run = simulator.simulate(first, parameters.layers, config, record=simulator.record_state)
        return jnp.concatenate([first[None], run.records])

    one_layer = SimulatorConfig(layers=1, shared=True, width=size.width, heads=size.heads, ffn=size.ffn)

    def run_layer(_: None, inputs: tuple[Array, Array]) -> tuple[None, Array]:
        index, before = inputs
        return None, simulator.simulate(before, parameters.layers.layer(index), one_layer).u

    fit_ids = draw_rows(size, size.rows, row_key(seed, FIT))
    test_ids = draw_rows(size, size.test_rows, row_key(seed, TEST))
    test = states(test_ids)
    _, next_states = jax.lax.scan(run_layer, None, (jnp.arange(size.layers), test[:-1]))
    logits = classify(parameters, test_ids, config, Coefficients())
    return states(fit_ids), test, next_states, jnp.mean(jnp.argmax(logits, -1) == test_ids[:, 0])

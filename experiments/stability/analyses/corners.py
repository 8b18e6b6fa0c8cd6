"""Four small classifiers, residual connection × LayerNorm, trained on one task with snapshots on the way.

Recall: the class of a row of random tokens is its first token. All corners share initial weights and batches.

    P snapshots, S seeds, L layers, n test rows, D channels
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from experiments.run.progress import Clock, TrainingProgress
from experiments.stability.config import Analyses
from experiments.stability.networks.fast_compilation import fast_compilation
from experiments.stability.networks.sequence_classifier import Parameters, classify, embed, init
from pdeformer import simulator
from pdeformer.simulator import Coefficients, Observation, SimulatorConfig

NORMS = ("none", "pre")
RESIDUALS = (1.0, 0.0)
STAGES = ("random weights", "trained")
ATTENTION_ROWS = 16
"""Test rows whose attention is recorded."""


class Corner(NamedTuple):
    """One network, or G of them on a leading axis."""

    parameters: Parameters
    residual: Float[Array | np.ndarray, "*g"]
    seed: Int[Array | np.ndarray, "*g"]


class Rows(NamedTuple):
    """Rows of tokens and their labels."""

    ids: Int[Array | np.ndarray, "*s b t"]
    labels: Int[Array | np.ndarray, "*s b"]


class Reading(NamedTuple):
    """What is recorded of a layer."""

    u: Float[Array, "b t d"]
    """State after the layer."""
    weights: Float[Array, "b n t t"]
    """Attention weights of the first rows."""


class NetworkStates(NamedTuple):
    """States of a network on the test rows, and how well it classifies them."""

    pooled: Float[Array, "l n d"]
    """Mean token before the first layer and after each."""
    token: Float[Array, "l n d"]
    """State of one random token of each row, before the first layer and after each."""
    attention: Float[Array, "l b n t t"]
    """Attention weights of the first rows."""
    accuracy: Float[Array, ""]
    loss: Float[Array, ""]


@dataclass(frozen=True)
class Networks:
    """The trained networks. The leading axes of most arrays are norm, snapshot, residual and seed."""

    size: Analyses
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    """Training steps of the snapshots; the first is 0."""
    parameters: Parameters
    """Weights of all snapshots."""
    gradients: Float[np.ndarray, "2 2 2 s l"]
    """Norm of the gradient by layer at the first and at the last update; axes norm, stage, residual, seed, layer."""
    ids: Int[np.ndarray, "s n t"]
    """Test rows of every seed."""
    places: Int[np.ndarray, "s n"]
    """One random place of every test row, not the first."""
    states: Any = None
    """`NetworkStates` on the test rows, as NumPy arrays; None until they are recorded."""

    @property
    def token_ids(self) -> Int[np.ndarray, "s n"]:
        """Id of the token at the random place of each row."""
        return np.take_along_axis(self.ids, self.places[..., None], axis=-1)[..., 0]

    @property
    def labels(self) -> Int[np.ndarray, "s n"]:
        """Class of each test row: its first token."""
        return self.ids[..., 0]


def config_of(size: Analyses, norm: str) -> SimulatorConfig:
    """Return the switches of a network."""
    return SimulatorConfig(layers=size.layers, width=size.width, heads=size.heads, ffn=size.ffn, norm=norm)


def draw_ids(size: Analyses, seed: int, purpose: int, *shape: int) -> Int[np.ndarray, "... t"]:
    """Draw rows of uniform tokens on the host, since random numbers take most of the time to compile a program."""
    rng = np.random.default_rng((seed, purpose))
    return rng.integers(0, size.vocabulary, (*shape, size.tokens)).astype(np.int32)


def coefficients_of(residual: Any) -> Coefficients:
    """Return the coefficients of a corner."""
    return Coefficients(residual=residual)


def loss_of(
    parameters: Parameters, ids: Int[Array, "b t"], residual: Any, config: SimulatorConfig
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return mean cross-entropy in nats, and accuracy."""
    logits, labels = classify(parameters, ids, config, coefficients_of(residual)), ids[:, 0]
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(nats), jnp.mean(jnp.argmax(logits, -1) == labels)


def snapshot_steps(size: Analyses) -> tuple[int, ...]:
    """Return step 0 and steps that grow geometrically up to the last one, without repetition."""
    later = np.geomspace(1, size.steps, max(size.snapshots - 1, 1)).round().astype(int)
    return tuple(dict.fromkeys((0, *(int(step) for step in later), size.steps)))


def train_corners(size: Analyses, seeds: tuple[int, ...]) -> Networks:
    """Train the four corners of every seed, and record all snapshots on the test rows: two programs for each norm."""
    steps = snapshot_steps(size)
    batches = np.stack([draw_ids(size, seed, 1, size.steps, size.batch) for seed in seeds])
    trainings = [_train(size, seeds, norm, steps, batches) for norm in NORMS]
    parameters = jax.tree.map(lambda *leaves: np.stack(leaves), *(training[0] for training in trainings))
    gradients = np.stack([training[1][[0, -1]] for training in trainings])
    ids = np.stack([draw_ids(size, seed, 2, size.rows) for seed in seeds])
    places = np.stack(
        [np.random.default_rng((seed, 3)).integers(1, size.tokens, size.rows) for seed in seeds]
    )
    networks = Networks(size, seeds, steps, parameters, gradients, ids, places)
    states: Any = over_corners(_read_states, networks, range(len(steps)), ids, places.astype(np.int32))
    return replace(networks, states=jax.tree.map(np.asarray, states))


def over_corners(
    run: Callable[..., Any], networks: Networks, snapshots: Any, *by_seed: np.ndarray, optimize: bool = True
) -> Any:
    """Evaluate `run(corner, *by_seed, config=..., size=...)` at every corner: one program for each norm.

    Args:
        run: a pure function of one `Corner`, and of what the seed has.
        networks: the trained networks.
        snapshots: indices of snapshots.
        by_seed: arrays with a leading axis of seeds.
        optimize: False for a program that takes far longer to compile than to run; a CPU then compiles it in a third of
            the time.

    Returns:
        The results as NumPy arrays, whose leading axes are norm, snapshot, residual and seed.
    """
    snapshots = list(snapshots)
    shape = (len(snapshots), len(RESIDUALS), len(networks.seeds))
    axes: tuple[Any, ...] = (
        np.asarray(RESIDUALS, np.float32)[:, None],
        np.asarray(networks.seeds, np.int32),
        np.arange(len(networks.seeds)),
    )
    residual, seed, number = (np.broadcast_to(values, shape).reshape(-1) for values in axes)
    arguments = [values[number] for values in by_seed]
    options = fast_compilation(1 if optimize else 0)
    results: list[Any] = []
    for index, norm in enumerate(NORMS):

        def flatten(x: np.ndarray, index: int = index) -> np.ndarray:
            return x[index, snapshots].reshape(-1, *x.shape[4:])

        corners = Corner(jax.tree.map(flatten, networks.parameters), residual, seed)
        point = partial(run, config=config_of(networks.size, norm), size=networks.size)
        values = jax.device_get(jax.jit(jax.vmap(point), compiler_options=options)(corners, *arguments))
        results.append(jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), values))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *results)


class _State(NamedTuple):
    """What one update passes to the next."""

    weights: Float[Array, " w"]
    optimizer: Any
    gradients: Float[Array, " l"]
    metrics: Float[Array, "2"]


def _train(
    size: Analyses, seeds: tuple[int, ...], norm: str, steps: tuple[int, ...], batches: np.ndarray
) -> tuple[Parameters, np.ndarray]:
    """Train both residual switches with every seed.

    Returns:
        The weights of all snapshots, and the norms of the gradient by layer at the update before each of them. Leading
        axes: snapshot (without the first for the gradients), residual, seed.
    """
    config, count = config_of(size, norm), len(seeds)
    warmup = optax.linear_schedule(0.0, size.learning_rate, max(1, size.steps // 10))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(warmup))
    first = [init(config, size.vocabulary, size.vocabulary, jax.random.key(seed)) for seed in seeds]
    unravel = ravel_pytree(first[0])[1]
    weights = jnp.tile(jnp.stack([ravel_pytree(parameters)[0] for parameters in first]), (len(RESIDUALS), 1))
    residual = jnp.repeat(jnp.asarray(RESIDUALS), count)
    ids = jnp.tile(jnp.asarray(batches), (len(RESIDUALS), 1, 1, 1))

    def advance(state: _State, residual: Array, ids: Array, first: Array, last: Array) -> _State:
        def update(step: Array, state: _State) -> _State:
            def loss(weights: Array) -> tuple[Array, Array]:
                return loss_of(unravel(weights), ids[step], residual, config)

            metrics, gradient = jax.value_and_grad(loss, has_aux=True)(state.weights)
            updates: Any
            updates, optimizer_state = optimizer.update(gradient, state.optimizer)
            norms = norms_by_layer(unravel(gradient).layers)
            return _State(state.weights + updates, optimizer_state, norms, jnp.stack(metrics))

        return jax.lax.fori_loop(first, last, update, state)

    run = jax.jit(jax.vmap(advance, in_axes=(0, 0, 0, None, None)), compiler_options=fast_compilation())
    layers = jnp.zeros((len(weights), size.layers))
    state: Any = _State(weights, jax.vmap(optimizer.init)(weights), layers, jnp.zeros((len(weights), 2)))
    snapshots, gradients, clock = [np.asarray(weights)], [], Clock()
    compiled = run.lower(state, residual, ids, jnp.int32(0), jnp.int32(0)).compile()
    with TrainingProgress(
        f"networks with norm {norm}", size.steps, 0, size.batch * size.tokens * len(weights)
    ) as progress:
        clock.start()
        for start, stop in zip(steps[:-1], steps[1:], strict=True):
            state = jax.block_until_ready(compiled(state, residual, ids, jnp.int32(start), jnp.int32(stop)))
            snapshots.append(np.asarray(state.weights))
            gradients.append(np.asarray(state.gradients).reshape(len(RESIDUALS), count, -1))
            loss, accuracy = np.mean(state.metrics, axis=0)
            progress.step(stop, float(loss), float(accuracy), clock.read())
    parameters = jax.device_get(jax.vmap(unravel)(jnp.asarray(np.concatenate(snapshots))))
    shape = (len(steps), len(RESIDUALS), count)
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), parameters), np.stack(gradients)


def norms_by_layer(gradient: Any) -> Float[Array, " l"]:
    """Return the norm of every layer of a pytree whose arrays have a leading layer axis, without overflow."""
    flat = jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(gradient)], axis=1)
    size = jnp.max(jnp.abs(flat), axis=1, keepdims=True)
    size = jnp.where(size > 0, size, 1)
    return size[:, 0] * jnp.linalg.norm(flat / size, axis=1)


def read_layer(observation: Observation) -> Reading:
    """Return the state after a layer, and the softmax weights of the layer on the first rows."""
    query, key, _ = observation.project(observation.before[:ATTENTION_ROWS])
    scores = jnp.einsum("btnh,bsnh->bnts", query, key, precision="highest") * query.shape[-1] ** -0.5
    return Reading(observation.u, jax.nn.softmax(scores, axis=-1))


def _read_states(
    corner: Corner,
    ids: Int[Array, "n t"],
    places: Int[Array, " n"],
    *,
    config: SimulatorConfig,
    size: Analyses,
) -> NetworkStates:
    """Return states, attention and accuracy of one network on its test rows."""
    del size
    u, coefficients = embed(corner.parameters, ids), coefficients_of(corner.residual)
    run = simulator.simulate(u, corner.parameters.layers, config, coefficients, record=read_layer)
    states = jnp.concatenate([u[None], run.records.u])
    token = states[:, jnp.arange(len(ids)), places]
    loss, accuracy = loss_of(corner.parameters, ids, corner.residual, config)
    return NetworkStates(jnp.mean(states, axis=2), token, run.records.weights, accuracy, loss)

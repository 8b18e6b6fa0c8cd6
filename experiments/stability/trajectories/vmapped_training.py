"""One short training of many points at the same time: Adam with a cosine schedule, vmapped over the points.

`loss(weights, data, key) -> (loss, metric)` draws its batch with the key of the step. A loss that is not finite is a
result: its point goes on, and the others do not notice.

    G points
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from experiments.run.progress import Clock, TrainingProgress
from experiments.stability.networks.fast_compilation import fast_compilation

Loss = Callable[[Any, Any, Any], tuple[Array, Array]]
MAX_CHUNK = 25  # largest number of steps between two lines of progress


class Schedule(NamedTuple):
    """How long and how fast to train."""

    steps: int
    learning_rate: float
    tokens: int
    """Tokens of one step over all points, for the progress."""


class TrainedPoints(NamedTuple):
    """Weights of all points, and their losses."""

    weights: Any
    losses: Float[np.ndarray, "g chunk"]
    """Mean loss of each chunk of steps."""


def train_points(
    loss: Loss,
    weights: Any,
    data: Any,
    keys: Key[Array, " g"],
    schedule: Schedule,
    *,
    title: str,
    metric: str,
) -> TrainedPoints:
    """Train every point, as one program.

    Args:
        loss: loss and metric of one point.
        weights: initial weights; every array has a leading axis of points.
        data: constants of every point, with a leading axis of points too.
        keys: random keys of the points. The batch of a step depends on key and step only.
        schedule: steps and learning rate.
        title: title of the progress.
        metric: name of the metric in the progress.
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(schedule.learning_rate, schedule.steps, alpha=0.02))
    chunk = max(n for n in range(1, MAX_CHUNK + 1) if schedule.steps % n == 0)

    def run_point(
        state: Any, data: Any, key: Key[Array, ""], steps: Array
    ) -> tuple[Any, tuple[Array, Array]]:
        def update(state: Any, step: Array) -> tuple[Any, tuple[Array, Array]]:
            weights, optimizer_state = state
            gradient = jax.value_and_grad(loss, has_aux=True)
            values, grads = gradient(weights, data, jax.random.fold_in(key, step))
            updates, optimizer_state = optimizer.update(grads, optimizer_state, weights)
            return (optax.apply_updates(weights, updates), optimizer_state), values

        return jax.lax.scan(update, state, steps)

    state, clock, losses = (weights, jax.vmap(optimizer.init)(weights)), Clock(), []
    run_chunk = jax.jit(jax.vmap(run_point, in_axes=(0, 0, 0, None)), compiler_options=fast_compilation())
    with TrainingProgress(title, schedule.steps, 0, schedule.tokens, metric=metric) as progress:
        start = time.perf_counter()
        compiled = run_chunk.lower(state, data, keys, jnp.arange(chunk)).compile()
        progress.say(f"compiled in {time.perf_counter() - start:.1f} s")
        clock.start()
        for first in range(0, schedule.steps, chunk):
            state, values = compiled(state, data, keys, jnp.arange(first, first + chunk))
            chunk_losses, metrics = map(np.asarray, values)
            losses.append(chunk_losses.mean(axis=1))
            progress.step(
                first + chunk, float(chunk_losses[:, -1].mean()), float(metrics[:, -1].mean()), clock.read()
            )
    return TrainedPoints(state[0], np.stack(losses, axis=1))

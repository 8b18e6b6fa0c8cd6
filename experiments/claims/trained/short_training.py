"""One short training, compiled in chunks of steps, with a progress bar.

`loss(weights, data, key) -> (nats, accuracy)` draws its batch with the key of the step. So a step depends only on
state, data and key, and variants that share a seed use the same batches.
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
from pdeformer import train

Loss = Callable[[Any, Any, Any], tuple[Array, Array]]
MAX_CHUNK = 25  # largest number of steps between two lines of progress


class Trained(NamedTuple):
    """Weights before and after, and losses and gradient norms of the steps."""

    first: Any
    last: Any
    losses: Float[np.ndarray, " steps"]
    """Loss of the batch before its update, nats."""
    norms: Float[np.ndarray, " steps"]
    """Global gradient norm before clipping."""


class Fit:
    """`fit(weights, data, seed, title)` -> `Trained`: AdamW for `steps` steps, compiled once for data of one shape."""

    def __init__(self, loss: Loss, optimizer: train.Optimizer, steps: int, tokens_per_step: int) -> None:
        """Store loss, optimizer and sizes. The first call compiles."""
        self._steps, self._tokens, self._loss = steps, tokens_per_step, loss
        self._chunk_size = max(n for n in range(1, MAX_CHUNK + 1) if steps % n == 0)
        self._optimizer = train.make_optimizer(optimizer, steps)
        self._compiled: Any = None

    def __call__(self, weights: Any, data: Any, seed: int, title: str) -> Trained:
        """Train. Raises FloatingPointError if the loss is not finite."""
        key = jax.random.fold_in(jax.random.key(seed), 1)
        state, clock, metrics = (weights, self._optimizer.init(weights)), Clock(), []
        with TrainingProgress(f"{title}, seed {seed}", self._steps, 0, self._tokens) as progress:
            run_chunk = self._compile(progress, state, data, key)
            clock.start()
            for first in range(0, self._steps, self._chunk_size):
                last = first + self._chunk_size
                state, chunk_metrics = run_chunk(state, data, key, jnp.arange(first, last))
                metrics.append(jax.device_get(chunk_metrics))
                loss, accuracy, _ = (float(x[-1]) for x in metrics[-1])
                if not np.isfinite(loss):
                    raise FloatingPointError(
                        f"the loss must be finite, got {loss} ({title}, seed {seed}, by step {last}); "
                        f"lower the learning rate."
                    )
                progress.step(last, loss, accuracy, clock.read())
        losses, _, norms = (np.concatenate(x) for x in zip(*metrics, strict=True))
        return Trained(weights, state[0], losses, norms)

    def _compile(self, progress: TrainingProgress, *arguments: Any) -> Any:
        """Return the compiled chunk of steps."""
        if self._compiled is None:
            start = time.perf_counter()
            steps = jnp.arange(self._chunk_size)
            self._compiled = jax.jit(self._run_chunk).lower(*arguments, steps).compile()
            progress.say(f"compiled in {time.perf_counter() - start:.1f} s")
        return self._compiled

    def _run_chunk(self, state: Any, data: Any, key: Key[Array, ""], steps: Array) -> tuple[Any, Any]:
        def update(state: Any, step: Array) -> tuple[Any, Any]:
            weights, optimizer_state = state
            gradient = jax.value_and_grad(self._loss, has_aux=True)
            (loss, accuracy), grads = gradient(weights, data, jax.random.fold_in(key, step))
            updates, optimizer_state = self._optimizer.update(grads, optimizer_state, weights)
            metrics = (loss, accuracy, optax.tree.norm(grads))
            return (optax.apply_updates(weights, updates), optimizer_state), metrics

        return jax.lax.scan(update, state, steps)

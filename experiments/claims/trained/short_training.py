"""One short training as a compiled stretch of steps, with a progress bar.

`loss(weights, data, key) -> (nats, accuracy)` draws its batch with the key of the step. So a step is a function of
state, data and key alone, and variants that share a seed see the same batches.
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
STRETCH = 25  # largest number of steps between two lines of progress


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
        """Take loss, optimizer and sizes; nothing is compiled yet."""
        self._steps, self._tokens, self._loss = steps, tokens_per_step, loss
        self._length = max(n for n in range(1, STRETCH + 1) if steps % n == 0)
        self._optimizer = train.make_optimizer(optimizer, steps)
        self._compiled: Any = None

    def __call__(self, weights: Any, data: Any, seed: int, title: str) -> Trained:
        """Train. Raises FloatingPointError if the loss is not finite."""
        key = jax.random.fold_in(jax.random.key(seed), 1)
        state, clock, measured = (weights, self._optimizer.init(weights)), Clock(), []
        with TrainingProgress(f"{title}, seed {seed}", self._steps, 0, self._tokens) as progress:
            stretch = self._ready(progress, state, data, key)
            clock.start()
            for first in range(0, self._steps, self._length):
                last = first + self._length
                state, metrics = stretch(state, data, key, jnp.arange(first, last))
                measured.append(jax.device_get(metrics))
                loss, accuracy, _ = (float(x[-1]) for x in measured[-1])
                if not np.isfinite(loss):
                    raise FloatingPointError(
                        f"the loss must be finite, got {loss} ({title}, seed {seed}, by step {last}); "
                        f"lower the learning rate."
                    )
                progress.step(last, loss, accuracy, clock.read())
        losses, _, norms = (np.concatenate(x) for x in zip(*measured, strict=True))
        return Trained(weights, state[0], losses, norms)

    def _ready(self, progress: TrainingProgress, *arguments: Any) -> Any:
        """Return the compiled stretch."""
        if self._compiled is None:
            start = time.perf_counter()
            steps = jnp.arange(self._length)
            self._compiled = jax.jit(self._several).lower(*arguments, steps).compile()
            progress.say(f"compiled in {time.perf_counter() - start:.1f} s")
        return self._compiled

    def _several(self, state: Any, data: Any, key: Key[Array, ""], steps: Array) -> tuple[Any, Any]:
        def one(state: Any, step: Array) -> tuple[Any, Any]:
            weights, inner = state
            gradient = jax.value_and_grad(self._loss, has_aux=True)
            (loss, accuracy), grads = gradient(weights, data, jax.random.fold_in(key, step))
            updates, inner = self._optimizer.update(grads, inner, weights)
            metrics = (loss, accuracy, optax.tree.norm(grads))
            return (optax.apply_updates(weights, updates), inner), metrics

        return jax.lax.scan(one, state, steps)

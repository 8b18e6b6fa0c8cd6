"""One short training: a compiled stretch of steps, shown as it goes.

`loss(weights, data, key) -> (nats, accuracy)` draws its batch with the key of the step, so a step is a function of
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

from experiments.run.progress import Clock, Display
from pdeformer import train

Loss = Callable[[Any, Any, Any], tuple[Array, Array]]
STRETCH = 25  # most steps between two looks


class Trained(NamedTuple):
    """Weights before and after, and what the steps measured."""

    first: Any
    last: Any
    losses: Float[np.ndarray, " steps"]
    """Nats, of the batch before its update."""
    norms: Float[np.ndarray, " steps"]
    """Global gradient norm before clipping."""


class Fit:
    """`fit(weights, data, seed, title)` -> `Trained`: AdamW for `steps` steps, compiled once for data of one shape."""

    def __init__(self, loss: Loss, optimizer: train.Optimizer, steps: int, tokens_per_step: int) -> None:
        self._steps, self._tokens, self._loss = steps, tokens_per_step, loss
        self._length = max(n for n in range(1, STRETCH + 1) if steps % n == 0)
        self._optimizer = train.make_optimizer(optimizer, steps)
        self._compiled: Any = None

    def __call__(self, weights: Any, data: Any, seed: int, title: str) -> Trained:
        """Raises FloatingPointError if the loss is not finite."""
        key = jax.random.fold_in(jax.random.key(seed), 1)
        state, clock, measured = (weights, self._optimizer.init(weights)), Clock(), []
        with Display(f"{title}, seed {seed}", self._steps, 0, self._tokens) as display:
            stretch = self._ready(display, state, data, key)
            clock.go()
            for first in range(0, self._steps, self._length):
                last = first + self._length
                state, seen = stretch(state, data, key, jnp.arange(first, last))
                measured.append(jax.device_get(seen))
                loss, accuracy, _ = (float(x[-1]) for x in measured[-1])
                if not np.isfinite(loss):
                    raise FloatingPointError(
                        f"the loss must be finite, got {loss} ({title}, seed {seed}, by step {last}); "
                        f"lower the learning rate."
                    )
                display.step(last, loss, accuracy, clock.read())
        losses, _, norms = (np.concatenate(x) for x in zip(*measured, strict=True))
        return Trained(weights, state[0], losses, norms)

    def _ready(self, display: Display, *arguments: Any) -> Any:
        """The compiled stretch."""
        if self._compiled is None:
            began = time.perf_counter()
            steps = jnp.arange(self._length)
            self._compiled = jax.jit(self._several).lower(*arguments, steps).compile()
            display.say(f"compiled in {time.perf_counter() - began:.1f} s")
        return self._compiled

    def _several(self, state: Any, data: Any, key: Key[Array, ""], steps: Array) -> tuple[Any, Any]:
        def one(state: Any, step: Array) -> tuple[Any, Any]:
            weights, inner = state
            gradient = jax.value_and_grad(self._loss, has_aux=True)
            (loss, accuracy), grads = gradient(weights, data, jax.random.fold_in(key, step))
            updates, inner = self._optimizer.update(grads, inner, weights)
            seen = (loss, accuracy, optax.tree.norm(grads))
            return (optax.apply_updates(weights, updates), inner), seen

        return jax.lax.scan(one, state, steps)

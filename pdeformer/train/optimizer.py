"""The optimizer: its configuration, the learning-rate schedules, and what weight decay acts on."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from pdeformer.sharding import path_name

DECAYED = r"^(?!.*(stencil|after_embedding)).*(^|/)(kernel|embedding)$"
"""Weight decay acts on the parameters whose path matches: kernels and embeddings, but nothing in a PDE layer."""


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """AdamW with warm-up [Loshchilov & Hutter 2019]."""

    learning_rate: float = 1e-3
    """Peak learning rate; for rsqrt the factor before the square root."""
    schedule: Literal["cosine", "linear", "rsqrt", "constant"] = "cosine"
    """After the linear warm-up: cosine or linear decay to zero, rsqrt (Long Range Arena), or constant."""
    warmup: int = 0
    """Steps of linear warm-up from zero."""
    weight_decay: float = 0.0
    """Decoupled weight decay of kernels and embeddings, multiplied by the learning rate."""
    b1: float = 0.9
    """Decay of the first moment."""
    b2: float = 0.999
    """Decay of the second moment."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    clip: float = 0.0
    """Largest global norm of the gradient; 0 switches clipping off."""
    accumulate: int = 1
    """Micro-batches of a step: memory of B / accumulate examples, the gradient of all B."""

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        rules = (
            ("learning_rate", "be positive and finite", 0 < self.learning_rate < math.inf),
            ("schedule", "be cosine, linear, rsqrt or constant", self.schedule in _DECAYS),
            ("warmup", "be at least 0, and at least 1 for rsqrt", self.warmup >= (self.schedule == "rsqrt")),
            ("weight_decay", "be at least 0", self.weight_decay >= 0),
            ("b1", "lie in [0, 1)", 0 <= self.b1 < 1),
            ("b2", "lie in [0, 1)", 0 <= self.b2 < 1),
            ("eps", "be positive", self.eps > 0),
            ("clip", "be at least 0 (0 is off)", self.clip >= 0),
            ("accumulate", "be at least 1", self.accumulate >= 1),
        )
        for name, rule, holds in rules:
            if not holds:
                raise ValueError(f"{name} must {rule}, got {getattr(self, name)!r}; change optimizer.{name}.")


def _rsqrt(step: Any, warmup: int, steps: int) -> Any:
    del steps
    return jax.lax.rsqrt(jnp.maximum(step, warmup).astype(jnp.float32))


def _progress(step: Any, warmup: int, steps: int) -> Any:
    return jnp.clip((step - warmup) / max(steps - warmup, 1), 0.0, 1.0)


_DECAYS: dict[str, Callable[[Any, int, int], Any]] = {
    "cosine": lambda step, warmup, steps: 0.5 * (1 + jnp.cos(jnp.pi * _progress(step, warmup, steps))),
    "linear": lambda step, warmup, steps: 1 - _progress(step, warmup, steps),
    "rsqrt": _rsqrt,
    "constant": lambda step, warmup, steps: jnp.ones_like(step, jnp.float32),
}


def schedule(config: Optimizer, steps: int) -> Callable[[Any], Any]:
    """The learning rate as a function of the number s of updates already made, out of `steps`.

    With w = warmup and p = clip((s - w) / (steps - w), 0, 1):

    - cosine    learning_rate * min(1, s/w) * (1 + cos(pi p)) / 2
    - linear    learning_rate * min(1, s/w) * (1 - p)
    - rsqrt     learning_rate * min(1, s/w) / sqrt(max(s, w))    [Tay et al. 2021, Long Range Arena]
    - constant  learning_rate * min(1, s/w)

    w = 0 leaves the factor min(1, s/w) out. A warm-up that is longer than the run never reaches its peak.
    """
    decay = _DECAYS[config.schedule]

    def rate(step: Any) -> Any:
        step = jnp.asarray(step)
        warm = jnp.minimum(1.0, step / config.warmup) if config.warmup else 1.0
        return config.learning_rate * warm * decay(step, config.warmup, steps)

    return rate


def decayed(params: Any) -> Any:
    """A tree of booleans: which parameters weight decay acts on, by `DECAYED`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: re.search(DECAYED, path_name(path)) is not None, params
    )


def make_optimizer(config: Optimizer, steps: int) -> optax.GradientTransformation:
    """Clipping by global norm (if any), then AdamW under the schedule."""
    rate = schedule(config, steps)
    adamw = optax.adamw(
        rate, config.b1, config.b2, config.eps, weight_decay=config.weight_decay, mask=decayed
    )
    return optax.chain(optax.clip_by_global_norm(config.clip), adamw) if config.clip else adamw

"""The optimizer: its configuration, the learning-rate schedules, and the mask of weight decay."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pdeformer.sharding import path_name
from pdeformer.stencil.arguments import check_number

OFFICIAL_KERNELS = r"fc/weight|(self_attn|linear\d)\.[\w.]*weight"  # in the models of `pdeformer.cta`
WEIGHT_DECAY_PATTERN = (
    rf"^(?!.*(stencil|after_embedding|positions_only)).*(^|/)(kernel|embedding|{OFFICIAL_KERNELS})$"
)
"""Weight decay acts on the parameters whose path matches: kernels and embeddings outside PDE layers."""


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Configuration of AdamW with a linear warm-up.

    Raises:
        ValueError: a value is out of its range.

    Example:
        >>> from pdeformer.train import Optimizer
        >>> Optimizer(learning_rate=3e-4, warmup=100).schedule
        'cosine'

    Reference:
        Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """

    learning_rate: float = 1e-3
    """Peak learning rate; under rsqrt the factor of the inverse square root."""
    schedule: Literal["cosine", "linear", "rsqrt", "constant"] = "cosine"
    """Schedule after the warm-up: cosine or linear decay to zero, rsqrt (Long Range Arena), or constant."""
    warmup: int = 0
    """Number of steps of linear warm-up."""
    warmup_start: float = 0.0
    """Share of the peak learning rate at which the warm-up starts, in [0, 1]."""
    weight_decay: float = 0.0
    """Decoupled weight decay, multiplied by the learning rate."""
    decay: Literal["kernels", "all"] = "kernels"
    """Parameters that decay. kernels: kernels and embeddings outside PDE layers; all: every one, as in PyTorch."""
    b1: float = 0.9
    """Decay rate of the first moment, in [0, 1)."""
    b2: float = 0.999
    """Decay rate of the second moment, in [0, 1)."""
    eps: float = 1e-8
    """Constant added to the root of the second moment."""
    clip: float = 0.0
    """Largest global norm of the gradient; 0 switches clipping off."""
    accumulate: int = 1
    """Number of micro-batches of a step, which has the memory of B / accumulate examples and the gradient of all B."""

    def __post_init__(self) -> None:
        """Check the type and the range of every field."""
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if field.type is float:
                check_number(name, value)
            if field.type is int and (not isinstance(value, int | np.integer) or isinstance(value, bool)):
                raise ValueError(f"{name} must be a Python integer, got {value!r}; change optimizer.{name}.")
        rules = (
            ("learning_rate", "be positive and finite", 0 < self.learning_rate < math.inf),
            ("schedule", "be cosine, linear, rsqrt or constant", self.schedule in tuple(_DECAYS)),
            ("warmup_start", "lie in [0, 1]", 0 <= self.warmup_start <= 1),
            ("decay", "be kernels or all", self.decay in ("kernels", "all")),
            ("warmup", "be at least 0, and at least 1 for rsqrt", self.warmup >= (self.schedule == "rsqrt")),
            ("weight_decay", "be at least 0", self.weight_decay >= 0),
            ("b1", "lie in [0, 1)", 0 <= self.b1 < 1),
            ("b2", "lie in [0, 1)", 0 <= self.b2 < 1),
            ("eps", "be positive", self.eps > 0),
            ("clip", "be at least 0 (0 is off)", self.clip >= 0),
            ("accumulate", "be at least 1", self.accumulate >= 1),
            *(
                (name, "be finite", math.isfinite(getattr(self, name)))
                for name in ("weight_decay", "eps", "clip")
            ),
            *(
                (name, "be finite, and not round to 0 in float32", _is_float32(getattr(self, name)))
                for name in ("learning_rate", "weight_decay", "eps", "clip")
            ),
            *(
                (name, "lie in [0, 1), also in float32", np.float32(getattr(self, name)) < 1)
                for name in ("b1", "b2")
            ),
        )
        for name, rule, holds in rules:
            if not holds:
                raise ValueError(f"{name} must {rule}, got {getattr(self, name)!r}; change optimizer.{name}.")


def _is_float32(number: float) -> bool:
    """Return whether a number is neither infinite nor, unless it is 0, zero or subnormal in float32."""
    limits = np.finfo(np.float32)
    return number == 0 or float(limits.tiny) <= abs(number) <= float(limits.max)


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
    """Return the learning rate as a function of the number s of updates already made.

    With w = warmup and p = clip((s - w) / (steps - w), 0, 1)::

        cosine     learning_rate * f * (1 + cos(pi p)) / 2
        linear     learning_rate * f * (1 - p)
        rsqrt      learning_rate * f / sqrt(max(s, w))
        constant   learning_rate * f

    The warm-up is f = c + (1 - c) min(1, s/w) with c = warmup_start, and f = 1 for w = 0. A warm-up that is longer than
    the run never reaches its peak.

    Args:
        config: the optimizer.
        steps: the number of updates of the run.

    Returns:
        A function from s, an integer scalar, to the learning rate, a float32 scalar.

    Example:
        >>> from pdeformer.train import Optimizer, schedule
        >>> rate = schedule(Optimizer(learning_rate=2.0, schedule="linear", warmup=20), 100)
        >>> [float(rate(s)) for s in (0, 10, 20, 60)]
        [0.0, 1.0, 2.0, 1.0]

    Reference:
        rsqrt: Tay et al., "Long Range Arena: A Benchmark for Efficient Transformers", ICLR 2021.
    """
    decay = _DECAYS[config.schedule]

    def rate(step: Any) -> Any:
        step = jnp.asarray(step)
        warmup = jnp.minimum(1.0, step / config.warmup) if config.warmup else 1.0
        if config.warmup_start:
            warmup = config.warmup_start + (1 - config.warmup_start) * warmup
        return config.learning_rate * warmup * decay(step, config.warmup, steps)

    return rate


def decay_mask(params: Any) -> Any:
    """Return which parameters weight decay acts on: kernels and embeddings, by `WEIGHT_DECAY_PATTERN`.

    It is the `mask` of `optax.adamw` and of other optimizers with weight decay, and `make_optimizer` uses it. Biases,
    the scales of norms and the coefficients of PDEs do not decay. A coefficient is a real number behind a sigmoid, so
    decay would pull a learned α toward 1/4, whatever the data say.

    Args:
        params: the tree of parameters: `nnx.state(model, nnx.Param)`, `nnx.to_pure_dict` of it, or any tree whose
            paths end in the names of parameters.

    Returns:
        A tree of booleans of the same structure.

    Example:
        >>> import optax
        >>> from flax import nnx
        >>> from pdeformer import Classifier, ModelConfig
        >>> from pdeformer.train import decay_mask
        >>> decay_mask({"head": {"kernel": 0.0, "bias": 0.0}})
        {'head': {'bias': False, 'kernel': True}}
        >>> model = Classifier(ModelConfig(vocabulary=16, width=8, layers=1), rngs=nnx.Rngs(0))
        >>> tx = optax.adamw(1e-3, weight_decay=0.1, mask=decay_mask)
        >>> optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: re.search(WEIGHT_DECAY_PATTERN, path_name(path)) is not None, params
    )


def make_optimizer(config: Optimizer, steps: int) -> optax.GradientTransformation:
    """Make the optax transformation: clipping by global norm, if any, then AdamW under the schedule.

    Args:
        config: the optimizer.
        steps: the number of updates of the run.

    Returns:
        The transformation.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer.train import Optimizer, make_optimizer
        >>> tx = make_optimizer(Optimizer(learning_rate=0.5, schedule="constant"), 10)
        >>> params = {"bias": jnp.zeros(2)}
        >>> updates, _ = tx.update({"bias": jnp.ones(2)}, tx.init(params), params)
        >>> [round(float(x), 3) for x in updates["bias"]]  # the first step of Adam is the learning rate
        [-0.5, -0.5]
    """
    rate = schedule(config, steps)
    mask = decay_mask if config.decay == "kernels" else None
    adamw = optax.adamw(rate, config.b1, config.b2, config.eps, weight_decay=config.weight_decay, mask=mask)
    return optax.chain(optax.clip_by_global_norm(config.clip), adamw) if config.clip else adamw

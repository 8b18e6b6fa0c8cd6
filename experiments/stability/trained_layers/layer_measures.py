"""What is measured of a stack of trained layers on one batch: states, attention, growth, gradient.

B batch, T tokens, D channels, N heads, L layers
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pdeformer.diagnostics.sensitivity import unit_and_log_norm
from pdeformer.simulator import Observation, StateStatistics, measure_state


@dataclass(frozen=True)
class Stack:
    """A stack of layers and its input."""

    layers: int
    first: Float[Array, "b t d"]
    """State before the first layer."""
    segment_ids: Int[Array, "b t"]
    """Equal positive ids belong together; 0 is padding."""
    scan: Callable[..., tuple[Any, Any]]
    """(layer, carry, *inputs by layer) -> (last carry, outputs by layer), where layer(block, carry, *input) is that of
    `jax.lax.scan`."""
    step: Callable[[Any, Array], Array]
    """(block, state) -> state after the block."""
    project: Callable[[Any, Array], tuple[Array, Array, Array]]
    """(block, state before it) -> query, key and value of its attention, (B, T, N, H) each."""
    loss: Callable[[Array], Array]
    """State after the last layer -> mean loss in nats."""
    causal: bool = False
    """Whether a token reads only itself and earlier ones."""


class LayerMeasures(NamedTuple):
    """Measures before the first layer and after each, so with a leading axis of L + 1."""

    statistics: StateStatistics
    """Statistics of the state. Before the first layer, change and entropy are NaN."""
    growth: Any
    """Natural logarithm of the growth of a random perturbation of the first state in the layer; NaN at first."""
    gradient: Any
    """Norm of the gradient of the loss with respect to the state."""
    loss: Any
    """Mean loss in nats."""


def measure_stack(stack: Stack, tangent: Float[Array, "b t d"]) -> LayerMeasures:
    """Measure all layers. Memory is that of the states of all layers, for the gradient.

    Args:
        stack: layers and input.
        tangent: a random perturbation of the first state.
    """
    valid = (stack.segment_ids > 0)[..., None]
    tangent = unit_and_log_norm(jnp.where(valid, tangent, 0))[0]

    def observe_state(after: Array, before: Array, project: Any) -> StateStatistics:
        states = after, before, stack.first, None
        return measure_state(Observation(*states, project, stack.segment_ids, stack.causal))

    def layer(block: Any, carry: tuple[Array, Array]) -> tuple[tuple[Array, Array], Any]:
        u, tangent = carry
        after, moved = jax.jvp(partial(stack.step, block), (u,), (tangent,))
        moved, growth = unit_and_log_norm(jnp.where(valid, moved, 0))
        return (after, moved), (observe_state(after, u, partial(stack.project, block)), growth)

    _, (records, growth) = stack.scan(layer, (stack.first, tangent))
    at_first = observe_state(stack.first, stack.first, _no_attention)
    missing = jnp.full((), jnp.nan, jnp.float32)
    at_first = at_first._replace(relative_change=missing, attention_entropy=missing)
    statistics = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), at_first, records)

    def loss_of(offsets: Float[Array, "m b t d"]) -> Array:
        def disturbed(block: Any, u: Array, offset: Array) -> tuple[Array, None]:
            return stack.step(block, u) + offset, None

        return stack.loss(stack.scan(disturbed, stack.first + offsets[0], offsets[1:])[0])

    offsets = jnp.zeros((stack.layers + 1, *stack.first.shape), stack.first.dtype)
    loss, gradient = jax.value_and_grad(loss_of)(offsets)
    norms = jnp.sqrt(jnp.sum(jnp.square(gradient), axis=(1, 2, 3)))
    return LayerMeasures(statistics, jnp.concatenate([missing[None], growth]), norms, loss)


def random_tangent(shape: tuple[int, ...]) -> Float[np.ndarray, "b t d"]:
    """Draw the perturbation, the same for every model of a shape."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _no_attention(u: Array) -> tuple[Array, Array, Array]:
    zeros = jnp.zeros((*u.shape[:2], 1, 1))
    return zeros, zeros, zeros

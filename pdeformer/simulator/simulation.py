"""`simulate`: all layers of a simulation, one `lax.scan`.

B batch, T tokens, D channels, L layers
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from pdeformer.diagnostics.hidden_states import Segments
from pdeformer.diagnostics.sensitivity import unit_and_log_norm
from pdeformer.integrators.compilation import compile_once
from pdeformer.pde import is_concrete
from pdeformer.simulator.config import TRANSFORMER, Coefficients, SimulatorConfig
from pdeformer.simulator.state_statistics import Observation
from pdeformer.simulator.time_step import State, start, time_step
from pdeformer.simulator.weights import SimulatorWeights
from pdeformer.stencil.arguments import check_floating, convert_segment_ids

Input: TypeAlias = Shaped[Array | np.ndarray, "..."]


class Simulation(NamedTuple):
    """A simulation: its last state and what was recorded on the way."""

    u: Float[Array, "b t d"]
    """State after the last layer."""
    velocity: Float[Array, "b t d"] | None
    """Velocity after the last layer, for order 2; that of the leapfrog belongs to half a step earlier."""
    records: Any
    """What `record` returned after each layer, stacked on a leading layer axis; None without it."""
    growth: Float[Array, " l"] | None
    """Natural logarithm of the growth of the tangent vector in each layer, for order 2 with its velocity; or None."""
    first_nonfinite: Int[Array, ""]
    """First time step, counted from 1, after which an entry is not finite; 0 if the first state is; -1 if none."""

    def lyapunov_exponent(self, horizon: float, *, discard: int = 0) -> Float[Array, ""]:
        """Return the mean logarithmic growth of the tangent vector per unit of time.

        Args:
            horizon: time of all layers, layers · substeps · dt.
            discard: number of first layers in which the tangent vector only aligns.

        Raises:
            ValueError: the simulation had no tangent vector.
        """
        if self.growth is None:
            raise ValueError("the growth needs a tangent vector, got none; pass simulate(..., tangent=...).")
        layers = self.growth.shape[-1]
        return jnp.mean(self.growth[discard:]) * layers / horizon


def simulate(
    u: Input,
    weights: SimulatorWeights,
    config: SimulatorConfig,
    coefficients: Coefficients = TRANSFORMER,
    *,
    segment_ids: Segments | None = None,
    velocity: Input | None = None,
    record: Callable[[Observation], Any] | None = None,
    reference: Input | None = None,
    tangent: Input | None = None,
) -> Simulation:
    """Simulate ∂u/∂t = D ∂²u/∂x² + λ Attention(N(u)) + FeedForward(N(u)) over the layers of a network.

    The defaults are a stack of Transformer blocks: `residual` 1, norm "pre", dt 1, weights of each layer. With
    `attention` = `feed_forward` = 0 it is the diffusion `evolve`; with order 2 also, the wave equation of speed √D.
    A state that is not finite is a result: the simulation goes on and says at which step it happened.

    Args:
        u: the first state `(B, T, D)`, floating.
        weights: weights of the layers, from `init_weights` or `weights_of`.
        config: the switches.
        coefficients: the numbers; they may be traced.
        segment_ids: int or bool `(B, T)`, 0 for padding; None is one segment without padding.
        velocity: the first velocity for order 2, None is 0.
        record: a function of an `Observation`, evaluated after each layer inside the scan: `measure_state`,
            `record_state` or your own. A program is compiled for each function, so pass one that has a name.
        reference: states of another simulation after each layer, `(L, B, T, D)`, for comparisons.
        tangent: a perturbation of `u`. Its growth is computed along, by forward differentiation.

    Returns:
        The last state and the records. Memory is that of one state and of the records.

    Raises:
        ValueError: shapes do not fit, a concrete coefficient is not finite, or dt is not positive.

    Example:
        >>> import jax
        >>> from pdeformer.simulator import init_weights, measure_state
        >>> config = SimulatorConfig(layers=3, width=8, heads=2, ffn=16)
        >>> weights = init_weights(config, jax.random.key(0))
        >>> u = jax.random.normal(jax.random.key(1), (1, 5, 8))
        >>> run = simulate(u, weights, config, record=measure_state)
        >>> run.records.token_similarity.shape, int(run.first_nonfinite)
        ((3,), -1)

    Reference:
        Zhang & Zhou, "Understanding Transformer Architecture through Continuous Dynamics", arXiv 2408.09523.
    """
    u = jnp.asarray(u)
    check_floating("simulate", u=u)
    if u.ndim != 3 or u.shape[-1] != config.width:
        raise ValueError(f"the first state is (B, T, {config.width}), got {u.shape}; change config.width.")
    for name, other in {"velocity": velocity, "tangent": tangent}.items():
        if other is not None and jnp.shape(other) != u.shape:
            raise ValueError(f"{name} has the shape of the first state, {u.shape}, got {jnp.shape(other)}.")
    if reference is not None and reference.shape != (config.layers, *u.shape):
        raise ValueError(
            f"reference has a state after each layer, {(config.layers, *u.shape)}, got {reference.shape}."
        )
    check_coefficients(coefficients, config)
    ids = None if segment_ids is None else convert_segment_ids(segment_ids)
    if ids is not None and config.diffusion != "explicit":
        raise ValueError(
            f"exact and implicit diffusion know one segment without padding, got segment_ids and "
            f"{config.diffusion!r}; use diffusion='explicit'."
        )
    _check_layers(weights, config)
    arrays = tuple(None if x is None else jnp.asarray(x, u.dtype) for x in (velocity, reference, tangent))
    return _simulate(u, weights, coefficients, ids, *arrays, config=config, record=record)


def check_coefficients(coefficients: Coefficients, config: SimulatorConfig) -> None:
    """Check the coefficients that are concrete.

    Raises:
        ValueError: one is not finite, dt is not positive, D or γ is negative, or γ is given for order 1.
    """
    for name, value in coefficients._asdict().items():
        if not is_concrete(value):
            continue
        number = np.asarray(value)
        least = 0 if name in ("diffusion", "friction") else -np.inf
        if not np.all(np.isfinite(number)) or np.any(number < least) or (name == "dt" and number <= 0):
            rule = {
                "dt": "positive",
                "diffusion": "finite and at least 0",
                "friction": "finite and at least 0",
            }
            raise ValueError(
                f"{name} is {rule.get(name, 'finite')}, got {value}; change Coefficients({name}=...)."
            )
        if name == "friction" and config.order == 1 and np.any(number > 0):
            raise ValueError(
                f"friction slows a velocity, which order 1 does not have, got {value}; use order=2."
            )


def _check_layers(weights: SimulatorWeights, config: SimulatorConfig) -> None:
    """Raise ValueError if the weights belong to another configuration."""
    scale = jax.tree.leaves(weights.params["norm_ffn"])[0]
    expected = (config.width,) if config.shared else (config.layers, config.width)
    if scale.shape != expected:
        raise ValueError(
            f"weights for layers={config.layers}, width={config.width}, shared={config.shared} have LayerNorms of "
            f"shape {expected}, got {scale.shape}; use init_weights(config, ...) or change the configuration."
        )
    causal = weights.block().attention.causal
    if causal != config.causal:
        raise ValueError(
            f"attention and diffusion are both causal or neither, got weights with causal={causal} and a "
            f"configuration with causal={config.causal}; change one of them."
        )


class _Carry(NamedTuple):
    """What one layer passes to the next."""

    state: State
    tangent: State | None
    step: Int[Array, ""]
    first_nonfinite: Int[Array, ""]


@compile_once("config", "record")
def _simulate(
    u: Array,
    weights: SimulatorWeights,
    c: Coefficients,
    segment_ids: Array | None,
    velocity: Array | None,
    reference: Array | None,
    tangent: Array | None,
    *,
    config: SimulatorConfig,
    record: Callable[[Observation], Any] | None,
) -> Simulation:
    """Run the scan over the layers, and in each layer over its substeps."""
    c = Coefficients(*(jnp.asarray(x, u.dtype) for x in c))

    def run_layer(carry: _Carry, layer: tuple[Any, Any]) -> tuple[_Carry, tuple[Any, Any]]:
        params, other = layer
        block = (weights if config.shared else SimulatorWeights(params, weights.graphdef)).block()

        def advance(state: State) -> State:
            return time_step(state, block, c, config, segment_ids)

        def substep(carry: _Carry, _: None) -> tuple[_Carry, Array | None]:
            if carry.tangent is None:
                state, moved, growth = advance(carry.state), None, None
            else:
                state, moved = jax.jvp(advance, (carry.state,), (carry.tangent,))
                moved, growth = unit_and_log_norm(moved)
            step = carry.step + 1
            is_new = (carry.first_nonfinite < 0) & ~jnp.all(jnp.isfinite(state.u))
            first = jnp.where(is_new, step, carry.first_nonfinite)
            return _Carry(state, moved, step, first), growth

        after, growth = jax.lax.scan(substep, carry, length=config.substeps)
        if record is None:
            return after, (None, None if growth is None else jnp.sum(growth))

        def project(u: Array) -> tuple[Array, ...]:
            u = block.norm_attention(u) if config.norm == "pre" else u
            return block.attention.project(u, segment_ids)

        states = after.state.u, carry.state.u, u, other
        recorded = record(Observation(*states, project, segment_ids, config.causal))
        return after, (recorded, None if growth is None else jnp.sum(growth))

    first_block = (weights if config.shared else weights.layer(0)).block()

    def begin(u: Array) -> State:
        return start(u, velocity, first_block, c, config, segment_ids)

    if tangent is None:
        state, moved = begin(u), None
    else:
        unit = unit_and_log_norm(tangent)[0]
        state, moved = jax.jvp(begin, (u,), (unit,))
    finite = jnp.all(jnp.isfinite(u))
    carry = _Carry(state, moved, jnp.int32(0), jnp.where(finite, -1, 0).astype(jnp.int32))
    layers = (None if config.shared else weights.params, reference)
    after, (records, growth) = jax.lax.scan(run_layer, carry, layers, length=config.layers)
    return Simulation(after.state.u, after.state.v, records, growth, after.first_nonfinite)

"""The simulator whose layers share their weights, a PDE that does not depend on time, fitted to a trajectory.

    u_{l+1} = u_l + D L u_l + λ Attention(N(u_l)) + FeedForward(N(u_l))        D = softplus(10 d) ≥ 0

One step ahead, every state is predicted from the true state of the layer before; rolled out, from the prediction of it.
The loss is the mean square of the error over all layers, divided by the mean square of the true increments, by Adam.
All fits, which differ in splitting, objective, diffusion and seed, are points of one program.

    P = L+1 states, B rows, T tokens, D channels, G points
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from experiments.stability.networks.fast_compilation import fast_compilation
from experiments.stability.trajectories.vmapped_training import Schedule, train_points
from pdeformer import simulator
from pdeformer.simulator import Coefficients, SimulatorConfig, SimulatorWeights
from pdeformer.simulator.forces import forces_of

TERMS = ("diffusion", "attention", "feed-forward")
DIFFUSION_SCALE = 10.0
"""Adam moves D faster by this factor than a weight of a matrix."""
INITIAL_DIFFUSION = -0.3
"""d at the start: D = softplus(10 d) = 0.049."""


class Switches(NamedTuple):
    """What a fit is, beside its seed; 1 is yes and 0 no, so that all fits are one program."""

    is_sequential: Float[Array | np.ndarray, "*g"] | float
    """Whether attention, feed-forward and diffusion follow each other, as in a Transformer, or are added."""
    is_rolled_out: Float[Array | np.ndarray, "*g"] | float
    """Whether the loss is that of predictions from the first state, or one step ahead."""
    has_diffusion: Float[Array | np.ndarray, "*g"] | float
    """Whether D is fitted, or 0."""


PDE, ROLLED_PDE, STILL_PDE = "PDE", "PDE fitted rolled out", "PDE with D = 0"
PARALLEL_PDE, PARALLEL_ROLLED_PDE = "parallel PDE", "parallel PDE fitted rolled out"
KINDS = {
    PDE: Switches(1.0, 0.0, 1.0),
    ROLLED_PDE: Switches(1.0, 1.0, 1.0),
    STILL_PDE: Switches(1.0, 0.0, 0.0),
    PARALLEL_PDE: Switches(0.0, 0.0, 1.0),
    PARALLEL_ROLLED_PDE: Switches(0.0, 1.0, 1.0),
}
"""Name -> fit. Without other words a fit is sequential, one step ahead, and has diffusion."""


class FitParameters(NamedTuple):
    """What is fitted."""

    weights: SimulatorWeights
    """Weights of attention and feed-forward sublayer, the same for all layers."""
    diffusion: Float[Array, "*g"]
    """d, with D = softplus(10 d)."""
    attention: Float[Array, "*g"]
    """Strength λ of the attention."""


class FitPoint(NamedTuple):
    """Constants of one fit."""

    states: Float[Array, "*g p b t d"]
    """States on the rows that are fitted."""
    scale: Float[Array, "*g"]
    """Mean square of the increments."""
    switches: Switches


class FittedPDE(NamedTuple):
    """Fits of all kinds and seeds, and their predictions on the held-out rows."""

    next_states: Float[np.ndarray, "kind s l b t d"]
    """Predictions from the true state of the layer before."""
    rollouts: Float[np.ndarray, "kind s l b t d"]
    """Predictions from the first state."""
    diffusivity: Float[np.ndarray, "kind s"]
    """D, tokens² per layer; tokens per layer for causal networks, whose diffusion is a backward difference."""
    attention: Float[np.ndarray, "kind s"]
    """λ that does not depend on the scale of the weights, see `attention_strength`."""
    terms: Float[np.ndarray, "kind s 3"]
    """Root mean squares of diffusion, attention and feed-forward term over that of the true increments."""
    losses: Float[np.ndarray, "kind s chunk"]
    """Mean losses of chunks of steps: the share of the mean square of the increments that is not predicted."""


def coefficients_of(parameters: FitParameters, switches: Switches) -> Coefficients:
    """Return the fitted coefficients."""
    diffusivity = jnp.asarray(switches.has_diffusion) * jax.nn.softplus(
        DIFFUSION_SCALE * parameters.diffusion
    )
    return Coefficients(attention=parameters.attention, diffusion=diffusivity)


def predict(
    parameters: FitParameters, states: Float[Array, "p b t d"], switches: Switches, config: SimulatorConfig
) -> Float[Array, "l b t d"]:
    """Return the prediction of every state but the first; rolled out it reads only the first state.

    It is `simulate` with dt = 1 and norm "pre" or "none". With a the change by attention and f that by feed-forward,

        a = λ Attention(u),  f = FeedForward(u + s a),  u⁺ = u + a + f + D L(u + s (a + f)),

    where s is 1 for sequential and 0 for parallel splitting.
    """
    forces = forces_of(parameters.weights.block(), coefficients_of(parameters, switches), config, None)

    def run_layer(u: Array, true: Array) -> tuple[Array, Array]:
        u = jnp.where(switches.is_rolled_out > 0, u, true)
        change = forces.attention(u)
        change += forces.feed_forward(u + switches.is_sequential * change)
        after = u + change + forces.diffusion(u + switches.is_sequential * change)
        return after, after

    return jax.lax.scan(run_layer, states[0], states[:-1])[1]


def attention_strength(parameters: FitParameters, config: SimulatorConfig) -> Float[Array, ""]:
    """Return |λ| ‖C diag(s) V O‖ / √D, which is about 1 at the initial weights with λ = 1.

    V and O are the value and output maps of all heads, s the scales of LayerNorm and C = 1 - 11ᵀ/D its centering. λ
    alone has no meaning, since O / λ with λ is the same network; this is what all such networks have in common, also
    if two heads attend alike and could be exchanged.
    """
    block = parameters.weights.block()
    value, out = (jnp.asarray(x.kernel[...]) for x in (block.attention.value, block.attention.out))
    if config.norm == "pre":
        norm: Any = block.norm_attention  # whose scale is never None
        value = norm.scale[...][:, None] * value
        value = value - jnp.mean(value, axis=0, keepdims=True)
    return jnp.abs(parameters.attention) * jnp.linalg.norm(value @ out) / config.width**0.5


def init_parameters(config: SimulatorConfig, key: Key[Array, ""]) -> FitParameters:
    """Draw weights; λ is 1 and D small."""
    return FitParameters(simulator.init_weights(config, key), jnp.float32(INITIAL_DIFFUSION), jnp.float32(1))


def fit_simulator(
    fit: Float[np.ndarray, "s p b t d"],
    test: Float[np.ndarray, "s p b2 t d"],
    config: SimulatorConfig,
    seeds: tuple[int, ...],
    *,
    schedule: Schedule,
    batch: int,
    title: str = "PDE",
) -> FittedPDE:
    """Fit all kinds with all seeds, and predict the held-out rows, which the fit does not read.

    Args:
        fit: states on the rows that are fitted, by seed.
        test: states on other rows.
        config: the simulator, `shared` and with norm "pre" or "none".
        seeds: seeds of initial weights and batches.
        schedule: steps, learning rate, and tokens of a step of one point.
        batch: rows of a step.
        title: what is fitted, for the progress.

    Raises:
        ValueError: the layers do not share their weights, or the norm is "post".
    """
    if not config.shared:
        raise ValueError("a PDE that does not depend on time has shared=True, got False; share the weights.")
    if config.norm == "post":
        raise ValueError("the fitted PDE has norm 'pre' or 'none', got 'post'; choose one of them.")
    table = [(*switches, index) for switches in KINDS.values() for index in range(len(seeds))]
    *columns, index = (np.asarray(column) for column in zip(*table, strict=True))
    switches = Switches(*(jnp.asarray(column, jnp.float32) for column in columns))
    with np.errstate(over="ignore", invalid="ignore"):
        increments = np.diff(np.asarray(fit, np.float64), axis=1)
        scale = np.mean(np.square(increments), axis=(1, 2, 3, 4)).astype(np.float32)
    points = FitPoint(jnp.asarray(fit[index]), jnp.asarray(scale[index]), switches)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32)[index])
    trained = train_points(
        partial(_loss, config=config, batch=batch),
        _draw(_fold_in(keys, 1), config=config),
        points,
        _fold_in(keys, 2),
        schedule._replace(tokens=schedule.tokens * len(index)),
        title=title,
        metric="R²",
    )
    evaluation = simulator.run_grid(
        partial(_evaluate, config=config),
        *(trained.weights, jnp.asarray(test[index]), switches),
        compiler_options=fast_compilation(0),
    )
    arrays = [*map(np.asarray, evaluation), trained.losses]
    return FittedPDE(*(x.reshape(len(KINDS), len(seeds), *x.shape[1:]) for x in arrays))


def _fold_in(keys: Key[Array, " g"], number: int) -> Key[Array, " g"]:
    return jax.vmap(partial(jax.random.fold_in, data=number))(keys)


def _draw(keys: Key[Array, " g"], *, config: SimulatorConfig) -> FitParameters:
    draw = jax.jit(jax.vmap(partial(init_parameters, config)), compiler_options=fast_compilation(0))
    return draw(keys)


def _loss(
    parameters: FitParameters, point: FitPoint, key: Key[Array, ""], *, config: SimulatorConfig, batch: int
) -> tuple[Array, Array]:
    """Return the share of the mean square of the increments that is not predicted, and 1 minus it."""
    rows = jax.random.randint(key, (batch,), 0, point.states.shape[1])
    states = point.states[:, rows]
    predicted = predict(parameters, states, point.switches, config)
    loss = jnp.mean(jnp.square(predicted - states[1:])) / point.scale
    return loss, 1 - loss


def _evaluate(
    parameters: FitParameters, states: Array, switches: Switches, *, config: SimulatorConfig
) -> tuple[Array, ...]:
    """Return the arrays of `FittedPDE` but the losses, for one point."""
    c = coefficients_of(parameters, switches)
    before = states[:-1].reshape(-1, *states.shape[2:])
    forces = forces_of(parameters.weights.block(), c, config, None)
    increment = jnp.sqrt(jnp.mean(jnp.square(jnp.diff(states, axis=0))))
    terms = [
        jnp.sqrt(jnp.mean(jnp.square(force(before)))) / increment
        for force in (forces.diffusion, forces.attention, forces.feed_forward)
    ]
    next_states, rollout = (
        predict(parameters, states, switches._replace(is_rolled_out=jnp.float32(rolled)), config)
        for rolled in (0, 1)
    )
    strength = attention_strength(parameters, config)
    return next_states, rollout, jnp.asarray(c.diffusion), strength, jnp.stack(terms)

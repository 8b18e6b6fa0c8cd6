"""The simulator whose layers share their weights, a PDE that does not depend on time, fitted to a trajectory.

    u_{l+1} = u_l + D L u_l + λ Attention(N(u_l)) + FeedForward(N(u_l))        D = softplus(d) ≥ 0

One step ahead, every state is predicted from the true state of the layer before; rolled out, from the prediction of it.
The loss is the mean square of the error over all layers, divided by the mean square of the true increments, by Adam.
Objective, diffusion (on or off) and seed are points of one program; the splitting has a program of its own.

    P = L+1 states, B rows, T tokens, D channels, G points
"""

import dataclasses
from functools import partial
from itertools import product
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from experiments.stability.trajectories.vmapped_training import Schedule, train_points
from pdeformer import simulator
from pdeformer.simulator import Coefficients, SimulatorConfig, SimulatorWeights
from pdeformer.simulator.forces import forces_of

OBJECTIVES = ("one step", "rolled out")
SPLITTINGS: tuple[Literal["sequential", "parallel"], ...] = ("sequential", "parallel")
TERMS = ("diffusion", "attention", "feed-forward")
INITIAL_DIFFUSION = -2.0
"""d at the start: D = softplus(d) = 0.127."""


class FitKind(NamedTuple):
    """What one fit is, beside its seed."""

    splitting: Literal["sequential", "parallel"]
    objective: str
    has_diffusion: bool

    @property
    def name(self) -> str:
        """Name in tables and legends."""
        suffix = "" if self.has_diffusion else ", D = 0"
        return f"PDE, {self.splitting}, {self.objective}{suffix}"


KINDS = tuple(FitKind(*kind) for kind in product(SPLITTINGS, OBJECTIVES, (True, False)))
"""All kinds, in the order of the results."""


class FitParameters(NamedTuple):
    """What is fitted."""

    weights: SimulatorWeights
    """Weights of attention and feed-forward sublayer, the same for all layers."""
    diffusion: Float[Array, "*g"]
    """d, of which D is the softplus."""
    attention: Float[Array, "*g"]
    """Strength λ of the attention."""


class FitPoint(NamedTuple):
    """Constants of one fit."""

    states: Float[Array, "*g p b t d"]
    """States on the rows that are fitted."""
    scale: Float[Array, "*g"]
    """Mean square of the increments."""
    has_diffusion: Float[Array, "*g"]
    """1, or 0 for D = 0."""
    is_rolled_out: Float[Array, "*g"]
    """1 for the loss of the predictions from the first state, 0 for those one step ahead."""


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


def coefficients_of(parameters: FitParameters, has_diffusion: Float[Array, ""]) -> Coefficients:
    """Return the fitted coefficients."""
    diffusivity = has_diffusion * jax.nn.softplus(parameters.diffusion)
    return Coefficients(attention=parameters.attention, diffusion=diffusivity)


def predict(
    parameters: FitParameters,
    states: Float[Array, "p b t d"],
    has_diffusion: Float[Array, ""],
    is_rolled_out: Float[Array, ""],
    config: SimulatorConfig,
) -> Float[Array, "l b t d"]:
    """Return the prediction of every state but the first; `is_rolled_out` 1 reads only the first state."""
    one_layer = dataclasses.replace(config, layers=1)
    c = coefficients_of(parameters, has_diffusion)

    def run_layer(u: Array, true: Array) -> tuple[Array, Array]:
        before = jnp.where(is_rolled_out > 0, u, true)
        after = simulator.simulate(before, parameters.weights, one_layer, c).u
        return after, after

    return jax.lax.scan(run_layer, states[0], states[:-1])[1]


def attention_strength(parameters: FitParameters, config: SimulatorConfig) -> Float[Array, ""]:
    """Return |λ| ‖C diag(s) V O‖ / √D, which is about 1 at the initial weights with λ = 1.

    V and O are the value and output maps of all heads, s the scales of LayerNorm and C = 1 - 11ᵀ/D its centering. λ
    alone has no meaning, since O / λ with λ is the same network; this is what all such networks have in common, also
    if two heads attend alike and could be exchanged.
    """
    block = parameters.weights.block()
    value, out = block.attention.value.kernel[...], block.attention.out.kernel[...]
    if config.norm == "pre":
        value = jnp.asarray(block.norm_attention.scale[...])[:, None] * value
        value = value - jnp.mean(value, axis=0, keepdims=True)
    return jnp.abs(parameters.attention) * jnp.linalg.norm(value @ out) / config.width**0.5


def init_parameters(config: SimulatorConfig, key: Key[Array, ""]) -> FitParameters:
    """Draw weights; λ is 1 and D is softplus(`INITIAL_DIFFUSION`)."""
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
        config: the simulator, `shared`; its splitting is replaced.
        seeds: seeds of initial weights and batches.
        schedule: steps, learning rate, and tokens of a step of one point.
        batch: rows of a step.
        title: what is fitted, for the progress.
    """
    if not config.shared:
        raise ValueError("a PDE that does not depend on time has shared=True, got False; share the weights.")
    groups = [(rolled, diffusion) for rolled in (0.0, 1.0) for diffusion in (1.0, 0.0)]
    rolled, diffusion, index = (
        jnp.asarray(x)
        for x in zip(*((*group, i) for group in groups for i in range(len(seeds))), strict=True)
    )
    scale = np.mean(np.square(np.diff(fit.astype(np.float64), axis=1)), axis=(1, 2, 3, 4)).astype(np.float32)
    points = FitPoint(jnp.asarray(fit)[index], jnp.asarray(scale)[index], diffusion, rolled)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))[index]
    schedule = schedule._replace(tokens=schedule.tokens * len(index))
    results = []
    for splitting in SPLITTINGS:
        switched = dataclasses.replace(config, splitting=splitting)
        init_keys = jax.vmap(partial(jax.random.fold_in, data=1))(keys)
        trained = train_points(
            *(partial(_loss, config=switched, batch=batch), _draw(init_keys, config=switched), points),
            *(jax.vmap(partial(jax.random.fold_in, data=2))(keys), schedule),
            title=f"{title}, {splitting}",
            metric="R² of increments",
        )
        evaluation = simulator.run_grid(
            partial(_evaluate, config=switched), trained.weights, jnp.asarray(test)[index], diffusion
        )
        results.append((*map(np.asarray, evaluation), trained.losses))

    def stack(*arrays: np.ndarray) -> np.ndarray:
        return np.stack(arrays).reshape(len(KINDS), len(seeds), *arrays[0].shape[1:])

    return FittedPDE(*map(stack, *results))


@partial(jax.jit, static_argnames="config")
def _draw(keys: Key[Array, " g"], *, config: SimulatorConfig) -> FitParameters:
    return jax.vmap(partial(init_parameters, config))(keys)


def _loss(
    parameters: FitParameters, point: FitPoint, key: Key[Array, ""], *, config: SimulatorConfig, batch: int
) -> tuple[Array, Array]:
    rows = jax.random.randint(key, (batch,), 0, point.states.shape[1])
    states = point.states[:, rows]
    predicted = predict(parameters, states, point.has_diffusion, point.is_rolled_out, config)
    loss = jnp.mean(jnp.square(predicted - states[1:])) / point.scale
    return loss, 1 - loss


def _evaluate(
    parameters: FitParameters, states: Array, has_diffusion: Array, *, config: SimulatorConfig
) -> tuple[Array, ...]:
    """Return the arrays of `FittedPDE` but the losses, for one point."""
    c = coefficients_of(parameters, has_diffusion)
    before = states[:-1].reshape(-1, *states.shape[2:])
    forces = forces_of(parameters.weights.block(), c, config, None)
    increment = jnp.sqrt(jnp.mean(jnp.square(jnp.diff(states, axis=0))))
    terms = [
        jnp.sqrt(jnp.mean(jnp.square(force(before)))) / increment
        for force in (forces.diffusion, forces.attention, forces.feed_forward)
    ]
    one_step, rolled_out = jnp.zeros(()), jnp.ones(())
    return (
        predict(parameters, states, has_diffusion, one_step, config),
        predict(parameters, states, has_diffusion, rolled_out, config),
        jnp.asarray(c.diffusion),
        attention_strength(parameters, config),
        jnp.stack(terms),
    )

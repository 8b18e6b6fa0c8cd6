"""One step in time, from t to t + dt.

Order 1, with Δ the change in one step of the integrator for du/dt = F(u):

    u⁺ = ρ u + Δ(u)        Euler Δ = dt F(u);   Heun and RK4 as usual;   ρ = 1 is the integrator itself

Order 2, with the velocity v half a step behind the state:

    v⁺ = (1 - γ dt) v + dt F(u)        u⁺ = ρ u + dt v⁺        leapfrog; Heun and RK4 act on the pair (u, v)

Norm "post" applies LayerNorm to u⁺.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pdeformer.model.block import Block
from pdeformer.simulator.config import Coefficients, Number, SimulatorConfig
from pdeformer.simulator.forces import Force, forces_of, heat_flow

S = TypeVar("S")


class State(NamedTuple):
    """The state of a simulation."""

    u: Float[Array, "b t d"]
    """Hidden states."""
    v: Float[Array, "b t d"] | None
    """Velocity ∂u/∂t; None for order 1."""


def change(force: Callable[[S], S], state: S, dt: Number, integrator: str) -> S:
    """Return the change of `state`, a pytree, in one step of du/dt = force(u).

    Args:
        force: the right-hand side.
        state: the state at the start of the step.
        dt: time of the step.
        integrator: "euler", "heun" (order 2) or "rk4" (order 4).

    Returns:
        The state after the step minus the state before it.
    """

    def moved(slope: S, time: Number) -> S:
        return jax.tree.map(lambda x, k: x + time * k, state, slope)

    def mean(*weighted: tuple[float, S]) -> S:
        weights, slopes = zip(*weighted, strict=True)
        total = sum(weights)
        return jax.tree.map(
            lambda *k: dt / total * sum(w * x for w, x in zip(weights, k, strict=True)), *slopes
        )

    first = force(state)
    if integrator == "euler":
        return mean((1.0, first))
    if integrator == "heun":
        return mean((1.0, first), (1.0, force(moved(first, dt))))
    second = force(moved(first, dt / 2))
    third = force(moved(second, dt / 2))
    return mean((1.0, first), (2.0, second), (2.0, third), (1.0, force(moved(third, dt))))


def start(
    u: Array,
    velocity: Array | None,
    block: Block,
    c: Coefficients,
    config: SimulatorConfig,
    segment_ids: Int[Array, "b t"] | None,
) -> State:
    """Return the first state. The leapfrog takes its velocity from half a step before, v - dt/2 F(u)."""
    if config.order == 1:
        return State(u, None)
    v = jnp.zeros_like(u) if velocity is None else velocity
    if config.integrator == "euler":
        v = v - c.dt / 2 * forces_of(block, c, config, segment_ids).total(with_diffusion=True)(u)
    return State(u, v)


def time_step(
    state: State,
    block: Block,
    c: Coefficients,
    config: SimulatorConfig,
    segment_ids: Int[Array, "b t"] | None,
) -> State:
    """Return the state after one time step with the weights of one layer."""
    forces = forces_of(block, c, config, segment_ids)
    post = config.norm == "post"

    def add(u: Array, force: Force) -> Array:
        return jnp.multiply(c.residual, u) + change(force, u, c.dt, config.integrator)

    if config.order == 2:
        state = _second_order_step(state, forces.total(with_diffusion=True), c, config.integrator)
        return State(block.norm_ffn(state.u), state.v) if post else state
    if config.splitting == "sequential":
        u = state.u
        for force, norm in (
            (forces.attention, block.norm_attention),
            (forces.feed_forward, block.norm_ffn),
        ):
            u = add(u, force)
            u = norm(u) if post else u
        return State(_diffuse(u, forces.diffusion, c, config), None)
    explicit = config.diffusion == "explicit"
    u = add(state.u, forces.total(with_diffusion=explicit))
    u = u if explicit else heat_flow(u, c, config.diffusion)
    return State(block.norm_ffn(u) if post else u, None)


def _diffuse(u: Array, diffusion: Force, c: Coefficients, config: SimulatorConfig) -> Array:
    """Return the state after the diffusion alone, to which the residual switch does not apply."""
    if config.diffusion == "explicit":
        return u + change(diffusion, u, c.dt, config.integrator)
    return heat_flow(u, c, config.diffusion)


def _second_order_step(state: State, force: Force, c: Coefficients, integrator: str) -> State:
    u, v = state.u, jnp.asarray(state.v)
    if integrator == "euler":
        v = jnp.multiply(1 - c.friction * c.dt, v) + jnp.multiply(c.dt, force(u))
        return State(jnp.multiply(c.residual, u) + jnp.multiply(c.dt, v), v)

    def right_side(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        return pair[1], force(pair[0]) - c.friction * pair[1]

    du, dv = change(right_side, (u, v), c.dt, integrator)
    return State(jnp.multiply(c.residual, u) + du, v + dv)

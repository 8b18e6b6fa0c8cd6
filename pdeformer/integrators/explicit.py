"""The definition of every evolution: a `lax.scan` of explicit steps, and its adjoint.

    equation              one step                                             n steps
    linear, first order   u ← u + G u                                          (I + G)ⁿ u
    wave                  v ← v + G u, u ← u + v; the first step has v = ½Gu   T_n(I + G/2) u
    reaction              Strang; the reaction halves of neighboring steps are merged, which is exact

G is the increment of the equation in units of the time step. The state of the wave is (u, v) with v = u - u_prev
instead of u_prev, because the difference keeps its digits in float32.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pdeformer import stencil
from pdeformer.integrators.channel_blocks import map_channel_blocks
from pdeformer.pde import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave
from pdeformer.stencil import Path

T = TypeVar("T")
Linear = Diffusion | Wave | AdvectionDiffusion


def integrate(pde: Linear, u: Array, graph: Path, steps: int, *, adjoint: bool = False) -> Array:
    """Take `steps` explicit steps of dt = 1 of a linear equation, or of its transposed operator.

    Args:
        pde: a linear equation in units of the time step.
        u: the state `(..., T, D)`.
        graph: the path graph.
        steps: the number of steps, ≥ 1.
        adjoint: whether to apply Mᵀ instead of M, the matrix of all steps.

    Returns:
        M u or Mᵀ u.
    """
    increment = partial(_transposed_increment if adjoint else _increment, pde, graph)
    if isinstance(pde, Wave):
        return _leapfrog(increment, u, steps)
    return jax.lax.scan(lambda x, _: (x + increment(x), None), u, length=steps)[0]


def _increment(pde: Linear, graph: Path, u: Array) -> Array:
    return keep_inside_loop(pde).increment(u, keep_inside_loop(graph))


def keep_inside_loop(operands: T) -> T:
    """Return small operands of a step behind a barrier, so that XLA broadcasts them inside the loop.

    Otherwise XLA would hoist the broadcasts out of the loop, and store each at the size of u.
    """
    return jax.lax.optimization_barrier(operands)


def _transposed_increment(pde: Linear, graph: Path, u: Array) -> Array:
    """Return Gᵀ u, with (Gᵀu)_j = l (u_{j-1} - u_j) + r (u_{j+1} - u_j).

    l and r are the rates at which G carries mass to the left and to the right. Under "copy" the end rows of G
    are zero, so the end columns of Gᵀ are zero.
    """
    pde, graph = keep_inside_loop((pde, graph))
    to_left, to_right = _rates(pde)
    if graph.boundary == "copy":
        u, graph = jnp.where(graph.left & graph.right, u, 0), replace(graph, boundary="neumann")
    left, right = stencil.neighbors(u, graph)
    change = to_left * (left - u) + to_right * (right - u)
    return change if graph.valid is None else jnp.where(graph.valid, change, 0)


def _rates(pde: Linear) -> tuple[Array, Array]:
    """Return the mass that one step carries to the left and to the right neighbor: G u = upwind(u, l, r)."""
    if isinstance(pde, Wave):
        return pde.speed**2, pde.speed**2
    if isinstance(pde, Diffusion):
        return pde.alpha, pde.alpha
    if isinstance(pde, AdvectionDiffusion):
        return pde.alpha + jnp.maximum(pde.beta, 0), pde.alpha + jnp.maximum(-pde.beta, 0)
    raise ValueError(
        f"the adjoint of a step is written for Diffusion, Wave and AdvectionDiffusion, got {type(pde).__name__}; add "
        f"its rates to integrators.explicit."
    )


def _leapfrog(increment: Callable[[Array], Array], u: Array, steps: int) -> Array:
    kick = 0.5 * increment(u)
    return _drift(increment, u + kick, kick, steps - 1)


def _drift(increment: Callable[[Array], Array], u: Array, v: Array, steps: int) -> Array:
    """Take `steps` leapfrog steps from u and v = u - u_prev."""

    def step(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        u, v = state
        v = v + increment(u)
        return (u + v, v), None

    return jax.lax.scan(step, (u, v), length=steps)[0][0]


def sensitivity(pde: Linear, direction: Linear, u: Array, graph: Path, steps: int) -> Array:
    """Return (∂M/∂c · ċ) u, the derivative of `integrate` in the coefficients c.

    Diffusion and wave are polynomials in one operator, so the derivative commutes with the steps. Diffusion:
    n α̇ (I + αL)^{n-1} L u. Wave, with r = c²: ½ n ṙ U_{n-1}(I + ½rL) L u, where U_n is the Chebyshev polynomial
    of the second kind, a leapfrog from u_{-1} = 0.

    Args:
        pde: a linear equation in units of the time step.
        direction: the same equation with the tangents ċ in place of the coefficients.
        u: the state `(..., T, D)`.
        graph: the path graph.
        steps: the number of steps, ≥ 1.

    Returns:
        The derivative, of the shape of `u`.
    """
    if isinstance(pde, AdvectionDiffusion):
        return map_channel_blocks(partial(_advection_sensitivity, steps), u, pde, direction, graph)
    second_difference = stencil.laplacian(u, graph)
    if isinstance(pde, Wave) and isinstance(direction, Wave):
        # U_0 = 1, U_1 = 2x: the leapfrog through u_{-1} = 0, u_0 = u
        after = _drift(partial(_increment, pde, graph), second_difference, second_difference, steps - 1)
        return steps * pde.speed * direction.speed * after
    assert isinstance(pde, Diffusion)
    assert isinstance(direction, Diffusion)
    return steps * direction.alpha * integrate(pde, second_difference, graph, steps - 1)


def _advection_sensitivity(
    steps: int, u: Array, pde: AdvectionDiffusion, direction: AdvectionDiffusion, graph: Path
) -> Array:
    """Return w of the pair (u, w) after `steps` steps u ← (I + G) u, w ← (I + G) w + Ġ u from (u, 0).

    Diffusion and advection do not commute at walls, so there is no closed form. The pair is one array: XLA
    steps it twice as fast as two arrays.
    """
    graph = jax.tree.map(lambda x: x[None], graph)
    pde, direction = jax.tree.map(lambda c: c[None], (pde, direction))

    def step(pair: Array, _: None) -> tuple[Array, None]:
        # Two barriers, because JAX 0.12 cannot transpose a barrier of which only some operands are linear.
        (equation, path), tangent = keep_inside_loop((pde, graph)), keep_inside_loop(direction)
        change = stencil.upwind(pair, *_rates(equation), path)
        forcing = stencil.upwind(pair[:1], *_rate_tangents(equation, tangent), path)
        return (pair + change).at[1:].add(forcing), None

    return jax.lax.scan(step, jnp.stack([u, jnp.zeros_like(u)]), length=steps)[0][1]


def _rate_tangents(pde: AdvectionDiffusion, direction: AdvectionDiffusion) -> tuple[Array, Array]:
    """Return the derivative of `_rates` along `direction`; at β = 0 it is the mean of both sides."""
    down = direction.beta * jnp.heaviside(pde.beta, 0.5)
    return direction.alpha + down, direction.alpha + down - direction.beta


def integrate_reaction(pde: ReactionDiffusion, u: Array, graph: Path, steps: int) -> Array:
    """Take `steps` Strang steps of dt = 1; the backward pass keeps O(√steps) states and recomputes the others.

    Args:
        pde: the equation in units of the time step.
        u: the state `(..., T, D)`.
        graph: the path graph.
        steps: the number of steps, ≥ 1.

    Returns:
        The state after the last step.
    """
    diffusion = pde.diffusion()

    @jax.checkpoint
    def step(u: Array, _: None) -> tuple[Array, None]:
        u = pde.apply_reaction(u, 1.0, graph)
        return u + diffusion.increment(u, graph), None

    @jax.checkpoint
    def chunk(u: Array, _: None) -> tuple[Array, None]:
        return jax.lax.scan(step, u, length=size)[0], None

    size = max(1, int(round((steps - 1) ** 0.5)))
    u = pde.apply_reaction(u, 0.5, graph)
    u = u + diffusion.increment(u, graph)
    for loop, length in ((chunk, (steps - 1) // size), (step, (steps - 1) % size)):
        u = jax.lax.scan(loop, u, length=length)[0] if length else u
    return pde.apply_reaction(u, 0.5, graph)


def impulse_response(pde: Linear, steps: int) -> Array:
    """Return the state after n = `steps` steps from one token of value 1 on the infinite line.

    These are the taps g(-n) … g(n) of the convolution that equals n steps at all tokens at least n tokens from
    a wall.

    Args:
        pde: a linear equation in units of the time step, its coefficients of the rank of a state.
        steps: the number of steps n, ≥ 1.

    Returns:
        The taps `(..., 2n+1, D)`. Row n + k is the effect on the token k places to the right.
    """
    coefficients = jax.tree.leaves(pde)
    lead = jnp.broadcast_shapes(*(jnp.shape(c) for c in coefficients))
    size = 2 * steps + 1
    dtype = jnp.result_type(*coefficients)
    delta = (
        jnp.zeros_like(coefficients[0], dtype, shape=(*lead[:-2], size, lead[-1])).at[..., steps, :].set(1)
    )
    edge = jnp.arange(size).reshape((1,) * (len(lead) - 2) + (size, 1))
    line = Path(edge > 0, edge < size - 1, None, "dirichlet")
    return integrate(pde, delta, line, steps)

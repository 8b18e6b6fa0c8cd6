"""The definition: a `lax.scan` of explicit steps, everywhere applicable, and its adjoint.

    linear, first order   u ← u + G u                                      (I + G)ⁿ u
    wave                  v ← v + G u, u ← u + v, first half a kick: v = ½Gu   T_n(I + G/2) u
    reaction              Strang steps; the reaction halves of neighbouring steps are joined, which is exact

G is the increment of the equation in units of the time step. The wave carries v = u - u_prev instead of
u_prev: their difference keeps its digits in float32.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pdeformer import stencil
from pdeformer.integrators.channel_blocks import in_parts
from pdeformer.pde import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave
from pdeformer.stencil import Path

T = TypeVar("T")
Linear = Diffusion | Wave | AdvectionDiffusion


def integrate(pde: Linear, u: Array, graph: Path, steps: int, *, adjoint: bool = False) -> Array:
    """`steps` explicit steps of dt = 1 of a linear equation, or of the transposed operator."""
    increment = partial(_transposed_increment if adjoint else _increment, pde, graph)
    if isinstance(pde, Wave):
        return _leapfrog(increment, u, steps)
    return jax.lax.scan(lambda x, _: (x + increment(x), None), u, length=steps)[0]


def _increment(pde: Linear, graph: Path, u: Array) -> Array:
    return held(pde).increment(u, held(graph))


def held(small: T) -> T:
    """Keep what a step only broadcasts inside the loop: hoisted out of it, XLA stores each at the size of u."""
    return jax.lax.optimization_barrier(small)


def _transposed_increment(pde: Linear, graph: Path, u: Array) -> Array:
    """Gᵀ u: every token hears from those it gives to, (Gᵀu)_j = l (u_{j-1} - u_j) + r (u_{j+1} - u_j).

    l and r are the rates at which mass is carried to the left and to the right. Under "copy" the end rows of G
    are zero, so the ends give to nobody.
    """
    pde, graph = held((pde, graph))
    to_left, to_right = _rates(pde)
    if graph.boundary == "copy":
        u, graph = jnp.where(graph.left & graph.right, u, 0), replace(graph, boundary="neumann")
    left, right = stencil.neighbours(u, graph)
    change = to_left * (left - u) + to_right * (right - u)
    return change if graph.valid is None else jnp.where(graph.valid, change, 0)


def _rates(pde: Linear) -> tuple[Array, Array]:
    """Mass carried by one step to the left and to the right neighbour: G u = upwind(u, l, r)."""
    if isinstance(pde, Wave):
        return pde.speed**2, pde.speed**2
    if isinstance(pde, Diffusion):
        return pde.alpha, pde.alpha
    return pde.alpha + jnp.maximum(pde.beta, 0), pde.alpha + jnp.maximum(-pde.beta, 0)


def _leapfrog(increment: Callable[[Array], Array], u: Array, steps: int) -> Array:
    kick = 0.5 * increment(u)
    return _drift(increment, u + kick, kick, steps - 1)


def _drift(increment: Callable[[Array], Array], u: Array, v: Array, steps: int) -> Array:
    """`steps` leapfrog steps from u and v = u - u_prev."""

    def step(state, _):
        u, v = state
        v = v + increment(u)
        return (u + v, v), None

    return jax.lax.scan(step, (u, v), length=steps)[0][0]


def sensitivity(pde: Linear, direction: Linear, u: Array, graph: Path, steps: int) -> Array:
    """(∂M/∂c · ċ) u, with ċ the coefficients of `direction`.

    Diffusion and wave are polynomials in one operator, so the derivative commutes with the steps:
    n α̇ (I + αL)^{n-1} L u and, with r = c², ½ n ṙ U_{n-1}(I + ½rL) L u, U_n the Chebyshev polynomial of the
    second kind (leapfrog from rest before the first step).
    """
    if isinstance(pde, AdvectionDiffusion):
        return in_parts(partial(_advection_sensitivity, steps), u, pde, direction, graph)
    bent = stencil.laplacian(u, graph)
    if isinstance(pde, Wave) and isinstance(direction, Wave):
        # U_0 = 1, U_1 = 2x: the leapfrog through u_{-1} = 0, u_0 = u
        after = _drift(partial(_increment, pde, graph), bent, bent, steps - 1)
        return steps * pde.speed * direction.speed * after
    assert isinstance(pde, Diffusion)
    assert isinstance(direction, Diffusion)
    return steps * direction.alpha * integrate(pde, bent, graph, steps - 1)


def _advection_sensitivity(
    steps: int, u: Array, pde: AdvectionDiffusion, direction: AdvectionDiffusion, graph: Path
) -> Array:
    """w of the pair (u, w), whose step is u ← (I + G) u, w ← (I + G) w + Ġ u, from (u, 0).

    Diffusion and advection do not commute at walls, so there is no closed form. The pair is one array, which
    XLA steps twice as fast as two.
    """
    graph = jax.tree.map(lambda x: x[None], graph)
    pde, direction = jax.tree.map(lambda c: c[None], (pde, direction))

    def step(pair, _):
        own, along, path = held((pde, direction, graph))
        change = stencil.upwind(pair, *_rates(own), path)
        driven = stencil.upwind(pair[:1], *_rates_along(own, along), path)
        return (pair + change).at[1:].add(driven), None

    return jax.lax.scan(step, jnp.stack([u, jnp.zeros_like(u)]), length=steps)[0][1]


def _rates_along(pde: AdvectionDiffusion, direction: AdvectionDiffusion) -> tuple[Array, Array]:
    """The derivative of `_rates`; at β = 0 the mean of both sides."""
    down = direction.beta * jnp.heaviside(pde.beta, 0.5)
    return direction.alpha + down, direction.alpha + down - direction.beta


def march_reaction(pde: ReactionDiffusion, u: Array, graph: Path, steps: int) -> Array:
    """`steps` Strang steps of dt = 1; the backward pass keeps O(√steps) states and recomputes the others."""
    diffuse = pde.diffusion()

    @jax.checkpoint
    def step(u, _):
        u = pde.react(u, 1.0, graph)
        return u + diffuse.increment(u, graph), None

    @jax.checkpoint
    def chunk(u, _):
        return jax.lax.scan(step, u, length=size)[0], None

    size = max(1, int(round((steps - 1) ** 0.5)))
    u = pde.react(u, 0.5, graph)
    u = u + diffuse.increment(u, graph)
    u = jax.lax.scan(chunk, u, length=(steps - 1) // size)[0]
    u = jax.lax.scan(step, u, length=(steps - 1) % size)[0]
    return pde.react(u, 0.5, graph)


def response(pde: Linear, steps: int) -> Array:
    """What `steps` steps make of a single token on the open line: the taps g(-n) … g(n), `(..., 2n+1, D)`.

    Row n + k is the effect on the token k places to the right. Within n steps nothing reaches a wall.
    """
    shapes = [jnp.shape(c) for c in jax.tree.leaves(pde)]
    lead = jnp.broadcast_shapes(*shapes)
    size = 2 * steps + 1
    dtype = jnp.result_type(*jax.tree.leaves(pde))
    delta = jnp.zeros((*lead[:-2], size, lead[-1]), dtype).at[..., steps, :].set(1)
    edge = jnp.arange(size).reshape((1,) * (len(lead) - 2) + (size, 1))
    line = Path(edge > 0, edge < size - 1, None, "dirichlet")
    return integrate(pde, delta, line, steps)

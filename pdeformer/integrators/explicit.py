"""The definition: a `lax.scan` of explicit steps, everywhere applicable, and its adjoint.

    linear, first order   u ← u + G u                                      (I + G)ⁿ u
    wave                  v ← v + G u, u ← u + v, first half a kick: v = ½Gu   T_n(I + G/2) u
    reaction              Strang steps; the reaction halves of neighbouring steps are joined, which is exact

G is the increment of the equation in units of the time step. The wave carries v = u - u_prev instead of
u_prev: their difference keeps its digits in float32.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pdeformer import stencil
from pdeformer.pde import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave
from pdeformer.stencil import Path

T = TypeVar("T")
Linear = Diffusion | Wave | AdvectionDiffusion


def march(pde: Linear, u: Array, graph: Path, steps: int, *, adjoint: bool = False) -> Array:
    """`steps` explicit steps of dt = 1 of a linear equation, or of the transposed operator."""
    increment = partial(_transposed_increment if adjoint else _increment, pde, graph)
    if isinstance(pde, Wave):
        return _leapfrog(increment, u, steps)
    return jax.lax.scan(lambda x, _: (x + increment(x), None), u, length=steps)[0]


def _increment(pde: Linear, graph: Path, u: Array) -> Array:
    return _held(pde).increment(u, _held(graph))


def _held(small: T) -> T:
    """Keep what a step only broadcasts inside the loop: hoisted out of it, XLA stores each at the size of u."""
    return jax.lax.optimization_barrier(small)


def _transposed_increment(pde: Linear, graph: Path, u: Array) -> Array:
    return jax.linear_transpose(partial(_increment, pde, graph), u)(u)[0]


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
    n α̇ L (I + αL)^{n-1} u and, with r = c², ½ n ṙ L U_{n-1}(I + ½rL) u, U_n the Chebyshev polynomial of the
    second kind (leapfrog from rest before the first step). With advection w ← (I + G) w + Ġ u goes beside u.
    """
    increment = partial(_increment, pde, graph)
    if isinstance(pde, Wave) and isinstance(direction, Wave):
        # U_0 = 1, U_1 = 2x: the leapfrog through u_{-1} = 0, u_0 = u
        before = _drift(increment, u, u, steps - 1)
        return steps * pde.speed * direction.speed * stencil.laplacian(before, graph)
    if isinstance(pde, Diffusion) and isinstance(direction, Diffusion):
        return steps * direction.alpha * stencil.laplacian(march(pde, u, graph, steps - 1), graph)
    assert isinstance(pde, AdvectionDiffusion)
    assert isinstance(direction, AdvectionDiffusion)

    def step(state, _):
        u, w = state
        along = _held(pde).increment_along(_held(direction), u, _held(graph))
        return (u + increment(u), w + increment(w) + along), None

    return jax.lax.scan(step, (u, jnp.zeros_like(u)), length=steps)[0][1]


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
    return march(pde, delta, line, steps)

"""Four evolution equations in pseudo-time on the path graph, each with its stability bound and one explicit step.

    Diffusion            u_t  = α u_xx                     explicit Euler
    Wave                 u_tt = c² u_xx,  u_t(0) = 0       leapfrog
    ReactionDiffusion    u_t  = α u_xx + R(u)              Strang: R for dt/2, diffusion for dt, R for dt/2
    AdvectionDiffusion   u_t  = α u_xx + β u_x             explicit Euler, conservative upwind

Token spacing is 1. A coefficient is a scalar or one value per channel (the last axis of u once space is at
axis -2). The dataclasses are pytrees with the coefficients as leaves and check nothing when built: they are
rebuilt with tracers, and dt is not known there. `pde.check(dt)` does, and `evolve` calls it.
[Zhang & Zhou, "Continuous-Time Attention", 2025]

    T tokens, D channels, L the graph Laplacian of `stencil`
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from pdeformer import stencil
from pdeformer.stencil import Boundary, Path

Coefficient: TypeAlias = (
    Any  # float or array: a scalar or one value per channel; trees also hold placeholders
)
State: TypeAlias = Any  # u, or the pair (u, u_prev) of the wave equation
Reaction = Literal["fisher", "allen_cahn"]
REACTIONS: tuple[str, ...] = get_args(Reaction)

ROUNDING = 1e-6  # a coefficient computed in float32 may sit this much (relative) beyond the bound


def is_concrete(x: object) -> bool:
    """Whether a value is known now, in Python, rather than traced."""
    return not isinstance(x, Tracer)


def _known(x: Any) -> Any:
    return np.asarray(x, np.float64) if is_concrete(x) else x


class PDE(ABC):
    """An evolution equation. Members are final: they fill in the abstract methods and override nothing else."""

    @abstractmethod
    def courant(self, dt: Coefficient) -> Coefficient:
        """The stability number ν of one explicit step; the step is stable for ν ≤ 1."""

    @abstractmethod
    def rule(self) -> str:
        """The stability condition in words, for errors."""

    @abstractmethod
    def scaled(self, dt: Coefficient) -> "PDE":
        """The same equation in units of the time step: one step of dt=1 of it is one step of `dt` of self."""

    @abstractmethod
    def _step(self, state: State, graph: Path) -> State:
        """One explicit step with dt = 1."""

    def coefficients(self) -> dict[str, Coefficient]:
        """Name and value of every coefficient."""
        leaves = jax.tree_util.tree_leaves_with_path(self)
        return {jax.tree_util.keystr(path, simple=True): leaf for path, leaf in leaves}

    def max_dt(self) -> Coefficient:
        """The largest stable time step; inf when nothing moves."""
        rate = self.courant(1.0)
        largest = np.max(rate) if is_concrete(rate) else jnp.max(rate)
        if is_concrete(largest):
            return float("inf") if largest == 0 else 1.0 / float(largest)
        return 1.0 / largest

    def stable(self, dt: Coefficient):
        """Whether an explicit step of `dt` is stable: a bool, or a traced bool under jit."""
        number = self.courant(dt)
        diffusivity = getattr(self, "alpha", 0.0)
        if is_concrete(number) and is_concrete(diffusivity):
            return bool(np.all(np.asarray(number) <= 1 + ROUNDING) and np.all(np.asarray(diffusivity) >= 0))
        return jnp.all(jnp.asarray(number) <= 1 + ROUNDING) & jnp.all(jnp.asarray(diffusivity) >= 0)

    def check(self, dt: Coefficient) -> None:
        """Check what is concrete of the coefficients and dt.

        Raises:
            ValueError: a coefficient or dt that is not finite, a negative alpha, dt ≤ 0, or an unstable step.
        """
        name = type(self).__name__
        known = jax.tree.map(_known, self)  # NumPy: under a trace jnp would stage even what is known
        dt = _known(dt)
        values = {**known.coefficients(), "dt": dt}
        for key, value in values.items():
            if is_concrete(value) and not np.all(np.isfinite(value)):
                raise ValueError(f"{name} needs finite coefficients, got {key}={_show(value)}.")
        if is_concrete(dt) and np.any(np.asarray(dt) <= 0):
            raise ValueError(f"{name} needs dt > 0, got dt={_show(dt)}.")
        alpha = values.get("alpha", 0.0)
        if is_concrete(alpha) and np.any(np.asarray(alpha) < 0):
            raise ValueError(
                f"{name} needs alpha >= 0, got alpha={_show(alpha)}; a negative diffusivity sharpens without bound."
            )
        if all(is_concrete(value) for value in values.values()) and not known.stable(dt):
            given = ", ".join(f"{key}={_show(value)}" for key, value in values.items())
            raise ValueError(
                f"{name} needs {self.rule()} to be stable, got {np.max(known.courant(dt)):.6g} times the bound "
                f"({given}); lower dt to {known.max_dt():.6g} or less and raise steps."
            )

    def step(
        self,
        state: State,
        *,
        dt: Coefficient = 1.0,
        axis: int = -2,
        boundary: Boundary | str = "neumann",
        segment_ids: Int[Array, "*b t"] | None = None,
    ) -> State:
        """One explicit step of `state`: u, or the pair (u, u_prev) of the wave equation.

        Arguments are those of `evolve`. Nothing is checked: an unstable step is computed as asked.
        """
        u = state[0] if isinstance(state, tuple) else state
        graph = stencil.path(u.shape[axis], segment_ids, boundary, ndim=u.ndim)
        dtype = jnp.promote_types(u.dtype, jnp.float32)
        pde = self.scaled(dt).cast(dtype, u.ndim)
        moved = jax.tree.map(lambda x: jnp.moveaxis(x, axis, -2).astype(dtype), state)
        after = pde._step(moved, graph)
        return jax.tree.map(lambda x: jnp.moveaxis(x, -2, axis).astype(u.dtype), after)

    def cast(self, dtype, ndim: int) -> "PDE":
        """The coefficients as arrays of `dtype` and rank `ndim`, channels last, ready to meet a state."""
        return jax.tree.map(lambda c: _expand(jnp.asarray(c, dtype), ndim), self)


def _expand(x: Array, ndim: int) -> Array:
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)


def _show(value: object) -> str:
    return np.array2string(np.asarray(value), precision=6, threshold=6)


def _register(cls):
    """Make a frozen dataclass a pytree; fields marked static are not leaves.

    Registered by hand: two types from `register_dataclass` with equal static fields have equal tree
    structures (jax 0.10), so a cache keyed on the structure would take one equation for another.
    """
    static = tuple(f.name for f in fields(cls) if f.metadata.get("static"))
    leaves = tuple(f.name for f in fields(cls) if f.name not in static)

    def flatten(pde):
        children = [(jax.tree_util.GetAttrKey(name), getattr(pde, name)) for name in leaves]
        return children, tuple(getattr(pde, name) for name in static)

    def unflatten(kept, children):
        return cls(*children, *kept)

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
    return cls


@_register
@dataclass(frozen=True)
class Diffusion(PDE):
    """Heat equation u_t = α u_xx. One step: u ← (I + α dt L) u, stable for 0 ≤ α dt ≤ 1/2.

    Then, with Neumann walls, the mass Σu is conserved, max|u| and ‖u‖₂ do not grow, and the Dirichlet energy
    E = ½ Σ (u_{j+1} - u_j)² obeys E(u⁺) ≤ E(u) - α dt (1 - 2 α dt) ‖Lu‖². α in tokens² per unit of pseudo-time.
    """

    alpha: Coefficient

    def courant(self, dt):
        return 2 * self.alpha * dt

    def rule(self):
        return "alpha * dt <= 1/2"

    def scaled(self, dt):
        return Diffusion(self.alpha * dt)

    def increment(self, u: Float[Array, "*b t d"], graph: Path) -> Float[Array, "*b t d"]:
        """α L u: what one step adds."""
        return self.alpha * stencil.laplacian(u, graph)

    def _step(self, state, graph):
        return state + self.increment(state, graph)


@_register
@dataclass(frozen=True)
class Wave(PDE):
    """Wave equation u_tt = c² u_xx with u_t(0) = 0, second order in time.

    Leapfrog u_{k+1} = 2u_k - u_{k-1} + r L u_k with r = (c dt)², started by u_1 = u_0 + ½ r L u_0, so that
    u_n = T_n(I + ½ r L) u_0 with the Chebyshev polynomial T_n. Stable for |c| dt ≤ 1; c dt = 1 is exact.
    Reversible: swapping (u, u_prev) runs it backwards. c in tokens per unit of pseudo-time.
    """

    speed: Coefficient

    def courant(self, dt):
        return abs(self.speed) * dt

    def rule(self):
        return "|speed| * dt <= 1"

    def scaled(self, dt):
        return Wave(self.speed * dt)

    def increment(self, u: Float[Array, "*b t d"], graph: Path) -> Float[Array, "*b t d"]:
        """c² L u: the acceleration."""
        return self.speed**2 * stencil.laplacian(u, graph)

    def _step(self, state, graph):
        u, previous = state
        return u + (u - previous) + self.increment(u, graph), u


@_register
@dataclass(frozen=True)
class AdvectionDiffusion(PDE):
    """u_t = α u_xx + β u_x, conservative upwind: β > 0 moves mass to lower index, β < 0 to higher.

    Stable for α ≥ 0 and 2 α dt + |β| dt ≤ 1: every entry of the step matrix is then ≥ 0. With Neumann walls
    mass is conserved (it piles up at the wall). β in tokens per unit of pseudo-time.
    """

    alpha: Coefficient
    beta: Coefficient

    def courant(self, dt):
        return (2 * self.alpha + abs(self.beta)) * dt

    def rule(self):
        return "2 * alpha * dt + |beta| * dt <= 1"

    def scaled(self, dt):
        return AdvectionDiffusion(self.alpha * dt, self.beta * dt)

    def increment(self, u: Float[Array, "*b t d"], graph: Path) -> Float[Array, "*b t d"]:
        """α L u + β u_x, the second term upwind."""
        down, up = jnp.maximum(self.beta, 0), jnp.maximum(-self.beta, 0)
        return self.alpha * stencil.laplacian(u, graph) + stencil.upwind(u, down, up, graph)

    def _step(self, state, graph):
        return state + self.increment(state, graph)


@_register
@dataclass(frozen=True)
class ReactionDiffusion(PDE):
    """u_t = α u_xx + R(u), R = β u (1 - u) ("fisher") or β u (1 - u²) ("allen_cahn").

    One step is a Strang splitting: exact reaction flow for dt/2, one explicit diffusion step for dt, reaction
    for dt/2; without diffusion it is exact, with it first order in dt like the Euler step inside. Stable for
    0 ≤ α dt ≤ 1/2 and any β. Fisher keeps [0, 1] and needs u ≥ 0; Allen-Cahn keeps [-1, 1]. Negative β
    reverses the reaction, which then blows up in finite time from |u| > 1. Tokens that the boundary holds
    fixed, and padding, do not react.
    """

    alpha: Coefficient
    beta: Coefficient
    reaction: Reaction | str = field(default="fisher", metadata={"static": True})

    def courant(self, dt):
        return 2 * self.alpha * dt

    def rule(self):
        return "alpha * dt <= 1/2"

    def scaled(self, dt):
        return ReactionDiffusion(self.alpha * dt, self.beta * dt, self.reaction)

    def diffusion(self) -> Diffusion:
        """The part that moves."""
        return Diffusion(self.alpha)

    def react(self, u: Float[Array, "*b t d"], time: float, graph: Path) -> Float[Array, "*b t d"]:
        """The exact flow of u_t = R(u) for `time`, where the boundary lets tokens change."""
        after = reaction_flow(u, self.beta * time, self.reaction)
        return after if graph.active is None else jnp.where(graph.active, after, u)

    def _step(self, state, graph):
        half = self.react(state, 0.5, graph)
        return self.react(half + self.diffusion().increment(half, graph), 0.5, graph)


def reaction_flow(u: Float[Array, "*b"], growth: Coefficient, reaction: Reaction | str) -> Float[Array, "*b"]:
    """Exact solution at time t of u_t = R(u), with growth = βt.

    fisher:      u / (u + (1 - u) e^{-βt})
    allen_cahn:  u / sqrt(u² + (1 - u²) e^{-2βt})
    """
    # beyond this growth the factor would leave the range of the type, and 0/0 follow at u = 0
    limit = float(np.log(jnp.finfo(u.dtype).max)) / 4
    decay = jnp.exp(-jnp.clip(growth, -limit, limit))
    if reaction == "fisher":
        return u / (u + (1 - u) * decay)
    return u / jnp.sqrt(u**2 + (1 - u**2) * decay**2)


def check_reaction(pde: ReactionDiffusion, u: np.ndarray, time: Coefficient) -> None:
    """Check that the reaction is defined for the concrete values u over the whole pseudo-time.

    Raises:
        ValueError: unknown reaction; a negative value under Fisher; blow-up under a negative β.
    """
    if pde.reaction not in REACTIONS:
        raise ValueError(f"reaction must be one of {', '.join(REACTIONS)}, got {pde.reaction!r}.")
    if u.size == 0:
        return
    if pde.reaction == "fisher" and np.min(u) < 0:
        raise ValueError(
            f"the 'fisher' reaction needs u >= 0, got a smallest value of {np.min(u):.6g}; use "
            "reaction='allen_cahn' for values of both signs, or evolve attention weights."
        )
    if not (is_concrete(pde.beta) and is_concrete(time)):
        return
    growth = float(np.min(np.asarray(pde.beta, np.float64) * np.asarray(time, np.float64)))
    peak, rate = float(np.max(np.abs(u))), growth if pde.reaction == "fisher" else 2 * growth
    peak = peak if pde.reaction == "fisher" else peak**2
    if growth < 0 and peak > 1 and peak * -np.expm1(rate) >= 1:
        raise ValueError(
            f"a reaction with beta * t = {growth:.6g} < 0 blows up from |u| > 1 within the pseudo-time, got "
            f"max |u| = {np.max(np.abs(u)):.6g}; shorten the time or keep |u| <= 1."
        )

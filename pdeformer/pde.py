"""Four evolution equations in pseudo-time on the path graph, each with a stability bound and one explicit step.

    Diffusion            u_t  = α u_xx                     explicit Euler
    Wave                 u_tt = c² u_xx,  u_t(0) = 0       leapfrog
    ReactionDiffusion    u_t  = α u_xx + R(u)              Strang: R for dt/2, diffusion for dt, R for dt/2
    AdvectionDiffusion   u_t  = α u_xx + β u_x             explicit Euler, conservative upwind

Token spacing is 1. A coefficient is a scalar or one value per channel (the last axis of u once space is at
axis -2). The dataclasses are pytrees with the coefficients as leaves. Their constructors check nothing,
because JAX rebuilds pytrees with tracers, and dt is unknown. `pde.check(dt)` checks; `evolve` calls it.
[Zhang & Zhou, "Continuous-Time Attention", 2025]

    T tokens, D channels, L the graph Laplacian of `stencil`
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from pdeformer import stencil
from pdeformer.stencil import Boundary, Path
from pdeformer.stencil.arguments import check_floating, check_number, fit_segment_ids

# float or array: a scalar or one value per channel; trees also hold placeholders
Coefficient: TypeAlias = Any
State: TypeAlias = Any  # u, or the pair (u, u_prev) of the wave equation
P = TypeVar("P", bound="PDE")
Reaction = Literal["fisher", "allen_cahn"]
REACTIONS: tuple[str, ...] = get_args(Reaction)

ROUNDING = 1e-6  # a coefficient computed in float32 may exceed the bound by this relative amount


def is_concrete(x: object) -> bool:
    """Return whether a value is concrete rather than traced."""
    return not isinstance(x, Tracer)


def _to_numpy(x: Any) -> Any:
    """Convert a concrete value to a float64 NumPy array; return a traced value unchanged."""
    return np.asarray(x, np.float64) if is_concrete(x) else x


class PDE(ABC):
    """An evolution equation in pseudo-time.

    Subclasses are final. They implement the abstract methods and override nothing else.
    """

    @abstractmethod
    def courant(self, dt: Coefficient) -> Coefficient:
        """Return the stability number ν of one explicit step; the step is stable for ν ≤ 1."""

    @abstractmethod
    def rule(self) -> str:
        """Return the stability condition as text, for error messages."""

    @abstractmethod
    def scaled(self, dt: Coefficient) -> "PDE":
        """Return the equation in units of the time step.

        One step of dt = 1 of the result is one step of `dt` of this equation.
        """

    @abstractmethod
    def _step(self, state: State, graph: Path) -> State:
        """Take one explicit step with dt = 1."""

    def coefficients(self) -> dict[str, Coefficient]:
        """Return the name and value of every coefficient."""
        names = [f.name for f in fields(cast(Any, self)) if not f.metadata.get("static")]
        return {name: getattr(self, name) for name in names}

    def max_dt(self) -> Coefficient:
        """Return the largest stable time step; inf if every coefficient of the bound is zero, 0 for a negative alpha.

        Example:
            >>> Diffusion(0.25).max_dt()
            2.0
        """
        self.check_numbers(1.0)
        rate = jax.tree.map(_to_numpy, self).courant(1.0)
        largest = np.max(rate) if is_concrete(rate) else jnp.max(rate)
        if not is_concrete(largest):
            return 1.0 / largest
        if np.any(_to_numpy(getattr(self, "alpha", 0.0)) < 0):
            return 0.0
        return float("inf") if largest == 0 else 1.0 / float(largest)

    def stable(self, dt: Coefficient) -> Any:
        """Return whether an explicit step of `dt` is stable.

        Args:
            dt: the length of a step in pseudo-time.

        Returns:
            A Python bool, or a traced bool under `jit`.

        Example:
            >>> Diffusion(0.25).stable(2.0), Diffusion(0.25).stable(2.1)
            (True, False)
        """
        self.check_numbers(dt)
        concrete = jax.tree.map(_to_numpy, self)
        number, diffusivity = concrete.courant(_to_numpy(dt)), getattr(concrete, "alpha", 0.0)
        if is_concrete(number) and is_concrete(diffusivity):
            stable = np.all(number <= 1 + ROUNDING) and np.all(number >= 0) and np.all(diffusivity >= 0)
            return bool(stable)
        number, diffusivity = jnp.asarray(number), jnp.asarray(diffusivity)
        return jnp.all(number <= 1 + ROUNDING) & jnp.all(number >= 0) & jnp.all(diffusivity >= 0)

    def check_numbers(self, dt: Coefficient) -> None:
        """Check that dt and the coefficients are real numbers or arrays of them, traced or not.

        Args:
            dt: the length of a step in pseudo-time.

        Raises:
            ValueError: one is a string, a bool, None, a list or complex.
        """
        for name, value in {**self.coefficients(), "dt": dt}.items():
            check_number(name, value)

    def check(self, dt: Coefficient) -> None:
        """Check dt and the coefficients, as far as they are concrete.

        Args:
            dt: the length of a step in pseudo-time.

        Raises:
            ValueError: a coefficient or dt is no finite real number, alpha < 0, dt ≤ 0, or the step is unstable.
        """
        self.check_numbers(dt)
        name = type(self).__name__
        # NumPy, because under a trace jnp would also stage concrete values
        concrete = jax.tree.map(_to_numpy, self)
        dt = _to_numpy(dt)
        values = {**concrete.coefficients(), "dt": dt}
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
        if all(is_concrete(value) for value in values.values()) and not concrete.stable(dt):
            arguments = ", ".join(f"{key}={_show(value)}" for key, value in values.items())
            raise ValueError(
                f"{name} needs {self.rule()} to be stable, got {np.max(concrete.courant(dt)):.6g} times the bound "
                f"({arguments}); lower dt to {concrete.max_dt():.6g} or less and raise steps."
            )

    def step(
        self,
        state: State,
        *,
        dt: Coefficient = 1.0,
        axis: int = -2,
        boundary: Boundary | str = "neumann",
        segment_ids: Any = None,
    ) -> State:
        """Take one explicit step.

        The method checks no argument for stability: it computes an unstable step without an error.

        Args:
            state: u `(..., T, D)`, or the pair (u, u_prev) of the wave equation.
            dt: the length of the step in pseudo-time.
            axis: the axis of tokens.
            boundary: "neumann", "periodic", "dirichlet" or "copy", as in `evolve`.
            segment_ids: integers or booleans `(..., T)`, 0 for padding; None is one segment.

        Returns:
            The state after the step, of the shape and dtype of `state`.

        Raises:
            ValueError: the state is not real and floating, has another form, or a shape or option does not fit.

        Example:
            >>> import jax.numpy as jnp
            >>> u = jnp.array([[0.0], [1.0], [0.0], [4.0]])
            >>> Diffusion(0.25).step(u)[:, 0].tolist()
            [0.25, 0.5, 1.25, 3.0]
        """
        state = tuple(map(jnp.asarray, state)) if isinstance(state, tuple) else jnp.asarray(state)
        u = state[0] if isinstance(state, tuple) else state
        self._check_state(state, u, axis)
        self.check_numbers(dt)
        if u.size == 0:
            return state
        shape = jax.eval_shape(lambda u: jnp.moveaxis(u, axis, -2), u).shape
        check_coefficient_shapes(self, shape[-1], dt)
        ids = None if segment_ids is None else fit_segment_ids(segment_ids, shape[:-1])
        graph = stencil.path(u.shape[axis], ids, boundary, ndim=u.ndim)
        dtype = jnp.promote_types(u.dtype, jnp.float32)
        pde = self.scaled_widely(dt).cast(dtype, u.ndim)
        before = jax.tree.map(lambda x: jnp.moveaxis(x, axis, -2).astype(dtype), state)
        return jax.tree.map(lambda x: jnp.moveaxis(x, -2, axis).astype(u.dtype), pde._step(before, graph))

    def _check_state(self, state: State, u: Array, axis: int) -> None:
        parts, name = (state if isinstance(state, tuple) else (state,)), type(self).__name__
        if len(parts) != (2 if isinstance(self, Wave) else 1) or any(x.shape != u.shape for x in parts):
            needed = (
                "the pair (u, u_prev) of arrays of one shape" if isinstance(self, Wave) else "one array u"
            )
            shapes = ", ".join(str(x.shape) for x in parts)
            raise ValueError(
                f"a step of {name} needs {needed}, got shapes {shapes}; a wave at rest has u_prev after one `evolve`."
            )
        check_floating(f"a step of {name}", **dict(zip(("state", "previous"), parts, strict=False)))
        if u.ndim < 2 or not isinstance(axis, int | np.integer) or not -u.ndim <= axis < u.ndim:
            raise ValueError(
                f"a step needs a state (..., T, D) and one of its axes, got {u.shape}, axis={axis!r}."
            )
        if isinstance(self, ReactionDiffusion):
            check_reaction_name(self.reaction)

    def scaled_widely(self, dt: Coefficient) -> "PDE":
        """Return `scaled(dt)`, where the product of arrays has at least float32; Python numbers stay."""
        return jax.tree.map(_widen, self).scaled(_widen(dt))

    def cast(self, dtype: Any, ndim: int) -> "PDE":
        """Return the equation with its coefficients as arrays of `dtype` and rank `ndim`, channels last."""
        return jax.tree.map(lambda c: _expand(jnp.asarray(c, dtype), ndim), self)


def _widen(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return value.astype(jnp.promote_types(value.dtype, jnp.float32))
    return value


def _expand(x: Array, ndim: int) -> Array:
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)


def _show(value: object) -> str:
    return np.array2string(np.asarray(value), precision=6, threshold=6)


def _register(cls: type[P]) -> type[P]:
    """Register a frozen dataclass as a pytree; fields with the metadata "static" are not leaves.

    `register_dataclass` gives two types with equal static fields equal tree structures (jax 0.10). A cache keyed
    on the structure would then confuse two equations.
    """
    own_fields = fields(cast(Any, cls))
    static = tuple(f.name for f in own_fields if f.metadata.get("static"))
    leaves = tuple(f.name for f in own_fields if f.name not in static)

    def flatten(pde: Any) -> tuple[list, tuple]:
        children = [(jax.tree_util.GetAttrKey(name), getattr(pde, name)) for name in leaves]
        return children, tuple(getattr(pde, name) for name in static)

    def unflatten(auxiliary: tuple, children: Any) -> Any:
        return cls(*children, *auxiliary)

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
    return cls


@_register
@dataclass(frozen=True)
class Diffusion(PDE):
    """Heat equation u_t = α u_xx.

    One step is u ← (I + α dt L) u, stable for 0 ≤ α dt ≤ 1/2. With Neumann walls it conserves the mass Σu,
    and neither the largest absolute value nor the 2-norm of u grows. The Dirichlet energy E = ½ Σ (u_{j+1} - u_j)²
    obeys E(u⁺) ≤ E(u) - α dt (1 - 2 α dt) ‖Lu‖².

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import Diffusion, evolve
        >>> evolve(jnp.array([[0.0], [1.0], [0.0]]), Diffusion(0.25), steps=1)[:, 0].tolist()
        [0.25, 0.5, 0.25]
    """

    alpha: Coefficient
    """Diffusivity α ≥ 0 in tokens² per unit of pseudo-time: a scalar, or one value per channel."""

    def courant(self, dt: Coefficient) -> Coefficient:
        """Return ν = 2 α dt."""
        return 2 * self.alpha * dt

    def rule(self) -> str:
        """Return the stability condition as text."""
        return "alpha * dt <= 1/2"

    def scaled(self, dt: Coefficient) -> "Diffusion":
        """Return the equation in units of the time step `dt`."""
        return Diffusion(self.alpha * dt)

    def increment(self, u: Float[Array, "*b t d"], graph: Path) -> Float[Array, "*b t d"]:
        """Return α L u, the change of u in one step with dt = 1."""
        return self.alpha * stencil.laplacian(u, graph)

    def _step(self, state: State, graph: Path) -> State:
        return state + self.increment(state, graph)


@_register
@dataclass(frozen=True)
class Wave(PDE):
    """Wave equation u_tt = c² u_xx from rest, u_t(0) = 0.

    The leapfrog u_{k+1} = 2u_k - u_{k-1} + r L u_k with r = (c dt)² starts with u_1 = u_0 + ½ r L u_0. It is second
    order in time, and u_n = T_n(I + ½ r L) u_0 with the Chebyshev polynomial T_n. It is stable for abs(c) dt ≤ 1
    and exact for c dt = 1. It is reversible: exchange u and u_prev to run it backward.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import Wave, evolve
        >>> u = jnp.array([[0.0], [0.0], [2.0], [0.0], [0.0]])
        >>> evolve(u, Wave(1.0), steps=2)[:, 0].tolist()
        [1.0, 0.0, 0.0, 0.0, 1.0]
    """

    speed: Coefficient
    """Speed c in tokens per unit of pseudo-time: a scalar, or one value per channel. Its sign has no effect."""

    def courant(self, dt: Coefficient) -> Coefficient:
        """Return ν = abs(c) dt."""
        return abs(self.speed) * dt

    def rule(self) -> str:
        """Return the stability condition as text."""
        return "|speed| * dt <= 1"

    def scaled(self, dt: Coefficient) -> "Wave":
        """Return the equation in units of the time step `dt`."""
        return Wave(self.speed * dt)

    def increment(self, u: Float[Array, "*b t d"], graph: Path) -> Float[Array, "*b t d"]:
        """Return c² L u, the change of u - u_prev in one step with dt = 1."""
        return self.speed**2 * stencil.laplacian(u, graph)

    def _step(self, state: State, graph: Path) -> State:
        u, previous = state
        return u + (u - previous) + self.increment(u, graph), u


@_register
@dataclass(frozen=True)
class AdvectionDiffusion(PDE):
    """Advection-diffusion equation u_t = α u_xx + β u_x, conservative upwind.

    One step is u_j ← u_j + α dt (Lu)_j + F_{j+1/2} - F_{j-1/2}, where F_{j+1/2} is the flux to the left through
    the edge j+1/2: β dt u_{j+1} for β ≥ 0, and β dt u_j for β < 0. The step is stable for α ≥ 0 and
    2 α dt + abs(β) dt ≤ 1: every entry of its matrix is then ≥ 0. With Neumann walls it conserves mass, which
    piles up at the wall.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import AdvectionDiffusion, evolve
        >>> u = jnp.array([[0.0], [0.0], [1.0], [0.0]])
        >>> evolve(u, AdvectionDiffusion(0.0, 0.5), steps=1)[:, 0].tolist()
        [0.0, 0.5, 0.5, 0.0]
    """

    alpha: Coefficient
    """Diffusivity α ≥ 0 in tokens² per unit of pseudo-time: a scalar, or one value per channel."""
    beta: Coefficient
    """Drift β in tokens per unit of pseudo-time: β > 0 moves mass to lower index, β < 0 to higher."""

    def courant(self, dt: Coefficient) -> Coefficient:
        """Return ν = (2 α + abs(β)) dt."""
        return (2 * self.alpha + abs(self.beta)) * dt

    def rule(self) -> str:
        """Return the stability condition as text."""
        return "2 * alpha * dt + |beta| * dt <= 1"

    def scaled(self, dt: Coefficient) -> "AdvectionDiffusion":
        """Return the equation in units of the time step `dt`."""
        return AdvectionDiffusion(self.alpha * dt, self.beta * dt)

    def increment(self, u: Float[Array, "*b t d"], graph: Path) -> Float[Array, "*b t d"]:
        """Return α L u + β u_x (upwind), the change of u in one step with dt = 1."""
        down, up = jnp.maximum(self.beta, 0), jnp.maximum(-self.beta, 0)
        return self.alpha * stencil.laplacian(u, graph) + stencil.upwind(u, down, up, graph)

    def _step(self, state: State, graph: Path) -> State:
        return state + self.increment(state, graph)


@_register
@dataclass(frozen=True)
class ReactionDiffusion(PDE):
    """Reaction-diffusion equation u_t = α u_xx + R(u), by Strang splitting.

    R(u) = β u (1 - u) for "fisher" and β u (1 - u²) for "allen_cahn". One step is the exact reaction flow for dt/2,
    one explicit diffusion step for dt, and the reaction flow for dt/2. It is exact without diffusion. With
    diffusion it is first order in dt, like the Euler step inside. It is stable for 0 ≤ α dt ≤ 1/2 and any β.
    Fisher keeps [0, 1] and needs u ≥ 0; Allen-Cahn keeps [-1, 1]. A negative β reverses the reaction, which
    then blows up in finite time from abs(u) > 1. Padding and the tokens that the boundary fixes do not react.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import ReactionDiffusion, evolve
        >>> y = evolve(jnp.array([[0.5], [0.5]]), ReactionDiffusion(0.1, 1.0), steps=1)
        >>> round(float(y[0, 0]), 3)  # 1 / (1 + e^-1), the logistic curve
        0.731
    """

    alpha: Coefficient
    """Diffusivity α ≥ 0 in tokens² per unit of pseudo-time: a scalar, or one value per channel."""
    beta: Coefficient
    """Reaction rate β per unit of pseudo-time: a scalar, or one value per channel."""
    reaction: Reaction | str = field(default="fisher", metadata={"static": True})
    """The reaction R, "fisher" or "allen_cahn"; static under `jit`."""

    def courant(self, dt: Coefficient) -> Coefficient:
        """Return ν = 2 α dt; the exact reaction flow has no bound."""
        return 2 * self.alpha * dt

    def rule(self) -> str:
        """Return the stability condition as text."""
        return "alpha * dt <= 1/2"

    def scaled(self, dt: Coefficient) -> "ReactionDiffusion":
        """Return the equation in units of the time step `dt`."""
        return ReactionDiffusion(self.alpha * dt, self.beta * dt, self.reaction)

    def diffusion(self) -> Diffusion:
        """Return the equation without its reaction."""
        return Diffusion(self.alpha)

    def apply_reaction(self, u: Float[Array, "*b t d"], time: float, graph: Path) -> Float[Array, "*b t d"]:
        """Apply the exact flow of u_t = R(u) for `time` to the tokens that the boundary lets change."""
        after = reaction_flow(u, self.beta * time, self.reaction)
        return after if graph.active is None else jnp.where(graph.active, after, u)

    def _step(self, state: State, graph: Path) -> State:
        half = self.apply_reaction(state, 0.5, graph)
        return self.apply_reaction(half + self.diffusion().increment(half, graph), 0.5, graph)


def reaction_flow(u: Float[Array, "*b"], growth: Coefficient, reaction: Reaction | str) -> Float[Array, "*b"]:
    """Return the exact solution of u_t = R(u) at time t, with growth = βt.

    ::

        fisher:      u / (u + (1 - u) e^{-βt})
        allen_cahn:  u / sqrt(u² + (1 - u²) e^{-2βt})

    Args:
        u: the initial values, float32 or float64.
        growth: βt, broadcast against `u`.
        reaction: "fisher" or "allen_cahn".

    Returns:
        The solution, of the shape of `u`.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(reaction_flow(jnp.array(0.5), 1.0, "fisher")), 3)
        0.731
    """
    # a larger growth would underflow or overflow the exponential, and u = 0 would give 0/0
    limit = float(np.log(jnp.finfo(u.dtype).max)) / 4
    growth = jnp.clip(growth, -limit, limit)
    # above 1 the sum u + (1 - u) e^{-βt} would cancel, and u² overflow: there both are divided by u
    is_large = jnp.abs(u) > 1
    inner, large = jnp.where(is_large, 1, u), jnp.where(is_large, u, 0.5)
    decay = jnp.exp(-growth)
    if reaction == "fisher":
        return jnp.where(
            is_large, 1 / (decay / large - jnp.expm1(-growth)), inner / (inner + (1 - inner) * decay)
        )
    outside = jnp.sign(large) / jnp.sqrt((decay / large) ** 2 - jnp.expm1(-2 * growth))
    return jnp.where(is_large, outside, inner / jnp.sqrt(inner**2 + (1 - inner**2) * decay**2))


def check_reaction_name(reaction: Any) -> None:
    """Check that a reaction is one of `REACTIONS`.

    Raises:
        ValueError: it is not.
    """
    if reaction not in REACTIONS:
        raise ValueError(f"reaction must be one of {', '.join(REACTIONS)}, got {reaction!r}; choose one.")


def check_coefficient_shapes(pde: PDE, channels: int, dt: Coefficient) -> None:
    """Check that coefficients are scalars or one value per channel, and dt is a scalar.

    Raises:
        ValueError: they are not.
    """
    for name, value in pde.coefficients().items():
        if jnp.shape(value) not in ((), (channels,)):
            raise ValueError(
                f"{name} must be a scalar or one value per channel, ({channels},), got shape {jnp.shape(value)}."
            )
    if jnp.ndim(dt) != 0:
        raise ValueError(f"dt must be a scalar, got shape {jnp.shape(dt)}.")


def check_reaction(pde: ReactionDiffusion, u: np.ndarray, time: Coefficient) -> None:
    """Check that the reaction is defined for the concrete values u over the full pseudo-time.

    Args:
        pde: the equation.
        u: the valid values of the state.
        time: the length of the evolution in pseudo-time.

    Raises:
        ValueError: the reaction is unknown, a value is negative under Fisher, or a negative β leads to blow-up.
    """
    check_reaction_name(pde.reaction)
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

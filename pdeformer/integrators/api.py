"""`evolve`: u(0) → u(T) for the four equations, with the choice of method and all checks."""

from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from pdeformer import stencil
from pdeformer.integrators.explicit import march_reaction
from pdeformer.integrators.propagator import propagate
from pdeformer.pde import (
    PDE,
    AdvectionDiffusion,
    Coefficient,
    ReactionDiffusion,
    Wave,
    check_reaction,
    is_concrete,
)
from pdeformer.stencil import Boundary, Path

Method = Literal["auto", "scan", "taps", "spectral", "kernel"]
METHODS: tuple[str, ...] = get_args(Method)
MOST_TAPS = 64  # steps up to which one pass of taps beats the FFT (measured on CPU, T = 4096)


def evolve(
    u: Shaped[Array | np.ndarray, "*s"],
    pde: PDE,
    *,
    steps: int,
    dt: Coefficient = 1.0,
    axis: int = -2,
    boundary: Boundary | str = "neumann",
    segment_ids: Shaped[Array | np.ndarray, "*b t"] | None = None,
    causal: bool = False,
    method: Method | str = "auto",
) -> Float[Array, "*s"]:
    """Evolve `u` for `steps` explicit steps of `dt` on the path graph along `axis`.

    Args:
        u: `(..., T, D)`, space along `axis`; float32, float64, or a shorter float computed in float32.
        pde: the equation. A coefficient is a scalar or one value per channel: `(D,)`, D the last axis
            besides `axis`. Stable coefficients only; concrete ones are checked, traced ones are the caller's.
        steps: number of steps, static, ≥ 0; 0 returns u.
        dt: length of a step in pseudo-time, > 0.
        axis: the axis of tokens.
        boundary: "neumann" (no flux: mass is conserved), "periodic" (a ring; no segments), "dirichlet" (zero
            outside) or "copy" (the two ends of a run never change; its norm may exceed 1).
        segment_ids: int `(..., T)`, broadcast against the leading axes of u; 0 is padding, neighbours of one
            positive id are joined. Padding is never read and never changed.
        causal: no output depends on a later token; defined in `integrators.causal`. Neumann only, no wave.
        method: "scan" is the definition; "taps" is one (2·steps+1)-tap pass (linear, no segments);
            "spectral" multiplies modes (linear, no segments; advection on the ring only); "auto" takes the
            fastest that is exact here. They agree to 1e-5 in float32 (up to 32 steps), 1e-12 in float64.

    Returns:
        u at pseudo-time steps·dt, of the shape and dtype of `u`. For the backward pass linear equations keep one
        state, and their temporaries stay within six states for any steps and method (from four channels on: a
        lone one has no parts to take in turn); a reaction keeps O(√steps).

    Raises:
        ValueError: unstable or non-finite coefficients, shapes that do not fit, a negative u under Fisher, a
            method, boundary or causal form that does not apply.
    """
    u = jnp.asarray(u)
    axis = _check_arguments(u, steps, axis, method)
    _check_causal(pde, boundary, causal=causal)
    moved = _move_space(u, axis)
    segment_ids = _check_segments(segment_ids, moved, boundary)
    _check_equation(pde, moved, segment_ids, steps, dt)
    if steps == 0 or u.size == 0:
        return u

    dtype = jnp.promote_types(u.dtype, jnp.float32)
    state = moved.astype(dtype)
    graph = stencil.path(state.shape[-2], segment_ids, boundary, ndim=state.ndim)
    # zeros instead of padding: whatever stands there, NaN included, cannot reach a value or a gradient
    inside = state if graph.valid is None else jnp.where(graph.valid, state, 0)
    chosen = choose(pde, method, steps, boundary, segmented=graph.valid is not None, causal=causal)
    after = _run(pde.scaled(dt).cast(dtype, state.ndim), inside, graph, steps, chosen, causal=causal)
    if graph.valid is not None:
        after = jnp.where(graph.valid, after, state)
    return _move_back(after.astype(u.dtype), axis, u.ndim)


def _run(pde, u: Array, graph: Path, steps: int, method: str, *, causal: bool) -> Array:
    if not isinstance(pde, ReactionDiffusion):
        return propagate(pde, u, graph, steps=steps, method=f"causal {method}" if causal else method)
    if not causal:
        return march_reaction(pde, u, graph, steps)
    u = pde.react(u, steps / 2, graph)
    u = propagate(pde.diffusion(), u, graph, steps=steps, method=f"causal {method}")
    return pde.react(u, steps / 2, graph)


def applicable(pde: PDE, boundary: str, *, segmented: bool, causal: bool) -> tuple[str, ...]:
    """The methods that are exact for these arguments."""
    if segmented or (isinstance(pde, ReactionDiffusion) and not causal):
        return ("scan",)
    if causal:
        return ("scan", "taps")
    advection_at_walls = isinstance(pde, AdvectionDiffusion) and boundary != "periodic"
    return ("scan", "taps") if advection_at_walls else ("scan", "taps", "spectral")


def choose(pde: PDE, method: str, steps: int, boundary: str, *, segmented: bool, causal: bool) -> str:
    """The method to run; "auto" is the fastest exact one. Raises ValueError for a method that does not apply."""
    exact = applicable(pde, boundary, segmented=segmented, causal=causal)
    if method == "auto":
        if "taps" not in exact:
            return "scan"
        if steps <= MOST_TAPS:
            return "taps"
        return "spectral" if "spectral" in exact else "scan"
    if method not in exact:
        segments = "given" if segmented else "None"
        what = f"{type(pde).__name__}, boundary={boundary!r}, causal={causal}, segment_ids {segments}"
        raise ValueError(
            f"method {method!r} does not serve {what}; use {' or '.join(map(repr, exact))} or 'auto'."
        )
    return method


def _check_arguments(u: Array, steps: int, axis: int, method: str) -> int:
    if not jnp.issubdtype(u.dtype, jnp.floating):
        raise ValueError(f"evolve needs a real floating state, got dtype {u.dtype}; convert u first.")
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"steps must be a Python integer >= 0, got {steps!r}.")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    if not -u.ndim <= axis < u.ndim:
        raise ValueError(f"axis {axis} is not an axis of u, which has shape {u.shape}.")
    return axis % u.ndim


def _check_causal(pde: PDE | None, boundary: str, *, causal: bool) -> None:
    if not isinstance(pde, PDE):
        raise ValueError(
            f"pde must be Diffusion, Wave, ReactionDiffusion or AdvectionDiffusion, got {pde!r}."
        )
    if causal and isinstance(pde, Wave):
        raise ValueError(
            "Wave has no causal form: it moves both ways at one speed; use Diffusion or AdvectionDiffusion, "
            "or causal=False."
        )
    if causal and boundary != "neumann":
        raise ValueError(f"causal=True is defined for boundary 'neumann' only, got {boundary!r}.")


def _move_space(u: Array, axis: int) -> Array:
    return u[:, None] if u.ndim == 1 else jnp.moveaxis(u, axis, -2)


def _move_back(u: Array, axis: int, ndim: int) -> Array:
    return u[:, 0] if ndim == 1 else jnp.moveaxis(u, -2, axis)


def _check_segments(segment_ids, moved: Array, boundary: str) -> Int[Array, "*b t"] | None:
    """Check that segment_ids fits `(..., T)`, and give it back as an array."""
    stencil.path(0, None, boundary)
    if segment_ids is None:
        return None
    segment_ids = jnp.asarray(segment_ids)
    wanted = moved.shape[:-1]
    fits = (
        segment_ids.ndim >= 1
        and segment_ids.ndim <= len(wanted)
        and segment_ids.shape[-1] == wanted[-1]
        and all(have in (1, want) for have, want in zip(segment_ids.shape[::-1], wanted[::-1], strict=False))
    )
    if not fits:
        raise ValueError(
            f"segment_ids must broadcast against the leading axes and tokens of u, {wanted}, got shape "
            f"{segment_ids.shape}; insert axes of size 1 where they differ."
        )
    if not jnp.issubdtype(segment_ids.dtype, jnp.integer):
        raise ValueError(f"segment_ids must be integers, got dtype {segment_ids.dtype}.")
    return segment_ids


def _check_equation(pde: PDE, moved: Array, segment_ids: Array | None, steps: int, dt: Coefficient) -> None:
    channels = moved.shape[-1]
    for name, value in pde.coefficients().items():
        if jnp.shape(value) not in ((), (channels,)):
            raise ValueError(
                f"{name} must be a scalar or one value per channel, ({channels},), got shape {jnp.shape(value)}."
            )
    if jnp.ndim(dt) != 0:
        raise ValueError(f"dt must be a scalar, got shape {jnp.shape(dt)}.")
    pde.check(dt)
    if isinstance(pde, ReactionDiffusion):
        known = is_concrete(moved) and (segment_ids is None or is_concrete(segment_ids))
        valid = np.empty(0)
        if known:
            state = np.asarray(moved, np.float32 if moved.dtype.itemsize < 4 else None)
            everywhere = np.ones((), bool) if segment_ids is None else np.asarray(segment_ids)[..., None] > 0
            valid = state[np.broadcast_to(everywhere, state.shape)]
        check_reaction(pde, valid, steps * dt if is_concrete(dt) else dt)

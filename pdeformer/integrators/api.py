"""`evolve`: the evolution of a state under the four equations, its checks and the selection of a method."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from pdeformer import stencil
from pdeformer.integrators import kernels
from pdeformer.integrators.compilation import compile_once
from pdeformer.integrators.explicit import integrate_reaction
from pdeformer.integrators.meshes import on_mesh, vary_alike, with_automatic_axes
from pdeformer.integrators.propagator import casts, propagate
from pdeformer.pde import (
    PDE,
    AdvectionDiffusion,
    Coefficient,
    Diffusion,
    ReactionDiffusion,
    Wave,
    check_coefficient_shapes,
    check_reaction,
    is_concrete,
)
from pdeformer.stencil import Boundary, Path
from pdeformer.stencil.arguments import fit_segment_ids, resolve_causal

Method = Literal["auto", "scan", "taps", "spectral", "kernel"]
METHODS: tuple[str, ...] = get_args(Method)
MAX_TAPS_STEPS = 64  # steps up to which one pass of taps beats the FFT (measured on CPU, T = 4096)


def evolve(
    u: Shaped[Array | np.ndarray, "*s"],
    pde: PDE,
    *,
    steps: int,
    dt: Coefficient = 1.0,
    axis: int = -2,
    boundary: Boundary | str = "neumann",
    segment_ids: Shaped[Array | np.ndarray, "*b t"] | list | None = None,
    causal: bool = False,
    method: Method | str = "auto",
    is_causal: bool | None = None,
) -> Float[Array, "*s"]:
    """Evolve `u` for `steps` explicit steps of `dt` on the path graph along `axis`.

    Tokens are points of a line, and a step moves every token toward its neighbors: diffusion flattens peaks and
    keeps the sum, a wave lets them run to both sides, advection carries them along, a reaction sharpens or spreads
    them. `pdeformer.plots.evolution` draws it. With L the graph Laplacian, (L u)_j = u_{j-1} - 2 u_j + u_{j+1} away
    from the ends, and U the conservative upwind difference, (U u)_j = u_{j+1} - u_j for β > 0 and u_j - u_{j-1} for
    β < 0, one step is::

        Diffusion            u ← u + α dt L u
        Wave                 u, u_prev ← 2u - u_prev + (c dt)² L u, u     from rest: u_1 = u_0 + ½ (c dt)² L u_0
        ReactionDiffusion    u ← R(u);  u ← u + α dt L u;  u ← R(u)       R solves u_t = R(u) exactly for dt/2
        AdvectionDiffusion   u ← u + α dt L u + β dt U u                  β > 0 moves mass to lower index

    At a "neumann" wall a token has no neighbor and nothing flows through: the first token changes by
    α dt (u_1 - u_0). In place of a hole of padding between two tokens there are two walls.

    Args:
        u: the state `(..., T, D)` with tokens along `axis`: float32, float64, or a shorter float, which is
            computed in float32.
        pde: the equation. A coefficient is a scalar, or one value per channel, `(D,)`, where D is the last axis
            besides `axis`. Coefficients must be stable: concrete coefficients are checked here, traced ones are
            the responsibility of the caller.
        steps: the number of steps, a static integer ≥ 0; 0 returns `u`.
        dt: the length of a step in pseudo-time, > 0.
        axis: the axis of tokens.
        boundary: "neumann" (no flux: mass is conserved), "periodic" (a ring; no segments), "dirichlet" (zero
            outside) or "copy" (the two ends of a run never change; the operator's norm may exceed 1).
        segment_ids: integers or booleans `(..., T)`, broadcast against the leading axes of `u`. 0 is padding, which is
            never read and never changed. Neighbors of one positive id are joined. None is one segment.
        causal: whether no output may depend on a later token. `integrators.causal` defines the causal forms.
            They need the boundary "neumann"; the wave has no causal form.
        method: "scan" takes explicit steps and is the definition. "taps" is one convolution with 2·steps+1 taps
            (linear equations). "spectral" multiplies modes (linear equations without segments;
            advection on the ring only). "kernel" is one kernel of the TPU or GPU at hand, which reads the state once
            and writes it once (diffusion between "neumann" walls; a CPU has none). "auto" selects the fastest exact
            method for these arguments and this device. All methods
            agree to 1e-5 in float32 (up to 32 steps) and to 1e-12 in float64, if all valid tokens are finite: the
            kernels of a TPU multiply by the masks of segments, so that NaN or infinity in one spoils up to 128.
        is_causal: another name of `causal`, the one of attention; None means that it is left out.

    Returns:
        The state at pseudo-time steps·dt, of the shape and dtype of `u`. For the backward pass a linear equation
        keeps one state, and a reaction keeps O(√steps) states. From four channels on, the temporaries of a linear
        equation stay within six states for any number of steps and any method.

    Raises:
        ValueError: a coefficient is unstable or not finite, a shape does not fit, `u` is negative under Fisher,
            or a method, boundary or causal form does not apply.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import Diffusion, evolve
        >>> u = jnp.array([[0.0], [0.0], [1.0], [0.0], [0.0]])  # 5 tokens, 1 channel
        >>> evolve(u, Diffusion(0.25), steps=1)[:, 0].tolist()
        [0.0, 0.25, 0.5, 0.25, 0.0]
        >>> evolve(u, Diffusion(0.25), steps=1, causal=True)[:, 0].tolist()
        [0.0, 0.0, 0.75, 0.25, 0.0]

        Repeated calls are fastest under `jit`, with the number of steps fixed:

        >>> import jax
        >>> smooth = jax.jit(lambda u, alpha: evolve(u, Diffusion(alpha), steps=2))
        >>> smooth(u, 0.25)[:, 0].tolist()
        [0.0625, 0.25, 0.375, 0.25, 0.0625]

    Reference:
        Zhang & Zhou, "Continuous-Time Attention: PDE-Guided Mechanisms for Long-Sequence Transformers", 2025.
    """
    u = jnp.asarray(u)
    axis = _check_arguments(u, steps, axis, method)
    causal = resolve_causal(causal=causal, is_causal=is_causal)
    _check_causal(pde, boundary, causal=causal)
    state = _tokens_to_second_last(u, axis)
    ids = _check_segments(segment_ids, state, boundary)
    _check_equation(pde, state, ids, steps, dt)
    if steps == 0 or u.size == 0:
        return u
    automatic = method == "auto"
    scaled = pde.scaled_widely(dt).cast(jnp.promote_types(u.dtype, jnp.float32), state.ndim)
    arguments: Any = dict(segmented=ids is not None, causal=causal, state=state)
    method = select_method(scaled, method, int(steps), boundary, **arguments)
    if automatic and method == "spectral" and on_mesh(u):
        method = "scan"  # because the compiler would gather the batch for an FFT
    after = _evolve(state, scaled, ids, steps=int(steps), boundary=boundary, method=method, causal=causal)
    return _tokens_to_axis(after, axis, u.ndim)


@compile_once("steps", "boundary", "method", "causal")
def _evolve(
    initial: Array, pde: PDE, segment_ids: Any, *, steps: int, boundary: str, method: str, causal: bool
) -> Array:
    def compute(initial: Array, pde: PDE, segment_ids: Any) -> Array:
        as_it_is = not isinstance(pde, ReactionDiffusion) and casts(_full_name(method, causal=causal))
        state = initial if as_it_is else initial.astype(jnp.promote_types(initial.dtype, jnp.float32))
        graph = stencil.path(state.shape[-2], segment_ids, boundary, ndim=state.ndim)
        leaves, structure = jax.tree.flatten((state, pde, graph))
        state, pde, graph = jax.tree.unflatten(structure, vary_alike(*leaves))
        # zeros in place of padding, so that no number there, NaN included, reaches a result or a gradient
        clean = state if graph.valid is None or as_it_is else jnp.where(graph.valid, state, 0)
        after = _run(pde, clean, graph, steps, method, causal=causal)
        if graph.valid is not None and not as_it_is:
            after = jnp.where(graph.valid, after, state)
        return after.astype(initial.dtype)

    return with_automatic_axes(compute, jax.typeof(initial).sharding)(initial, pde, segment_ids)


def _full_name(method: str, *, causal: bool) -> str:
    return f"causal {method}" if causal else method


def _run(pde: Any, u: Array, graph: Path, steps: int, method: str, *, causal: bool) -> Array:
    if not isinstance(pde, ReactionDiffusion):
        return propagate(pde, u, graph, steps=steps, method=_full_name(method, causal=causal))
    if not causal:
        return integrate_reaction(pde, u, graph, steps)
    u = pde.apply_reaction(u, steps / 2, graph)
    u = propagate(pde.diffusion(), u, graph, steps=steps, method=f"causal {method}")
    return pde.apply_reaction(u, steps / 2, graph)


def applicable_methods(pde: PDE, boundary: str, *, segmented: bool, causal: bool) -> tuple[str, ...]:
    """Return the methods that are exact for these arguments.

    Args:
        pde: the equation; only its type matters.
        boundary: the rule at the ends of a run.
        segmented: whether there are segments.
        causal: whether to use the causal form.

    Returns:
        Names of methods, "scan" first.
    """
    if isinstance(pde, ReactionDiffusion) and not causal:
        return ("scan",)
    if causal or segmented:
        return ("scan", "taps")
    advection_at_walls = isinstance(pde, AdvectionDiffusion) and boundary != "periodic"
    return ("scan", "taps") if advection_at_walls else ("scan", "taps", "spectral")


def select_method(
    pde: PDE,
    method: str,
    steps: int,
    boundary: str,
    *,
    segmented: bool,
    causal: bool,
    state: Array | None = None,
) -> str:
    """Return the method to run; "auto" selects the fastest exact method.

    Args:
        pde: the equation; its type matters, and for a kernel the shape of its coefficients.
        method: the name of a method, or "auto".
        steps: the number of steps.
        boundary: the rule at the ends of a run.
        segmented: whether there are segments.
        causal: whether to use the causal form.
        state: the state `(..., T, D)`; without it no kernel is selected.

    Returns:
        "scan", "taps", "spectral" or the name of a kernel, as "kernel tpu".

    Raises:
        ValueError: the method does not apply.
    """
    platform = jax.default_backend()
    arguments: Any = dict(steps=steps, boundary=boundary, segmented=segmented, causal=causal)
    if method == "kernel":
        refusal = kernels.explain_refusal(pde, state, platform, **arguments)
        if refusal is not None:
            raise ValueError(f"method 'kernel' does not serve this call: {refusal}; use 'auto'.")
        assert state is not None
        return kernels.name_kernel(platform, state)
    if method == "auto" and state is not None:
        kernel = kernels.select_kernel(pde, state, **arguments)
        if kernel is not None:
            return kernel
    exact = applicable_methods(pde, boundary, segmented=segmented, causal=causal)
    if method == "auto":
        if "taps" not in exact:
            return "scan"
        if steps <= MAX_TAPS_STEPS:
            return "taps"
        return "spectral" if "spectral" in exact else "scan"
    if method not in exact:
        segments = "given" if segmented else "None"
        arguments = f"{type(pde).__name__}, boundary={boundary!r}, causal={causal}, segment_ids {segments}"
        raise ValueError(
            f"method {method!r} does not serve {arguments}; use {' or '.join(map(repr, exact))} or 'auto'."
        )
    return method


def _check_arguments(u: Array, steps: int, axis: int, method: str) -> int:
    if not jnp.issubdtype(u.dtype, jnp.floating):
        raise ValueError(f"evolve needs a real floating state, got dtype {u.dtype}; convert u first.")
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"steps must be a Python integer >= 0, got {steps!r}.")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    if not isinstance(axis, int | np.integer) or isinstance(axis, bool) or not -u.ndim <= axis < u.ndim:
        raise ValueError(
            f"axis {axis!r} is not an axis of u, which has shape {u.shape}; pass one, as axis=0."
        )
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
    if causal and not isinstance(pde, Diffusion | ReactionDiffusion | AdvectionDiffusion):
        raise ValueError(
            f"a causal form is written for Diffusion, ReactionDiffusion and AdvectionDiffusion, got "
            f"{type(pde).__name__}; use causal=False, or add it to integrators.causal."
        )
    if causal and boundary != "neumann":
        raise ValueError(f"causal=True is defined for boundary 'neumann' only, got {boundary!r}.")


def _tokens_to_second_last(u: Array, axis: int) -> Array:
    return u[:, None] if u.ndim == 1 else jnp.moveaxis(u, axis, -2)


def _tokens_to_axis(u: Array, axis: int, ndim: int) -> Array:
    return u[:, 0] if ndim == 1 else jnp.moveaxis(u, -2, axis)


def _check_segments(segment_ids: Any, state: Array, boundary: str) -> Int[Array, "*b t"] | None:
    """Check that segment_ids fits `(..., T)`, and return it as an array."""
    stencil.path(0, None, boundary)
    if segment_ids is None:
        return None
    return fit_segment_ids(segment_ids, state.shape[:-1])


def _check_equation(pde: PDE, state: Array, segment_ids: Array | None, steps: int, dt: Coefficient) -> None:
    pde.check_numbers(dt)
    check_coefficient_shapes(pde, state.shape[-1], dt)
    pde.check(dt)
    if isinstance(pde, ReactionDiffusion):
        valid = np.empty(0)
        if is_concrete(state) and (segment_ids is None or is_concrete(segment_ids)):
            values = np.asarray(state, np.float32 if state.dtype.itemsize < 4 else None)
            mask = np.ones((), bool) if segment_ids is None else np.asarray(segment_ids)[..., None] > 0
            valid = values[np.broadcast_to(mask, values.shape)]
        check_reaction(pde, valid, steps * dt if is_concrete(dt) else dt)

"""The door to the kernels: which of them serves a call, one function for all, and its derivatives.

    platform    kernel                        serves diffusion with Neumann walls and
    tpu         pallas_tpu, banded_matrix     one diffusivity; segments, the causal form
    tpu         pallas_tpu, channel_filter    one diffusivity per channel; the causal form
    tpu         pallas_tpu, masked_steps      one diffusivity per channel; segments, the causal form
    gpu         pallas_gpu                    both; segments, the causal form

A name such as "kernel tpu" states the platform, so that a program for it can be made on another machine.
"kernel tpu split" is the kernel on a mesh, and "kernel tpu interpreted" runs in the interpreter of Pallas, for tests.

The tangent of a kernel is a `LinearMap` whose transpose is the kernel of the backward pass, which reads the state and
the cotangent once. Further derivatives and the forward mode in the coefficient use the taps.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from pdeformer import stencil
from pdeformer.integrators import causal, convolution
from pdeformer.integrators.kernels import pallas_gpu
from pdeformer.integrators.kernels.batch_partition import map_over_data, partition_batch, splits_over_data
from pdeformer.integrators.kernels.operator_steps import Operator
from pdeformer.integrators.kernels.pallas_tpu import (
    banded_matrix,
    channel_filter,
    edge_codes,
    halo_blocks,
    masked_steps,
)
from pdeformer.integrators.linear_map import LinearMap
from pdeformer.integrators.meshes import on_mesh
from pdeformer.pde import Diffusion
from pdeformer.stencil import Path

MAX_STEPS = halo_blocks.HALO
MIN_TOKENS = halo_blocks.TILE
DTYPES = (jnp.bfloat16, jnp.float32)


class Call(NamedTuple):
    """The static arguments of a kernel."""

    name: str
    """The name of the kernel, as "kernel tpu"."""
    steps: int
    """The number of steps."""
    causal: bool
    """Whether it is the causal form."""

    @property
    def platform(self) -> str:
        """The platform, "tpu" or "gpu"."""
        return self.name.split()[1]

    @property
    def interpret(self) -> bool:
        """Whether the kernel is interpreted."""
        return "interpreted" in self.name

    @property
    def split(self) -> bool:
        """Whether the compiler may split the state over several devices."""
        return "split" in self.name


def explain_refusal(
    pde: Any, state: Any, platform: str, *, steps: int, boundary: str, segmented: bool, causal: bool
) -> str | None:
    """Return why no kernel serves a call, or None if one does.

    Args:
        pde: the equation, its coefficients of any rank.
        state: the state `(..., T, D)`.
        platform: "tpu", "gpu" or another platform of JAX.
        steps: the number of steps.
        boundary: the rule at the ends of a run.
        segmented: whether there are segments.
        causal: whether to use the causal form.
    """
    if platform not in ("tpu", "gpu"):
        return f"there is no kernel for the platform {platform!r}"
    if not isinstance(pde, Diffusion) or boundary != "neumann":
        return "the kernels are written for Diffusion with boundary 'neumann'"
    if state.dtype not in DTYPES:
        return f"the kernels take float32 and bfloat16, got {state.dtype}"
    if not 1 <= steps <= MAX_STEPS or not all(isinstance(size, int) for size in state.shape):
        return f"the kernels take 1 to {MAX_STEPS} steps and static shapes, got {steps} steps"
    if state.shape[-2] < MIN_TOKENS:
        return f"the kernels need {MIN_TOKENS} tokens, got {state.shape[-2]}"
    shape = np.shape(pde.alpha)
    scalar, per_channel = (
        np.prod(shape) == 1,
        len(shape) > 0 and np.prod(shape) == shape[-1] == state.shape[-1],
    )
    if not scalar and not per_channel:
        return f"the kernels take one coefficient, or one per channel, got shape {shape}"
    if platform == "tpu" and on_mesh(state) and not splits_over_data(state):
        return "on a mesh the kernel for TPU needs an axis 'data' that divides the batch, and whole sequences"
    return None


def propagate(pde: Any, u: Array, graph: Path, *, steps: int, name: str, causal: bool) -> Array:
    """Compute `steps` steps of dt = 1 by a kernel for which `explain_refusal` is None.

    Args:
        pde: the equation in units of the time step.
        u: the state `(..., T, D)`; padding may hold any number and does not change.
        graph: the path graph.
        steps: the number of steps.
        name: the name of the kernel, as "kernel tpu".
        causal: whether to use the causal form.

    Returns:
        M u, of the shape and dtype of `u`.
    """
    assert isinstance(pde, Diffusion)
    alpha = pde.alpha.reshape(-1)
    edges = None
    if graph.valid is not None:
        codes = edge_codes.encode_edges(graph.left[..., 0], graph.right[..., 0], graph.valid[..., 0])
        if codes.size > codes.shape[-1]:
            codes = jnp.broadcast_to(codes, u.shape[:-1])
        edges = codes.reshape(-1, u.shape[-2])
    state = u.reshape(-1, *u.shape[-2:])
    return _evolve(Call(name, steps, causal), alpha, edges, state).reshape(u.shape)


def _graph(edges: Array | None, length: int) -> Path:
    if edges is None:
        return stencil.path(length, None, "neumann", ndim=3)
    left, right, valid = (
        (edges[..., None] & bit) != 0 for bit in (edge_codes.LEFT, edge_codes.RIGHT, edge_codes.VALID)
    )
    return Path(left, right, valid, "neumann")


def _by_taps(call: Call, alpha: Array, edges: Array | None, u: Array) -> Array:
    """Compute the same by taps, the twin of the kernels, which every transformation of JAX takes."""
    method = causal if call.causal else convolution
    after = method.apply(Diffusion(alpha.reshape(1, 1, -1)), u, _graph(edges, u.shape[1]), call.steps)
    return after.astype(u.dtype)


def _run(call: Call, alpha: Array, edges: Array | None, u: Array, *, adjoint: bool = False) -> Array:
    function = _RUN[call.platform, edges is not None] if call.split else _run_alone
    return function((call, adjoint), alpha, u, *([] if edges is None else [edges]))


def _run_alone(static: tuple[Call, bool], alpha: Array, u: Array, edges: Array | None = None) -> Array:
    call, adjoint = static
    operator, options = Operator(call.steps, call.causal, adjoint), {"interpret": call.interpret}
    if call.platform == "gpu":
        return pallas_gpu.apply(u, alpha, _ends(edges), operator, **options)
    if alpha.size == 1:
        return banded_matrix.apply(u, alpha, edges, operator, **options)
    if edges is None:
        return channel_filter.apply(u, alpha, operator, **options)
    return masked_steps.apply(u, alpha, edges, operator, **options)


def _pull_back_alone(
    call: Call, alpha: Array, cotangent: Array, u: Array, edges: Array | None = None
) -> tuple[Array, Array]:
    operator, options = Operator(call.steps, call.causal), {"interpret": call.interpret}
    states = (cotangent, u, alpha)
    if call.platform == "gpu":
        u_bar, terms = pallas_gpu.pull_back(*states, _ends(edges), operator, **options)
    elif alpha.size == 1:
        u_bar, terms = banded_matrix.pull_back(*states, edges, operator, **options)
    elif edges is None:
        u_bar, terms = channel_filter.pull_back(*states, operator, **options)
    else:
        u_bar, terms = masked_steps.pull_back(*states, edges, operator, **options)
    alpha_bar = terms if alpha.size > 1 else jnp.sum(terms).reshape(1)
    return alpha_bar.astype(alpha.dtype), u_bar


_SPLIT = {"tpu": map_over_data, "gpu": partition_batch}
_RUN = {
    (platform, segmented): split(_run_alone, states=1, segmented=segmented, back=False)
    for platform, split in _SPLIT.items()
    for segmented in (False, True)
}
_PULL_BACK = {
    (platform, segmented): split(_pull_back_alone, states=2, segmented=segmented, back=True)
    for platform, split in _SPLIT.items()
    for segmented in (False, True)
}


def _ends(edges: Array | None) -> tuple[Array, Array] | None:
    """Return the first and last token of every run as `pallas_gpu` takes them."""
    if edges is None:
        return None
    graph = _graph(edges, edges.shape[-1])
    first, last, _ = convolution.reflection.find_runs(graph)
    return first, jnp.where(graph.valid[..., 0], last, first - 1)  # pyright: ignore[reportOptionalSubscript]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _evolve(call: Call, alpha: Array, edges: Array | None, u: Array) -> Array:
    return _run(call, alpha, edges, u)


@partial(_evolve.defjvp, symbolic_zeros=True)
def _(call: Call, primals: Any, tangents: Any) -> tuple[Array, Array]:
    alpha, edges, u = primals
    alpha_dot, _, u_dot = tangents
    y = _evolve(call, alpha, edges, u)
    if isinstance(alpha_dot, SymbolicZero):
        return y, _along_state(call, (alpha, edges), (u_dot,))[0]
    u_dot = jnp.zeros_like(u) if isinstance(u_dot, SymbolicZero) else u_dot
    return y, _along_both(call, (alpha, edges, u), (alpha_dot, u_dot))[0]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _pull_back(
    call: Call, alpha: Array, edges: Array | None, u: Array, cotangent: Array
) -> tuple[Array, Array]:
    """Return ᾱ and ū."""
    function = _PULL_BACK[call.platform, edges is not None] if call.split else _pull_back_alone
    return function(call, alpha, cotangent, u, *([] if edges is None else [edges]))


@_pull_back.defjvp
def _(call: Call, primals: Any, tangents: Any) -> tuple[Any, Any]:
    edges = primals[1]

    def by_taps(alpha: Array, u: Array, cotangent: Array) -> tuple[Array, Array]:
        return jax.vjp(lambda alpha, u: _by_taps(call, alpha, edges, u), alpha, u)[1](cotangent)

    changes = jax.jvp(by_taps, primals[:1] + primals[2:], tangents[:1] + tangents[2:])[1]
    return _pull_back(call, *primals), changes


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _adjoint(call: Call, alpha: Array, edges: Array | None, cotangent: Array) -> Array:
    return _run(call, alpha, edges, cotangent, adjoint=True)


@_adjoint.defjvp
def _(call: Call, primals: Any, tangents: Any) -> tuple[Array, Array]:
    edges = primals[1]

    def by_taps(alpha: Array, cotangent: Array) -> Array:
        return jax.linear_transpose(lambda u: _by_taps(call, alpha, edges, u), cotangent)(cotangent)[0]

    change = jax.jvp(by_taps, primals[:1] + primals[2:], tangents[:1] + tangents[2:])[1]
    return _adjoint(call, *primals), change


def _apply_along_state(call: Call, residuals: Any, x: tuple[Array]) -> tuple[Array]:
    return (_evolve(call, *residuals, x[0]),)


def _transpose_along_state(call: Call, residuals: Any, y: tuple[Array]) -> tuple[Array]:
    return (_adjoint(call, *residuals, y[0]),)


def _apply_along_both(call: Call, residuals: Any, x: tuple[Array, Array]) -> tuple[Array]:
    alpha, edges, u = residuals
    alpha_dot, u_dot = x
    change = jax.jvp(lambda alpha: _by_taps(call, alpha, edges, u), (alpha,), (alpha_dot,))[1]
    return (_evolve(call, alpha, edges, u_dot) + change,)


def _transpose_along_both(call: Call, residuals: Any, y: tuple[Array]) -> tuple[Array, Array]:
    return _pull_back(call, *residuals, y[0])


_along_state = LinearMap("pde_kernel_along_state", _apply_along_state, _transpose_along_state)
_along_both = LinearMap("pde_kernel_along_both", _apply_along_both, _transpose_along_both)


def select_kernel(pde: Any, state: Array, **arguments: Any) -> str | None:
    """Return the name of the kernel for the present platform, or None; arguments as `explain_refusal`."""
    platform = jax.default_backend()
    if explain_refusal(pde, state, platform, **arguments) is not None:
        return None
    return name_kernel(platform, state)


def name_kernel(platform: str, state: Array) -> str:
    """Return the name of the kernel of a platform for a state, which the compiler may split over several devices."""
    return f"kernel {platform}{' split' if on_mesh(state) else ''}"

"""The linear propagator u(0) → u(T) as one JAX primitive with its own derivative rules.

y = M(c) u is linear in the state u and depends on a few coefficients c. Differentiating the steps would store
every state. The rules here store one:

    tangent    ẏ = M(c) u̇ + Σ_i (∂M/∂c_i u) ċ_i      ∂M/∂c_i u in forward mode, or in closed form
    adjoint    ū = M(c)ᵀ ȳ,  c̄_i = ⟨ȳ, ∂M/∂c_i u⟩      Mᵀ by the same method, in explicit form

∂M/∂c_i u is one state even for a coefficient per channel, because channels do not mix. The backward pass
recomputes it from u. The rules use only the primitive itself, which therefore has forward, reverse and mixed
derivatives of any order.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from pdeformer.integrators import causal, convolution, explicit, kernels, spectral
from pdeformer.integrators.explicit import Linear
from pdeformer.integrators.meshes import vary_alike
from pdeformer.stencil import Path


class LinearMethod(NamedTuple):
    """The functions that compute M(c) u and its derivative in the coefficients, (∂M/∂c · ċ) u."""

    apply: Callable
    """`apply(pde, u, graph, steps, adjoint=False)` returns M u, or Mᵀ u."""
    sensitivity: Callable
    """`sensitivity(pde, direction, u, graph, steps)` returns (∂M/∂c · ċ) u.

    `direction` is an equation with the tangents ċ in place of the coefficients.
    """
    casts: bool = False
    """Whether `apply` takes shorter floats and computes in float32, and lets padding hold any number, NaN included."""


def _forward_mode_sensitivity(apply: Callable) -> Callable:
    """Return the sensitivity of a method, by forward-mode differentiation of `apply`."""

    def sensitivity(pde: Linear, direction: Linear, u: Array, graph: Path, steps: int) -> Array:
        return jax.jvp(lambda pde: apply(pde, u, graph, steps), (pde,), (direction,))[1]

    return sensitivity


LINEAR_METHODS: dict[str, LinearMethod] = {
    "scan": LinearMethod(explicit.integrate, explicit.sensitivity),
    "taps": LinearMethod(convolution.apply, convolution.sensitivity, casts=True),
    "spectral": LinearMethod(spectral.apply, _forward_mode_sensitivity(spectral.apply)),
    "causal scan": LinearMethod(causal.integrate, causal.sensitivity),
    "causal taps": LinearMethod(causal.apply, _forward_mode_sensitivity(causal.apply), casts=True),
}


def is_kernel(method: str) -> bool:
    """Return whether a method is a kernel, as "kernel tpu"."""
    return method.removeprefix("causal ").startswith("kernel")


def casts(method: str) -> bool:
    """Return whether a method takes shorter floats and any number in padding, see `LinearMethod.casts`."""
    return is_kernel(method) or LINEAR_METHODS[method].casts


def propagate(pde: Linear, u: Array, graph: Path, *, steps: int, method: str) -> Array:
    """Compute `steps` steps of dt = 1 of a linear equation by a named method.

    Args:
        pde: the equation in units of the time step; every coefficient has the rank of `u` and broadcasts against it.
        u: the state `(..., T, D)`, in at least float32 unless the method casts.
        graph: the path graph; every mask has the rank of `u` and broadcasts against it.
        steps: the number of steps, ≥ 1.
        method: a key of `LINEAR_METHODS`, or the name of a kernel, with "causal " in front of it in the causal form.

    Returns:
        M(c) u, of the shape and dtype of `u`.
    """
    if is_kernel(method):
        name, is_causal = method.removeprefix("causal "), method.startswith("causal ")
        return kernels.propagate(pde, u, graph, steps=steps, name=name, causal=is_causal)
    leaves, structure = jax.tree.flatten((pde, graph))
    return _bind(propagate_p, u, *leaves, structure=structure, steps=steps, method=method, adjoint=False)


def _bind(primitive: Primitive, *arrays: Any, **params: Any) -> Array:
    return primitive.bind(*vary_alike(*arrays), **params)


def _apply(u: Array, *leaves: Array, structure: Any, steps: int, method: str, adjoint: bool) -> Array:
    pde, graph = jax.tree.unflatten(structure, leaves)
    return LINEAR_METHODS[method].apply(pde, u, graph, steps, adjoint=adjoint).astype(u.dtype)


def _derivative(
    u: Array, *leaves_and_tangents: Array, structure: Any, steps: int, method: str, adjoint: bool
) -> Array:
    """Return (∂M/∂c · ċ) u for tangents ċ that are the same for all tokens and channels of a sequence.

    `u` may be shorter floats if the method casts; the result is in at least float32.
    """
    count = structure.num_leaves
    leaves, tangents = leaves_and_tangents[:count], leaves_and_tangents[count:]
    pde, graph = jax.tree.unflatten(structure, leaves)
    direction = jax.tree.unflatten(
        jax.tree.structure(pde),
        [jnp.full_like(c, 1) * t for c, t in zip(jax.tree.leaves(pde), tangents, strict=True)],
    )

    def sensitivity(x: Array) -> Array:
        return LINEAR_METHODS[method].sensitivity(pde, direction, x, graph, steps)

    if not adjoint:
        return sensitivity(u)
    u = u.astype(_at_least_float32(u.dtype))
    return jax.linear_transpose(sensitivity, u)(u)[0]


def _at_least_float32(dtype: Any) -> Any:
    return jnp.promote_types(dtype, jnp.float32)


def _sensitivity(u: Array, leaves: Any, tangents: dict, *, coefficients: int, **params: Any) -> Array:
    """Return Σ_i (∂M/∂c_i u) ċ_i; `tangents` maps the index i of a coefficient to ċ_i.

    The loop is checkpointed, so that the backward pass holds one derivative at a time.
    """
    dtype = _at_least_float32(u.dtype)
    graph = jax.tree.unflatten(params["structure"], leaves)[1]
    masked = graph.valid is not None and LINEAR_METHODS[params["method"]].casts
    shape = jnp.broadcast_shapes(*(t.shape for t in tangents.values()))
    stacked = jnp.stack([jnp.broadcast_to(t, shape) for t in tangents.values()])
    one_hot = jnp.eye(coefficients, dtype=dtype)[np.array(list(tangents))]

    @jax.checkpoint
    def add(total: Array, term: tuple[Array, Array]) -> tuple[Array, None]:
        tangent, unit = term
        directions = unit.reshape((coefficients,) + (1,) * u.ndim)
        change = _bind(derivative_p, u, *leaves, *directions, **params) * tangent
        # so that no cotangent of padding, NaN included, reaches a coefficient
        return total + (jnp.where(graph.valid, change, 0) if masked else change), None

    return jax.lax.scan(add, jnp.zeros_like(u, dtype), (stacked, one_hot))[0].astype(u.dtype)


def _jvp(primals: Any, tangents: Any, **params: Any) -> tuple[Any, Any]:
    u, *leaves = primals
    u_dot, *leaf_tangents = tangents
    y = propagate_p.bind(u, *leaves, **params)
    terms = [] if isinstance(u_dot, ad.Zero) else [_bind(propagate_p, u_dot, *leaves, **params)]
    nonzero = {
        i: t
        for i, t in enumerate(leaf_tangents)
        if not isinstance(t, ad.Zero) and t.dtype != jax.dtypes.float0
    }
    if nonzero:
        count = len(jax.tree.leaves(jax.tree.unflatten(params["structure"], leaves)[0]))
        # checkpointed: the residual is u, not one state per coefficient
        terms.append(jax.checkpoint(partial(_sensitivity, coefficients=count, **params))(u, leaves, nonzero))
    return y, sum(terms[1:], terms[0]) if terms else ad.Zero(y.aval.to_tangent_aval())


def _transpose(cotangent: Any, u: Any, *leaves: Any, adjoint: bool, **params: Any) -> list:
    if isinstance(cotangent, ad.Zero):
        return [ad.Zero(u.aval)] + [None] * len(leaves)
    return [_bind(propagate_p, cotangent, *leaves, adjoint=not adjoint, **params)] + [None] * len(leaves)


def _derivative_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    tangents = tuple(ad.instantiate_zeros(t) for t in tangents)
    return jax.jvp(partial(_derivative, **params), primals, tangents)


def _batch(primitive: Primitive, args: Any, dims: Any, **params: Any) -> tuple[Any, int]:
    size = next(x.shape[d] for x, d in zip(args, dims, strict=True) if d is not None)
    front = [x[None] if d is None else jnp.moveaxis(x, d, 0) for x, d in zip(args, dims, strict=True)]
    u = jnp.broadcast_to(front[0], (size, *front[0].shape[1:]))
    return primitive.bind(u, *front[1:], **params), 0


def _primitive(
    name: str, function: Callable, jvp: Callable, static: tuple[str, ...], *, lengthens: bool
) -> Primitive:
    """Make a primitive that no JAX transformation rewrites: XLA compiles the loops of `function` unchanged.

    `lengthens` says whether its result is in at least float32; otherwise it has the dtype of u.
    """

    def abstract(u: Any, *leaves: Any, **params: Any) -> Any:
        return u.update(dtype=_at_least_float32(u.dtype)) if lengthens else u

    primitive = Primitive(name)
    primitive.def_impl(jax.jit(function, static_argnames=static))
    primitive.def_abstract_eval(abstract)
    ad.primitive_jvps[primitive] = jvp
    batching.primitive_batchers[primitive] = partial(_batch, primitive)
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    return primitive


PARAMETERS = ("structure", "steps", "method", "adjoint")
propagate_p = _primitive("pde_propagate", _apply, _jvp, PARAMETERS, lengthens=False)
ad.primitive_transposes[propagate_p] = _transpose
derivative_p = _primitive(
    "pde_propagate_derivative", _derivative, _derivative_jvp, PARAMETERS, lengthens=True
)

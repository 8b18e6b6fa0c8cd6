"""The linear propagator u(0) → u(T) as one primitive with derivative rules of its own.

y = M(c) u is linear in the state u and depends on a few coefficients c. Differentiating the steps would keep
every state. The rules here keep one:

    tangent    ẏ = M(c) u̇ + Σ_i (∂M/∂c_i u) ċ_i      ∂M/∂c_i u in forward mode, or in closed form
    adjoint    ū = M(c)ᵀ ȳ,  c̄_i = ⟨ȳ, ∂M/∂c_i u⟩      Mᵀ by the same method, written out

∂M/∂c_i u is one state even for a coefficient per channel, because channels do not mix. It is recomputed from u
in the backward pass. Forward, reverse and mixed derivatives of any order follow, since the rules are
made of the primitive itself.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from pdeformer.integrators import causal, convolution, explicit, spectral
from pdeformer.integrators.explicit import Linear
from pdeformer.stencil import Path


class Method(NamedTuple):
    """How M(c) u is computed, and its derivative in the coefficients, (∂M/∂c · ċ) u.

    `apply(pde, u, graph, steps, adjoint=False)`; `sensitivity(pde, direction, u, graph, steps)`, where
    `direction` is an equation with the tangents ċ in the place of the coefficients.
    """

    apply: Callable
    sensitivity: Callable


def _by_forward_mode(apply: Callable) -> Callable:
    """The sensitivity of a method by differentiating its program."""

    def sensitivity(pde, direction, u, graph, steps):
        return jax.jvp(lambda pde: apply(pde, u, graph, steps), (pde,), (direction,))[1]

    return sensitivity


METHODS: dict[str, Method] = {
    "scan": Method(explicit.integrate, explicit.sensitivity),
    "taps": Method(convolution.apply, convolution.sensitivity),
    "spectral": Method(spectral.apply, _by_forward_mode(spectral.apply)),
    "causal scan": Method(causal.integrate, causal.sensitivity),
    "causal taps": Method(causal.apply, _by_forward_mode(causal.apply)),
}


def propagate(pde: Linear, u: Array, graph: Path, *, steps: int, method: str) -> Array:
    """`steps` steps of dt = 1 of a linear equation by a named method.

    Every leaf of `pde` and `graph` has the rank of u and broadcasts against it.
    """
    leaves, structure = jax.tree.flatten((pde, graph))
    return propagate_p.bind(u, *leaves, structure=structure, steps=steps, method=method, adjoint=False)


def _apply(u, *leaves, structure, steps, method, adjoint):
    pde, graph = jax.tree.unflatten(structure, leaves)
    return METHODS[method].apply(pde, u, graph, steps, adjoint=adjoint)


def _derivative(u, *leaves_and_tangents, structure, steps, method, adjoint):
    """(∂M/∂c · ċ) u for tangents ċ that are the same for all tokens and channels of a sequence."""
    members = structure.num_leaves
    leaves, tangents = leaves_and_tangents[:members], leaves_and_tangents[members:]
    pde, graph = jax.tree.unflatten(structure, leaves)
    direction = jax.tree.unflatten(
        jax.tree.structure(pde),
        [jnp.full_like(c, 1) * t for c, t in zip(jax.tree.leaves(pde), tangents, strict=True)],
    )

    def sensitivity(x):
        return METHODS[method].sensitivity(pde, direction, x, graph, steps)

    return jax.linear_transpose(sensitivity, u)(u)[0] if adjoint else sensitivity(u)


def _sensitivity(u, leaves, tangents, *, coefficients, **params):
    """Σ_i (∂M/∂c_i u) ċ_i; `tangents` maps the place i of a coefficient to ċ_i.

    A loop, checkpointed, so that in the backward pass one derivative lives at a time.
    """
    shape = jnp.broadcast_shapes(*(t.shape for t in tangents.values()))
    stacked = jnp.stack([jnp.broadcast_to(t, shape) for t in tangents.values()])
    marks = jnp.eye(coefficients, dtype=u.dtype)[np.array(list(tangents))]

    @jax.checkpoint
    def add(total, one):
        tangent, mark = one
        units = mark.reshape((coefficients,) + (1,) * u.ndim)
        return total + derivative_p.bind(u, *leaves, *units, **params) * tangent, None

    return jax.lax.scan(add, jnp.zeros_like(u), (stacked, marks))[0]


def _jvp(primals, tangents, **params):
    u, *leaves = primals
    u_dot, *directions = tangents
    y = propagate_p.bind(u, *leaves, **params)
    terms = [] if isinstance(u_dot, ad.Zero) else [propagate_p.bind(u_dot, *leaves, **params)]
    moving = {
        i: d for i, d in enumerate(directions) if not isinstance(d, ad.Zero) and d.dtype != jax.dtypes.float0
    }
    if moving:
        count = len(jax.tree.leaves(jax.tree.unflatten(params["structure"], leaves)[0]))
        # checkpointed: the residual is u, not one state per coefficient
        terms.append(jax.checkpoint(partial(_sensitivity, coefficients=count, **params))(u, leaves, moving))
    return y, sum(terms[1:], terms[0]) if terms else ad.Zero(y.aval.to_tangent_aval())


def _transpose(cotangent, u, *leaves, adjoint, **params):
    if isinstance(cotangent, ad.Zero):
        return [ad.Zero(u.aval)] + [None] * len(leaves)
    return [propagate_p.bind(cotangent, *leaves, adjoint=not adjoint, **params)] + [None] * len(leaves)


def _derivative_jvp(primals, tangents, **params):
    tangents = tuple(ad.instantiate_zeros(t) for t in tangents)
    return jax.jvp(partial(_derivative, **params), primals, tangents)


def _batch(primitive, args, dims, **params):
    size = next(x.shape[d] for x, d in zip(args, dims, strict=True) if d is not None)
    front = [x[None] if d is None else jnp.moveaxis(x, d, 0) for x, d in zip(args, dims, strict=True)]
    u = jnp.broadcast_to(front[0], (size, *front[0].shape[1:]))
    return primitive.bind(u, *front[1:], **params), 0


def _primitive(name: str, function: Callable, jvp: Callable, static: tuple[str, ...]) -> Primitive:
    """An operation that no transformation looks into: XLA sees its loops as they were written."""
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(function, static_argnames=static))
    primitive.def_abstract_eval(lambda u, *leaves, **params: u)
    ad.primitive_jvps[primitive] = jvp
    batching.primitive_batchers[primitive] = partial(_batch, primitive)
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    return primitive


PARAMETERS = ("structure", "steps", "method", "adjoint")
propagate_p = _primitive("pde_propagate", _apply, _jvp, PARAMETERS)
ad.primitive_transposes[propagate_p] = _transpose
derivative_p = _primitive("pde_propagate_derivative", _derivative, _derivative_jvp, PARAMETERS)

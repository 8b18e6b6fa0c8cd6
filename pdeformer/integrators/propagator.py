"""The linear propagator u(0) → u(T) as one primitive with derivative rules of its own.

y = M(c) u is linear in the state u and depends on a few coefficients c. Differentiating the steps would keep
every state. The rules here keep one:

    tangent    ẏ = M(c) u̇ + Σ_i (∂M/∂c_i u) ċ_i      ∂M/∂c_i u by forward mode through the same method
    adjoint    ū = M(c)ᵀ ȳ,  c̄_i = ⟨ȳ, ∂M/∂c_i u⟩      Mᵀ by the same method, transposed

∂M/∂c_i u is one state even for a coefficient per channel, because channels do not mix. It is recomputed from u
in the backward pass. Forward, reverse and mixed derivatives of any order follow, since the rules are
made of the primitive itself.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from pdeformer.integrators import causal, explicit, spectral, taps
from pdeformer.integrators.explicit import Linear
from pdeformer.stencil import Path


def _self_transposed(apply: Callable) -> Callable:
    """Give a method the argument `adjoint` by transposing its program."""

    def method(pde, u, graph, steps, *, adjoint=False):
        if not adjoint:
            return apply(pde, u, graph, steps)
        return jax.linear_transpose(lambda x: apply(pde, x, graph, steps), u)(u)[0]

    return method


METHODS: dict[str, Callable] = {
    "scan": explicit.march,
    "taps": taps.apply,
    "spectral": _self_transposed(spectral.apply),
    "causal scan": _self_transposed(causal.march),
    "causal taps": causal.apply,
}


def propagate(pde: Linear, u: Array, graph: Path, *, steps: int, method: str) -> Array:
    """`steps` steps of dt = 1 of a linear equation by a named method.

    Every leaf of `pde` and `graph` has the rank of u and broadcasts against it.
    """
    leaves, structure = jax.tree.flatten((pde, graph))
    return propagate_p.bind(u, *leaves, structure=structure, steps=steps, method=method, adjoint=False)


def _apply(u, *leaves, structure, steps, method, adjoint):
    pde, graph = jax.tree.unflatten(structure, leaves)
    return METHODS[method](pde, u, graph, steps, adjoint=adjoint)


def _sensitivity(u, leaves, direction, *, index, **params):
    """(∂M/∂c u) ċ for the leaf c = leaves[index] in the direction ċ."""

    def of_coefficient(c):
        return _apply(u, *leaves[:index], c, *leaves[index + 1 :], **params)

    c = leaves[index]
    return jax.jvp(of_coefficient, (c,), (jnp.ones_like(c),))[1] * direction


def _jvp(primals, tangents, **params):
    u, *leaves = primals
    u_dot, *directions = tangents
    y = propagate_p.bind(u, *leaves, **params)
    terms = [] if isinstance(u_dot, ad.Zero) else [propagate_p.bind(u_dot, *leaves, **params)]
    for index, direction in enumerate(directions):
        if isinstance(direction, ad.Zero) or direction.dtype == jax.dtypes.float0:
            continue
        # checkpointed, so that the residual is u and not one state per coefficient
        term = jax.checkpoint(partial(_sensitivity, index=index, **params))
        terms.append(term(u, leaves, direction))
    return y, sum(terms[1:], terms[0]) if terms else ad.Zero(y.aval.to_tangent_aval())


def _transpose(cotangent, u, *leaves, adjoint, **params):
    if isinstance(cotangent, ad.Zero):
        return [ad.Zero(u.aval)] + [None] * len(leaves)
    return [propagate_p.bind(cotangent, *leaves, adjoint=not adjoint, **params)] + [None] * len(leaves)


def _batch(args, dims, **params):
    size = next(x.shape[d] for x, d in zip(args, dims, strict=True) if d is not None)
    front = [x[None] if d is None else jnp.moveaxis(x, d, 0) for x, d in zip(args, dims, strict=True)]
    u = jnp.broadcast_to(front[0], (size, *front[0].shape[1:]))
    return propagate_p.bind(u, *front[1:], **params), 0


propagate_p = Primitive("pde_propagate")
propagate_p.def_impl(jax.jit(_apply, static_argnames=("structure", "steps", "method", "adjoint")))
propagate_p.def_abstract_eval(lambda u, *leaves, **params: u)
ad.primitive_jvps[propagate_p] = _jvp
ad.primitive_transposes[propagate_p] = _transpose
batching.primitive_batchers[propagate_p] = _batch
mlir.register_lowering(propagate_p, mlir.lower_fun(_apply, multiple_results=False))

"""A linear map with its own transpose as one JAX primitive: for forward and reverse mode, to any order.

`jax.custom_vjp` gives a function its own backward pass but no forward mode, and `linear_call` has neither a rule for
`vmap` nor a derivative in the residuals. Here the tangent of a function is a linear map f(r, x), whose transpose
fᵀ(r, y) is the backward pass.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from pdeformer.integrators.meshes import vary_alike

Arrays = tuple[Array, ...]


class LinearMap:
    """A function f(static, residuals, x) that is linear in x, together with its transpose.

    `x` and the result are tuples of arrays; `residuals` is a tree of arrays, `static` is hashable.
    """

    def __init__(self, name: str, apply: Callable[..., Arrays], transpose: Callable[..., Arrays]):
        """Register the primitive and its rules.

        Args:
            name: the name of the primitive.
            apply: computes f(static, residuals, x).
            transpose: computes fᵀ(static, residuals, y).
        """
        self.apply, self.transpose = apply, transpose
        static = ("static", "structure", "adjoint", "axes")
        self.compiled: Any = jax.jit(self._evaluate, static_argnames=static, inline=True)
        self.primitive = primitive = Primitive(name)
        primitive.multiple_results = True
        primitive.def_impl(self.compiled)
        primitive.def_abstract_eval(lambda *x, **params: self.compiled.trace(*x, **params).jaxpr.out_avals)
        ad.primitive_jvps[primitive] = self._jvp
        ad.primitive_transposes[primitive] = self._transpose
        batching.primitive_batchers[primitive] = self._batch
        mlir.register_lowering(primitive, mlir.lower_fun(self.compiled, multiple_results=True))

    def __call__(self, static: Any, residuals: Any, x: Arrays) -> Arrays:
        """Return f(static, residuals, x)."""
        leaves, structure = jax.tree.flatten(residuals)
        arrays = vary_alike(*leaves, *x)
        return tuple(self.primitive.bind(*arrays, static=static, structure=structure, adjoint=False, axes=()))

    def _evaluate(self, *arrays: Any, static: Any, structure: Any, adjoint: bool, axes: tuple) -> list:
        count = structure.num_leaves

        def evaluate(*arrays: Any) -> list:
            residuals = jax.tree.unflatten(structure, arrays[:count])
            return list((self.transpose if adjoint else self.apply)(static, residuals, arrays[count:]))

        for dims in reversed(axes):  # the last mapped axis is the outermost
            evaluate = jax.vmap(evaluate, in_axes=dims + (0,) * (len(arrays) - count))
        return evaluate(*arrays)

    def _jvp(self, primals: Any, tangents: Any, **params: Any) -> tuple[Any, Any]:
        count = params["structure"].num_leaves
        residuals, x = primals[:count], primals[count:]
        y = self.primitive.bind(*primals, **params)
        terms = []
        if not all(isinstance(t, ad.Zero) for t in tangents[count:]):
            terms.append(
                self.primitive.bind(*residuals, *map(ad.instantiate_zeros, tangents[count:]), **params)
            )
        varied = [i for i, t in enumerate(tangents[:count]) if not isinstance(t, ad.Zero)]
        if varied:

            def of_residuals(*chosen: Any) -> list:
                replaced = dict(zip(varied, chosen, strict=True))
                return self.compiled(*(replaced.get(i, r) for i, r in enumerate(residuals)), *x, **params)

            chosen = [residuals[i] for i in varied]
            terms.append(jax.jvp(of_residuals, chosen, [tangents[i] for i in varied])[1])
        return y, [sum(parts[1:], parts[0]) for parts in zip(*terms, strict=True)]

    def _transpose(self, cotangents: Any, *arrays: Any, adjoint: bool, **params: Any) -> list:
        count = params["structure"].num_leaves
        cotangents = vary_alike(*arrays[:count], *map(ad.instantiate_zeros, cotangents))[count:]
        x = self.primitive.bind(*arrays[:count], *cotangents, adjoint=not adjoint, **params)
        # an x that is no unknown is a tangent of zero
        x = [y if ad.is_undefined_primal(a) else None for a, y in zip(arrays[count:], x, strict=True)]
        return [None] * count + x

    def _batch(self, arrays: Any, dims: Any, *, axes: tuple, **params: Any) -> tuple[list, list]:
        count = params["structure"].num_leaves
        size = next(x.shape[d] for x, d in zip(arrays, dims, strict=True) if d is not None)
        x = [
            jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)
            for x, d in zip(arrays[count:], dims[count:], strict=True)
        ]
        y = self.primitive.bind(*arrays[:count], *x, axes=(tuple(dims[:count]), *axes), **params)
        return y, [0] * len(y)

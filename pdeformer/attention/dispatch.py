"""One call of evolved attention: check the arguments, prepare the arrays, run one method.

B batch, T query tokens, S key tokens, N heads, K key heads, H head width, F width of random features
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pdeformer.attention.dropout import draw_dropout_bits
from pdeformer.attention.euler_reaction import euler_reaction
from pdeformer.attention.folded import base_attention, folded_attention, repeat_key_heads
from pdeformer.attention.materialized import EvolutionSpec, materialized_attention
from pdeformer.attention.options import (
    AttentionOptions,
    check_coefficients,
    check_equation,
    check_feature_key,
    check_meaning,
    check_options,
)
from pdeformer.attention.plain import fused, performer
from pdeformer.attention.plain.kernel_interface import KernelSpec
from pdeformer.attention.tiled import tiled_attention
from pdeformer.attention.types import (
    AttentionInputs,
    AttentionMask,
    AttentionOutput,
    check_shapes,
    product_precision,
)
from pdeformer.pde import PDE, ReactionDiffusion


class EvolutionProblem(NamedTuple):
    """A checked call, ready for any method."""

    spec: EvolutionSpec
    """Static description of the evolution."""
    pde: PDE | None
    """Coefficients of shape (steps, N), multiplied by the time step; None is plain attention."""
    inputs: AttentionInputs
    """Arrays in at least float32; `query` is scaled."""


def check_call(
    query: Array, key: Array, value: Array, pde: Any, options: AttentionOptions, *, same_tokens: bool
) -> None:
    """Check the arguments of a call.

    Raises:
        ValueError: See `pde_attention`.
    """
    check_options(options)
    check_feature_key(options)
    check_shapes(query, key, value, options.dropout, options.dropout_key)
    check_equation(pde)
    if pde is not None and options.steps:
        check_meaning(pde, options, same_tokens=same_tokens)
        check_coefficients(pde, options, heads=query.shape[2])


def scale_coefficients(pde: Any, options: AttentionOptions, *arrays: Array) -> PDE | None:
    """Return the coefficients times the time step in the dtype of the computation; None is plain attention."""
    if pde is None or options.steps == 0:
        return None
    dtype = compute_dtype(*arrays)
    pde = jax.tree.map(lambda x: jnp.asarray(x, dtype), pde)
    return pde.scaled(jnp.asarray(options.dt, dtype))


def may_use_kernel(pde: Any, options: AttentionOptions) -> bool:
    """Return whether a fused kernel can stand in the fold: softmax of the scores, no reaction, no row of ones."""
    renormalized = options.renormalize == "l1" and pde is not None
    return options.base == "softmax" and not isinstance(pde, ReactionDiffusion) and not renormalized


def compute_dtype(*arrays: Array) -> Any:
    """Return the widest dtype of the arrays, at least float32."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def prepare(
    query: Array,
    key: Array,
    value: Array | None,
    pde: PDE | None,
    options: AttentionOptions,
    mask: AttentionMask,
    kernel: KernelSpec | None = None,
) -> EvolutionProblem:
    """Convert arrays to at least float32, zero their padding, and scale the query or map it to random features.

    `pde` has the coefficients of `scale_coefficients`. For a fused `kernel`, which does all of this itself, the arrays
    stay as they are.
    """
    arrays = (query, key) if value is None else (query, key, value)
    dtype, precision = compute_dtype(*arrays), product_precision(options.precision, *arrays)
    heads, steps = query.shape[2], options.steps
    shapes = [jnp.shape(x) for x in jax.tree.leaves(pde)]
    pde = jax.tree.map(lambda x: jnp.broadcast_to(x, (steps, heads)), pde)
    renormalize = options.renormalize == "l1"
    if options.renormalize is None:
        renormalize = isinstance(pde, ReactionDiffusion) and options.target == "weights"
    dropout_bits = None
    if options.dropout > 0 and options.dropout_key is not None:
        dropout_bits = draw_dropout_bits(options.dropout_key, query, key)
    scale: Any = max(query.shape[-1], 1) ** -0.5 if options.scale is None else options.scale
    if kernel is None:
        query = zero_padding(query, mask.query_ids, dtype)
        key = zero_padding(key, mask.key_ids, dtype)
        value = None if value is None else zero_padding(value, mask.key_ids, dtype)
    if kernel is not None:
        query, kernel = fused.scale_query(query, scale, kernel)
    elif options.base == "performer":
        assert options.feature_key is not None
        key_axes = None if options.is_causal else (1, 3)
        with jax.default_matmul_precision(precision):
            omega = performer.draw_projection(
                options.feature_key, options.features or 0, query.shape[-1], dtype
            )
            query = performer.feature_map(query, omega, scale=scale, normalize_over=-1)
            key = performer.feature_map(key, omega, scale=scale, normalize_over=key_axes)
    else:
        query = query * (jnp.asarray(scale, dtype) if isinstance(scale, jax.Array) else scale)
    spec = EvolutionSpec(
        steps=steps if pde is not None else 0,
        target=options.target,
        axis=options.axis,
        causal=options.is_causal,
        order=options.order,
        renormalize=renormalize and pde is not None,
        random_features=options.base == "performer",
        shared=all(len(x) == 0 for x in shapes),
        constant=all(len(x) < 2 for x in shapes),
        dropout=float(options.dropout),
        precision=precision,
        kernel=kernel,
    )
    return EvolutionProblem(spec, pde, AttentionInputs(query, key, value, mask, dropout_bits))


def zero_padding(x: Array, ids: Array | None, dtype: Any) -> Array:
    """Convert to `dtype`, with zeros so that no number in padding, NaN included, reaches a value or a gradient."""
    x = x.astype(dtype)
    return x if ids is None else jnp.where((ids > 0)[:, :, None, None], x, 0)


def run(problem: EvolutionProblem, method: str) -> AttentionOutput:
    """Return the output, and the log-sum-exp of the scores before the evolution."""
    with jax.default_matmul_precision(problem.spec.precision):
        return _run(problem, method)


def _run(problem: EvolutionProblem, method: str) -> AttentionOutput:
    spec, pde, inputs = problem
    if method == "materialized":
        return materialized_attention(spec, pde, inputs)
    if method == "tiled":
        return tiled_attention(spec, pde, inputs)
    if pde is None:
        return base_attention(spec, inputs)
    inputs = repeat_key_heads(spec, inputs)
    if isinstance(pde, ReactionDiffusion):
        return euler_reaction(spec, pde, inputs)
    return folded_attention(spec, pde, inputs)

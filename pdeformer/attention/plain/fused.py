"""Attention by a fused kernel, with derivatives to any order.

The forward pass and reverse mode run the kernel. Forward mode, and derivatives of the backward pass, run the chunked
form, and so does any platform but that of the kernel: the choice is made when the program is lowered.

    B batch, T query tokens, S key tokens, N heads, K key heads, H head width
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from pdeformer.attention import chunked
from pdeformer.attention.plain.kernel_choice import kernel_of
from pdeformer.attention.plain.kernel_interface import KernelSpec
from pdeformer.attention.plain.kernel_mesh import on_every_device
from pdeformer.attention.types import AttentionMask, AttentionOutput, DropoutBits
from pdeformer.integrators.linear_map import LinearMap

Marks = tuple[Array, ...]
"""The marks of `kernel_interface.Kernel`."""


def fused_attention(
    spec: KernelSpec,
    query: Float[Array, "b t n h"],
    key: Float[Array, "b s k h"],
    value: Float[Array, "b s k h"],
    query_ids: Integer[Array, "b t"] | None = None,
    key_ids: Integer[Array, "b s"] | None = None,
    dropout_bits: DropoutBits | None = None,
) -> AttentionOutput:
    """Return attention in the dtype of `value`, and the log-sum-exp of its scores in float32."""
    output, lse = _attend(spec, query, key, value, make_marks(query_ids, key_ids, dropout_bits))
    return AttentionOutput(output, jnp.swapaxes(lse, 1, 2))


def make_marks(query_ids: Array | None, key_ids: Array | None, dropout_bits: DropoutBits | None) -> Marks:
    """Return the marks that a kernel takes; None is for what a call has not."""
    marks: Marks = () if query_ids is None or key_ids is None else (query_ids, key_ids)
    if dropout_bits is None:
        return marks
    by_head = dropout_bits.query.reshape(*dropout_bits.query.shape[:2], -1)
    return (*marks, jnp.swapaxes(by_head, 1, 2), jnp.swapaxes(dropout_bits.key, 1, 2))


def scale_query(query: Array, scale: Any, spec: KernelSpec) -> tuple[Array, KernelSpec]:
    """Give the scale to the kernel, or to the query if the scale is an array."""
    if not isinstance(scale, jax.Array):
        return query, spec._replace(scale=float(scale))
    wide = query.astype(jnp.promote_types(query.dtype, jnp.float32))
    return (wide * scale.astype(wide.dtype)).astype(query.dtype), spec._replace(scale=1.0)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attend(spec: KernelSpec, query: Array, key: Array, value: Array, marks: Marks) -> tuple[Array, Array]:
    """Return output (B, T, N, H) and lse (B, N, T)."""
    kernel = kernel_of(spec.name)

    def by_kernel(*arrays: Array) -> tuple[Array, ...]:
        return tuple(on_every_device(kernel.forward, _by_chunks, spec, *arrays))

    output, lse = _on_platform(spec, by_kernel, partial(_by_chunks, spec), query, key, value, *marks)
    return output, lse


@_attend.defjvp
def _attend_jvp(spec: KernelSpec, primals: Any, tangents: Any) -> tuple[Any, Any]:
    output = _attend(spec, *primals)
    return output, _tangent(spec, (*primals, *output), tangents[:3])


def _attend_tangent(spec: KernelSpec, residuals: Any, tangents: Any) -> tuple[Array, ...]:
    query, key, value, marks, _, _ = residuals
    return jax.jvp(lambda *qkv: _by_chunks(spec, *qkv, *marks), (query, key, value), tangents)[1]


def _attend_backward(spec: KernelSpec, residuals: Any, cotangents: Any) -> tuple[Array, ...]:
    query, key, value, marks, output, lse = residuals
    d_output, d_lse = cotangents
    masked = bool(spec.split_marks(marks)[0]) or spec.low is not None or spec.high is not None
    delta, d_output = cotangent_rows(output, lse, d_output, d_lse, masked=masked)
    return fused_gradients(spec, query, key, value, marks, lse, delta, d_output)


def cotangent_rows(
    output: Array, lse: Array, d_output: Array, d_lse: Array, *, masked: bool
) -> tuple[Array, Array]:
    """Return δ = dO·O − dlse, (B, N, T), and dO with zeros in rows without keys, as `Kernel.backward` takes them.

    Args:
        output: Shape (B, T, N, H).
        lse: Shape (B, N, T), as `d_lse`.
        d_output: The cotangent of `output`.
        d_lse: The cotangent of `lse`.
        masked: Whether there may be rows without keys.
    """
    any_key = lse > -jnp.inf
    if masked:
        d_output = jnp.where(jnp.swapaxes(any_key, 1, 2)[..., None], d_output, 0)
    product = d_output.astype(jnp.float32) * output.astype(jnp.float32)
    return jnp.where(any_key, jnp.swapaxes(product.sum(-1), 1, 2) - d_lse, 0), d_output


_tangent = LinearMap("fused_attention_tangent", _attend_tangent, _attend_backward)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def fused_gradients(
    spec: KernelSpec,
    query: Array,
    key: Array,
    value: Array,
    marks: Marks,
    lse: Array,
    delta: Array,
    d_output: Array,
) -> tuple[Array, ...]:
    """Return what these keys add to the gradients of an attention over more keys, whose lse, δ and dO are given."""
    kernel = kernel_of(spec.name)

    def by_kernel(*arrays: Array) -> tuple[Array, ...]:
        return tuple(on_every_device(kernel.backward, _gradients_by_chunks, spec, *arrays))

    arrays = query, key, value, *marks, lse, delta, d_output
    return _on_platform(spec, by_kernel, partial(_gradients_by_chunks, spec), *arrays)


@fused_gradients.defjvp
def _gradients_jvp(spec: KernelSpec, primals: Any, tangents: Any) -> tuple[Any, Any]:
    marks = primals[3]

    def differentiable(*arrays: Array) -> tuple[Array, ...]:
        return _gradients_by_chunks(spec, *arrays[:3], *marks, *arrays[3:])

    arrays, directions = (xs[:3] + xs[4:] for xs in (primals, tangents))
    return fused_gradients(spec, *primals), jax.jvp(differentiable, arrays, directions)[1]


def _on_platform(spec: KernelSpec, by_kernel: Any, by_chunks: Any, *arrays: Array) -> tuple[Array, ...]:
    if spec.interpret:
        return by_kernel(*arrays)
    return lax.platform_dependent(*arrays, default=by_chunks, **{kernel_of(spec.name).platform: by_kernel})


def _chunk_arguments(spec: KernelSpec, key: Array, marks: Any) -> tuple[AttentionMask, dict[str, Any]]:
    """Return the mask and the options of the chunked form."""
    low, high = (None if bound is None else jnp.int32(bound) for bound in (spec.low, spec.high))
    ids, bits = spec.split_marks(marks)
    options = {"scale": spec.scale, "precision": spec.precision}
    if bits:
        query_bits, key_bits = (jnp.swapaxes(x, 1, 2) for x in bits)
        by_key_head = query_bits.reshape(*query_bits.shape[:2], key.shape[2], -1)
        options |= {"dropout": spec.dropout, "dropout_bits": DropoutBits(by_key_head, key_bits)}
    return AttentionMask(low, high, *(ids or (None, None))), options


def _by_chunks(
    spec: KernelSpec, query: Array, key: Array, value: Array, *marks: Array
) -> tuple[Array, Array]:
    mask, options = _chunk_arguments(spec, key, marks)
    output, lse = chunked.chunked_attention(query, key, value, mask, **options)
    return output.astype(value.dtype), jnp.swapaxes(lse, 1, 2).astype(jnp.float32)


def _gradients_by_chunks(
    spec: KernelSpec, query: Array, key: Array, value: Array, *rest: Array
) -> tuple[Array, ...]:
    *marks, lse, delta, d_output = rest
    mask, options = _chunk_arguments(spec, key, marks)
    lse, delta = (jnp.swapaxes(x, 1, 2) for x in (lse, delta))
    d_output = d_output.astype(jnp.promote_types(d_output.dtype, jnp.float32))
    # δ = dO·O − dlse is given: O = 0 and dlse = −δ have the same one.
    whole = AttentionOutput(jnp.zeros_like(d_output), lse)
    cotangent = AttentionOutput(d_output, -delta)
    return chunked.chunked_gradients(query, key, value, mask, whole, cotangent, **options)

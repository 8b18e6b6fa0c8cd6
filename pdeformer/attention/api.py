"""Plain attention, and attention whose weights or logits a PDE evolves: `pde_attention` and its weights.

B batch, T query tokens, S key tokens, N heads, K key heads, H head width
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, ParamSpec, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from pdeformer.attention.chunked import CHUNK, chunked_attention
from pdeformer.attention.dispatch import (
    EvolutionProblem,
    check_call,
    compute_dtype,
    may_use_kernel,
    prepare,
    run,
    scale_coefficients,
    zero_padding,
)
from pdeformer.attention.dropout import draw_dropout_bits
from pdeformer.attention.keywords import keyword_options
from pdeformer.attention.materialized import materialized_weights
from pdeformer.attention.options import (
    AttentionOptions,
    WeightsOptions,
    check_window,
    select_method,
    split_arrays,
)
from pdeformer.attention.plain.fused import fused_attention, scale_query
from pdeformer.attention.plain.kernel_choice import explain, select_kernel
from pdeformer.attention.plain.kernel_interface import KernelSpec
from pdeformer.attention.types import (
    AttentionMask,
    DistancePenalty,
    Precision,
    attention_mask,
    check_shapes,
    convert_ids,
    product_precision,
)
from pdeformer.integrators.compilation import compile_once
from pdeformer.integrators.meshes import with_automatic_axes
from pdeformer.pde import PDE
from pdeformer.stencil.arguments import check_number, resolve_causal, static_number

P = ParamSpec("P")
PlainMethod = Literal["auto", "chunked", "fused", "xla"]


def dot_product_attention(
    query: Shaped[Array | np.ndarray, "..."],
    key: Shaped[Array | np.ndarray, "..."],
    value: Shaped[Array | np.ndarray, "..."],
    *,
    segment_ids: Shaped[Array | np.ndarray, "..."] | list | None = None,
    is_causal: bool = False,
    window: int | None = None,
    scale: float | Shaped[Array | np.ndarray, ""] | None = None,
    dropout: float | Shaped[Array | np.ndarray, ""] = 0.0,
    dropout_key: PRNGKeyArray | None = None,
    method: PlainMethod = "auto",
    key_segment_ids: Shaped[Array | np.ndarray, "..."] | list | None = None,
    causal: bool | None = None,
    precision: Precision | None = None,
    slopes: Shaped[Array | np.ndarray, "..."] | None = None,
) -> Float[Array, "b t n h"]:
    """Compute softmax(Q Kᵀ · scale) V for every head, in O(T) memory.

    The softmax and all sums have at least float32. Padding is never read: NaN there reaches no output and no
    gradient. Elsewhere a masked key has the weight 0, and 0 times NaN is NaN: a number that is not finite in another
    segment or in a later token may spoil any row of its example, as in `jax.nn`. Forward and reverse mode are served
    to any order.

    Args:
        query: Shape (B, T, N, H), any float dtype; different dtypes are computed in the widest one.
        key: Shape (B, S, K, H). N is a multiple of K; query head n reads key head n·K // N.
        value: Shape (B, S, K, H).
        segment_ids: int or bool (B, T). 0 is padding; a query attends only to keys of its own positive id.
        is_causal: Query t attends only to the keys s <= t + S − T (aligned bottom-right).
        window: Attend only to the keys with |t + S − T − s| <= window [Beltagy et al. 2020]; None means all.
        scale: Factor of the scores; None means 1/√H.
        dropout: Probability in [0, 1) of dropping a weight, static under `jit`. The others are divided by
            1 − dropout. The dropout mask is a function of `dropout_key` and is recomputed in the backward pass.
        dropout_key: Random key, needed if dropout > 0.
        method: "fused" is a kernel of TPU or GPU, "chunked" plain JAX; both need O(T) memory. "auto" is "fused" where
            `attention.explain` finds a kernel, else "chunked". "xla" is `jax.nn.dot_product_attention`, which may form
            all T · S scores, and has no dropout.
        key_segment_ids: int or bool (B, S), segment ids of the keys if they are other tokens than the queries, as
            padded keys are in cross-attention: `jnp.arange(S) < lengths[:, None]`. `segment_ids` are then those of the
            queries, and None means 1. None means `segment_ids`.
        causal: Another name of `is_causal`; None means that it is left out.
        precision: Precision of products of float32 on TPU and GPU: "highest", "high" or "default", one pass of bfloat16
            or TF32. None means "highest" for float32, and "default" if query, key and value are shorter.
        slopes: Shape (N,), or None: subtract slopes[n] · |t + S − T − s| from the scores (ALiBi). They are constants
            of derivatives, need K = N, and only method "chunked" has them.

    Returns:
        Shape (B, T, N, H), dtype of `value`. A padded query, or one that may attend no key, returns exactly 0, as with
        S = 0.

    Raises:
        ValueError: Shapes or options do not fit together.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from pdeformer import dot_product_attention
        >>> query = key = jnp.zeros((1, 3, 1, 4))
        >>> value = jnp.array([1.0, 2.0, 6.0]).reshape(1, 3, 1, 1).repeat(4, axis=3)
        >>> attend = jax.jit(dot_product_attention, static_argnames="is_causal")
        >>> attend(query, key, value, is_causal=True)[0, :, 0, 0].tolist()
        [1.0, 1.5, 3.0]

    Reference:
        Rabe & Staats, "Self-attention Does Not Need O(n²) Memory", 2021; Dao et al., "FlashAttention", 2022; Press et
        al., "Train Short, Test Long: Attention with Linear Biases", 2022.
    """
    query, key, value = jnp.asarray(query), jnp.asarray(key), jnp.asarray(value)
    dropout = static_number("dropout", dropout)
    check_shapes(query, key, value, dropout, dropout_key)
    if scale is not None:
        check_number("scale", scale, scalar=True)
    check_window(window)
    _check_method(method, dropout)
    if precision not in (None, *get_args(Precision)):
        raise ValueError(
            f"precision must be one of {', '.join(get_args(Precision))} or None, got {precision!r}; leave it out."
        )
    precision = product_precision(precision, query, key, value)
    causal = resolve_causal(is_causal=is_causal, causal=causal)
    if slopes is not None:
        slopes, method = _check_slopes(slopes, query, key, method), "chunked"
    ids = convert_ids(segment_ids, key_segment_ids, query, key)
    if 0 in (*query.shape, *key.shape):
        return jnp.zeros(query.shape, value.dtype)
    kernel = None
    if method in ("auto", "fused"):
        case: Any = dict(segmented=ids[0] is not None, dropout=dropout, precision=precision)
        kernel = select_kernel(query, key, value, is_causal=causal, window=window, **case)
        if method == "fused" and kernel is None:
            masks: Any = dict(segment_ids=ids[0], is_causal=causal, window=window)
            refused = explain(query, key, value, **masks, dropout=dropout, precision=precision).refused
            reasons = "; ".join(f"{name} {reason}" for name, reason in refused)
            raise ValueError(f"no fused kernel serves this call: {reasons}; use method='auto'.")
        method = "chunked" if kernel is None else "fused"
    arrays = query, key, value, *ids, dropout_key if dropout > 0 else None, slopes
    static: Any = dict(causal=causal, window=window, dropout=dropout, method=method, precision=precision)
    return _plain(arrays, scale, kernel=kernel, **static)


@compile_once("causal", "window", "dropout", "method", "precision", "kernel")
def _plain(
    arrays: tuple,
    scale: Any,
    *,
    causal: bool,
    window: int | None,
    dropout: float,
    method: str,
    precision: Precision,
    kernel: KernelSpec | None,
) -> Array:
    def attend(
        query: Array,
        key: Array,
        value: Array,
        query_ids: Any,
        key_ids: Any,
        random: Any,
        slopes: Any,
        *array: Array,
    ) -> Array:
        mask = attention_mask(
            query.shape[1], key.shape[1], query_ids, key_ids, is_causal=causal, window=window
        )
        factor = array[0] if array else 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        result, common = value.dtype, jnp.result_type(query, key, value)
        query, key, value = query.astype(common), key.astype(common), value.astype(common)
        if method == "xla":
            with jax.default_matmul_precision(precision):
                return _xla_attention(query, key, value, mask, factor).astype(result)
        bits = None if random is None else draw_dropout_bits(random, query, key)
        if kernel is not None:
            query, spec = scale_query(query, factor, kernel)
            return fused_attention(spec, query, key, value, query_ids, key_ids, bits).output.astype(result)
        if isinstance(factor, jax.Array):
            wide = compute_dtype(query)
            query, key, value = query.astype(wide) * factor.astype(wide), key.astype(wide), value.astype(wide)
            factor = 1.0
        options: Any = dict(scale=factor, dropout=dropout, dropout_bits=bits, precision=precision)
        if slopes is not None:
            options["penalty"] = _distance_penalty(slopes, query, key)
        if window is not None:
            options |= dict(
                span=window + 1 + (0 if causal else window), chunk=min(CHUNK, max(64, 2 * window))
            )
        return chunked_attention(query, key, value, mask, **options).output.astype(result)

    array = (jnp.asarray(scale),) if isinstance(scale, jax.Array | np.ndarray) else ()
    return with_automatic_axes(attend, jax.typeof(arrays[0]).sharding)(*arrays, *array)


def _xla_attention(query: Array, key: Array, value: Array, mask: AttentionMask, scale: Any) -> Array:
    dense = mask.dense(jnp.arange(query.shape[1]), jnp.arange(key.shape[1]))
    query = zero_padding(query, mask.query_ids, query.dtype)
    key, value = (zero_padding(x, mask.key_ids, x.dtype) for x in (key, value))
    if dense is None:
        return jax.nn.dot_product_attention(query, key, value, scale=scale)
    dense = dense[None, None] if dense.ndim == 2 else dense[:, None]
    output = jax.nn.dot_product_attention(query, key, value, mask=dense, scale=scale)
    return jnp.where(jnp.swapaxes(dense.any(-1)[..., None], 1, 2), output, 0)


def _check_slopes(slopes: Any, query: Array, key: Array, method: str) -> Array:
    """Return the slopes of the heads as an array of at least float32."""
    slopes, heads = jnp.asarray(slopes), query.shape[2]
    if slopes.shape != (heads,) or not jnp.issubdtype(slopes.dtype, jnp.floating) or key.shape[2] != heads:
        raise ValueError(
            f"slopes are one floating number per head, ({heads},), with as many key heads as query heads, got "
            f"{slopes.dtype} {slopes.shape} and {key.shape[2]} key heads; repeat the key heads, or drop slopes."
        )
    if method not in ("auto", "chunked"):
        raise ValueError(
            f"method {method!r} has no penalty of distance, got slopes; use 'auto' or 'chunked'."
        )
    return slopes.astype(jnp.promote_types(slopes.dtype, jnp.float32))


def _distance_penalty(slopes: Array, query: Array, key: Array) -> DistancePenalty:
    """Return slope · place of all tokens, with the last query at the place of the last key."""
    batch, length, heads, _ = query.shape
    keys = key.shape[1]

    def places(start: int, stop: int) -> Array:
        scaled = slopes[None, None] * jnp.arange(start, stop, dtype=slopes.dtype)[None, :, None]
        return jnp.broadcast_to(scaled, (batch, stop - start, heads))

    return DistancePenalty(places(keys - length, keys)[..., None], places(0, keys))


def _check_method(method: str, dropout: float) -> None:
    if method not in get_args(PlainMethod):
        raise ValueError(
            f"method must be one of {get_args(PlainMethod)}, got {method!r}; 'auto' fits every device."
        )
    if method == "xla" and dropout > 0:
        raise ValueError(f"method 'xla' has no dropout, got dropout={dropout}; use 'auto' or 'chunked'.")


def _attention_signature(options: Callable[P, Any]):
    def function(
        query: Array, key: Array, value: Array, pde: Any, *args: P.args, **options: P.kwargs
    ) -> Array: ...

    return function


def _weights_signature(options: Callable[P, Any]):
    def function(query: Array, key: Array, pde: Any, *args: P.args, **options: P.kwargs) -> Array: ...

    return function


@keyword_options(AttentionOptions, _attention_signature)
def pde_attention(
    query: Shaped[Array | np.ndarray, "..."],
    key: Shaped[Array | np.ndarray, "..."],
    value: Shaped[Array | np.ndarray, "..."],
    pde: Any,
    options: AttentionOptions,
) -> Float[Array, "b t n h"]:
    """Compute attention with evolved weights: A(n) V, or softmax of the evolved logits times V.

        weights   A(0) = softmax(scale · QKᵀ),  dA/dτ = P A,  out = A(n·dt) V
        logits    S(0) = scale · QKᵀ,           dS/dτ = P S,  out = softmax(S(n·dt)) V

    P is the right-hand side of `pde` on the path of tokens. The path has walls at the ends of every run of connected
    tokens of a segment; a causal row also has a wall behind its query. With `pde` None or `steps` 0 the result is
    exactly plain attention. Values and gradients of all methods agree to 3e-5 in float32 and 1e-11 in float64.
    Padding is never read. Elsewhere a number that is not finite in another segment or in a later token may spoil any
    row of its example, as in `jax.nn`. Forward and reverse mode are served.

    Args:
        query: Shape (B, T, N, H): float32, float64, or a shorter float that is computed in float32. Different dtypes
            are computed in the widest one.
        key: Shape (B, S, K, H). N is a multiple of K; query head n reads key head n·K // N.
        value: Shape (B, S, K, H).
        pde: Diffusion, Wave, ReactionDiffusion, AdvectionDiffusion, or None. A coefficient is a scalar, one value per
            head (N,), or one per step and head (steps, N). Concrete coefficients are checked; traced ones are the
            caller's responsibility.
        options: The keyword arguments, fields of `AttentionOptions`.

    Returns:
        Shape (B, T, N, H), dtype of `value`. A padded query returns 0.

    Raises:
        ValueError: Shapes or options do not fit, a combination of options has no meaning, coefficients are unstable,
            or the method is not exact for the options.
        TypeError: An unknown keyword argument.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from pdeformer import Diffusion, pde_attention
        >>> query = jnp.zeros((1, 1, 1, 2))
        >>> key = jnp.array([[900.0, 0.0], [0.0, 0.0], [0.0, 0.0]]).reshape(1, 3, 1, 2)
        >>> value = jnp.array([[4.0, 0.0], [8.0, 0.0], [16.0, 1.0]]).reshape(1, 3, 1, 2)
        >>> query = query.at[..., 0].set(1.0)  # the query attends to key 0 alone: weights 1, 0, 0
        >>> attend = jax.jit(lambda *arrays: pde_attention(*arrays, Diffusion(0.25), steps=1))
        >>> attend(query, key, value).ravel().tolist()  # weights 3/4, 1/4, 0
        [5.0, 0.0]

    Reference:
        Zhang & Zhou, "Continuous-Time Attention", 2025.
    """
    query, key, value = jnp.asarray(query), jnp.asarray(key), jnp.asarray(value)
    pde, static, arrays = _check(query, key, value, pde, options)
    method = select_method(pde, options)
    if options.method == "auto" and options.is_causal and 2 * options.steps > key.shape[1]:
        method = "tiled"  # windows of 2n keys would be longer than the rows
    if 0 in (*query.shape, *key.shape):
        return jnp.zeros(query.shape, value.dtype)
    kernel = None
    if method == "folded" and may_use_kernel(pde, options):
        case: Any = dict(
            segmented="segment_ids" in arrays, dropout=static.dropout, precision=options.precision
        )
        mask: Any = dict(is_causal=options.is_causal, window=options.window)
        kernel = select_kernel(query, key, value, **mask, **case)
    return _attend(query, key, value, pde, arrays, options=static, method=method, kernel=kernel)


@compile_once("options", "method", "kernel")
def _attend(
    query: Array,
    key: Array,
    value: Array,
    pde: Any,
    arrays: Any,
    *,
    options: AttentionOptions,
    method: str,
    kernel: KernelSpec | None,
) -> Array:
    def attend(query: Array, key: Array, value: Array, pde: Any, arrays: Any) -> Array:
        problem = _prepare(query, key, value, pde, replace(options, **arrays), kernel)
        return run(problem, method).output.astype(value.dtype)

    like = jax.typeof(query).sharding
    return with_automatic_axes(attend, like)(query, key, value, pde, arrays)


@keyword_options(WeightsOptions, _weights_signature, method="materialized")
def pde_attention_weights(
    query: Shaped[Array | np.ndarray, "..."],
    key: Shaped[Array | np.ndarray, "..."],
    pde: Any,
    options: WeightsOptions,
) -> Float[Array, "b n t s"]:
    """Return the evolved attention weights as a matrix: the definition, in O(T · S) memory.

    Args:
        query: Shape (B, T, N, H), as in `pde_attention`.
        key: Shape (B, S, K, H).
        pde: The equation or None, as in `pde_attention`.
        method: "materialized" or "auto", which are the same here.
        options: The keyword arguments, fields of `WeightsOptions`.

    Returns:
        Shape (B, N, T, S), at least float32. The row of a padded query is 0.

    Raises:
        ValueError: As in `pde_attention`, or another method.
        TypeError: An unknown keyword argument.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from pdeformer import Diffusion, pde_attention_weights
        >>> query = jnp.ones((1, 1, 1, 1))
        >>> key = jnp.array([900.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
        >>> weights = jax.jit(lambda *arrays: pde_attention_weights(*arrays, Diffusion(0.25), steps=1))
        >>> weights(query, key).ravel().tolist()
        [0.75, 0.25, 0.0]

    Reference:
        Zhang & Zhou, "Continuous-Time Attention", 2025.
    """
    if options.method not in ("materialized", "auto"):
        raise ValueError(f"the weights are materialized, got method={options.method!r}; leave it out.")
    query, key = jnp.asarray(query), jnp.asarray(key)
    pde, static, arrays = _check(query, key, key, pde, AttentionOptions(**vars(options)))
    if 0 in (*query.shape[:3], *key.shape[:3]):
        batch, length, heads, _ = query.shape
        return jnp.zeros((batch, heads, length, key.shape[1]), compute_dtype(query, key))
    return _weights(query, key, pde, arrays, options=static)


@compile_once("options")
def _weights(query: Array, key: Array, pde: Any, arrays: Any, *, options: AttentionOptions) -> Array:
    def weights(query: Array, key: Array, pde: Any, arrays: Any) -> Array:
        problem = _prepare(query, key, None, pde, replace(options, **arrays))
        with jax.default_matmul_precision(problem.spec.precision):
            return materialized_weights(*problem)[0]

    batch, length, heads, _ = jax.typeof(query).sharding.spec
    spec = PartitionSpec(batch, heads, length, None)
    return with_automatic_axes(weights, jax.typeof(query).sharding.update(spec=spec))(query, key, pde, arrays)


def _check(
    query: Array, key: Array, value: Array, pde: Any, options: AttentionOptions
) -> tuple[PDE | None, AttentionOptions, dict[str, Array]]:
    """Check a call; return its scaled equation, its static options and its arrays."""
    same_tokens = query.shape[1:2] == key.shape[1:2] and options.key_segment_ids is None
    check_call(query, key, value, pde, options, same_tokens=same_tokens)
    ids, key_ids = convert_ids(options.segment_ids, options.key_segment_ids, query, key)
    scaled = scale_coefficients(pde, options, query, key, value)
    static, arrays = split_arrays(replace(options, segment_ids=ids, key_segment_ids=key_ids, dt=1.0))
    return scaled, static, arrays


def _prepare(
    query: Array, key: Array, value: Any, pde: Any, options: Any, kernel: KernelSpec | None = None
) -> EvolutionProblem:
    ids, key_ids, window = options.segment_ids, options.key_segment_ids, options.window
    lengths = query.shape[1], key.shape[1]
    mask = attention_mask(*lengths, ids, key_ids, is_causal=options.is_causal, window=window)
    return prepare(query, key, value, pde, options, mask, kernel)

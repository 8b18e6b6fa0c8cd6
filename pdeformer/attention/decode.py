"""Decoding: the causal evolved attention of new tokens over a cache of the earlier tokens.

No finite number of a later token changes the row of a token. A prompt therefore gives the same outputs in one call, in
chunks, or token by token. The cache holds plain keys and values: nothing in it depends on the equation.

    B batch, T new tokens, M places in the cache, N heads, K key heads, H head width
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, NamedTuple, ParamSpec, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from pdeformer.arguments import convert_segment_ids
from pdeformer.attention.dispatch import check_call, prepare, run, scale_coefficients
from pdeformer.attention.keywords import keyword_options
from pdeformer.attention.options import AttentionOptions, DecodeOptions, select_method, split_arrays
from pdeformer.attention.types import AttentionMask
from pdeformer.integrators.compilation import compile_once
from pdeformer.integrators.meshes import with_automatic_axes
from pdeformer.pde import is_concrete

P = ParamSpec("P")
NewQueries = Shaped[Array | np.ndarray, "..."]
NewKeys = Shaped[Array | np.ndarray, "..."]
Schedule = Literal["fixed", "linear", "log2"]
FEW_ROWS = 16  # up to this number, evolving the new rows is cheaper than evolving all cached values


class AttentionCache(NamedTuple):
    """Keys and values of all tokens so far: a pytree of fixed shapes, for use in `lax.scan` and for donation.

    `init_cache` makes an empty cache, and `pde_attention_decode` returns the cache with new tokens.

    Example:
        >>> import jax.numpy as jnp
        >>> from pdeformer import init_cache, pde_attention_decode
        >>> token = jnp.ones((1, 1, 2, 4))
        >>> cache = pde_attention_decode(token, token, token, init_cache(1, 8, 2, 4), None, steps=0)[1]
        >>> type(cache).__name__, int(cache.length), cache.max_len
        ('AttentionCache', 1, 8)
    """

    key: Float[Array, "b m k h"]
    """Keys; places from `length` on are empty."""
    value: Float[Array, "b m k h"]
    """Values; places from `length` on are empty."""
    length: Int[Array, ""]
    """Number of tokens so far."""
    segment_ids: Int[Array, "b m"] | None
    """Segment id of every token; None means that all tokens are one segment."""

    @property
    def max_len(self) -> int:
        """Number of places M."""
        return self.key.shape[1]


def _decode_signature(options: Callable[P, Any]):
    def function(
        query: Array,
        key: Array,
        value: Array,
        cache: AttentionCache,
        pde: Any,
        *args: P.args,
        **options: P.kwargs,
    ) -> tuple[Array, AttentionCache]: ...

    return function


def init_cache(
    batch: int,
    max_len: int,
    kv_heads: int,
    head_width: int,
    dtype: Any = jnp.float32,
    *,
    segments: bool = False,
) -> AttentionCache:
    """Make an empty cache for `pde_attention_decode`.

    Args:
        batch: Number of sequences B, >= 1.
        max_len: Number of places M, >= 1: the most tokens that the cache can hold.
        kv_heads: Number of key heads K, >= 1.
        head_width: Head width H, >= 1.
        dtype: dtype of keys and values.
        segments: Also store the segment id of every token.

    Returns:
        A cache of length 0.

    Raises:
        ValueError: A size is below 1.

    Example:
        >>> from pdeformer import init_cache
        >>> cache = init_cache(batch=2, max_len=16, kv_heads=1, head_width=4)
        >>> cache.key.shape, int(cache.length), cache.max_len
        ((2, 16, 1, 4), 0, 16)
    """
    shape = batch, max_len, kv_heads, head_width
    if min(shape) < 1:
        raise ValueError(f"a cache needs sizes (batch, max_len, kv_heads, head_width) >= 1, got {shape}.")
    empty = jnp.zeros(shape, dtype)
    ids = jnp.zeros(shape[:2], jnp.int32) if segments else None
    return AttentionCache(empty, empty, jnp.zeros((), jnp.int32), ids)


@keyword_options(DecodeOptions, _decode_signature)
def pde_attention_decode(
    query: NewQueries, key: NewKeys, value: NewKeys, cache: AttentionCache, pde: Any, options: DecodeOptions
) -> tuple[NewQueries, AttentionCache]:
    """Append T tokens to the cache and attend from them.

    The output equals those rows of `pde_attention(..., is_causal=True)`. T = 1 is one step of decoding; a larger T
    is a prompt or a chunk of it. With method "auto", up to 16 rows evolve as rows; more rows fold onto the values.

    Args:
        query: New queries (B, T, N, H).
        key: New keys (B, T, K, H).
        value: New values (B, T, K, H).
        cache: All earlier tokens; see `init_cache`.
        pde: Diffusion, Wave, ReactionDiffusion, AdvectionDiffusion or None, as in `pde_attention`.
        segment_ids: int (B, T), for a cache made with `segments`. 0 is padding, which takes a place but is never
            read. None means 1.
        options: The keyword arguments, fields of `DecodeOptions`.

    Returns:
        The output (B, T, N, H), and the cache with the new tokens. Under jit the length is not known, and a cache
        that overflows makes every output NaN.

    Raises:
        ValueError: As in `pde_attention`, or the new tokens do not fit the cache.
        TypeError: An unknown keyword argument.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from pdeformer import Diffusion, init_cache, pde_attention_decode
        >>> token = jnp.ones((1, 1, 2, 4))
        >>> cache = init_cache(batch=1, max_len=8, kv_heads=2, head_width=4)
        >>> step = jax.jit(lambda *x: pde_attention_decode(*x, Diffusion(0.25), steps=2), donate_argnums=3)
        >>> output, cache = step(token, token, token, cache)
        >>> output.shape, int(cache.length)
        ((1, 1, 2, 4), 1)
    """
    query, key, value = jnp.asarray(query), jnp.asarray(key), jnp.asarray(value)
    causal_options = AttentionOptions(**vars(options), is_causal=True)
    check_call(query, key, value, pde, causal_options, same_tokens=False)
    ids = _check_cache(key, cache, options.segment_ids)
    length, steps = query.shape[1], options.steps
    few_rows = options.method == "auto" and length <= max(FEW_ROWS, 2 * steps)
    method = "tiled" if few_rows else select_method(pde, causal_options)
    if 0 in (*query.shape, *key.shape):
        return jnp.zeros(query.shape, value.dtype), cache
    scaled = scale_coefficients(pde, causal_options, query, cache.key, value)
    static, arrays = split_arrays(replace(causal_options, segment_ids=ids, dt=1.0))
    return _decode((query, key, value), cache, scaled, arrays, options=static, method=method)


@compile_once("options", "method")
def _decode(
    new: tuple[Array, Array, Array],
    cache: AttentionCache,
    pde: Any,
    arrays: Any,
    *,
    options: AttentionOptions,
    method: str,
) -> tuple[Array, AttentionCache]:
    def decode(
        new: tuple[Array, Array, Array], cache: AttentionCache, pde: Any, arrays: Any
    ) -> tuple[Array, AttentionCache]:
        query, key, value = new
        ids, length, window = arrays.get("segment_ids"), query.shape[1], options.window
        overflow = cache.length + length > cache.max_len
        cache = _append(cache, key, value, ids)
        start = cache.length - length
        mask = AttentionMask(None if window is None else start - window, start, ids, cache.segment_ids)
        problem = prepare(query, cache.key, cache.value, pde, replace(options, **arrays), mask)
        output = run(problem, method).output
        return jnp.where(overflow, jnp.nan, output).astype(value.dtype), cache

    shardings = jax.tree.map(lambda x: jax.typeof(x).sharding, (new[0], cache))
    return with_automatic_axes(decode, shardings)(new, cache, pde, arrays)


def _append(cache: AttentionCache, key: Array, value: Array, ids: Array | None) -> AttentionCache:
    def write(old: Array, new: Array) -> Array:
        return lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), cache.length, axis=1)

    segment_ids = None if cache.segment_ids is None or ids is None else write(cache.segment_ids, ids)
    return AttentionCache(
        key=write(cache.key, key),
        value=write(cache.value, value),
        length=cache.length + key.shape[1],
        segment_ids=segment_ids,
    )


def _check_cache(key: Array, cache: AttentionCache, segment_ids: Any) -> Array | None:
    """Check the new tokens, and return their segment ids, or None if the cache stores no ids."""
    batch, length, heads, width = key.shape
    if (batch, heads, width) != (cache.key.shape[0], *cache.key.shape[2:]):
        raise ValueError(
            f"the cache holds keys (B, M, K, H) = {cache.key.shape}, got new ones {key.shape}; they need one batch, "
            "number of heads and width."
        )
    if is_concrete(cache.length) and int(cache.length) + length > cache.max_len:
        raise ValueError(
            f"the cache has {cache.max_len} places, {int(cache.length)} of them taken, got {length} new tokens; make "
            "it with a larger max_len."
        )
    if segment_ids is None:
        return None if cache.segment_ids is None else jnp.ones((batch, length), jnp.int32)
    if cache.segment_ids is None:
        raise ValueError(
            "this cache remembers no segments, got segment_ids; make it with init_cache(..., segments=True)."
        )
    ids = convert_segment_ids(segment_ids)
    if ids.shape != (batch, length):
        raise ValueError(f"segment_ids needs the shape (B, T) = {(batch, length)}, got {ids.shape}.")
    return ids


def step_budget(
    length: int,
    *,
    policy: str = "fixed",
    steps: int = 4,
    scale: int = 2048,
    min_length: int = 0,
    max_steps: int = 8,
) -> int:
    """Return the number of steps for a sequence, as a function of its length alone.

        fixed     n = steps
        linear    n = max(1, ⌊length / scale⌋)
        log2      n = max(1, ⌊log₂ length⌋)

    The result is at most `max_steps`, and 0 below `min_length`. Names and defaults are those of the official code,
    which applies the steps to a packed, zero-padded batch and only to the prompt. Here the length of one sequence
    decides. Compute the number once, from the length of the prompt: prompt and decoding then
    use one operator, and the output for a request does not depend on the other requests of its batch.

    Args:
        length: Number of tokens, >= 0.
        policy: "fixed", "linear" or "log2".
        steps: Steps of "fixed", >= 0.
        scale: Tokens per step of "linear", >= 1.
        min_length: Shorter sequences get 0 steps; >= 0.
        max_steps: Upper bound of the result, >= 0.

    Returns:
        The number of steps n.

    Raises:
        ValueError: The policy is unknown, or a number is out of range.

    Example:
        >>> from pdeformer import step_budget
        >>> [step_budget(length, policy="log2") for length in (1, 30, 4096)]
        [1, 4, 8]

    Reference:
        Zhang & Zhou, code of "Continuous-Time Attention", 2026.
    """
    if policy not in get_args(Schedule):
        raise ValueError(f"policy must be one of {', '.join(get_args(Schedule))}, got {policy!r}.")
    if length < 0 or scale < 1 or min(steps, min_length, max_steps) < 0:
        raise ValueError(
            "a step budget needs length, steps, min_length, max_steps >= 0 and scale >= 1, got "
            f"{length}, {steps}, {min_length}, {max_steps} and {scale}."
        )
    if length < min_length:
        return 0
    by_policy = {"fixed": steps, "linear": max(1, length // scale), "log2": max(1, length.bit_length() - 1)}
    return min(by_policy[policy], max_steps)

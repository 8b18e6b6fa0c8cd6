"""Decoding: the causal evolved attention of new tokens over a cache of the earlier tokens.

No finite number of a later token changes the row of a token. A prompt therefore gives the same outputs in one call, in
chunks, or token by token. The cache holds plain keys and values: nothing in it depends on the equation.

Rows may have unequal lengths. Padding at the end of a chunk takes no place: the next token of that row follows its last
one, so that right-padded prompts continue as each would alone. Padding before a token of the same chunk is a hole and
takes its places: tokens of one id on both sides attend to each other, but no edge of the path joins them.

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

from pdeformer.attention.dispatch import check_call, prepare, run, scale_coefficients
from pdeformer.attention.keywords import keyword_options
from pdeformer.attention.options import AttentionOptions, DecodeOptions, select_method, split_arrays
from pdeformer.attention.types import AttentionMask
from pdeformer.integrators.compilation import compile_once
from pdeformer.integrators.meshes import with_automatic_axes
from pdeformer.pde import is_concrete
from pdeformer.stencil.arguments import check_dtype, convert_integers, convert_segment_ids

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
    """Number of tokens so far; of the longest row, if the rows differ."""
    segment_ids: Int[Array, "b m"] | None
    """Segment id of every token; None means that all tokens are one segment."""
    row_lengths: Int[Array, " b"] | None = None
    """Number of tokens of every row, with `segment_ids`; None means that all rows have `length` tokens."""

    @property
    def max_len(self) -> int:
        """Number of places M."""
        return self.key.shape[1]

    def take(self, rows: Shaped[Array | np.ndarray, " r"] | list) -> "AttentionCache":
        """Return the cache of chosen rows: the beams that go on, or one prompt for several continuations.

        Args:
            rows: Integers in 0 … B-1, in any order and number.

        Returns:
            A cache of `len(rows)` rows.

        Raises:
            ValueError: Rows are no list of integers, or concrete ones are out of range.
        """
        index = check_rows(rows, self.key.shape[0])
        picked = jax.tree.map(lambda x: x[index] if x.ndim else x, self)
        lengths = picked.row_lengths
        return picked if lengths is None else picked._replace(length=jnp.max(lengths, initial=0))


def check_rows(rows: Any, batch: int) -> Array:
    """Return the chosen rows of a cache as an array.

    Raises:
        ValueError: They are no list of integers, or concrete ones are not in 0 … batch - 1.
    """
    index = convert_integers("rows", rows)
    values = np.asarray(index) if is_concrete(index) else np.zeros(0)
    if index.ndim != 1 or np.any((values < 0) | (values >= batch)):
        raise ValueError(
            f"rows are a list of integers in 0 … {batch - 1}, got {rows!r}; choose rows of the cache."
        )
    return index


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
        segments: Also store the segment id of every token, and the length of every row. Needed for packed, padded
            or unequally long rows.

    Returns:
        A cache of length 0.

    Raises:
        ValueError: A size is no integer or below 1, or the dtype is not floating.

    Example:
        >>> from pdeformer import init_cache
        >>> cache = init_cache(batch=2, max_len=16, kv_heads=1, head_width=4)
        >>> cache.key.shape, int(cache.length), cache.max_len
        ((2, 16, 1, 4), 0, 16)
    """
    shape = batch, max_len, kv_heads, head_width
    if any(not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 1 for n in shape):
        raise ValueError(
            f"a cache needs integer sizes (batch, max_len, kv_heads, head_width) >= 1, got {shape}; an empty cache has "
            "places too."
        )
    check_dtype("the dtype of a cache", dtype)
    key, value = (jnp.zeros(shape, dtype) for _ in range(2))  # one buffer twice could not be donated
    ids = jnp.zeros(shape[:2], jnp.int32) if segments else None
    rows = jnp.zeros((batch,), jnp.int32) if segments else None
    return AttentionCache(key, value, jnp.zeros((), jnp.int32), ids, rows)


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
        segment_ids: int (B, T), for a cache made with `segments`. 0 is padding, which is never read. Padding after
            the last token of a row takes no place, so right-padded prompts of unequal length are decoded as each
            would be alone; padding before a token is a hole in the path and takes its places. None means 1.
        options: The keyword arguments, fields of `DecodeOptions`.

    Returns:
        The output (B, T, N, H), and the cache with the new tokens. Under jit the length is not known, and a cache
        that overflows makes the outputs of its row NaN; of every row, without `segments`.

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
    if not isinstance(cache, AttentionCache):
        raise ValueError(
            f"cache must be an AttentionCache, got {type(cache).__name__}; make it with init_cache."
        )
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
        if cache.row_lengths is not None and ids is not None:
            call = query, key, value, pde, replace(options, **arrays), method
            return _decode_rows(*call, cache, ids, cache.row_lengths)
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

    return cache._replace(
        key=write(cache.key, key),
        value=write(cache.value, value),
        length=cache.length + key.shape[1],
        segment_ids=None if cache.segment_ids is None or ids is None else write(cache.segment_ids, ids),
    )


def _decode_rows(
    query: Array,
    key: Array,
    value: Array,
    pde: Any,
    options: AttentionOptions,
    method: str,
    cache: AttentionCache,
    ids: Array,
    lengths: Array,
) -> tuple[Array, AttentionCache]:
    """Decode rows of unequal length: turn every row so that its last token comes last, attend, and turn back."""
    added, places, size = occupied(ids), cache.max_len, query.shape[1]
    overflow = lengths + added > places
    cache = append_rows(cache, key, value, ids)
    one_token = size == 1 and options.window is None and method != "folded"
    if one_token:  # keys behind a query have the id 0, which masks them like the causal bound
        keys, values, key_ids, query_ids = cache.key, cache.value, cache.segment_ids, ids
    else:
        to_end, new_to_end = places - lengths - added, size - added
        keys, values = _turn(cache.key, to_end), _turn(cache.value, to_end)
        key_ids, query_ids = _turn(cache.segment_ids, to_end), _turn(ids, new_to_end)
        query = _turn(query, new_to_end)
    start = jnp.int32(places - size)
    low = None if options.window is None else start - options.window
    mask = AttentionMask(low, start, query_ids, key_ids)
    output = run(prepare(query, keys, values, pde, options, mask), method).output
    output = output if one_token else _turn(output, added - size)
    output = jnp.where(overflow[:, None, None, None], jnp.nan, output)
    return output.astype(value.dtype), cache


def occupied(ids: Int[Array, "b t"]) -> Int[Array, " b"]:
    """Return how many places the new tokens of every row take: those up to its last token."""
    return jnp.max(jnp.where(ids > 0, jnp.arange(1, ids.shape[1] + 1)[None], 0), axis=1, initial=0)


def append_rows(cache: AttentionCache, key: Array, value: Array, ids: Array) -> AttentionCache:
    """Write the new tokens of every row behind its last one; trailing padding is overwritten later."""
    assert cache.row_lengths is not None
    assert cache.segment_ids is not None
    places = cache.row_lengths[:, None] + jnp.arange(ids.shape[1])[None]
    rows = jnp.arange(len(ids))[:, None]

    def write(old: Array, new: Array) -> Array:
        return old.at[rows, places].set(new.astype(old.dtype), mode="drop", unique_indices=True)

    lengths = cache.row_lengths + occupied(ids)
    return AttentionCache(
        key=write(cache.key, key),
        value=write(cache.value, value),
        length=jnp.max(lengths),
        segment_ids=write(cache.segment_ids, ids),
        row_lengths=lengths,
    )


def _turn(x: Any, shifts: Int[Array, " b"]) -> Array:
    """Roll row b of x (B, M, ...) by `shifts[b]` places to the right."""
    size = x.shape[1]
    index = (jnp.arange(size)[None] - shifts[:, None]) % size
    return jnp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - 2)), axis=1)


def _check_cache(key: Array, cache: AttentionCache, segment_ids: Any) -> Array | None:
    """Check the new tokens, and return their segment ids, or None if the cache stores no ids."""
    batch, length, heads, width = key.shape
    if (batch, heads, width) != (cache.key.shape[0], *cache.key.shape[2:]):
        raise ValueError(
            f"the cache holds keys (B, M, K, H) = {cache.key.shape}, got new ones {key.shape}; they need one batch, "
            "number of heads and width."
        )
    ids = _check_ids(batch, length, cache, segment_ids)
    check_capacity(cache, length, ids)
    return ids


def check_capacity(cache: AttentionCache, length: int, ids: Any) -> None:
    """Check that `length` new tokens with these ids fit a cache of concrete length.

    Raises:
        ValueError: They do not.
    """
    lengths, added = cache.length, length
    if cache.row_lengths is not None and ids is not None:
        lengths, added = cache.row_lengths, occupied(ids)
    if not (is_concrete(lengths) and is_concrete(added)):
        return
    total = np.asarray(lengths) + np.asarray(added)
    if total.size and total.max() > cache.max_len:
        places = int(np.asarray(lengths).ravel()[total.argmax()])
        raise ValueError(
            f"the cache has {cache.max_len} places, {places} of them taken, got {total.max() - places} new "
            "tokens; make it with a larger max_len."
        )


def _check_ids(batch: int, length: int, cache: AttentionCache, segment_ids: Any) -> Array | None:
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

"""Outputs, masks, dropout bits and inputs of the attention functions, and the check of their shapes.

B batch, T query tokens, S key tokens, N query heads, K key heads, G = N/K, F query and key width, D value width
t query index, s key index
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, UInt32

from pdeformer.stencil.arguments import check_floating, check_random_key, convert_segment_ids

Precision: TypeAlias = Literal["highest", "high", "default"]
"""Precision of products of float32 on TPU and GPU: all digits, half of them more than one pass, or one pass of
bfloat16 or TF32. CPUs have all digits always."""


def product_precision(precision: Precision | None, *arrays: Any) -> Precision:
    """Return the precision of all products of an attention; `jax.default_matmul_precision` has no effect on them.

    None is "highest" for arrays of float32 and float64, whose results are promised to 3e-5, and "default" if all are
    shorter, because one pass has as many digits as they do.
    """
    if precision is not None:
        return precision
    return "default" if all(jnp.finfo(x.dtype).bits < 32 for x in arrays) else "highest"


class AttentionOutput(NamedTuple):
    """The result of an attention; both arrays have at least float32, for any input dtype."""

    output: Float[Array, "b t n d"]
    """Weighted sum of the values."""
    log_sum_exp: Float[Array, "b t n"]
    """log Σ_s exp(score); -inf for a query without allowed keys."""


class DropoutBits(NamedTuple):
    """One random uint32 per query token and per key token of every head.

    Pair (t, s) is dropped if hash(query[t], key[s]) < dropout · 2³².
    """

    query: UInt32[Array, "b t k g"]
    """Bits of the query tokens, by key head and query head of that key head."""
    key: UInt32[Array, "b s k"]
    """Bits of the key tokens."""


class DistancePenalty(NamedTuple):
    """A linear penalty of distance (ALiBi): score (t, s) is lowered by |query[t] - key[s]|; a constant of derivatives.

    Both are slope · place of the token, by head. Every query head has a key head of its own.
    """

    query: Float[Array, "b t k g"]
    """Slope · place of the query tokens, G = 1."""
    key: Float[Array, "b s k"]
    """Slope · place of the key tokens."""


class AttentionMask(NamedTuple):
    """Query t may attend key s if t + low <= s <= t + high and both have the same positive id.

    A condition that is None does not apply. The bounds may be traced.
    """

    low: Int[Array, ""] | None = None
    """Smallest allowed s - t."""
    high: Int[Array, ""] | None = None
    """Largest allowed s - t."""
    query_ids: Integer[Array, "*b t"] | None = None
    """Segment ids of the query tokens; 0 is padding."""
    key_ids: Integer[Array, "*b s"] | None = None
    """Segment ids of the key tokens; 0 is padding."""

    def dense(self, t: Int[Array, " t"], s: Int[Array, " s"]) -> Bool[Array, "*b t s"] | None:
        """Return whether the queries at `t` may attend the keys at `s`; None means all pairs.

        `query_ids` and `key_ids` are those of exactly these tokens.
        """
        mask = None
        if self.low is not None:
            mask = s[None, :] >= t[:, None] + self.low
        if self.high is not None:
            not_later = s[None, :] <= t[:, None] + self.high
            mask = not_later if mask is None else mask & not_later
        if self.query_ids is not None and self.key_ids is not None:
            ids = self.query_ids[..., :, None]
            same_segment = (ids == self.key_ids[..., None, :]) & (ids > 0)
            axes = range(same_segment.ndim - 2)
            mask = same_segment if mask is None else same_segment & jnp.expand_dims(mask, axes)
        return mask


class AttentionInputs(NamedTuple):
    """Checked inputs of one attention: at least float32, zeros in place of padding."""

    query: Float[Array, "b t n f"]
    """Scaled queries, or their random features."""
    key: Float[Array, "b s k f"]
    """Keys, or their random features."""
    value: Float[Array, "b s k d"] | None
    """Values; None if only the weights are computed."""
    mask: AttentionMask
    """The pairs (query, key) that may attend."""
    dropout_bits: DropoutBits | None
    """Random bits of all tokens; None without dropout."""


def attention_mask(
    length: int,
    keys: int,
    query_ids: Array | None = None,
    key_ids: Array | None = None,
    *,
    is_causal: bool,
    window: int | None = None,
) -> AttentionMask:
    """Return the mask of `length` queries and `keys` keys, aligned bottom-right: query T-1 is at key S-1."""
    shift = keys - length
    low = None if window is None else jnp.int32(shift - window)
    high = jnp.int32(shift) if is_causal else None if window is None else jnp.int32(shift + window)
    return AttentionMask(low, high, query_ids, key_ids)


def convert_ids(
    segment_ids: Any, key_segment_ids: Any, query: Array, key: Array
) -> tuple[Array | None, Array | None]:
    """Convert and check segment ids; return those of the queries and those of the keys, both or none.

    Raises:
        ValueError: Their shapes are not (B, T) and (B, S), or other queries than keys have no `key_segment_ids`.
    """
    if segment_ids is None and key_segment_ids is None:
        return None, None
    queries, keys = query.shape[:2], key.shape[:2]
    ids = jnp.ones(queries, jnp.int32) if segment_ids is None else convert_segment_ids(segment_ids)
    key_ids = ids if key_segment_ids is None else convert_segment_ids(key_segment_ids)
    if ids.shape != queries or (key_segment_ids is None and keys != queries):
        raise ValueError(
            f"segment_ids needs T = S and the shape (B, T), got {ids.shape} for B={queries[0]}, T={queries[1]}, "
            f"S={keys[1]}; give the keys their own by key_segment_ids when queries and keys are different tokens."
        )
    if key_ids.shape != keys:
        raise ValueError(
            f"key_segment_ids needs the shape (B, S), got {key_ids.shape} for B={keys[0]}, S={keys[1]}; for lengths "
            "it is jnp.arange(S) < lengths[:, None]."
        )
    return ids, key_ids


def check_shapes(query: Any, key: Any, value: Any, dropout: Any, dropout_key: Any) -> None:
    """Check that dtypes, shapes and dropout of arrays, or of `jax.ShapeDtypeStruct`s, fit together.

    Raises:
        ValueError: They do not; the text names the rule, the values and a remedy.
    """
    check_floating("attention", query=query, key=key, value=value)
    if not query.ndim == key.ndim == value.ndim == 4 or key.shape != value.shape or not _match(query, key):
        raise ValueError(
            "attention needs query (B, T, N, H) and key, value (B, S, K, H), got "
            f"{query.shape}, {key.shape}, {value.shape}; give them one batch and one head width."
        )
    heads, key_heads = query.shape[2], key.shape[2]
    if heads and (key_heads == 0 or heads % key_heads):
        raise ValueError(
            "the number of query heads must be a multiple of the number of key heads, got "
            f"{heads} and {key_heads}; repeat or drop key heads."
        )
    check_dropout(dropout, dropout_key)


def check_dropout(dropout: float, dropout_key: Any) -> None:
    """Check the rate of a dropout and its key.

    Raises:
        ValueError: The rate is outside [0, 1), or the key is missing or no random key.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), got {dropout}; it is the chance to drop, not to keep.")
    if dropout > 0 and dropout_key is None:
        raise ValueError(f"dropout needs a random key, got None with dropout={dropout}; pass dropout_key.")
    if dropout > 0:
        check_random_key("dropout_key", dropout_key)


def _match(query: Any, key: Any) -> bool:
    """Return whether query and key have one batch and one head width."""
    return (query.shape[0], query.shape[3]) == (key.shape[0], key.shape[3])

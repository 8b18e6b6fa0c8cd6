"""Entropy of attention rows, without all weights at once.

B batch, T query tokens, S key tokens, N heads, H head width
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pdeformer.diagnostics.hidden_states import Segments, to_float32
from pdeformer.integrators.compilation import compile_once
from pdeformer.stencil.arguments import convert_segment_ids

ROWS = 256
"""Query tokens whose weights exist at the same time."""


def attention_entropy(
    query: Float[Array, "b t n h"],
    key: Float[Array, "c s k g"],
    *,
    segment_ids: Segments | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Float[Array, "b n"]:
    """Return the mean entropy of the rows of softmax attention, in nats.

    A row is p = softmax(q·K · scale); its entropy -Σ p log p is 0 if it looks at one key, and log S if it looks at
    all S keys alike. At most 256 rows of weights exist at a time.

    Args:
        query: queries `(B, T, N, H)`.
        key: keys `(B, S, N, H)`.
        segment_ids: int or bool `(B, T)` with T = S; 0 is padding, and tokens see their own segment only.
        is_causal: whether token t sees only the keys up to its own; the last rows align for T ≠ S.
        scale: the factor of the scores; None is 1/√H.

    Returns:
        The mean over the valid query tokens, per row of the batch and head, in [0, log S].

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> same = jnp.ones((1, 4, 1, 2))
        >>> round(float(attention_entropy(same, same)[0, 0]), 3)  # log 4
        1.386
    """
    query, key = to_float32(query), to_float32(key)
    if query.ndim != 4 or key.ndim != 4 or query.shape[2:] != key.shape[2:] or len(query) != len(key):
        raise ValueError(
            f"query is (B, T, N, H) and key (B, S, N, H), got {query.shape} and {key.shape}; repeat grouped keys."
        )
    sources = key.shape[1]
    ids = None if segment_ids is None else convert_segment_ids(segment_ids)
    if ids is not None and not (ids.shape == query.shape[:2] == key.shape[:2]):
        raise ValueError(f"segment_ids is (B, T) with T = S = {sources}, got {ids.shape}; pad it.")
    factor = jnp.asarray(query.shape[-1] ** -0.5 if scale is None else scale, query.dtype)
    return _mean_entropy(query, key, ids, factor, is_causal=is_causal)


@compile_once("is_causal")
def _mean_entropy(
    query: Array, key: Array, ids: Array | None, factor: Array, *, is_causal: bool
) -> Float[Array, "b n"]:
    """Return the mean over the rows, one block of rows after another."""
    tokens, sources = query.shape[1], key.shape[1]

    def row(index: Array) -> tuple[Array, Array]:
        scores = jnp.einsum("bnh,bsnh->bns", query[:, index], key, precision="highest") * factor
        mask = jnp.ones((1, 1, sources), bool)
        if is_causal:
            mask &= (jnp.arange(sources) <= index + (sources - tokens))[None, None]
        if ids is not None:
            mask &= ((ids == ids[:, index, None]) & (ids > 0))[:, None]
        has_keys = jnp.any(mask, axis=-1)
        scores = jnp.where(mask, scores, -jnp.inf)
        log_p = jax.nn.log_softmax(jnp.where(has_keys[..., None], scores, 0), axis=-1)
        p = jnp.where(mask, jnp.exp(log_p), 0)
        entropy = -jnp.sum(p * jnp.where(p > 0, log_p, 0), axis=-1)
        has_keys = jnp.broadcast_to(has_keys, entropy.shape)
        return jnp.where(has_keys, entropy, 0), has_keys

    entropy, counted = jax.lax.map(row, jnp.arange(tokens), batch_size=min(ROWS, max(tokens, 1)))
    return jnp.sum(entropy, axis=0) / jnp.maximum(jnp.sum(counted, axis=0), 1)

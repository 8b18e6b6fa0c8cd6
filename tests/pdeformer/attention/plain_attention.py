"""Helpers for plain attention: references in NumPy and in JAX, random inputs, and comparisons."""

import jax
import jax.numpy as jnp
import numpy as np

from pdeformer.attention import chunked
from pdeformer.attention.dropout import draw_dropout_bits
from pdeformer.attention.types import AttentionMask

FLOAT32, FLOAT64 = 3e-6, 1e-12  # for inputs of order 1 and at most a few hundred roundings


def chunked_attention(query, key, value, *, segment_ids=None, offset=None, dropout_key=None, **options):
    mask = AttentionMask(None, None if offset is None else jnp.int32(offset), segment_ids, segment_ids)
    dropout_bits = None if dropout_key is None else draw_dropout_bits(dropout_key, query, key)
    return chunked.chunked_attention(query, key, value, mask, dropout_bits=dropout_bits, **options)


def numpy_attention(query, key, value, segment_ids=None, offset=None, scale=None, keep=None, dropout=0.0):
    """Return the output and log-sum-exp of materialized attention in NumPy float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    group = query.shape[2] // key.shape[2]
    key, value = (np.repeat(x, group, axis=2) for x in (key, value))
    scores = np.einsum("btnh,bsnh->bnts", query, key) * (query.shape[-1] ** -0.5 if scale is None else scale)
    t, s = np.arange(query.shape[1])[:, None], np.arange(key.shape[1])[None, :]
    mask = np.broadcast_to(True if offset is None else s <= t + offset, scores.shape)
    if segment_ids is not None:
        ids = np.asarray(segment_ids)
        mask = mask & ((ids[:, None, :, None] == ids[:, None, None, :]) & (ids > 0)[:, None, :, None])
    weights = np.where(mask, np.exp(scores), 0)
    total = weights.sum(-1, keepdims=True)
    weights = weights / np.where(total > 0, total, 1)
    if keep is not None:
        weights = weights * np.asarray(keep) / (1 - dropout)
    with np.errstate(divide="ignore"):
        lse = np.log(total[..., 0]).swapaxes(1, 2)
    return np.einsum("bnts,bsnh->btnh", weights, value), lse


def jax_attention(query, key, value, mask, scale=None, keep=None):
    """Return the output of materialized attention in jax.numpy, for its gradient.

    `mask` is (B, T, S), and every row has a key.
    """
    group = query.shape[2] // key.shape[2]
    key, value = (jnp.repeat(x, group, axis=2) for x in (key, value))
    scores = jnp.einsum("btnh,bsnh->bnts", query, key) * (query.shape[-1] ** -0.5 if scale is None else scale)
    weights = jax.nn.softmax(jnp.where(mask[:, None], scores, -jnp.inf), axis=-1)
    return jnp.einsum("bnts,bsnh->btnh", weights if keep is None else weights * keep, value)


def draw(length=13, keys=None, batch=2, heads=4, kv_heads=2, width=5, dtype=jnp.float32, seed=0):
    shapes = (length, heads), (keys or length, kv_heads), (keys or length, kv_heads), (length, heads)
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.normal(size=(batch, t, n, width)), dtype) for t, n in shapes)


def dense_mask(query, key, segment_ids=None, offset=None):
    t, s = np.arange(query.shape[1])[:, None], np.arange(key.shape[1])[None, :]
    mask = np.broadcast_to(True if offset is None else s <= t + offset, (query.shape[0], t.size, s.size))
    if segment_ids is None:
        return mask
    ids = np.asarray(segment_ids)
    return mask & (ids[:, :, None] == ids[:, None, :]) & np.greater(ids, 0)[:, :, None]


def output_and_gradients(attend, arrays, weight):
    """Return the output and the gradients of <weight, output> in query, key and value, compiled."""

    def run(arrays, weight):
        output, pullback = jax.vjp(attend, *arrays)
        return output, *pullback(weight)

    return jax.jit(run)(arrays, weight)


def close(actual, expected, tolerance):
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=tolerance, atol=tolerance)

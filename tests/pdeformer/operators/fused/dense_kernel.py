"""A fused attention kernel in plain JAX with materialized scores: the slow twin of the kernels of accelerators."""

import jax.numpy as jnp

from pdeformer.attention.dropout import keep_mask
from pdeformer.attention.plain.kernel_interface import Kernel


def _scores(spec, query, key, ids):
    query, key = (x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in (query, key))
    key = jnp.repeat(key, query.shape[2] // key.shape[2], axis=2)
    distance = jnp.arange(key.shape[1])[None] - jnp.arange(query.shape[1])[:, None]
    mask = jnp.ones(distance.shape, bool)
    if spec.low is not None:
        mask &= distance >= spec.low
    if spec.high is not None:
        mask &= distance <= spec.high
    mask = mask[None, None]
    if ids:
        query_ids, key_ids = ids
        mask = mask & ((query_ids[:, :, None] == key_ids[:, None]) & (query_ids > 0)[:, :, None])[:, None]
        query, key = (
            jnp.where((x > 0)[..., None, None], y, 0) for x, y in zip(ids, (query, key), strict=True)
        )
    return jnp.where(mask, jnp.einsum("btnh,bsnh->bnts", query, key) * spec.scale, -jnp.inf), query, key


def _keep(spec, query, bits):
    """Return the factors of the weights (B, N, T, S): 0 for a dropped pair."""
    if not bits:
        return 1.0
    query_bits, key_bits = bits
    key_bits = jnp.repeat(key_bits, query.shape[2] // key_bits.shape[1], axis=1)
    return keep_mask(query_bits[..., None], key_bits[:, :, None], spec.dropout) / (1 - spec.dropout)


def forward(spec, query, key, value, *marks):
    ids, bits = spec.split_marks(marks)
    scores, *_ = _scores(spec, query, key, ids)
    top = jnp.maximum(scores.max(-1), jnp.finfo(scores.dtype).min)
    weights = jnp.exp(scores - top[..., None])
    total = weights.sum(-1)
    any_key = total > 0
    wide = _values(value, ids, query)
    remaining = _keep(spec, query, bits) * weights / jnp.where(any_key, total, 1)[..., None]
    output = jnp.einsum("bnts,bsnh->btnh", remaining, wide)
    lse = jnp.where(any_key, top + jnp.log(jnp.where(any_key, total, 1)), -jnp.inf)
    return output.astype(value.dtype), lse.astype(jnp.float32)


def backward(spec, query, key, value, *rest):
    *marks, lse, delta, d_output = rest
    ids, bits = spec.split_marks(marks)
    scores, wide_query, wide_key = _scores(spec, query, key, ids)
    weights = jnp.exp(scores - jnp.where(lse == -jnp.inf, 0, lse)[..., None])
    d_weights = jnp.einsum("btnh,bsnh->bnts", d_output.astype(scores.dtype), _values(value, ids, query))
    keep = _keep(spec, query, bits)
    d_scores = weights * (keep * d_weights - delta[..., None]) * spec.scale
    d_query = jnp.einsum("bnts,bsnh->btnh", d_scores, wide_key)
    d_key = jnp.einsum("bnts,btnh->bsnh", d_scores, wide_query)
    d_value = jnp.einsum("bnts,btnh->bsnh", keep * weights, d_output.astype(scores.dtype))

    def per_key_head(x, like):
        return x.reshape(*like.shape[:3], -1, like.shape[3]).sum(3).astype(like.dtype)

    return d_query.astype(query.dtype), per_key_head(d_key, key), per_key_head(d_value, value)


def _values(value, ids, query):
    value = value.astype(jnp.promote_types(value.dtype, jnp.float32))
    value = value if not ids else jnp.where((ids[1] > 0)[..., None, None], value, 0)
    return jnp.repeat(value, query.shape[2] // value.shape[2], axis=2)


KERNEL = Kernel(forward, backward, "cpu")

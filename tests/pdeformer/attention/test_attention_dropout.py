"""Attention dropout: its mask, the rate of the mask, and the independence of its pairs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer.attention import dot_product_attention
from pdeformer.attention.dropout import draw_dropout_bits, keep_mask
from tests.pdeformer.attention.plain_attention import (
    FLOAT64,
    chunked_attention,
    close,
    dense_mask,
    draw,
    jax_attention,
    numpy_attention,
    output_and_gradients,
)


def dropout_mask(key, query, keys, dropout):
    """Return the materialized dropout mask of `chunked_attention`, (B, N, T, S)."""
    batch, length, heads, _ = query.shape
    kv_heads = keys.shape[2]
    dropout_bits = draw_dropout_bits(key, query, keys)
    query_bits = jnp.moveaxis(dropout_bits.query.reshape(batch, length, heads), 1, 2)
    key_bits = jnp.repeat(jnp.moveaxis(dropout_bits.key, 1, 2), heads // kv_heads, axis=1)
    return keep_mask(query_bits[..., :, None], key_bits[..., None, :], dropout)


@pytest.mark.parametrize(("chunk", "serial"), [(8, True), (256, True), (8, False)])
def test_dropout_equals_the_twin_under_the_same_mask(chunk, serial, x64):
    query, key, value, weight = draw(dtype=jnp.float64)
    ids, rate, random = jnp.array([[1] * 5 + [2] * 8] * 2), 0.3, jax.random.key(7)
    keep = dropout_mask(random, query, key, rate)
    options = dict(segment_ids=ids, offset=0, dropout=rate, dropout_key=random, chunk=chunk, serial=serial)
    attend = partial(chunked_attention, scale=5**-0.5, **options)
    output, *gradients = output_and_gradients(lambda *qkv: attend(*qkv).output, (query, key, value), weight)
    close(output, numpy_attention(query, key, value, ids, 0, keep=keep, dropout=rate)[0], FLOAT64)
    materialized = partial(jax_attention, mask=dense_mask(query, key, ids, 0), keep=keep / (1 - rate))
    _, *expected = output_and_gradients(materialized, (query, key, value), weight)
    for a, b in zip(gradients, expected, strict=True):
        close(a, b, FLOAT64)


def test_dropout_keeps_the_stated_share_and_pairs_are_independent():
    query, key, _, _ = draw(256, batch=1)
    keep = np.asarray(dropout_mask(jax.random.key(0), query, key, 0.25)[0], np.float64)
    pairs = keep[0].size
    assert abs(keep.mean() - 0.75) < 4 * np.sqrt(0.25 * 0.75 / keep.size)
    noise = 4 / np.sqrt(pairs)  # four standard deviations of a correlation of that many pairs
    centered = (keep - 0.75) / np.sqrt(0.25 * 0.75)
    assert abs(np.mean(centered[0] * centered[1])) < noise, "two heads of one key head"
    assert abs(np.mean(centered[0] * centered[2])) < noise, "two key heads"
    assert abs(np.mean(centered[:, 1:] * centered[:, :-1])) < noise, "neighboring queries"
    assert abs(np.mean(centered[:, :, 1:] * centered[:, :, :-1])) < noise, "neighboring keys"
    for axis in (1, 2):
        spread = keep.mean(axis=axis).std() / np.sqrt(0.25 * 0.75 / 256)
        assert abs(spread - 1) < 0.15, "row and column sums vary as those of independent dropout_bits"


def test_dropout_is_a_function_of_its_key_and_right_on_average():
    query, key, value, _ = draw(batch=1)
    attend = jax.jit(lambda random: dot_product_attention(query, key, value, dropout=0.4, dropout_key=random))
    assert jnp.array_equal(attend(jax.random.key(1)), attend(jax.random.key(1)))
    assert not jnp.array_equal(attend(jax.random.key(1)), attend(jax.random.key(2)))
    samples = np.asarray(jax.lax.map(attend, jax.random.split(jax.random.key(3), 2000)))
    error = np.abs(samples.mean(0) - numpy_attention(query, key, value)[0])
    assert np.all(error < 5 * samples.std(0) / np.sqrt(2000))

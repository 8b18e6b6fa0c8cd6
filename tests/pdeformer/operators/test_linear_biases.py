"""Linear biases of distance and the band of a window, against materialized attention in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer.attention import dot_product_attention
from pdeformer.model.positions import alibi_slopes
from tests.pdeformer.attention.plain_attention import FLOAT64, draw

SLOPES = np.array([0.5, 0.0625])
IDS = np.stack([np.repeat([1, 2, 0], [100, 150, 50]), np.repeat([0, 3, 3], [20, 160, 120])])


def definition(query, key, value, segment_ids=None, *, causal=False, window=None, slopes=None):
    """Return softmax(scores - m_n |t - s|) V over the allowed keys, materialized in jax.numpy."""
    t = jnp.arange(query.shape[1])[:, None] + key.shape[1] - query.shape[1]
    s = jnp.arange(key.shape[1])[None]
    scores = jnp.einsum("btnh,bsnh->bnts", query, key) / query.shape[-1] ** 0.5
    if slopes is not None:
        scores -= slopes[None, :, None, None] * jnp.abs(t - s)[None, None]
    mask = jnp.full(scores.shape, fill_value=True)
    if causal:
        mask &= (s <= t)[None, None]
    if window is not None:
        mask &= (jnp.abs(t - s) <= window)[None, None]
    if segment_ids is not None:
        ids = jnp.asarray(segment_ids)[:, None]
        mask &= (ids[..., :, None] == ids[..., None, :]) & (ids > 0)[..., None]
    # a row without keys gets finite numbers here, and 0 below
    weights = jax.nn.softmax(jnp.where(mask, scores, -1e9), axis=-1) * mask
    return jnp.einsum("bnts,bsnh->btnh", weights, value)


def value_and_gradients(attend, arrays, **options):
    def run(arrays):
        output, pullback = jax.vjp(lambda *x: attend(*x, **options), *arrays)
        return output, *pullback(jnp.cos(jnp.arange(output.size, dtype=output.dtype)).reshape(output.shape))

    return jax.jit(run)(arrays)


# 300 tokens are two chunks of 64 … 256 rows, so that bands start, end and clip inside the sequence
@pytest.mark.parametrize(
    ("causal", "window", "slopes", "segments"),
    [
        (False, None, SLOPES, True),
        (False, 7, None, False),
        (True, 40, SLOPES, True),
        (True, 0, SLOPES, False),
    ],
)
def test_attention_equals_its_definition_with_gradients(causal, window, slopes, segments, x64):
    arrays = draw(300, kv_heads=2, heads=2, dtype=jnp.float64)[:3]
    options = {"window": window, "slopes": slopes, "segment_ids": IDS if segments else None}
    actual = value_and_gradients(dot_product_attention, arrays, is_causal=causal, **options)
    expected = value_and_gradients(definition, arrays, causal=causal, **options)
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=FLOAT64, atol=FLOAT64)


def test_other_queries_than_keys_align_at_the_last_token():
    query, key, value, _ = draw(3, 70, heads=2)
    options = {"window": 5, "slopes": SLOPES.astype(np.float32)}
    expected = definition(query, key, value, **options)
    np.testing.assert_allclose(dot_product_attention(query, key, value, **options), expected, atol=2e-6)


def test_a_tangent_and_a_second_derivative_know_the_bias():
    query, key, value, _ = draw(12, heads=2)

    def second(attend):
        def loss(x):
            return jnp.sum(jnp.sin(attend(query + x, key, value, slopes=jnp.float32(SLOPES))))

        return jax.jit(jax.jvp, static_argnums=0)(jax.grad(loss), (0.1,), (1.0,))

    for x, y in zip(second(dot_product_attention), second(definition), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4)


def test_attention_in_a_window_reads_a_band():
    """Work and memory grow with the length, not with its square."""

    def cost(length):
        query = jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)
        attend = jax.jit(lambda q: dot_product_attention(q, q, q, window=16, slopes=jnp.ones(1)))
        program: Any = attend.lower(query).compile()
        return program.memory_analysis().temp_size_in_bytes, f"{length},{length}]" in program.as_text()

    short, long = cost(1024), cost(4096)
    assert long[0] < 4.5 * short[0]
    assert not long[1]


def test_slopes_halve_from_head_to_head():
    np.testing.assert_allclose(alibi_slopes(8), 2.0 ** -np.arange(1, 9), rtol=1e-6)
    np.testing.assert_allclose(alibi_slopes(2), [2.0**-4, 2.0**-8], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slopes": np.ones(3)}, r"one floating number per head, \(2,\).* got float.* \(3,\)"),
        ({"slopes": np.ones(2, int)}, "one floating number per head"),
        ({"slopes": np.ones(2), "method": "xla"}, "'xla' has no penalty of distance, got slopes; use 'auto'"),
        ({"slopes": np.ones(2), "method": "fused"}, "'fused' has no penalty"),
    ],
)
def test_slopes_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        dot_product_attention(*draw(4, heads=2)[:3], **options)
    with pytest.raises(ValueError, match="repeat the key heads"):
        dot_product_attention(*draw(4, heads=2, kv_heads=1)[:3], slopes=np.ones(2))

"""Products of float32 have all digits on every device: in programs lowered for a TPU, and with one pass emulated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pdeformer as pf
import pid
from pdeformer import layers
from pdeformer.attention.types import Precision
from tests.helpers.programs import one_bfloat16_pass, short_products

B, T, N, K, H = 1, 40, 4, 2, 4  # no fused kernel serves this width: `test_kernel_choice` looks into those
QUERY, KEY = (jax.ShapeDtypeStruct((B, T, heads, H), jnp.float32) for heads in (N, K))
IDS = np.r_[np.ones(20), np.zeros(4), np.full(16, 2)][None].astype(np.int32)
COV = jax.ShapeDtypeStruct((2, 6, 6), jnp.float32)
DIMS = (2, 2, 2)


def attend(**options):
    return lambda q, k, v: pf.pde_attention(q, k, v, pf.Diffusion(0.2), steps=3, **options)


def performer(**options):
    features: dict = dict(base="performer", features=16, feature_key=jax.random.key(0))
    return attend(**features, **options)


ATTENTION = {
    "folded": attend(),
    "causal": attend(is_causal=True),
    "query axis": attend(axis="query"),
    "logits": attend(target="logits"),
    "window": attend(window=9),
    "segments": attend(segment_ids=IDS),
    "materialized": attend(method="materialized"),
    "tiled": attend(method="tiled"),
    "performer": performer(),
    "causal performer": performer(is_causal=True),
    "reaction": lambda q, k, v: pf.pde_attention(q, k, v, pf.ReactionDiffusion(0.2, 0.1), steps=2),
    "plain": lambda *qkv: pf.dot_product_attention(*qkv),
    "plain, chunked": lambda *qkv: pf.dot_product_attention(*qkv, method="chunked", is_causal=True),
    "layer": lambda *qkv: layers.PDEAttention(N, kind="diffusion", steps=2)(*qkv),
}


def gradients(function):
    return jax.grad(lambda *arrays: jnp.sum(function(*arrays) ** 2), (0, 1, 2))


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_in_float32_has_all_digits_on_a_tpu(name):
    for function in (ATTENTION[name], gradients(ATTENTION[name])):
        short, count = short_products(function, QUERY, KEY, KEY)
        assert count
        assert not short


def test_weights_and_decoding_have_all_digits_on_a_tpu():
    short, count = short_products(
        lambda q, k: pf.pde_attention_weights(q, k, pf.Diffusion(0.2), steps=2), QUERY, KEY
    )
    assert count
    assert not short
    cache = pf.init_cache(B, 64, K, H)
    token = [jax.ShapeDtypeStruct((B, 1, *x.shape[2:]), x.dtype) for x in (QUERY, KEY, KEY)]
    short, count = short_products(
        lambda q, k, v: pf.pde_attention_decode(q, k, v, cache, pf.Diffusion(0.2), steps=2)[0], *token
    )
    assert count
    assert not short


def test_a_lower_precision_is_served_where_it_is_asked_for():
    for function in (
        attend(precision="default"),
        lambda *x: pf.dot_product_attention(*x, precision="default"),
    ):
        for each in (function, gradients(function)):
            short, count = short_products(each, QUERY, KEY, KEY)
            assert len(short) == count > 0
    with jax.default_matmul_precision("bfloat16"):
        assert not short_products(attend(), QUERY, KEY, KEY)[0]
    layer = layers.PDEAttention(N, kind="diffusion", steps=2)
    short, count = short_products(lambda *x: layer(*x, precision=jax.lax.Precision.DEFAULT), QUERY, KEY, KEY)
    assert len(short) == count > 0


@pytest.mark.parametrize("kind", ["none", "diffusion"])
def test_a_model_has_the_precision_of_its_config(kind):
    """Dense layers take that of JAX: 7 products of a block and its head."""
    cases: tuple[tuple[Precision | None, int], ...] = ((None, 7), ("default", 9))
    for precision, expected in cases:
        attention = pf.PDEAttentionConfig(kind, precision=precision)
        config = pf.ModelConfig(vocabulary=16, layers=1, width=8, heads=2, max_len=16, attention=attention)
        graph, params = nnx.split(pf.Classifier(config, rngs=nnx.Rngs(0)))
        short, count = short_products(
            lambda p, t, graph=graph: nnx.merge(graph, p)(t), params, jax.ShapeDtypeStruct((2, 16), jnp.int32)
        )
        assert (len(short), count) == (expected, 9)


def test_arrays_of_bfloat16_take_one_pass():
    query, key = (jax.ShapeDtypeStruct(x.shape, jnp.bfloat16) for x in (QUERY, KEY))
    for function in (attend(), lambda *x: pf.dot_product_attention(*x, method="chunked")):
        short, count = short_products(function, query, key, key)
        assert len(short) == count > 0


def test_an_unknown_precision_is_refused():
    arrays = jnp.zeros((1, 3, 1, 4)), jnp.zeros((1, 3, 1, 4)), jnp.zeros((1, 3, 1, 4))
    with pytest.raises(ValueError, match="precision must be one of highest, high, default, or None"):
        attend(precision="low")(*arrays)


@pytest.mark.parametrize(
    "layer",
    [
        layers.AdaptiveStencil(H, input_adaptive=True),
        layers.MultiScaleStencil(H, gated=True),
        layers.HeatLayer(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_gates_have_all_digits_on_a_tpu(layer):
    graph, state = nnx.split(layer)
    short, _ = short_products(
        lambda state, u: nnx.merge(graph, state)(u), state, jax.ShapeDtypeStruct((2, T, H), jnp.float32)
    )
    assert not short


MEASURES = {
    "decompose": lambda cov: pid.decompose(cov, DIMS).synergy,
    "mutual information": lambda cov: pid.mutual_information(cov, DIMS).joint,
    "decompose, compiled before": jax.jit(lambda cov: pid.decompose(cov, DIMS).synergy),
}


@pytest.mark.parametrize("name", MEASURES)
def test_information_has_all_digits_on_a_tpu(name):
    measure = MEASURES[name]
    for function in (
        measure,
        jax.vmap(measure),
        jax.grad(lambda cov: jnp.sum(measure(cov))),
        jax.vmap(jax.grad(lambda cov: jnp.sum(measure(cov)))),
    ):
        short, count = short_products(function, COV)
        assert count
        assert not short


def close_to_exact(function, *arrays):
    """Return the largest difference from float64, as a share of the largest value."""
    with jax.enable_x64():
        exact = np.asarray(jax.jit(function)(*(np.asarray(x, np.float64) for x in arrays)))
    with one_bfloat16_pass():
        value = np.asarray(jax.jit(function)(*arrays), np.float64)
    return np.abs(value - exact).max() / np.abs(exact).max()


@pytest.mark.parametrize("causal", [False, True])
def test_one_pass_of_bfloat16_would_break_the_promise_of_attention(causal):
    keys = jax.random.split(jax.random.key(0), 3)
    arrays = [np.asarray(jax.random.normal(k, (1, 128, n, 32))) for k, n in zip(keys, (2, 2, 2), strict=True)]
    assert close_to_exact(attend(is_causal=causal), *arrays) < 3e-5
    assert close_to_exact(attend(is_causal=causal, precision="default"), *arrays) > 1e-3


def test_one_pass_of_bfloat16_would_cost_thousandths_of_a_bit():
    """The product without the fix is that of a plain posterior covariance."""
    d = 10
    a = np.random.default_rng(0).normal(size=(3 * d, 4 * d))
    cov = (a @ a.T / (4 * d)).astype(np.float32)
    exact = float(pid.decompose(np.asarray(cov, np.float64), (d, d, d)).synergy)
    with one_bfloat16_pass():
        value = float(jax.jit(lambda c: pid.decompose(c, (d, d, d)).synergy)(cov))
        short = float(jnp.linalg.slogdet(jnp.asarray(cov) @ jnp.asarray(cov))[1])
    assert abs(value - exact) < 1e-4
    assert abs(short - 2 * np.linalg.slogdet(np.asarray(cov, np.float64))[1]) > 1e-2

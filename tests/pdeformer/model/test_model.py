"""Models: dropout, precision, heads, configurations, and errors."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import tyro
from flax import nnx

from pdeformer.layers import StencilConfig
from pdeformer.model import CausalLM, Classifier, Matcher, ModelConfig
from pdeformer.model.block import dropout, named_key
from tests.pdeformer.model.numpy_transformer import (
    EVERYWHERE,
    PACKED,
    STENCILS,
    TINY,
    call,
    parameters,
    randomized,
    tokens,
)

# Randomness and precision


def test_a_key_decides_the_dropout_and_none_means_none():
    config = replace(TINY, placements=("after_embedding",), dropout=0.3, attention_dropout=0.0)
    base = Classifier(replace(config, dropout=0.0), nnx.Rngs(0))
    key, other_key = jax.random.key(1), jax.random.key(2)
    expected = call(base, tokens(), key=key)
    for rates in ({}, {"dropout": 0.0, "attention_dropout": 0.3}):
        model = Classifier(replace(config, **rates), nnx.Rngs(0))
        out = call(model, tokens(), key=key)
        np.testing.assert_array_equal(call(model, tokens(), key=key), out)
        assert jnp.all(out != call(model, tokens(), key=other_key))
        assert jnp.all(out != expected)
        np.testing.assert_allclose(call(model, tokens()), expected, rtol=0, atol=1e-6)


def test_every_layer_draws_its_own_dropout():
    model = Classifier(replace(TINY, dropout=0.5, attention_dropout=0.0), nnx.Rngs(0))
    graphdef, params = nnx.split(model.blocks)
    first = jax.tree.map(lambda x: x[0], params)
    model.blocks = nnx.merge(graphdef, jax.tree.map(lambda x: jnp.stack([x, x]), first))
    single = jax.jit(lambda u, key: nnx.merge(graphdef, first)(u, key=key))
    u, key = jax.random.normal(jax.random.key(1), (1, 6, 8)), jax.random.key(0)
    keys = [jax.random.fold_in(named_key(key, "blocks"), layer) for layer in range(2)]
    out = jax.jit(lambda u, key: model.run_blocks(u, None, key))(u, key)
    np.testing.assert_allclose(out, single(single(u, keys[0]), keys[1]), rtol=0, atol=1e-5)
    assert not np.allclose(out, single(single(u, keys[0]), keys[0]), atol=0.1)


def test_dropout_keeps_the_mean():
    u = jnp.ones((100, 1000), jnp.bfloat16)
    out = dropout(u, 0.25, jax.random.key(0))
    assert out.dtype == u.dtype
    assert set(np.unique(np.asarray(out, np.float32))) == {0.0, np.float32(jnp.bfloat16(4 / 3))}
    # 0.25 ± 5 standard errors of 1e5 draws
    np.testing.assert_allclose(np.mean(np.asarray(out, np.float32) == 0), 0.25, rtol=0, atol=0.007)


def test_bfloat16_is_close_to_float32_and_leaves_parameters_and_logits_in_float32():
    config = replace(TINY, placements=("between_layers",))
    float32, bfloat16 = (CausalLM(replace(config, dtype=d), nnx.Rngs(0)) for d in ("float32", "bfloat16"))
    assert {x.dtype for x in parameters(bfloat16).values()} == {jnp.dtype("float32")}
    logits, expected = call(bfloat16, tokens(), PACKED), call(float32, tokens(), PACKED)
    assert logits.dtype == jnp.float32
    assert call(bfloat16, tokens(), PACKED, method="hidden_states").dtype == jnp.bfloat16
    # eight bits of mantissa through two blocks
    assert 0 < jnp.linalg.norm(logits - expected) < 0.03 * jnp.linalg.norm(expected)
    assert call(Classifier(replace(config, dtype="bfloat16"), nnx.Rngs(0)), tokens()).dtype == jnp.float32


def test_a_model_under_jit_equals_the_eager_one_on_raw_bytes():
    model = Classifier(replace(TINY, placements=("after_embedding",)), nnx.Rngs(0))
    eager = model(np.asarray(tokens(), np.uint8), np.asarray(PACKED, np.uint8))
    np.testing.assert_allclose(call(model, tokens(), PACKED), eager, rtol=0, atol=1e-5)


# Heads and configurations


def test_a_matcher_reads_both_towers_with_the_same_weights():
    model = randomized(Matcher(replace(TINY, placements=("before_ffn",), dropout=0.5), nnx.Rngs(0)))
    a, b, ids, key = tokens(), tokens(length=7, seed=1), PACKED[:, :7], jax.random.key(0)
    assert parameters(model)["hidden/kernel"].shape == (4 * 8, 12)  # an MLP of the ffn width
    for keys in ((None, None), jax.random.split(key)):
        x = call(model, a, PACKED, key=keys[0], method="pooled")
        y = call(model, b, ids, key=keys[1], method="pooled")
        expected = model.classify(jnp.concatenate([x, y, x * y, x - y], axis=-1))
        logits = call(model, a, b, PACKED, ids, key=None if keys[0] is None else key)
        # float32, and both towers compiled in one program: other fusions round differently
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_a_classifier_width_adds_one_hidden_layer():
    model = Classifier(replace(TINY, classifier_width=5, activation="relu"), nnx.Rngs(0))
    pooled = np.asarray(call(model, tokens(), method="pooled"))
    values = {name: np.asarray(x) for name, x in parameters(model).items()}
    hidden = np.maximum(pooled @ values["hidden/kernel"] + values["hidden/bias"], 0)
    expected = hidden @ values["head/kernel"]
    np.testing.assert_allclose(call(model, tokens()), expected, rtol=0, atol=1e-5)


def test_a_config_is_a_command_line():
    words = "--width 16 --placements after_embedding before_norm --stencil.kind adaptive --stencil.width 5"
    config = tyro.cli(ModelConfig, args=words.split())
    expected = ModelConfig(
        width=16, placements=("after_embedding", "before_norm"), stencil=StencilConfig("adaptive", width=5)
    )
    assert config == expected


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda: replace(TINY, placements=("before_norms",)),
            "after_embedding, .*did you mean 'before_norm'",
        ),
        (lambda: replace(TINY, placements=("between_layers",) * 2), "each placement stands once"),
        (lambda: replace(TINY, width=9, positions="learned"), "width=9 and heads=2"),
        (lambda: replace(TINY, width=9, heads=3), "even width, got 9"),
        (lambda: replace(TINY, layers=0), "layers must be at least 1, got 0"),
        (lambda: replace(TINY, dropout=1.0), r"dropout is a rate in \[0, 1\), got 1.0"),
        (lambda: replace(TINY, norm="Pre"), "norm is one of pre, post, got 'Pre'"),
        (lambda: replace(TINY, dtype="float16"), "dtype is one of float32, bfloat16"),
        (
            lambda: replace(EVERYWHERE, stencil=StencilConfig(alpha=0.7)),
            "alpha <= 1/2 to be non-expansive, got 0.7",
        ),
        (lambda: CausalLM(replace(EVERYWHERE, stencil=STENCILS["gated"]), nnx.Rngs(0)), "gated=False"),
        (lambda: CausalLM(replace(TINY, pooling="cls"), nnx.Rngs(0)), "no CLS token, got pooling='cls'"),
    ],
)
def test_a_contradiction_is_refused_with_rule_value_and_remedy(build, words):
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((tokens(length=17),), "at most max_len=16 tokens, got 17"),
        ((tokens() + 1,), "token ids lie in 0 … 10, got 1 … 11"),
        ((tokens(), PACKED[:, :5]), r"shape of tokens, \(2, 12\), got \(2, 5\)"),
        ((tokens()[0],), "tokens are integers"),
        ((tokens().astype(float),), "tokens are integers"),
    ],
)
def test_bad_input_is_refused(inputs, words, monkeypatch):
    model = Classifier(TINY, nnx.Rngs(0))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=words):
        model(*inputs)


def test_packed_rows_have_no_single_cls_token():
    model = Classifier(replace(TINY, pooling="cls"), nnx.Rngs(0))
    with pytest.raises(ValueError, match="one segment per row, got packed rows"):
        model(tokens(), PACKED)


def test_places_inside_the_sublayers_have_the_width_of_what_they_act_on():
    config = ModelConfig(16, width=8, layers=2, heads=2, ffn=12, placements=("in_attention", "in_ffn"))
    config = replace(config, stencil=StencilConfig("canon"))
    assert [config.hook_width(site) for site in config.hooks] == [24, 12]
    model = nnx.eval_shape(lambda: Classifier(config, nnx.Rngs(0)))
    layers: dict[str, Any] = dict(model.blocks.stencils.items())
    shapes = {name: layer.weights.shape for name, layer in layers.items()}
    assert shapes == {"in_attention": (2, 4, 24), "in_ffn": (2, 4, 12)}
    with pytest.raises(ValueError, match="'lru', which has none; drop the place"):
        replace(config, mixer="lru")

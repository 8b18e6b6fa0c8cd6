"""The official models in training: initial weights, dropout, the form without a causal mask, memory of long rows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pdeformer import cta
from pdeformer.attention.dropout import draw_dropout_bits, drop_weights
from tests.pdeformer.cta.official_cta import INITIAL, KINDS, MASKS, STATE

SIZES: Any = {"vocabulary": 300, "outputs": 3, "length": 200, "width": 64, "ffn": 96, "layers": 3}
IDS = np.random.default_rng(3).integers(0, 50, MASKS.shape)
TINY: Any = {"vocabulary": 50, "outputs": 50, "length": 16, "width": 8, "ffn": 12, "layers": 2}


def test_initial_weights_have_the_distributions_of_pytorch():
    weights = cta.init_weights(jax.random.key(0), **SIZES)
    for normal in (weights.embedding, weights.positions):
        assert abs(np.mean(normal)) < 0.02
        np.testing.assert_allclose(np.std(normal), 1, atol=0.02)
    bounds = {  # half widths of uniform distributions
        "self_attn.in_proj_weight": np.sqrt(6 / (64 + 3 * 64)),  # Xavier: √(6 / (fan_in + fan_out))
        "self_attn.out_proj.weight": 64**-0.5,
        "linear1.weight": 64**-0.5,
        "linear1.bias": 64**-0.5,
        "linear2.weight": 96**-0.5,
        "linear2.bias": 96**-0.5,
    }
    for name, bound in bounds.items():
        values = np.asarray(weights.layers[name])
        assert np.max(np.abs(values)) <= bound * (1 + 1e-6)
        np.testing.assert_allclose(np.std(values), bound / np.sqrt(3), rtol=0.12)
    for name in ("self_attn.in_proj_bias", "self_attn.out_proj.bias", "norm1.bias", "norm2.bias"):
        assert not np.any(weights.layers[name])
    assert np.all(np.asarray(weights.layers["norm1.weight"]) == 1)
    assert np.max(np.abs(weights.fc["weight"])) <= 64**-0.5


@pytest.mark.parametrize("identical", [False, True])
def test_layers_are_independent_or_copies_of_one(identical):
    layers = cta.init_weights(jax.random.key(0), **SIZES, identical_layers=identical).layers
    equal = {name: bool(np.all(np.asarray(stack) == np.asarray(stack)[:1])) for name, stack in layers.items()}
    assert all(equal.values()) == identical
    assert not equal["linear1.weight"] or identical


@pytest.mark.parametrize("kind", KINDS)
def test_initial_coefficients_are_the_official_ones_and_change_no_other_weight(kind):
    plain = cta.init_weights(jax.random.key(0), **TINY)
    weights = cta.init_weights(jax.random.key(0), **TINY, kind=kind, steps=4)
    expected = {
        name: np.full((2, 4), value, np.float32)
        for name, value in zip(("alpha", "beta"), INITIAL[kind], strict=True)
        if value is not None
    }
    assert weights.steps.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(weights.steps[name], values)
    jax.tree.map(np.testing.assert_array_equal, weights._replace(steps={}), plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width"),
        ({"steps": 0}, "steps"),
        ({"layers": -1}, "layers"),
        ({"kind": "heat"}, "kind must be one of"),
    ],
)
def test_sizes_and_kinds_that_no_model_has_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        cta.init_weights(jax.random.key(0), **(TINY | options))


@pytest.mark.parametrize("dropout", [1.0, -0.1, float("nan")])
def test_a_dropout_that_is_no_probability_is_refused(dropout):
    weights = cta.init_weights(jax.random.key(0), **TINY)
    with pytest.raises(ValueError, match="dropout"):
        cta.OfficialClassifier(weights, kind=None, heads=2, dropout=dropout)


# Dropout


def drop(x, rate, key):
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)


def dense_logits(weights, ids, mask, key, *, kind, heads, rate):
    """The classifier with dropout, layer after layer, with all attention weights at once."""
    depth, (batch, length) = weights.layers["norm1.weight"].shape[0], ids.shape
    x = weights.embedding[ids] + weights.positions[:, :length]
    x = drop(x, rate, jax.random.fold_in(key, depth))
    for i in range(depth):
        w = {name: stack[i] for name, stack in weights.layers.items()}
        attention_key, inner_key = jax.random.split(jax.random.fold_in(key, i))
        one, two, three = jax.random.split(inner_key, 3)
        qkv = x @ w["self_attn.in_proj_weight"].T + w["self_attn.in_proj_bias"]
        q, k, v = (part.reshape(batch, length, heads, -1) for part in jnp.split(qkv, 3, axis=-1))
        scores = jnp.einsum("blnh,bknh->bnlk", q, k) / q.shape[-1] ** 0.5
        attention = jax.nn.softmax(jnp.where(mask[:, None, None] > 0, scores, -jnp.inf), axis=-1)
        bits = draw_dropout_bits(attention_key, q, k)
        query_bits = jnp.swapaxes(bits.query[..., 0], 1, 2)[..., None]
        attention = drop_weights(attention, query_bits, jnp.swapaxes(bits.key, 1, 2)[:, :, None], rate)
        output = jnp.einsum("bnlk,bknh->blnh", attention, v).reshape(x.shape)
        output = output @ w["self_attn.out_proj.weight"].T + w["self_attn.out_proj.bias"]
        x = standardize(x + drop(output, rate, one)) * w["norm1.weight"] + w["norm1.bias"]
        inner = jnp.maximum(x @ w["linear1.weight"].T + w["linear1.bias"], 0)
        output = drop(inner, rate, two) @ w["linear2.weight"].T + w["linear2.bias"]
        x = standardize(x + drop(output, rate, three)) * w["norm2.weight"] + w["norm2.bias"]
        coefficients = {name: values[i] for name, values in weights.steps.items()}
        x = cta.refine(x, kind, **coefficients, steps=len(coefficients["alpha"]), mask=mask)
    mean = jnp.sum(x * mask[..., None], axis=1) / jnp.sum(mask, axis=1, keepdims=True)
    return mean @ weights.fc["weight"].T + weights.fc["bias"]


def standardize(x):
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


def test_dropout_acts_at_the_five_places_of_the_original(x64):
    weights = cta.init_weights(jax.random.key(0), **TINY, kind="diffusion", steps=2)
    model = cta.OfficialClassifier(weights, kind="diffusion", heads=2, dropout=0.3)
    ids, mask, key = IDS[:5], MASKS[:5], jax.random.key(7)
    with jax.numpy_rank_promotion("allow"):
        expected = dense_logits(weights, ids, mask, key, kind="diffusion", heads=2, rate=0.3)
    np.testing.assert_allclose(jax.jit(model)(ids, mask, key=key), expected, rtol=0, atol=1e-10)


def test_without_a_key_or_with_a_rate_of_zero_nothing_is_dropped():
    models = [cta.OfficialClassifier(load_weights(), kind=KINDS[0], heads=4, dropout=p) for p in (0.0, 0.5)]
    before = models[0](IDS, MASKS)
    np.testing.assert_array_equal(models[1](IDS, MASKS), before)
    np.testing.assert_array_equal(models[0](IDS, MASKS, key=jax.random.key(0)), before)
    assert not np.allclose(models[1](IDS, MASKS, key=jax.random.key(0))[:-1], before[:-1], atol=1e-2)


def load_weights():
    sizes: Any = {"vocabulary": 50, "outputs": 3, "length": 40, "width": 16, "ffn": 32, "layers": 2}
    return cta.init_weights(jax.random.key(1), **sizes, kind=KINDS[0])


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_padding_reaches_no_label_in_training_either(kind):
    weights = cta.init_weights(jax.random.key(0), **TINY, kind=kind)
    run = jax.jit(cta.OfficialClassifier(weights, kind=kind, heads=2))
    other = np.where(MASKS > 0, IDS, (IDS + 1) % 50)
    before, after = (run(ids, MASKS, key=jax.random.key(2)) for ids in (IDS, other))
    np.testing.assert_array_equal(before, after)


def test_a_training_step_has_gradients_for_all_weights():
    model = cta.OfficialClassifier(load_weights(), kind=KINDS[0], heads=4)
    graphdef, params = nnx.split(model)

    def loss(params):
        return jnp.sum(jnp.sin(nnx.merge(graphdef, params)(IDS, MASKS, key=jax.random.key(0))))

    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params)):
        assert np.all(np.isfinite(leaf)), path
        assert np.any(leaf != 0), path


# Without a causal mask


def test_the_first_public_language_model_reads_later_tokens_and_the_causal_one_does_not():
    weights = cta.init_weights(jax.random.key(0), **TINY, kind="wave")
    other = IDS.copy()
    other[:, 6:] = (other[:, 6:] + 1) % 50
    for causal in (True, False):
        run = jax.jit(cta.OfficialLM(weights, kind="wave", heads=2, causal=causal))
        difference = np.abs(np.asarray(run(other)) - np.asarray(run(IDS)))[:, :6]
        assert np.max(difference) == 0 if causal else np.all(difference.max(-1) > 0)


def test_a_checkpoint_can_be_loaded_without_a_causal_mask():
    state = {name: array for name, array in STATE.items() if not name.startswith("fc")}
    rng = np.random.default_rng(0)
    state |= {"fc.weight": rng.normal(size=(50, 16)), "fc.bias": rng.normal(size=50)}
    kind = "reaction-diffusion"
    lm = cta.load_lm(state, kind=kind, heads=4, causal=False)
    classifier = cta.load_classifier(state, kind=kind, heads=4)
    mean = jnp.mean(lm(IDS), axis=1)  # the head is affine, so the mean may come before it or after it
    np.testing.assert_allclose(mean, classifier(IDS), rtol=0, atol=1e-5)


@pytest.mark.codegen
def test_long_rows_form_no_matrix_of_all_pairs():
    sizes: Any = {"vocabulary": 99, "outputs": 2, "length": 2048, "width": 32, "ffn": 64, "layers": 2}
    weights = cta.init_weights(jax.random.key(0), **sizes, kind="diffusion")
    graphdef, params = nnx.split(cta.OfficialClassifier(weights, kind="diffusion", heads=4))

    def loss(params, ids, mask, key):
        return jnp.sum(nnx.merge(graphdef, params)(ids, mask, key=key))

    ids = jax.ShapeDtypeStruct((8, 2048), jnp.int32)
    compiled = jax.jit(jax.grad(loss)).lower(params, ids, ids, jax.random.key(0)).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    assert analysis.temp_size_in_bytes < 4 * 2048**2 * 8 * 4 / 3  # a third of the weights of one layer
    assert "2048,2048]" not in str(compiled.as_text())

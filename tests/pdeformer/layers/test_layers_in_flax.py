"""The layers as modules of Flax: leading axes, dtypes, Linen, `MultiHeadAttention`, summaries, copies, refusals."""

import inspect
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx

from pdeformer import CausalLM, Classifier, Diffusion, ModelConfig, PDEAttention, pde_attention
from pdeformer.layers import (
    AdaptiveStencil,
    CanonLayer,
    HeatLayer,
    MultiScaleStencil,
    PDEAttentionConfig,
    StencilConfig,
    TokenShift,
    constraints,
)
from pdeformer.pde import PDE
from tests.pdeformer.layers.diffusion_layers import CHANNELS, LAYERS

U = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 6, CHANNELS)), jnp.float32)
IDS = jnp.array([[1, 1, 0, 1, 1, 2]])
X = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 8)), jnp.float32)
QKV = jnp.asarray(np.random.default_rng(2).normal(size=(3, 2, 5, 2, 4)), jnp.float32)
CLASSES = [HeatLayer, AdaptiveStencil, MultiScaleStencil]


@pytest.mark.parametrize("name", list(LAYERS))
@pytest.mark.parametrize("ids", [None, IDS], ids=["one segment", "segments"])
def test_leading_axes_are_independent_rows(name, ids):
    layer = LAYERS[name]()
    flat_ids = None if ids is None else jnp.tile(ids, (6, 1))
    rows = layer(U.reshape(6, 6, CHANNELS), flat_ids)
    np.testing.assert_array_equal(layer(U, ids), rows.reshape(U.shape))
    one = layer(U[0, 0], None if ids is None else ids[0])
    assert one.shape == (6, CHANNELS)
    np.testing.assert_allclose(one, rows[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(LAYERS))
def test_empty_hidden_states_give_empty_ones_and_zeros_have_finite_gradients(name):
    layer = LAYERS[name]()
    for shape in ((0, CHANNELS), (2, 0, CHANNELS), (0, 5, CHANNELS)):
        assert layer(jnp.zeros(shape)).shape == shape
    grads = nnx.grad(lambda layer, u: jnp.sum(layer(u) ** 2), argnums=(0, 1))(
        layer, jnp.zeros((1, 4, CHANNELS))
    )
    assert all(np.isfinite(np.asarray(g)).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", list(LAYERS))
def test_wrong_hidden_states_are_refused(name, monkeypatch):
    # otherwise the run-time type checker of the tests would refuse the shape first
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    layer: Any = LAYERS[name]()
    with pytest.raises(
        ValueError, match=r"needs real floating hidden states \(..., T, D\), got float32 \(3,\)"
    ):
        layer(jnp.zeros(3))
    with pytest.raises(ValueError, match=r"broadcast to the tokens \(2, 3, 6\), got int32 \(1, 4\)"):
        layer(U, IDS[:, :4])
    if "heat" not in name:
        with pytest.raises(
            ValueError, match=r"of 3 channels needs .* got \(1, 5, 7\); make it with channels=7"
        ):
            layer(jnp.zeros((1, 5, 7)))


@pytest.mark.parametrize("kind", CLASSES)
def test_dtype_and_param_dtype_are_those_of_flax(kind):
    size = () if kind is HeatLayer else (CHANNELS,)
    options = {"learned": True} if kind is HeatLayer else {}
    layer, narrow = (
        kind(*size, **options),
        kind(*size, **options, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16),
    )
    assert {x.dtype for x in jax.tree.leaves(nnx.state(narrow))} == {jnp.dtype(jnp.bfloat16)}
    assert narrow(U).dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow(U).astype(float), layer(U), atol=0.03)


def test_pde_attention_has_dtype_and_param_dtype():
    layer = PDEAttention(2, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    assert layer.free["alpha"].dtype == jnp.bfloat16
    assert layer(*QKV).dtype == jnp.bfloat16
    assert PDEAttention(2)(*QKV, dtype=jnp.bfloat16).dtype == jnp.bfloat16


def test_a_signature_shows_every_option():
    assert {"kind", "steps", "alpha", "window", "dtype"} <= set(inspect.signature(PDEAttention).parameters)
    for kind in CLASSES:
        assert "param_dtype" in inspect.signature(kind).parameters
        assert "param_dtype: dtype" in (inspect.getdoc(kind) or "")
    assert list(inspect.signature(Classifier).parameters) == ["config", "rngs"]
    assert "segment_ids" in inspect.signature(HeatLayer()).parameters


@pytest.mark.parametrize(
    ("kind", "arguments", "inputs"),
    [
        (HeatLayer, (0.2,), [X]),
        (AdaptiveStencil, (8,), [X]),
        (MultiScaleStencil, (8,), [X]),
        (CanonLayer, (8,), [X]),
        (TokenShift, (8,), [X]),
        (PDEAttention, (2,), QKV),
    ],
)
def test_modules_run_in_linen_in_a_summary_and_from_a_pickle(kind, arguments, inputs):
    module = kind(*arguments)
    expected = module(*inputs)
    linen = nnx.bridge.ToLinen(kind, arguments)
    output: Any = linen.apply(linen.init(jax.random.key(0), *inputs), *inputs)
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-6)
    assert kind.__name__ in nnx.tabulate(module, *inputs)
    for copy in (pickle.loads(pickle.dumps(module)), nnx.clone(module)):
        np.testing.assert_array_equal(copy(*inputs), expected)


@pytest.mark.parametrize("kind", [Classifier, CausalLM])
def test_models_run_in_a_summary_and_from_a_pickle(kind, capsys):
    config = ModelConfig(
        vocabulary=16,
        width=8,
        layers=1,
        placements=("before_norm",),
        stencil=StencilConfig("adaptive"),
        attention=PDEAttentionConfig("diffusion", steps=1),
    )
    model, tokens = kind(config, rngs=nnx.Rngs(0)), jnp.ones((2, 5), int)
    expected = model(tokens)
    assert "PDEAttention" in nnx.tabulate(model, tokens)
    nnx.display(model)
    assert capsys.readouterr().out
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model))(tokens), expected)
    assert (
        model(tokens[:, :0]).shape
        == expected.shape[:1] + (() if kind is Classifier else (0,)) + expected.shape[-1:]
    )
    assert model(tokens[:0]).shape == (0, *expected.shape[1:])


def test_multi_head_attention_of_flax_takes_it_as_its_attention():
    evolved = PDEAttention(2)
    module = nnx.MultiHeadAttention(2, 8, attention_fn=evolved, decode=False, rngs=nnx.Rngs(0))
    query, key, value = (project(X) for project in (module.query, module.key, module.value))
    options: Any = {"steps": evolved.config.steps}
    for ids in (None, np.array([[1] * 5, [1, 1, 1, 0, 0]])):
        mask: Any = None if ids is None else (ids > 0)[:, None, None]
        expected = module.out(
            pde_attention(query, key, value, Diffusion(0.1), key_segment_ids=ids, **options)
        )
        np.testing.assert_allclose(module(X, mask=mask), expected, rtol=0, atol=1e-5)
    expected = module.out(pde_attention(query, key, value, Diffusion(0.1), is_causal=True, **options))
    np.testing.assert_allclose(module(X, is_causal=True), expected, rtol=0, atol=1e-5)
    grads = nnx.grad(lambda module: jnp.sum(module(X) ** 2))(module)
    assert np.all(np.asarray(grads["attention_fn"]["free"]["alpha"][...]) != 0)


@pytest.mark.parametrize("queries", [3, 5])
def test_cross_attention_of_flax_reads_the_keys_that_its_mask_keeps(queries):
    module = nnx.MultiHeadAttention(2, 8, attention_fn=PDEAttention(2), decode=False, rngs=nnx.Rngs(0))
    mask = jnp.asarray(np.arange(5) < np.array([[5], [3]]))[:, None, None]
    output = module(X[:, :queries], X[::-1], mask=mask)
    np.testing.assert_allclose(output[0], module(X[:1, :queries], X[1:])[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(output[1], module(X[1:, :queries], X[:1, :3])[0], rtol=0, atol=1e-6)


def test_attention_layer_takes_the_options_of_the_function():
    layer, valid = PDEAttention(2), [[True] * 5, [True] * 3 + [False] * 2]
    output = layer(QKV[0, :, :2], QKV[1], QKV[2], key_segment_ids=valid)
    np.testing.assert_allclose(
        output[1], layer(QKV[0, 1, :2], QKV[1, 1, :3], QKV[2, 1, :3]), rtol=0, atol=1e-6
    )
    np.testing.assert_array_equal(layer(*QKV, causal=True), layer(*QKV, is_causal=True))
    with pytest.raises(ValueError, match="two names of one option"):
        layer(*QKV, is_causal=True, causal=False)
    with pytest.raises(ValueError, match="two forms of one option"):
        layer(*QKV, key_segment_ids=valid, mask=jnp.ones((2, 1, 1, 5), bool))


def test_ids_that_would_wrap_are_refused():
    with pytest.raises(ValueError, match=r"segment_ids must fit int32"):
        HeatLayer(0.1)(X, np.array([[1, 1, 1, 2**32, 2**32]]))


def test_dropout_of_multi_head_attention_is_that_of_its_stream():
    rngs = nnx.Rngs(0, dropout=1)
    module = nnx.MultiHeadAttention(
        2, 8, attention_fn=PDEAttention(2), decode=False, dropout_rate=0.5, rngs=rngs
    )
    module.eval()
    deterministic = module(X)
    np.testing.assert_array_equal(module(X), deterministic)
    module.train()
    assert not np.array_equal(module(X), module(X))


def test_arguments_of_flax_without_a_meaning_are_refused():
    layer: Any = PDEAttention(2)
    for options, words in (
        ({"mask": nnx.make_causal_mask(jnp.ones((2, 5)))}, r"pass segment_ids and is_causal instead"),
        ({"bias": jnp.zeros(1)}, "has no bias"),
        ({"module": nnx.Module()}, "use pde_attention_weights"),
        ({"dropout_rate": 0.5}, "pass dropout_rng"),
        ({"dropout_rate": 0.5, "dropout": 0.5}, "name one number"),
    ):
        with pytest.raises(ValueError, match=words):
            layer(*QKV, **options)
    with pytest.raises(ValueError, match="make it with heads=2"):
        PDEAttention(3)(*QKV)
    with pytest.raises(ValueError, match="same leading axes"):
        layer(QKV[0], QKV[1][:1], QKV[2])


def test_attention_layer_serves_leading_axes_and_decodes():
    layer: Any = PDEAttention(2, kind="wave")
    full = layer(*QKV, is_causal=True)
    np.testing.assert_allclose(layer(*QKV[:, 0], is_causal=True), full[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(layer(*QKV[:, None], is_causal=True)[0], full, rtol=0, atol=1e-6)
    cache, outputs = layer.init_cache(2, 8, 2, 4), []
    for part in (slice(0, 3), slice(3, 4), slice(4, 5)):
        output, cache = layer.decode(*QKV[:, :, part], cache)
        outputs.append(output)
    np.testing.assert_allclose(np.concatenate(outputs, 1), full, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="causal attention evolves only along the keys"):
        PDEAttention(2, target="logits").init_cache(2, 8, 2, 4)


class Unknown(PDE):
    """An equation that no table knows."""

    def courant(self, dt):
        return 0.0

    def rule(self):
        return "always"

    def scaled(self, dt):
        return self

    def _step(self, state, graph):
        return state


def test_an_unknown_equation_is_refused_by_name():
    with pytest.raises(ValueError, match="got Unknown"):
        constraints.constrain(Unknown(), {}, order="strang", steps=1)
    with pytest.raises(ValueError, match="got Unknown"):
        constraints.unconstrain(Unknown(), order="strang", steps=1)
    with pytest.raises(ValueError, match="got Unknown"):
        constraints.check_initial(Unknown(), order="strang", steps=1, learned=True)

"""Arguments of a wrong type or shape: refused at the door with the rule, the value and a remedy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pdeformer import (
    AdvectionDiffusion,
    CausalLM,
    Classifier,
    Diffusion,
    ModelConfig,
    ReactionDiffusion,
    Wave,
    attention,
    evolve,
    init_cache,
    sharding,
)
from pdeformer.layers import AdaptiveStencil, HeatLayer, MultiScaleStencil, PDEAttention
from pdeformer.stencil.arguments import (
    check_dtype,
    check_integer,
    check_number,
    check_random_key,
    convert_integers,
    resolve_causal,
    static_number,
)

pde_attention: Any = attention.pde_attention
U = jnp.asarray([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
X = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 2, 3)), jnp.float32)
NO_NUMBERS: list = [None, "0.1", [0.1, 0.2], (0.1,), 0.1j, np.array(0.1j), True, np.array("a"), {"a": 0.1}]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_real_number_is_refused(value):
    calls = [
        (lambda: evolve(U, Diffusion(value), steps=1), "alpha"),
        (lambda: evolve(U, Wave(value), steps=1), "speed"),
        (lambda: AdvectionDiffusion(0.1, value).stable(1.0), "beta"),
        (lambda: Diffusion(value).max_dt(), "alpha"),
        (lambda: Diffusion(0.1).step(U, dt=value), "dt"),
        (lambda: evolve(U, Diffusion(0.1), steps=1, dt=value), "dt"),
        (lambda: pde_attention(X, X, X, Diffusion(value), steps=1), "alpha"),
        (lambda: pde_attention(X, X, X, Diffusion(0.1), steps=1, dt=value), "dt"),
    ]
    for call, name in calls:
        with pytest.raises(ValueError, match=f"^{name} must be a real number .*convert it"):
            call()


def test_a_scale_is_one_finite_number():
    for value in (np.ones(3), jnp.ones((2, 1))):
        with pytest.raises(ValueError, match="scale must be a scalar, got shape"):
            check_number("scale", value, scalar=True)
    for value in (float("nan"), np.inf):
        with pytest.raises(ValueError, match="scale must be finite, got"):
            attention.dot_product_attention(X, X, X, scale=value)
        with pytest.raises(ValueError, match="scale must be finite, got"):
            pde_attention(X, X, X, Diffusion(0.1), steps=1, scale=value)
    expected = pde_attention(X, X, X, Diffusion(0.1), steps=1, scale=0.5)
    for value in (np.array(0.5), jnp.bfloat16(0.5)):
        np.testing.assert_array_equal(pde_attention(X, X, X, Diffusion(0.1), steps=1, scale=value), expected)


def test_a_rate_of_dropout_is_known_when_the_program_is_compiled():
    key = jax.random.key(0)
    expected = pde_attention(X, X, X, Diffusion(0.1), steps=1, dropout=0.5, dropout_key=key)
    for rate in (jnp.float32(0.5), np.array(0.5)):
        actual = pde_attention(X, X, X, Diffusion(0.1), steps=1, dropout=rate, dropout_key=key)
        np.testing.assert_array_equal(actual, expected)
        plain = attention.dot_product_attention(X, X, X, dropout=rate, dropout_key=key)
        assert plain.shape == X.shape
    with pytest.raises(ValueError, match="dropout must be known when .* traced value; make it a static"):
        jax.jit(lambda p: static_number("dropout", p))(0.5)


def test_flags_keys_integers_and_dtypes():
    for value in ("no", 1, jnp.ones(4), None):
        if value is not None:
            with pytest.raises(ValueError, match="causal must be a Python bool.*pass True or False"):
                resolve_causal(is_causal=value, causal=None)
    assert resolve_causal(is_causal=np.True_, causal=None) is True
    with pytest.raises(ValueError, match="causal must be a Python bool.*got a traced value"):
        jax.jit(
            lambda c: evolve(U, Diffusion(0.1), steps=1, causal=resolve_causal(causal=c, is_causal=None))
        )(np.True_)
    for value in (0, "a", np.zeros(2), np.zeros(3, np.uint32), jax.random.split(jax.random.key(0))):
        with pytest.raises(ValueError, match="key must be one random key, got .*pass jax.random.key"):
            check_random_key("key", value)
    check_random_key("key", jax.random.PRNGKey(0))
    for value in (2.0, True, "2", None, 0):
        with pytest.raises(ValueError, match="size must be a Python integer >= 1, got"):
            check_integer("size", value)
    for value in (int, jnp.complex64, "int32", "no type"):
        with pytest.raises(ValueError, match="must be a real floating type, got"):
            check_dtype("dtype", value)
    with pytest.raises(ValueError, match="labels must be a rectangular array"):
        convert_integers("labels", [[1, 2], [1]])


def test_integer_types_would_cut_digits_and_are_refused():
    for make in (
        lambda **dtypes: HeatLayer(0.1, learned=True, **dtypes),
        lambda **dtypes: AdaptiveStencil(2, **dtypes),
        lambda **dtypes: MultiScaleStencil(2, **dtypes),
        lambda **dtypes: PDEAttention(2, **dtypes),
    ):
        for name in ("dtype", "param_dtype"):
            with pytest.raises(ValueError, match=f"{name} must be a real floating type, got"):
                make(**{name: jnp.int32})
    with pytest.raises(ValueError, match="dtype of a cache must be a real floating type"):
        init_cache(1, 4, 2, 3, jnp.int32)
    with pytest.raises(ValueError, match="dilations are different lengths >= 1, got"):
        MultiScaleStencil(2, dilations=(1, True))


def test_a_mask_that_is_added_to_scores_is_refused():
    """Zeros and -inf would be read upside down: 0 is padding in a mask of Flax."""
    layer, added = PDEAttention(2), np.array([0.0, 0.0, -np.inf, -np.inf]).reshape(1, 1, 1, 4)
    with pytest.raises(ValueError, match="mask of padded keys is True or 1 .*got values from -inf to 0"):
        layer(X, X, X, mask=added)
    np.testing.assert_array_equal(layer(X, X, X, mask=added == 0), layer(X, X, X, mask=(added == 0) * 1.0))


def test_a_step_checks_its_state():
    step = Diffusion(0.1).step
    for state in (U.astype(int), U > 0, U + 1j):
        with pytest.raises(ValueError, match="a step of Diffusion needs real floating numbers, got state"):
            step(state)
    with pytest.raises(ValueError, match="a step of Wave needs the pair"):
        Wave(0.1).step(U)
    with pytest.raises(ValueError, match="a step of Wave needs the pair .* got shapes"):
        Wave(0.1).step((U, U[:2]))
    with pytest.raises(ValueError, match="segment_ids must broadcast against"):
        step(U, segment_ids=np.ones((2, 4), int))
    with pytest.raises(ValueError, match="alpha must be a scalar or one value per channel"):
        Diffusion(np.full((4, 1), 0.1)).step(U)
    with pytest.raises(ValueError, match="reaction must be one of fisher, allen_cahn, got 'logistic'"):
        ReactionDiffusion(0.1, 0.1, "logistic").step(U)
    with pytest.raises(ValueError, match="needs a state"):
        step(U, axis=5)


def test_stability_of_short_integers_and_of_a_negative_step():
    assert not Diffusion(np.int8(100)).stable(1)
    assert Diffusion(np.int8(100)).max_dt() == 0.005
    assert not Diffusion(0.1).stable(-1.0)
    assert not Wave(0.5).stable(-5.0)
    assert Diffusion(-0.1).max_dt() == 0.0


def test_a_product_of_short_floats_with_the_time_step_is_not_rounded_to_them():
    alpha, dt = jnp.bfloat16(0.3), jnp.bfloat16(0.7)
    expected = evolve(U, Diffusion(float(alpha)), steps=1, dt=float(dt))
    np.testing.assert_allclose(evolve(U, Diffusion(alpha), steps=1, dt=dt), expected, rtol=1e-6)
    np.testing.assert_allclose(Diffusion(alpha).step(U, dt=dt), expected, rtol=1e-6)


CONFIG = ModelConfig(vocabulary=8, width=8, heads=2, layers=1, max_len=6)


def test_negative_tokens_are_no_tokens_under_jit_either():
    tokens = np.array([[1, 2, -1]])
    model = CausalLM(CONFIG, rngs=nnx.Rngs(0))
    for forward in (Classifier(CONFIG, rngs=nnx.Rngs(0)), model):
        assert np.isnan(jax.jit(forward)(tokens)).any()
    logits = jax.jit(lambda t: model.decode(t, model.init_cache(1))[0])(tokens)
    assert np.isnan(logits[:, -1]).all()


def test_sizes_of_a_model_are_integers():
    with pytest.raises(ValueError, match="layers must be at least 1, got True; choose a positive integer"):
        ModelConfig(layers=True)


def test_a_cls_token_with_no_tokens_or_ids_of_another_shape():
    config = ModelConfig(vocabulary=8, width=8, heads=2, layers=1, pooling="cls")
    model = Classifier(config, rngs=nnx.Rngs(0))
    none = np.ones((2, 0), int)
    assert model(none, none).shape == (2, 10)


def test_other_meshes_and_batches_that_would_wrap():
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    assert sharding.spec_of("head/kernel", (8, 4), mesh) == jax.sharding.PartitionSpec()
    with pytest.raises(ValueError, match="split over the mesh axis 'data', got a mesh of"):
        sharding.batch_sharding(mesh)
    own = sharding.make_mesh(data=1)
    with pytest.raises(ValueError, match="tokens must fit int32, got values from 1 to 1099511627776"):
        sharding.put_batch({"tokens": np.array([2**40, 1])}, own)
    bits = np.array([2**32 - 1], np.uint32)
    np.testing.assert_array_equal(sharding.put_batch(bits, own), bits)
    with pytest.raises(ValueError, match="tree of arrays with a leading batch dimension, got 1.0"):
        sharding.put_batch({"rate": 1.0}, own)

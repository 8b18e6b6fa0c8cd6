"""PDE attention with learned coefficients: values by hand, its definition, and stability for all parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.test_util import check_grads

from pdeformer import Wave
from pdeformer.attention import dot_product_attention, pde_attention_weights
from pdeformer.layers import PDEAttention
from tests.pdeformer.attention.pde_layers import (
    CAUSAL,
    FORMS,
    HEADS,
    INITIAL,
    SEGMENTS,
    apply,
    arrays,
    build,
    definition,
    extreme,
    loss_and_gradients,
    perturb,
)

# By hand


@pytest.mark.parametrize("share", ["head", "layer", "step"])
@pytest.mark.parametrize("kind", INITIAL)
def test_a_layer_starts_at_the_coefficients_of_its_kind(kind, share):
    pde, shape = (
        PDEAttention(HEADS, kind=kind, share=share).pde(),
        {"head": (2,), "layer": (), "step": (4, 2)},
    )
    assert type(pde) is type(INITIAL[kind])
    for name, value in INITIAL[kind].coefficients().items():
        assert pde.coefficients()[name].shape == shape[share]
        np.testing.assert_allclose(pde.coefficients()[name], value, rtol=1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_a_layer_starts_at_the_coefficients_it_was_given(name):
    layer = build(name)
    for key, value in layer.pde().coefficients().items():
        np.testing.assert_allclose(value, layer.config.initial_pde().coefficients()[key], rtol=2e-6)


def test_one_step_of_diffusion_by_hand():
    layer = PDEAttention(1, steps=1, alpha=0.25)
    query, key = jnp.full((1, 1, 1, 1), 1e3), jnp.asarray([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    value = jnp.asarray([4.0, 8.0, 16.0]).reshape(1, 3, 1, 1)
    # the weights are 1, 0, 0 before the step and 3/4, 1/4, 0 after it
    np.testing.assert_allclose(layer(query, key, value).ravel(), [0.75 * 4 + 0.25 * 8], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "numbers", "expected"),
    [
        ({}, {"alpha": 0.0}, {"alpha": 0.25}),
        ({"kind": "wave"}, {"speed": 0.0}, {"speed": 0.5}),
        (
            {"kind": "advection-diffusion"},
            {"alpha": 0.0, "beta": -np.arctanh(0.5)},
            {"alpha": 0.25, "beta": -0.25},
        ),
        # 8 / n, (1 - 2α) m and m / n with n = 4, of which b = 0 takes one half
        (FORMS["spread"], {"alpha": 0.0, "beta": 0.0}, {"alpha": 0.25, "beta": 1.0}),
        (FORMS["sharpen"], {"alpha": 0.0, "beta": 0.0}, {"alpha": 0.25, "beta": -1.0}),
        (FORMS["euler"], {"alpha": 0.0, "beta": 0.0}, {"alpha": 0.25, "beta": 0.25}),
        (FORMS["euler allen_cahn"], {"alpha": 0.0, "beta": 0.0}, {"alpha": 0.25, "beta": 0.125}),
        (
            FORMS["euler sharpen"],
            {"alpha": 0.0, "beta": 0.0},
            {"alpha": 0.25, "beta": -0.25 * (1 - np.exp(-2))},
        ),
        (
            FORMS["first sharpen"],
            {"alpha": 0.0, "beta": 0.0},
            {"alpha": 0.25, "beta": -0.125 * (1 - np.exp(-8))},
        ),
    ],
)
def test_free_numbers_map_to_the_coefficients_of_the_docstring(options, numbers, expected):
    layer = PDEAttention(HEADS, share="layer", **options)
    for name, value in numbers.items():
        layer.free[name][...] = jnp.asarray(value, jnp.float32)
    coefficients = {name: float(value) for name, value in layer.pde().coefficients().items()}
    assert coefficients == pytest.approx(expected, rel=1e-6)


# Oracle


@pytest.mark.parametrize("name", FORMS)
def test_a_layer_is_the_definition_with_its_coefficients(name):
    layer = perturb(build(name))
    for is_causal, ids in ((False, SEGMENTS), (True, None)) if name in CAUSAL else ((False, SEGMENTS),):
        expected = definition(layer, arrays(), segment_ids=ids, is_causal=is_causal)
        actual = apply(layer, arrays(), ids, is_causal=is_causal)
        np.testing.assert_allclose(actual, expected, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("is_causal", [False, True])
def test_no_step_is_plain_attention(is_causal):
    qkv = arrays()
    layer = PDEAttention(HEADS, kind="wave", steps=0)
    expected = dot_product_attention(*qkv, segment_ids=SEGMENTS, is_causal=is_causal)
    np.testing.assert_allclose(apply(layer, qkv, SEGMENTS, is_causal=is_causal), expected, rtol=0, atol=1e-6)


def test_coefficients_that_are_not_learned_are_floats_and_no_parameters():
    layer = PDEAttention(HEADS, kind="wave", speed=1.0, learned=False)
    assert layer.pde() == Wave(1.0)
    assert not jax.tree.leaves(nnx.state(layer))
    np.testing.assert_allclose(apply(layer, arrays()), definition(layer, arrays()), rtol=3e-5, atol=3e-5)


def test_random_features_are_those_of_the_seed():
    layer, other_seed = build("performer"), build("performer", feature_seed=4)
    np.testing.assert_array_equal(apply(layer, arrays()), apply(build("performer"), arrays()))
    assert not np.allclose(apply(layer, arrays()), apply(other_seed, arrays()), atol=1e-2)


# Laws


@pytest.mark.parametrize("name", FORMS)
def test_no_parameters_make_a_layer_unstable(name):
    for seed in range(6):
        (value, pde), gradient = loss_and_gradients(*nnx.split(extreme(build(name), seed)), arrays())
        assert pde.stable(1.0)
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((value, pde, gradient)))


@pytest.mark.parametrize("name", FORMS)
def test_every_parameter_learns_from_the_first_step(name):
    _, (gradient, _) = loss_and_gradients(*nnx.split(build(name)), arrays())
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.all(np.abs(leaf) > 1e-9), jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", [n for n in CAUSAL if n not in ("wave", "performer")])
def test_weights_stay_in_the_unit_interval_and_keep_mass_whatever_the_parameters(name, x64):
    query, key, _ = arrays(dtype=jnp.float64)
    linear = build(name).config.kind != "reaction-diffusion"
    for seed in range(6):
        layer = extreme(build(name, renormalize="none"), seed)
        weights = definition(layer, (8 * query, key), pde_attention_weights)
        mass = np.asarray(weights.sum(-1))
        assert weights.min() >= -1e-12
        assert weights.max() <= 1 + 1e-12
        assert mass.min() >= np.exp(-8) * (1 - 1e-12)
        if linear:
            np.testing.assert_allclose(mass, 1, rtol=1e-12)


@pytest.mark.parametrize("name", ["diffusion", "wave on logits", "advection", "sharpen", "euler", "first"])
def test_no_optimizer_step_makes_a_layer_unstable(name):
    graphdef, params = nnx.split(build(name))
    target = 1e6 * arrays(seed=1)[0]
    loss = lambda p: jnp.sum(jnp.square(nnx.merge(graphdef, p)(*arrays()) - target))  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(params)
    after = optax.apply_updates(params, jax.tree.map(lambda g: -1e6 * g, gradient))
    assert max(jnp.max(jnp.abs(x)) for x in jax.tree.leaves(after)) > 1e4
    layer = nnx.merge(graphdef, after)
    assert layer.pde().stable(1.0)
    assert jnp.all(jnp.isfinite(apply(layer, arrays())))


def test_reactions_spread_and_sharpen_rows():
    query, key, _ = arrays()
    peak = lambda **o: definition(  # noqa: E731
        PDEAttention(HEADS, kind="reaction-diffusion", alpha=1e-6, **o),
        (3 * query, key),
        pde_attention_weights,
    ).max(-1)
    plain = peak(beta=1e-6)
    assert jnp.all(peak(beta=0.5) < plain)
    assert jnp.all(peak(beta=-0.5) > plain)


# Gradient and precision


def test_gradients_are_those_of_finite_differences(x64):
    qkv = arrays(dtype=jnp.float64)
    for name in ("advection", "euler sharpen", "wave on logits"):
        graphdef, params = nnx.split(perturb(build(name)))
        loss = jax.jit(lambda p, g=graphdef: jnp.sum(jnp.sin(nnx.merge(g, p)(*qkv))))
        check_grads(loss, (params,), order=1, modes=["rev"], atol=1e-7, rtol=1e-6)


def test_output_has_the_type_of_the_values():
    layer = perturb(build("advection"))
    narrow = apply(layer, arrays(dtype=jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    wide = apply(layer, tuple(x.astype(jnp.float32) for x in arrays(dtype=jnp.bfloat16)))
    np.testing.assert_array_equal(narrow, wide.astype(jnp.bfloat16))

"""Diffusion layers: values by hand, dense matrices, gradients, and the choice of a layer."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx

from pdeformer import layers
from pdeformer.layers import AdaptiveStencil, HeatLayer, MultiScaleStencil, StencilConfig
from tests.pdeformer.layers.diffusion_layers import (
    CAUSAL,
    CHANNELS,
    LAYERS,
    PATTERNS,
    SEGMENTS,
    apply,
    numpy_layer,
    randomized,
    states,
)

# By hand


def test_a_heat_layer_by_hand():
    u = jnp.asarray([[[4.0], [0.0], [0.0]]])
    np.testing.assert_array_equal(HeatLayer(0.25)(u)[0, :, 0], [3.0, 1.0, 0.0])
    np.testing.assert_array_equal(HeatLayer(0.25)(u, causal=True)[0, :, 0], [4.0, 1.0, 0.0])
    np.testing.assert_array_equal(HeatLayer(0.25, steps=2)(u)[0, :, 0], [2.5, 1.25, 0.25])


def test_an_adaptive_stencil_by_hand():
    u = jnp.asarray([[[1.0], [0.0], [0.0], [0.0]]])
    # Σκ = 0.4, spread over two offsets: 0.2 each
    layer = AdaptiveStencil(1, width=5, alpha=0.4)
    np.testing.assert_allclose(layer(u)[0, :, 0], [0.6, 0.2, 0.2, 0.0], rtol=1e-6)
    np.testing.assert_allclose(layer(u, causal=True)[0, :, 0], [1.0, 0.2, 0.2, 0.0], rtol=1e-6)


def test_a_multiscale_stencil_by_hand():
    u = jnp.asarray([[[1.0], [0.0], [0.0], [0.0]]])
    layer = MultiScaleStencil(1, dilations=(1, 3), alpha=0.2)
    np.testing.assert_allclose(layer(u)[0, :, 0], [0.8, 0.1, 0.0, 0.1], rtol=1e-6)


def test_layers_start_at_the_smoothing_they_were_given():
    assert HeatLayer().taps().tolist() == [0.25, 0.5, 0.25]
    np.testing.assert_allclose(HeatLayer(0.4, learned=True).alpha, 0.4, rtol=1e-6)
    for layer in (AdaptiveStencil(2), AdaptiveStencil(2, width=7), MultiScaleStencil(2)):
        taps = np.asarray(layer.taps())
        np.testing.assert_allclose(taps[:, taps.shape[1] // 2], 1 - 2 * 0.10, rtol=1e-6)


# Oracle


# two causal steps of "heat" are one kernel, not a power of a matrix
@pytest.mark.parametrize(
    ("name", "causal"), [*((n, False) for n in LAYERS), *((n, True) for n in CAUSAL if n != "heat")]
)
def test_a_layer_equals_its_dense_matrix(name, causal, x64):
    layer, u = randomized(LAYERS[name]()), states()
    expected = [
        numpy_layer(layer, row, ids, causal=causal) for row, ids in zip(u, PATTERNS.values(), strict=True)
    ]
    np.testing.assert_allclose(apply(layer, u, SEGMENTS, causal=causal), expected, rtol=0, atol=1e-12)
    unsegmented = apply(layer, u, causal=causal)[-1]
    np.testing.assert_allclose(unsegmented, expected[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in LAYERS if n not in ("input adaptive", "gated")])
def test_taps_are_the_answer_to_an_impulse(name):
    layer = randomized(LAYERS[name]())
    impulse = jnp.zeros((1, 31, CHANNELS)).at[0, 15].set(1.0)
    taps = jnp.broadcast_to(layer.taps(), (CHANNELS, layer.taps().shape[-1]))
    radius = taps.shape[1] // 2
    # the response at j + k is the weight that token j + k gives to token j: the taps in reverse order
    response = apply(layer, impulse)[0, 15 - radius : 16 + radius].T[:, ::-1]
    np.testing.assert_allclose(response, taps, rtol=0, atol=1e-6)


def test_taps_of_layers_stacked_over_blocks_are_those_of_each_layer():
    for name in ("heat learned", "adaptive 7", "free", "multiscale", "gated"):
        layers = [randomized(LAYERS[name](), seed=seed) for seed in range(2)]
        graphdef = nnx.graphdef(layers[0])
        stack = jax.tree.map(lambda *x: jnp.stack(x), *(nnx.state(layer) for layer in layers))
        np.testing.assert_allclose(
            nnx.merge(graphdef, stack).taps(), jnp.stack([layer.taps() for layer in layers]), rtol=1e-6
        )


# Gradient and precision


@pytest.mark.parametrize("name", [n for n in LAYERS if n != "heat"])
def test_every_parameter_learns_from_the_first_step(name):
    graphdef, params = nnx.split(LAYERS[name]())
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(nnx.merge(graphdef, p)(states())))))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        parameter = jax.tree_util.keystr(path)
        if not (name == "adaptive 3" and "share" in parameter):  # the softmax of one offset is constant
            assert jnp.any(jnp.abs(leaf) > 1e-6), parameter


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_have_a_type_of_their_own(name):
    """A weakly typed parameter would become float32 in the first update, and the step would compile again."""
    assert not any(x.weak_type for x in jax.tree.leaves(nnx.state(LAYERS[name]())))


@pytest.mark.parametrize("name", LAYERS)
def test_bfloat16_is_rounded_once(name):
    layer, u = randomized(LAYERS[name]()), states(dtype=jnp.bfloat16)
    out = apply(layer, u, SEGMENTS)
    assert out.dtype == jnp.bfloat16
    exact = apply(layer, u.astype(jnp.float32), SEGMENTS)
    np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))


@pytest.mark.parametrize("name", ["heat", "input adaptive", "free", "gated"])
def test_a_layer_under_jit_equals_the_eager_one(name):
    layer, u = randomized(LAYERS[name]()), states()
    np.testing.assert_allclose(apply(layer, u, SEGMENTS), layer(u, SEGMENTS), rtol=0, atol=1e-6)


# The choice of a layer


@pytest.mark.parametrize(
    ("old", "new"), [("Stencil", "StencilConfig"), ("AttentionPDE", "PDEAttentionConfig")]
)
def test_the_old_name_of_a_configuration_serves_with_a_warning(old, new):
    with pytest.warns(DeprecationWarning, match=f"is now pdeformer.layers.{new}"):
        assert getattr(layers, old) is getattr(layers, new)


def test_a_name_that_never_was_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'Stencils'"):
        layers.Stencils  # noqa: B018  the access is the test


def test_a_stencil_builds_its_layer_with_its_options():
    heat = StencilConfig("heat", alpha=0.5, steps=3).build(4)
    assert isinstance(heat, HeatLayer)
    assert (heat.alpha, heat.steps) == (0.5, 3)
    adaptive = StencilConfig("adaptive", width=7, input_adaptive=True).build(4)
    assert isinstance(adaptive, AdaptiveStencil)
    assert adaptive.taps().shape == (4, 7)
    assert adaptive.gate is not None
    scales = StencilConfig("multiscale", dilations=(1, 3), alpha=0.2, gated=True).build(4)
    assert isinstance(scales, MultiScaleStencil)
    np.testing.assert_allclose(scales.taps(), [[0.1, 0.0, 0.1, 0.6, 0.1, 0.0, 0.1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: HeatLayer(0.6), "alpha <= 1/2 to be non-expansive, got 0.6"),
        (lambda: HeatLayer(0.0), "0 < alpha"),
        (lambda: HeatLayer(0.5, learned=True), "alpha < 1/2"),
        (lambda: HeatLayer(steps=0), "at least one step, got steps=0"),
        (lambda: AdaptiveStencil(4, width=4), "width 3, 5 or 7, got 4"),
        (lambda: AdaptiveStencil(4, alpha=0.5), "alpha < 1/2"),
        (lambda: AdaptiveStencil(4, free=True, input_adaptive=True), "got both"),
        (lambda: MultiScaleStencil(4, dilations=(1, 1)), "different lengths >= 1"),
        (lambda: MultiScaleStencil(4, dilations=()), "different lengths >= 1"),
        (lambda: AdaptiveStencil(CHANNELS, free=True)(states(), causal=True), "use free=False"),
        (lambda: MultiScaleStencil(CHANNELS, gated=True)(states(), causal=True), "use gated=False"),
        (lambda: StencilConfig("heat", gated=True), "gated belongs to kind 'multiscale', got gated=True"),
        (lambda: StencilConfig("adaptive", learned=True), "learned belongs to kind 'heat'"),
        (lambda: replace(StencilConfig(), kind="wave"), "one of heat, adaptive, multiscale, got 'wave'"),
    ],
)
def test_a_mistake_is_refused_with_rule_value_and_remedy(build, words, monkeypatch):
    # otherwise the run-time type checker of the tests would refuse a value outside a Literal first
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        build()

"""Diffusion layers at walls: padding, packed sequences, causality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pdeformer.layers import AdaptiveStencil, HeatLayer
from tests.pdeformer.layers.diffusion_layers import (
    CAUSAL,
    CHANNELS,
    LAYERS,
    SEGMENTS,
    STABLE,
    VALID,
    apply,
    extreme,
    forms,
    numpy_layer,
    randomized,
    states,
)

# Padding and packing


@pytest.mark.parametrize("name", LAYERS)
def test_padding_is_never_read_and_never_changed(name):
    layer, u = randomized(LAYERS[name]()), states()
    for causal in forms(name):
        out = apply(layer, u, SEGMENTS, causal=causal)
        with_nan = apply(layer, jnp.where(VALID, u, jnp.nan), SEGMENTS, causal=causal)
        np.testing.assert_array_equal(jnp.where(VALID, with_nan, 0), jnp.where(VALID, out, 0))
        np.testing.assert_array_equal(jnp.where(VALID, 0, out), jnp.where(VALID, 0, u))


@pytest.mark.parametrize("name", LAYERS)
def test_padding_reaches_no_gradient(name):
    graphdef, params = nnx.split(randomized(LAYERS[name]()))

    def loss(params, u):
        return jnp.sum(jnp.sin(jnp.where(VALID, nnx.merge(graphdef, params)(u, SEGMENTS), 0)))

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    clean = gradient(params, jnp.where(VALID, states(), 0))
    with_nan = gradient(params, jnp.where(VALID, states(), jnp.nan))
    jax.tree.map(np.testing.assert_array_equal, with_nan, clean)


@pytest.mark.parametrize("name", LAYERS)
def test_a_packed_row_equals_its_segments_one_by_one(name):
    layer, u = randomized(LAYERS[name]()), states(batch=1)
    for causal in forms(name):
        packed = apply(layer, u, jnp.asarray([[5] * 4 + [3] * 4 + [0] * 3]), causal=causal)
        for start in (0, 4):
            alone = apply(layer, u[:, start : start + 4], causal=causal)
            np.testing.assert_allclose(packed[:, start : start + 4], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("length", [1, 2])
def test_a_sequence_shorter_than_the_stencil_is_served(name, length, x64):
    layer, u = randomized(LAYERS[name]()), states(batch=1, length=length)
    np.testing.assert_allclose(apply(layer, u)[0], numpy_layer(layer, u[0], [1] * length), rtol=0, atol=1e-13)


# Causality


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.codegen
def test_a_causal_layer_reads_no_later_token_bit_for_bit(name):
    layer, u, other = randomized(LAYERS[name]()), states(), 100 * states(seed=5)
    before = apply(layer, u, causal=True)
    for t in (1, 4, 10):
        other_out = apply(layer, u.at[:, t:].set(other[:, t:]), causal=True)
        np.testing.assert_array_equal(other_out[:, :t], before[:, :t])
        assert jnp.all(other_out[:, t] != before[:, t])


@pytest.mark.parametrize("name", [n for n in CAUSAL if n in STABLE])
def test_a_causal_layer_is_non_expansive_in_the_maximum_norm(name, x64):
    for seed in range(12):
        u = states(seed=seed)
        out = apply(extreme(LAYERS[name](), seed), u, SEGMENTS, causal=True)
        assert jnp.max(jnp.abs(out)) <= jnp.max(jnp.abs(u)) * (1 + 1e-14)


def test_one_causal_heat_step_is_one_causal_adaptive_step_of_width_three():
    u = states()
    heat, adaptive = HeatLayer(0.1), AdaptiveStencil(CHANNELS, alpha=0.1)
    for causal in (True, False):
        expected = apply(heat, u, SEGMENTS, causal=causal)
        np.testing.assert_allclose(apply(adaptive, u, SEGMENTS, causal=causal), expected, atol=1e-6)

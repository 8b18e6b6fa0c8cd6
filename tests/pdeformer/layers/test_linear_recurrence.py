"""The linear recurrent unit equals its loop, gradients included, and stays stable for all parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pdeformer.layers import LinearRecurrence
from tests.pdeformer.layers.diffusion_layers import (
    CHANNELS,
    SEGMENTS,
    VALID,
    apply,
    randomized,
    states,
)

STATES = 4


def layer_of(*, bidirectional=True, seed=0):
    return LinearRecurrence(CHANNELS, STATES, bidirectional=bidirectional, rngs=nnx.Rngs(seed))


def by_loop(layer, u, segment_ids):
    """Return the output for one row, one token after another, from the equations of the docstring."""
    rate, phase, gain = (jnp.exp(x[...]) for x in (layer.log_rate, layer.log_phase, layer.log_gain))
    decay = jnp.exp(-rate) * (jnp.cos(phase) + 1j * jnp.sin(phase))
    b = (layer.input[:, 0] + 1j * layer.input[:, 1]).T  # (P, D)

    def step(carry, token):
        state, previous = carry
        u, segment = token
        same = (segment > 0) & (segment == previous)
        state = jnp.where(same, decay * state, 0) + gain * (b @ u)
        return (state, segment), state

    y = layer.skip[...][None] * u
    for direction in range(2 if layer.bidirectional else 1):
        start = jnp.zeros(STATES, decay.dtype), jnp.zeros((), segment_ids.dtype)
        states = jax.lax.scan(step, start, (u, segment_ids), reverse=direction == 1)[1]
        y += (states @ (layer.output[direction, 0] - 1j * layer.output[direction, 1])).real
    return jnp.where((segment_ids > 0)[:, None], y, 0)


@pytest.mark.parametrize(
    ("bidirectional", "dtype", "tolerance"),
    [(True, jnp.float32, 1e-5), (False, jnp.float64, 1e-12)],
)
def test_the_scan_equals_the_loop_with_gradients(bidirectional, dtype, tolerance, x64):
    layer = LinearRecurrence(
        CHANNELS, STATES, bidirectional=bidirectional, param_dtype=dtype, rngs=nnx.Rngs(0)
    )
    graphdef, params = nnx.split(layer)
    u = jnp.asarray(states(), dtype)

    def scan(params, u):
        return nnx.merge(graphdef, params)(u, SEGMENTS)

    def loop(params, u):
        layer = nnx.merge(graphdef, params)
        return jax.vmap(lambda u, ids: by_loop(layer, u, ids))(u, SEGMENTS)

    def value_and_gradients(function):
        def loss(params, u):
            output = function(params, u)
            return jnp.sum(jnp.sin(output)), output

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, u)

    (_, output), gradients = value_and_gradients(scan)
    (_, expected), expected_gradients = value_and_gradients(loop)
    assert output.dtype == dtype
    np.testing.assert_allclose(output, expected, rtol=0, atol=tolerance)
    scale = 1 + max(np.abs(x).max() for x in jax.tree.leaves(expected_gradients))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * scale),
        gradients,
        expected_gradients,
    )


def test_one_state_by_hand():
    layer = LinearRecurrence(1, 1, rngs=nnx.Rngs(0))
    values = {"log_rate": np.log(np.log(2)), "log_phase": np.log(np.pi), "log_gain": np.log(3.0)}
    for name, value in values.items():
        getattr(layer, name)[...] = jnp.full((1,), value, jnp.float32)
    layer.input[...] = jnp.asarray([[[1.0], [0.0]]])
    layer.output[...] = jnp.asarray([[[[2.0]], [[0.0]]]])
    layer.skip[...] = jnp.asarray([0.5])
    u = jnp.asarray([[[1.0], [0.0], [0.0], [0.0]]])
    # λ = exp(-log 2 + iπ) = -1/2, the state is 3 (-1/2)^t, and y is twice it plus half the input
    np.testing.assert_allclose(apply(layer, u)[0, :, 0], [6.5, -3.0, 1.5, -0.75], rtol=0, atol=1e-5)


def test_eigenvalues_start_in_the_ring_and_never_leave_the_unit_disc():
    layer = LinearRecurrence(2, 500, rngs=nnx.Rngs(0))
    moduli = np.abs(layer.decay())
    assert 0.9 <= moduli.min() < 0.91
    assert 0.998 < moduli.max() <= 0.999
    np.testing.assert_allclose(np.exp(layer.log_gain[...]) ** 2 + moduli**2, 1, atol=1e-5)
    for seed in range(4):
        assert np.abs(randomized(layer_of(), scale=3.0, seed=seed).decay()).max() < 1


def test_padding_and_other_segments_are_never_read():
    layer, u = layer_of(), states()
    out = apply(layer, u, SEGMENTS)
    with_nan = apply(layer, jnp.where(VALID, u, jnp.nan), SEGMENTS)
    np.testing.assert_array_equal(with_nan, out)
    np.testing.assert_array_equal(jnp.where(VALID, 0, out), 0)
    packed = apply(layer, u[:1], jnp.asarray([[5] * 4 + [3] * 4 + [0] * 3]))
    for start in (0, 4):
        alone = apply(layer, u[:1, start : start + 4])
        np.testing.assert_allclose(packed[:, start : start + 4], alone, rtol=0, atol=1e-5)


def test_a_causal_recurrence_reads_no_later_token_and_a_bidirectional_one_does():
    u, both = states(), apply(layer_of(), states())
    later = u.at[:, 5:].add(1)
    causal = layer_of(bidirectional=False)
    before, after = (apply(causal, x, causal=True) for x in (u, later))
    np.testing.assert_array_equal(after[:, :5], before[:, :5])
    assert not np.any(after[:, 5] == before[:, 5])
    assert not np.any(apply(layer_of(), later)[:, 4] == both[:, 4])
    assert causal.causal_form
    with pytest.raises(ValueError, match="no causal form: it reads later tokens; use bidirectional=False"):
        layer_of()(u, causal=True)


def test_leading_axes_and_short_types_are_served():
    layer, u = layer_of(), states(dtype=jnp.bfloat16)
    out = apply(layer, u, SEGMENTS)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, apply(layer, u.astype(jnp.float32), SEGMENTS).astype(jnp.bfloat16))
    np.testing.assert_array_equal(apply(layer, u[None, :, :], SEGMENTS)[0], out)
    assert layer(u[:, :0]).shape == (6, 0, CHANNELS)
    for count, dtype in ((0, None), (2, int)):
        with pytest.raises(ValueError, match="LinearRecurrence"):
            LinearRecurrence(3, count, dtype=dtype, rngs=nnx.Rngs(0))

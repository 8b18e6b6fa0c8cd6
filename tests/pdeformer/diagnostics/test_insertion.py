"""Diagnostics of an inserted smoothing layer: double mixing, the perturbation bound, the gain spectrum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import diagnostics, stencil
from pdeformer.layers import AdaptiveStencil, HeatLayer

IDS = jnp.asarray([1, 1, 1, 1, 0, 2, 2, 0])


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_double_mixing_by_hand():
    u = jnp.array([[1.0], [-1.0], [1.0], [-1.0]])
    assert float(diagnostics.double_mixing(u, u)) == 1
    assert float(diagnostics.double_mixing(jnp.ones((4, 1)), u)) == 0
    assert float(diagnostics.double_mixing(jnp.ones((4, 1)), jnp.ones((4, 1)))) == 1
    assert float(diagnostics.double_mixing(u, jnp.ones((4, 1)))) == np.inf
    padded = jnp.concatenate([u, jnp.full((2, 1), jnp.nan)])
    ids = jnp.asarray([1, 1, 1, 1, 0, 0])
    assert float(diagnostics.double_mixing(padded, padded, ids)) == 1


@pytest.mark.parametrize(("alpha", "ids"), [(0.1, None), (0.5, IDS), (0.8, None)])
def test_the_bounds_hold_for_a_smooth_map_and_are_ordered(alpha, ids, x64):
    weights = np.random.default_rng(2).normal(size=(24, 30))

    def f(u):
        return jnp.tanh(u.ravel() @ weights)

    for seed in range(2):
        u = jnp.asarray(np.random.default_rng(seed).normal(size=(8, 3)))
        key = jax.random.key(seed)
        result = diagnostics.perturbation_bound(
            f, u, alpha, key=key, segment_ids=ids, iterations=40, points=5
        )
        matrix = stencil.laplacian_matrix(8, None if ids is None else np.asarray(ids))
        clean = np.asarray(u) if ids is None else np.where(np.asarray(ids)[:, None] > 0, u, 0)
        step = alpha * matrix @ clean
        assert float(result.displacement) == pytest.approx(np.linalg.norm(step), rel=1e-9)
        assert float(result.change) == pytest.approx(np.linalg.norm(f(u + step) - f(u)), rel=1e-9)
        assert result.change <= result.bound <= result.energy_bound
        jacobian = np.asarray(jax.jacobian(f)(u)).reshape(30, 24)
        assert float(result.lipschitz) >= np.linalg.norm(jacobian, 2) * (1 - 1e-6)


def test_the_energy_bound_is_reached_by_alternating_tokens_of_a_long_row():
    u = jnp.asarray(np.where(np.arange(400) % 2, -1.0, 1.0)[:, None], jnp.float32)
    result = diagnostics.perturbation_bound(lambda u: u, u, 0.25, key=jax.random.key(0))
    assert float(result.change / result.energy_bound) == pytest.approx(1, abs=0.01)


def test_a_linear_map_of_one_direction_reaches_its_bound_and_no_point_is_refused():
    u = random(5, 1)
    result = diagnostics.perturbation_bound(lambda u: -2 * u, u, 0.3, key=jax.random.key(0))
    assert float(result.change) == pytest.approx(float(result.bound), rel=1e-5)
    with pytest.raises(ValueError, match="got 0; raise points"):
        diagnostics.perturbation_bound(lambda u: u, u, 0.3, key=jax.random.key(0), points=0)


@pytest.mark.parametrize("alpha", [0.1, 0.25, 0.5])
def test_the_gain_of_a_heat_step_is_its_symbol(alpha):
    frequencies = np.linspace(0, np.pi, 9)
    gains = diagnostics.gain_spectrum(HeatLayer(alpha).taps(), frequencies)
    np.testing.assert_allclose(gains, np.abs(1 - 4 * alpha * np.sin(frequencies / 2) ** 2), atol=1e-6)


def test_the_gain_is_the_growth_of_a_wave_far_from_walls():
    layer = AdaptiveStencil(2, width=5, alpha=0.3)
    layer.share[...] = random(2, 2)
    frequency, position = 0.7, np.arange(80)
    wave = np.cos(frequency * position)[:, None] * np.ones((1, 2))
    after = np.asarray(layer(jnp.asarray(wave, jnp.float32)))
    gains = np.asarray(diagnostics.gain_spectrum(layer.taps(), np.array([frequency])))[:, 0]
    np.testing.assert_allclose(np.abs(after[20:60]), gains * np.abs(wave[20:60]), atol=1e-5)


def test_a_kernel_without_symmetry_has_a_complex_symbol_and_an_even_number_of_taps_is_refused():
    gains = diagnostics.gain_spectrum(np.array([1.0, 0.0, 0.0]), np.array([0.3, 2.0]))  # a shift has gain 1
    np.testing.assert_allclose(gains, 1, atol=1e-6)
    with pytest.raises(ValueError, match="got 2 taps"):
        diagnostics.gain_spectrum(np.ones(2), np.ones(1))

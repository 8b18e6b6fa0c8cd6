"""Diffusion layers are stable for all parameters: norm, mass, energy, spectrum."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from pdeformer import diagnostics
from pdeformer.layers import AdaptiveStencil
from tests.pdeformer.layers.diffusion_layers import (
    CHANNELS,
    LAYERS,
    LINEAR,
    SEGMENTS,
    STABLE,
    VALID,
    apply,
    extreme,
    randomized,
    states,
)


def check_laws(layer, u, segment_ids):
    """Check the laws of a stable step, up to rounding in float64."""
    out = apply(layer, u, segment_ids)
    valid = VALID if segment_ids is not None else True
    assert jnp.all(jnp.sum(jnp.square(out), axis=(1, 2)) <= jnp.sum(jnp.square(u), axis=(1, 2)) * (1 + 1e-14))
    assert jnp.max(jnp.abs(out)) <= jnp.max(jnp.abs(u)) * (1 + 1e-14)
    mass = jnp.sum(jnp.where(valid, out - u, 0), axis=1)
    np.testing.assert_allclose(mass, jnp.zeros_like(mass), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", STABLE)
def test_no_parameters_make_a_layer_unstable(name, x64):
    for seed in range(12):
        for segment_ids in (None, SEGMENTS):
            check_laws(extreme(LAYERS[name](), seed), states(seed=seed), segment_ids)


@pytest.mark.parametrize("name", STABLE)
def test_no_optimizer_step_makes_a_layer_unstable(name, x64):
    graphdef, params = nnx.split(LAYERS[name]())
    u, target = states(), 1e6 * states(seed=1)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(jnp.square(nnx.merge(graphdef, p)(u) - target))))(params)
    updates, _ = optax.sgd(1e6).update(gradient, optax.sgd(1e6).init(params))
    params_after = optax.apply_updates(params, updates)
    assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(params_after))
    check_laws(nnx.merge(graphdef, params_after), u, None)


@pytest.mark.parametrize("name", LINEAR)
def test_a_step_never_raises_its_own_energy(name, x64):
    for seed in range(6):
        layer, u = extreme(LAYERS[name](), seed), states(seed=seed)
        once = apply(layer, u, SEGMENTS)
        energy = jnp.sum(u * (u - once), axis=(1, 2))
        assert jnp.all(jnp.sum(once * (once - apply(layer, once, SEGMENTS)), axis=(1, 2)) <= energy + 1e-13)
        assert jnp.all(energy >= -1e-13)


@pytest.mark.parametrize("name", ["heat", "heat learned", "adaptive 3"])
def test_a_step_along_edges_of_length_one_never_raises_the_dirichlet_energy(name, x64):
    for seed in range(6):
        u = states(seed=seed)
        after = diagnostics.dirichlet_energy(apply(extreme(LAYERS[name](), seed), u, SEGMENTS), SEGMENTS)
        assert jnp.all(after <= diagnostics.dirichlet_energy(u, SEGMENTS) * (1 + 1e-14))


@pytest.mark.parametrize("name", [n for n in LINEAR if n != "heat"])
def test_weights_stay_in_the_budget(name, x64):
    for seed in range(12):
        taps = np.atleast_2d(extreme(LAYERS[name](), seed).taps())
        radius = taps.shape[1] // 2
        assert np.all(np.delete(taps, radius, axis=1) >= 0)
        assert np.all(taps[:, radius + 1 :].sum(axis=1) <= 0.5 + 1e-15)
        np.testing.assert_array_equal(taps, taps[:, ::-1])


@pytest.mark.parametrize("name", LINEAR)
def test_the_matrix_of_a_layer_has_its_spectrum_in_the_unit_interval(name, x64):
    for seed in range(6):
        layer = extreme(LAYERS[name](), seed)
        basis = jnp.broadcast_to(jnp.eye(11)[..., None], (11, 11, CHANNELS))
        for ids in (None, jnp.broadcast_to(SEGMENTS[2], (11, 11))):
            matrices = np.moveaxis(np.asarray(apply(layer, basis, ids)), -1, 0)
            np.testing.assert_allclose(matrices, np.swapaxes(matrices, 1, 2), rtol=0, atol=1e-15)
            assert np.linalg.norm(matrices, ord=2, axis=(1, 2)).max() <= 1 + 1e-14


def test_a_free_kernel_starts_as_the_constrained_layer_and_can_leave_the_stable_set():
    u = states()
    for width in (3, 5, 7):
        free, constrained = (
            AdaptiveStencil(CHANNELS, width=width, free=True),
            AdaptiveStencil(CHANNELS, width=width),
        )
        np.testing.assert_allclose(apply(free, u, SEGMENTS), apply(constrained, u, SEGMENTS), atol=1e-6)
    out = apply(randomized(AdaptiveStencil(CHANNELS, free=True), scale=3.0), u)
    assert jnp.linalg.norm(out) > 1.5 * jnp.linalg.norm(u)

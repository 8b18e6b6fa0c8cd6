"""`evolve` obeys the laws of its equations: conservation, range, orders of accuracy, causality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import AdvectionDiffusion, Diffusion, Wave, evolve
from tests.helpers import oracle
from tests.helpers.evolve_cases import CAUSAL, PDES, POSITIVE, D, T

pytestmark = pytest.mark.core

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("method", ["scan", "taps", "spectral"])
@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
def test_diffusion_conserves_mass_keeps_the_range_and_dissipates_energy(boundary, method, x64):
    u = jnp.asarray(RNG.normal(size=(2, T, D)))
    alpha = 0.35
    once = evolve(u, Diffusion(alpha), steps=1, boundary=boundary, method=method)
    many = evolve(u, Diffusion(alpha), steps=6, boundary=boundary, method=method)
    np.testing.assert_allclose(many.sum(-2), u.sum(-2), atol=1e-12)
    assert (many.max(-2) <= u.max(-2) + 1e-12).all()
    assert (many.min(-2) >= u.min(-2) - 1e-12).all()
    assert (jnp.sum(many**2, -2) <= jnp.sum(u**2, -2)).all()

    L = oracle.increment_matrix(1.0, 0.0, T, boundary)

    def energy(x):
        return -0.5 * jnp.einsum("btd,ts,bsd->bd", x, L, x)

    drop = alpha * (1 - 2 * alpha) * jnp.sum(jnp.einsum("ts,bsd->btd", L, u) ** 2, axis=1)
    assert (energy(once) <= energy(u) - drop + 1e-10).all()


def test_diffusion_is_non_expansive_up_to_one_half_and_not_beyond(x64):
    identity = jnp.eye(30)
    stable = evolve(identity, Diffusion(0.5), steps=3)
    assert np.linalg.norm(stable, 2) <= 1 + 1e-12
    assert np.abs(stable).sum(1).max() <= 1 + 1e-12
    unstable = jax.jit(lambda a: evolve(identity, Diffusion(a), steps=1))(
        0.51
    )  # a traced coefficient is not checked
    assert np.linalg.norm(unstable, 2) > 1.03


def test_copy_boundary_may_expand(x64):
    norms = [
        np.linalg.norm(evolve(jnp.eye(60), Diffusion(0.1), steps=n, boundary="copy"), 2) for n in (1, 4, 8)
    ]
    np.testing.assert_allclose(norms, [1.018, 1.070, 1.130], atol=1e-3)


def test_advection_moves_mass_to_lower_index_for_positive_beta_and_piles_it_up_at_the_wall(x64):
    u = jnp.zeros((20, 1)).at[10].set(1.0)

    def center(x):
        return float((jnp.arange(20) * x[:, 0]).sum())

    y = evolve(u, AdvectionDiffusion(0.1, 0.5), steps=8)
    assert center(y) == pytest.approx(10 - 0.5 * 8, abs=1e-2)
    assert center(evolve(u, AdvectionDiffusion(0.1, -0.5), steps=8)) == pytest.approx(10 + 0.5 * 8, abs=1e-2)
    long = evolve(u, AdvectionDiffusion(0.0, 1.0), steps=50)
    np.testing.assert_allclose(long[:, 0], [1.0] + [0.0] * 19, atol=1e-15)


def test_causal_weights_keep_the_range_and_one_step_is_the_token_shift(x64):
    u = jnp.asarray(RNG.normal(size=(T, D)))
    y = evolve(u, Diffusion(0.3), steps=7, causal=True)
    assert (y.max(0) <= u.max(0)).all()
    assert (y.min(0) >= u.min(0)).all()
    previous = jnp.concatenate([u[:1], u[:-1]])
    np.testing.assert_allclose(
        evolve(u, Diffusion(0.3), steps=1, causal=True), 0.7 * u + 0.3 * previous, atol=1e-15
    )


@pytest.mark.parametrize("method", ["scan", "taps"])
@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.codegen
def test_the_future_changes_nothing_bit_for_bit(name, method):
    u = POSITIVE.astype(np.float32)
    run = jax.jit(lambda u: evolve(u, PDES[name], steps=4, causal=True, method=method))
    first, second = run(u), run(np.where(np.arange(T)[:, None] < 21, u, np.float32(0.77)))
    assert (np.asarray(first)[:21] == np.asarray(second)[:21]).all()
    assert (np.asarray(first)[21:] != np.asarray(second)[21:]).any()


@pytest.mark.parametrize("method", ["scan", "taps"])
@pytest.mark.parametrize("name", CAUSAL)
def test_gradients_to_the_future_are_exactly_zero(name, method):
    u = jnp.asarray(POSITIVE, jnp.float32)
    g = jax.jit(jax.grad(lambda u: evolve(u, PDES[name], steps=4, causal=True, method=method)[20].sum()))(u)
    assert (np.asarray(g)[21:] == 0).all()
    assert (np.asarray(g)[16:21] != 0).all()


def _order(solve, sizes):
    errors = [solve(n) for n in sizes]
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


@pytest.mark.parametrize("method", ["scan", "taps", "spectral"])
def test_heat_is_second_order_in_space(method, x64):
    """u = cos(πx) + ½ cos(3πx) on [0, 1], cell centers; α dt/dx² = 1/4 (at 1/6 the order would be 4)."""

    def error(n):
        x, dx, time = (np.arange(n) + 0.5) / n, 1 / n, 1 / 64

        def exact(t):
            return sum(
                a * np.exp(-((k * np.pi) ** 2) * t) * np.cos(k * np.pi * x) for k, a in ((1, 1.0), (3, 0.5))
            )

        steps = round(time / (0.25 * dx**2))
        u = evolve(
            jnp.asarray(exact(0.0))[:, None], Diffusion(dx**-2), steps=steps, dt=0.25 * dx**2, method=method
        )
        return np.abs(u[:, 0] - exact(time)).max()

    np.testing.assert_allclose(_order(error, (16, 32, 64)), 2.0, atol=0.1)


@pytest.mark.parametrize("method", ["scan", "taps", "spectral"])
def test_wave_is_second_order_in_space(method, x64):
    """Standing waves cos(kπx) cos(kπt); c dt/dx = 1/2 (at 1 leapfrog would be exact)."""

    def error(n):
        x, dx = (np.arange(n) + 0.5) / n, 1 / n

        def exact(t):
            return sum(a * np.cos(k * np.pi * x) * np.cos(k * np.pi * t) for k, a in ((1, 1.0), (2, 0.3)))

        steps = round(0.75 / (0.5 * dx))
        u = evolve(jnp.asarray(exact(0.0))[:, None], Wave(1 / dx), steps=steps, dt=0.5 * dx, method=method)
        return np.abs(u[:, 0] - exact(0.75)).max()

    np.testing.assert_allclose(_order(error, (32, 64, 128)), 2.0, atol=0.1)


def test_wave_at_courant_number_one_is_exact(x64):
    x = (np.arange(32) + 0.5) / 32
    u = evolve(jnp.asarray(np.cos(3 * np.pi * x))[:, None], Wave(32.0), steps=20, dt=1 / 32)
    np.testing.assert_allclose(u[:, 0], np.cos(3 * np.pi * x) * np.cos(3 * np.pi * 20 / 32), atol=1e-12)


def test_upwind_advection_is_first_order_in_space(x64):
    def error(n):
        x, dx = np.arange(n) / n, 1 / n
        u = evolve(
            jnp.asarray(np.sin(2 * np.pi * x))[:, None],
            AdvectionDiffusion(0.0, 1 / dx),
            steps=round(0.25 / (0.5 * dx)),
            dt=0.5 * dx,
            boundary="periodic",
        )
        return np.abs(u[:, 0] - np.sin(2 * np.pi * (x + 0.25))).max()

    np.testing.assert_allclose(_order(error, (128, 256, 512)), 1.0, atol=0.1)

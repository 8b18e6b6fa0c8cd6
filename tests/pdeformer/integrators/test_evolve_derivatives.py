"""The derivatives of `evolve`: forward, reverse and second, against dense matrices and finite differences."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from pdeformer import Diffusion, evolve
from pdeformer.integrators.api import applicable_methods
from tests.helpers.evolve_cases import BOUNDARIES, LINEAR, PDES, POSITIVE, SEGMENTS, WALLS, D, T, dense_evolve
from tests.helpers.sampling import sample

DIFFERENTIATED = [
    *((p, b, False, False) for p in LINEAR for b in BOUNDARIES),
    *((p, b, True, False) for p in LINEAR for b in WALLS),
    *((p, "neumann", segmented, True) for p in ("diffusion", "advection") for segmented in (False, True)),
]


@pytest.mark.parametrize(("name", "boundary", "segmented", "causal"), sample(DIFFERENTIATED, every=2))
def test_derivatives_of_every_method_are_those_of_the_dense_matrices(name, boundary, segmented, causal, x64):
    """⟨ȳ, M u̇⟩ = ⟨ū, u̇⟩ for a random u̇, and c̄ = ∂⟨ȳ, M(c) u⟩/∂c by differences; forward mode agrees with reverse."""
    pde = jax.tree.map(lambda c: 0.9 * c, PDES[name])  # inside the stable set
    ids = SEGMENTS[2] if segmented else np.ones(T, int)
    u, u_dot, weight = POSITIVE, *np.random.default_rng(1).normal(size=(2, T, D))
    weight[ids == 0] = 0
    arguments: dict[str, Any] = dict(
        steps=5, boundary=boundary, causal=causal, segment_ids=ids if segmented else None
    )

    def dense(coefficients, u):
        y = dense_evolve(u, jax.tree.unflatten(jax.tree.structure(pde), coefficients), **arguments)
        return np.sum(y * weight, axis=0)  # channel by channel

    @jax.jit
    def derivatives(pde, u):
        results = []
        for method in applicable_methods(pde, boundary, segmented=segmented, causal=causal):

            def f(pde, u, method=method):
                return jnp.sum(evolve(u, pde, method=method, **arguments) * weight)

            forward = jax.jvp(f, (pde, u), (pde, jnp.asarray(u_dot)))[1]
            results.append((*jax.grad(f, (0, 1))(pde, u), forward))
        return results

    c, step = np.array(jax.tree.leaves(pde)), 1e-5
    shifts = step * np.eye(len(c))[:, :, None]
    by_c = [(dense(c + shift, u) - dense(c - shift, u)) / (2 * step) for shift in shifts]
    for c_bar, u_bar, forward in derivatives(pde, jnp.asarray(u)):
        c_bar = np.array(jax.tree.leaves(c_bar))
        np.testing.assert_allclose(np.sum(u_bar * u_dot, axis=0), dense(c, u_dot), rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(c_bar, by_c, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(forward, np.sum(u_bar * u_dot) + np.sum(c_bar * c), rtol=1e-11)


@pytest.mark.parametrize("boundary", ["neumann", "copy"])
def test_gradients_of_a_reaction_are_finite_differences(boundary, x64):
    pde = jax.tree.map(lambda c: jnp.asarray(0.9 * c), PDES["allen-cahn"])
    f = jax.jit(lambda pde, u: evolve(u, pde, steps=5, boundary=boundary))
    check_grads(
        f, (pde, jnp.asarray(POSITIVE)), order=1, modes=("fwd", "rev"), eps=1e-6, atol=1e-7, rtol=1e-7
    )


@pytest.mark.parametrize("name", sample(LINEAR, every=2))
def test_second_derivatives_are_those_of_the_unrolled_steps(name, x64):
    pde, u = jax.tree.map(lambda c: jnp.asarray(0.8 * c), PDES[name]), jnp.asarray(POSITIVE)

    def unrolled(pde):
        state = (u, Diffusion(0.5 * pde.speed**2).step(u)) if name == "wave" else (u,)
        for _ in range(3):
            state = pde.step(state) if name == "wave" else (pde.step(state[0]),)
        return jnp.sum(state[0] ** 3)

    def fast(pde):
        return jnp.sum(evolve(u, pde, steps=3) ** 3)

    by_steps = jax.jit(jax.jacfwd(jax.grad(unrolled)))(pde)
    for second in (jax.jacrev(jax.grad(fast)), jax.jacfwd(jax.jacfwd(fast))):
        hessian = jax.jit(second)(pde)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), by_steps, hessian)


def test_padding_has_the_identity_as_gradient_and_nan_there_reaches_none():
    u = jnp.asarray(np.where(SEGMENTS[0][:, None] > 0, POSITIVE, np.nan), jnp.float32)
    ids = jnp.asarray(SEGMENTS[0])

    def total(pde, u):
        return jnp.where(ids[:, None] > 0, evolve(u, pde, steps=3, segment_ids=ids), 0).sum()

    for name in ("diffusion", "advection", "allen-cahn"):
        pde = jax.tree.map(lambda c: jnp.asarray(c, jnp.float32), PDES[name])
        by_pde, by_u = jax.jit(jax.grad(total, (0, 1)))(pde, u)
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(by_pde))
        assert np.isfinite(by_u).all()
        assert (np.asarray(by_u)[SEGMENTS[0] == 0] == 0).all()

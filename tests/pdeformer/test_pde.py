"""The four equations: one explicit step, stability bounds, exact reaction flows, refused arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import AdvectionDiffusion, Diffusion, ReactionDiffusion, Wave, evolve
from pdeformer.pde import reaction_flow

pytestmark = pytest.mark.core

RNG = np.random.default_rng(0)
U = RNG.uniform(0.1, 0.9, size=(12, 3))
PDES = [
    Diffusion(0.3),
    Wave(0.8),
    AdvectionDiffusion(0.2, -0.4),
    ReactionDiffusion(0.3, 0.7),
    ReactionDiffusion(0.3, 0.7, "allen_cahn"),
]


def test_one_diffusion_step_by_hand(x64):
    u = jnp.array([[0.0], [1.0], [0.0], [4.0]])
    expected = [0.25, 0.5, 1.25, 3.0]
    np.testing.assert_array_equal(Diffusion(0.5).step(u, dt=0.5)[:, 0], expected)


@pytest.mark.parametrize("pde", [p for p in PDES if not isinstance(p, Wave)], ids=repr)
@pytest.mark.parametrize("boundary", ["neumann", "periodic", "dirichlet", "copy"])
def test_repeated_public_steps_are_evolve(pde, boundary, x64):
    u = jnp.asarray(U)
    for _ in range(4):
        u = pde.step(u, dt=0.5, boundary=boundary)
    all_steps = evolve(jnp.asarray(U), pde, steps=4, dt=0.5, boundary=boundary, method="scan")
    np.testing.assert_allclose(u, all_steps, rtol=1e-13, atol=1e-14)


def _start(u, pde, dt):
    """Return (u, u_prev) at rest: u_{-1} = u_1 = u + ½ r L u is a diffusion step with α = ½ (c dt)²."""
    return u, Diffusion(0.5 * (pde.speed * dt) ** 2).step(u)


def test_repeated_leapfrog_steps_are_evolve(x64):
    pde, u = Wave(0.8), jnp.asarray(U)
    state = _start(u, pde, 0.9)
    for _ in range(6):
        state = pde.step(state, dt=0.9)
    np.testing.assert_allclose(state[0], evolve(u, pde, steps=6, dt=0.9, method="scan"), atol=1e-13)


def test_leapfrog_is_reversible(x64):
    pde, u = Wave(0.7), jnp.asarray(U)
    forward = start = _start(u, pde, 1.0)
    for _ in range(50):
        forward = pde.step(forward)
    backward = forward[::-1]
    for _ in range(50):
        backward = pde.step(backward)
    np.testing.assert_allclose(backward[::-1][0], start[0], atol=1e-12)
    np.testing.assert_allclose(backward[::-1][1], start[1], atol=1e-12)
    assert np.abs(forward[0] - u).max() > 0.1


def test_step_along_another_axis_is_the_step_of_the_transposed_array(x64):
    u = jnp.asarray(U)
    np.testing.assert_array_equal(
        Diffusion(0.2).step(u.T, axis=-1, boundary="copy"), Diffusion(0.2).step(u, boundary="copy").T
    )


@pytest.mark.parametrize("reaction", ["fisher", "allen_cahn"])
def test_reaction_flow_solves_its_equation(reaction, x64):
    """The derivative in time is R(u), and the flow obeys the group law."""
    u, beta = jnp.linspace(0.05, 1.5, 9), 0.6

    def flow(t):
        return reaction_flow(u, beta * t, reaction)

    value, rate = jax.jvp(flow, (0.7,), (1.0,))
    R = beta * value * (1 - value) if reaction == "fisher" else beta * value * (1 - value**2)
    np.testing.assert_allclose(rate, R, atol=1e-14)
    np.testing.assert_allclose(flow(0.0), u, rtol=1e-15)
    np.testing.assert_allclose(reaction_flow(flow(0.7), beta * 0.5, reaction), flow(1.2), rtol=1e-14)


def test_reaction_flow_stays_finite_for_any_growth():
    u = jnp.array([0.0, 1e-30, 0.5, 1.0])
    for growth in (-1e4, 1e4):
        for reaction in ("fisher", "allen_cahn"):
            value, slope = jax.jvp(
                lambda u, g=growth, r=reaction: reaction_flow(u, g, r), (u,), (jnp.ones(4),)
            )
            assert np.isfinite(value).all()
            assert np.isfinite(slope).all()


def test_splitting_is_exact_without_diffusion_and_first_order_with_it(x64):
    def solve(alpha, steps):
        return evolve(jnp.asarray(U), ReactionDiffusion(alpha, 1.5), steps=steps, dt=4.0 / steps)

    np.testing.assert_allclose(solve(0.0, 1), solve(0.0, 64), atol=1e-13)
    errors = [np.abs(solve(0.05, n) - solve(0.05, 2048)).max() for n in (32, 64, 128)]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 1.0, atol=0.15)


BOUNDS = {
    "diffusion": (Diffusion(0.25), 2.0),
    "wave": (Wave(-4.0), 0.25),
    "advection": (AdvectionDiffusion(0.25, -0.5), 1.0),
    "reaction": (ReactionDiffusion(0.125, 99.0), 4.0),
    "still": (Diffusion(0.0), float("inf")),
    "channels": (Diffusion(np.array([0.1, 0.5])), 1.0),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_largest_stable_step_is_the_bound_by_hand(name):
    pde, bound = BOUNDS[name]
    assert pde.max_dt() == pytest.approx(bound)
    if np.isfinite(bound):
        assert pde.stable(bound)
        assert not pde.stable(1.01 * bound)
        assert bool(jax.jit(lambda p: p.stable(0.5 * bound))(pde))
        assert not bool(jax.jit(lambda p: p.stable(1.01 * bound))(pde))


REFUSALS = {
    "unstable diffusion": (
        Diffusion(0.7),
        {},
        r"Diffusion needs alpha \* dt <= 1/2 to be stable, got 1.4 times",
    ),
    "unstable by dt": (Diffusion(0.3), {"dt": 2.0}, r"dt=2.* lower dt to 1.66667 or less and raise steps"),
    "unstable channel": (Diffusion(np.array([0.1, 0.2, 0.6])), {}, "alpha \\* dt <= 1/2"),
    "unstable wave": (Wave(1.1), {}, r"Wave needs \|speed\| \* dt <= 1"),
    "unstable advection": (AdvectionDiffusion(0.3, 0.5), {}, r"2 \* alpha \* dt \+ \|beta\| \* dt <= 1"),
    "unstable reaction": (ReactionDiffusion(0.6, 0.1), {}, r"ReactionDiffusion needs alpha \* dt <= 1/2"),
    "negative diffusivity": (Diffusion(-0.1), {}, "needs alpha >= 0, got alpha=-0.1"),
    "NaN": (Wave(float("nan")), {}, "needs finite coefficients, got speed=nan"),
    "dt of zero": (Diffusion(0.1), {"dt": 0.0}, "needs dt > 0, got dt=0"),
    "unknown reaction": (
        ReactionDiffusion(0.1, 0.1, "gray_scott"),
        {},
        "one of fisher, allen_cahn, got 'gray_scott'",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_evolve_refuses(name):
    pde, arguments, words = REFUSALS[name]
    with pytest.raises(ValueError, match=words):
        evolve(jnp.asarray(U, jnp.float32), pde, steps=2, **arguments)


def test_fisher_refuses_a_negative_state_and_names_the_alternative():
    with pytest.raises(
        ValueError, match=r"needs u >= 0, got a smallest value of -0.25; use reaction='allen_cahn'"
    ):
        evolve(jnp.array([[0.5], [-0.25]]), ReactionDiffusion(0.1, 0.1), steps=1)
    padded = evolve(
        jnp.array([[0.5], [-0.25]]), ReactionDiffusion(0.1, 0.1), steps=1, segment_ids=jnp.array([1, 0])
    )
    assert float(padded[1, 0]) == -0.25


def test_reversed_reaction_refuses_a_state_that_blows_up():
    high = jnp.array([[1.5], [0.5]])
    with pytest.raises(ValueError, match=r"blows up from \|u\| > 1 within the pseudo-time"):
        evolve(high, ReactionDiffusion(0.1, -0.5), steps=3)
    assert np.isfinite(evolve(high, ReactionDiffusion(0.1, -0.1), steps=3)).all()


def test_equations_of_different_kind_have_different_tree_structure():
    assert jax.tree.structure(Diffusion(1.0)) != jax.tree.structure(Wave(1.0))
    assert jax.tree.leaves(AdvectionDiffusion(1.0, 2.0)) == [1.0, 2.0]
    changed = jax.tree.map(lambda x: 2 * x, ReactionDiffusion(1.0, 2.0, "allen_cahn"))
    assert changed == ReactionDiffusion(2.0, 4.0, "allen_cahn")


def test_concrete_arrays_are_checked_under_jit_too():
    """A coefficient in the closure of a compiled function is concrete while the function is traced."""
    stable, unstable = jnp.array([0.1, 0.2]), jnp.array([0.1, 0.6])
    y = jax.jit(lambda u: evolve(u, Diffusion(stable), steps=2))(jnp.ones((5, 2)))
    np.testing.assert_allclose(y, 1, rtol=1e-6)
    with pytest.raises(ValueError, match=r"alpha \* dt <= 1/2 to be stable, got 1.2 times the bound"):
        jax.jit(lambda u: evolve(u, Diffusion(unstable), steps=2))(jnp.ones((5, 2)))

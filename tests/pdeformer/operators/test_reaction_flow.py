"""The flow of a reaction far above 1, where a sum of terms of both signs would lose its digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import ReactionDiffusion, evolve
from pdeformer.pde import reaction_flow


def flow(u, growth, reaction):
    """Return the flow in float64, by the inverse of the value."""
    if reaction == "fisher":
        return 1 / (np.exp(-growth) / u - np.expm1(-growth))
    return 1 / np.sqrt(np.exp(-2 * growth) / u**2 - np.expm1(-2 * growth))


@pytest.mark.parametrize("reaction", ["fisher", "allen_cahn"])
@pytest.mark.parametrize("growth", [1e-7, 1e-4, 1e-2, 1.0, 20.0])
def test_large_values_keep_their_digits_and_their_slope(growth, reaction):
    u, growth = np.array([1.5, 10.0, 1e4, 1e20, 3e38], np.float32), np.float32(growth)
    value, slope = jax.jvp(lambda u: reaction_flow(u, growth, reaction), (jnp.asarray(u),), (jnp.ones(5),))
    expected = flow(np.float64(u), np.float64(growth), reaction)
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    powers = (1, 2) if reaction == "fisher" else (2, 3)  # dy/du = e^{-kβt} (y/u)^(k+1)
    exact = np.exp(-powers[0] * np.float64(growth)) * (expected / np.float64(u)) ** powers[1]
    np.testing.assert_allclose(slope, exact, rtol=2e-5, atol=1e-20)


@pytest.mark.parametrize("reaction", ["fisher", "allen_cahn"])
def test_gradients_are_finite_for_any_growth_and_value(reaction):
    u = jnp.asarray([0.0, 1e-30, 0.5, 1.0])
    for growth in (-1e4, -30.0, 1e4):
        gradients = jax.grad(lambda u, g: jnp.sum(reaction_flow(u, g, reaction)), (0, 1))(
            u, jnp.full(4, growth)
        )
        assert np.isfinite(gradients).all()


def test_a_state_of_large_values_evolves_by_its_flow():
    u = jnp.full((4, 1), 1e4)
    after = evolve(u, ReactionDiffusion(0.1, 1e-5, "allen_cahn"), steps=10)
    np.testing.assert_allclose(after, flow(1e4, 1e-4, "allen_cahn"), rtol=1e-5)

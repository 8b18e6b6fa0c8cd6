"""Derivatives of decompositions: finite differences, ties, singular systems."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import block_diag

from pid.measures import decompose
from tests.pid.measures.cases import (
    KNOWN,
    MEASURES,
    system,
    to_array,
)


def slope(cov, dims, measure, direction, h=1e-6):
    ahead, behind = (to_array(decompose(cov + s * h * direction, dims, measure=measure)) for s in (1, -1))
    return (ahead - behind) / (2 * h)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dims", [(1, 1, 1), (3, 4, 2), (5, 5, 5)])
def test_gradients_equal_finite_differences(measure, dims, x64):
    cov, rng = system(dims), np.random.default_rng(0)
    scale = np.sqrt(np.diag(cov))
    direction = rng.normal(size=cov.shape) * np.outer(scale, scale)
    direction = direction + direction.T
    gradient = jax.jacrev(lambda c: jnp.stack(decompose(c, dims, measure=measure)))(jnp.asarray(cov))
    directional = np.einsum("kij,ij->k", gradient, direction)
    np.testing.assert_allclose(directional, slope(cov, dims, measure, direction), rtol=1e-6, atol=1e-6)
    assert np.all(np.abs(directional[[0, 4, 5, 6]]) > 1e-3)


@pytest.mark.parametrize("name", ["equal channels, correlation 0.0", "gain 1", "gain 3", "angle pi/2"])
def test_gradients_at_known_systems_are_finite_even_where_eigenvalues_tie(name, x64):
    """At a tie λ = 1 the central difference is the mean of both one-sided derivatives."""
    cov, dims, _ = KNOWN[name]
    direction = np.random.default_rng(1).normal(size=cov.shape)
    direction = direction + direction.T
    gradient = jax.jacrev(lambda c: jnp.stack(decompose(c, dims)))(jnp.asarray(cov))
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(
        np.einsum("kij,ij->k", gradient, direction), slope(cov, dims, "broja", direction, 1e-7), atol=1e-5
    )


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("singular", ["equal sources", "repeated features"])
def test_gradients_of_singular_systems_along_what_keeps_them_so(measure, singular, x64):
    cov = system((3, 4, 2))

    def family(t, xp):
        gain = xp.where(np.not_equal.outer(np.arange(9) < 3, np.arange(9) < 3), t, 1.0)
        scaled = cov * gain
        if singular == "equal sources":
            order = np.r_[0:3, 3:7, 3:7]
            return scaled[np.ix_(order, order)], (3, 4, 4)
        mixing = block_diag(
            np.eye(3), np.vstack([np.eye(4), 2 * np.eye(4)[:1]]), np.vstack([np.eye(2), np.ones((1, 2))])
        )
        return mixing @ scaled @ mixing.T, (3, 5, 3)

    def atoms(t):
        return jnp.stack(decompose(*family(t, jnp), measure=measure))

    h = 1e-5
    ahead, behind = (to_array(decompose(*family(0.8 + s * h, np), measure=measure)) for s in (1, -1))
    np.testing.assert_allclose(jax.jacfwd(atoms)(0.8), (ahead - behind) / (2 * h), atol=1e-6)
    assert abs(jax.jacfwd(atoms)(0.8)[4]) > 0.1

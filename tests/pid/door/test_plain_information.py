"""Information of two variables, conditional information, and information as a correlation."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pid
from pid.gaussian import entropy
from tests.helpers import pid_oracle as oracle

DIMS = (2, 3, 2)
COV = oracle.sample_system(np.random.default_rng(5), DIMS)


def part(*names) -> Any:
    """The covariance of some of the three variables."""
    places = dict(zip("mxy", np.split(np.arange(sum(DIMS)), np.cumsum(DIMS)[:2]), strict=True))
    index = np.concatenate([places[name] for name in names])
    return COV[np.ix_(index, index)]


def h(*names):
    """The entropy of some of the three variables together, in bits."""
    return entropy(jnp.asarray(part(*names)))


def test_information_of_two_variables_is_that_of_three_entropies(x64):
    true = h("m") + h("x") - h("m", "x")
    value = pid.mutual_information(part("m", "x"), (2, 3))
    assert np.shape(value) == ()
    assert float(value) == pytest.approx(float(true), abs=1e-12)
    assert float(value) == pytest.approx(float(pid.mutual_information(COV, DIMS).x), abs=1e-12)
    assert float(value) == pytest.approx(float(pid.mutual_information(part("x", "m"), (3, 2))), abs=1e-12)


def test_information_of_two_variables_by_hand():
    rho = np.array([0.0, 0.6, -0.8])
    covs = np.array([[[4, 2 * r], [2 * r, 1]] for r in rho])
    np.testing.assert_allclose(pid.mutual_information(covs, (1, 1)), -np.log2(1 - rho**2) / 2, atol=1e-14)
    assert np.isinf(pid.mutual_information([[1, 1], [1, 1]], (1, 1)))
    nats: Any = pid.mutual_information(covs[1].tolist(), np.ones(2, int), base=math.e)
    assert float(nats) == pytest.approx(-math.log(0.64) / 2)


def test_information_of_two_variables_under_transforms():
    cov = jnp.asarray(part("m", "x"), jnp.float32)
    value, gradient = jax.jit(jax.value_and_grad(lambda c: pid.mutual_information(c, (2, 3))))(cov)
    true = jax.grad(lambda c: pid.mutual_information(c, DIMS).x)(jnp.asarray(COV, jnp.float32))
    np.testing.assert_allclose(value, pid.mutual_information(COV, DIMS).x, atol=1e-4)
    np.testing.assert_allclose(gradient, true[:5, :5], atol=1e-4)
    batch = jax.vmap(lambda c: pid.mutual_information(c, (2, 3)))(jnp.stack([cov, 2 * cov]))
    np.testing.assert_allclose(batch, [value, value], atol=1e-5)


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        ((1, 1, 1, 1), "dims must be three positive integers"),
        ((5,), "dims must be three positive integers"),
        ((5, 0), "dims must be two positive integers, of a and b, got"),
        ((2.0, 3.0), "dims must be two positive integers"),
        (
            (2, 2),
            r"dims \(2, 2\) must have shape \(..., 4, 4\), got \(5, 5\); order its rows and columns a, b",
        ),
    ],
)
def test_dims_of_two_variables_are_checked(dims, words):
    with pytest.raises(ValueError, match=words):
        pid.mutual_information(part("m", "x"), dims)


@pytest.mark.parametrize("measure", ["broja", "mmi"])
@pytest.mark.parametrize("batch", [(), (2, 2)])
def test_conditional_information_is_unique_information_and_synergy(measure, batch):
    covs = np.broadcast_to(COV, (*batch, *COV.shape))
    value, parts = pid.conditional_information(covs, DIMS), pid.decompose(covs, DIMS, measure=measure)
    np.testing.assert_allclose(value.x, parts.unique_x + parts.synergy, atol=1e-12)
    np.testing.assert_allclose(value.y, parts.unique_y + parts.synergy, atol=1e-12)
    nats = pid.conditional_information(covs, DIMS, base=math.e)
    np.testing.assert_allclose(np.array(nats), np.array(value) * math.log(2), atol=1e-12)


def test_conditional_information_is_that_of_four_entropies(x64):
    """I(M;X|Y) = h(M,Y) + h(X,Y) - h(M,X,Y) - h(Y)."""
    true = h("m", "y") + h("x", "y") - h("m", "x", "y") - h("y")
    assert float(pid.conditional_information(COV, DIMS).x) == pytest.approx(float(true), abs=1e-12)


def test_conditional_information_of_copies():
    """x = m and y = m + n: nothing is left for y, and x adds an infinite amount; equal sources add nothing."""
    copied = pid.conditional_information([[1, 1, 1], [1, 1, 1], [1, 1, 2]], (1, 1, 1))
    assert [float(value) for value in copied] == [math.inf, 0]
    equal = pid.conditional_information([[1, 1, 1], [1, 2, 2], [1, 2, 2]], (1, 1, 1))
    assert [float(value) for value in equal] == [0, 0]
    both = pid.conditional_information(np.ones((3, 3)), (1, 1, 1))
    assert [float(value) for value in both] == [0, 0]


def test_gradients_of_conditional_information_equal_finite_differences(x64):
    def value(cov):
        return jnp.stack(pid.conditional_information(cov, DIMS))

    cov, step = jnp.asarray(COV), 1e-6
    direction = jnp.asarray(np.random.default_rng(0).normal(size=COV.shape))
    direction = direction + direction.T
    slope = jax.jvp(value, (cov,), (direction,))[1]
    difference = (value(cov + step * direction) - value(cov - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-6)


def test_information_is_a_correlation():
    rho = np.array([0, 1e-9, 0.3, -0.9, 1])
    information = np.append(-np.log1p(-(rho[:-1] ** 2)) / np.log(4), np.inf)
    np.testing.assert_allclose(pid.information_correlation(information), np.abs(rho), rtol=1e-12)
    np.testing.assert_allclose(
        pid.information_correlation(information * math.log(2), base=math.e), np.abs(rho), rtol=1e-12
    )
    assert float(pid.information_correlation(-0.01)) == 0
    assert isinstance(pid.information_correlation(jnp.ones(2)), jax.Array)
    with pytest.raises(ValueError, match="base must be a number above 1"):
        pid.information_correlation(1.0, base=1)

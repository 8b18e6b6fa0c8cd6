"""The certificate of BROJA: its bounds hold, meet, and agree with a solver that shares nothing with ours."""

import jax.numpy as jnp
import numpy as np
import pytest

from pid import discrete
from pid.discrete.broja_bounds import bounds
from pid.discrete.dense_solve import solve_spd
from tests.pid.discrete.tables import BITS, TABLES, information, random_tables, union_by_barrier

GAP = 1e-7


def hard_tables():
    """Tables with zeros, with tiny probabilities, of few counts, and whose target is a function of the sources."""
    rng = np.random.default_rng(7)
    counts = rng.multinomial(20, np.full(64, 1 / 64), size=20).reshape(-1, 4, 4, 4) / 20
    sparse = rng.dirichlet(np.full(64, 0.02), size=60)
    floors = np.repeat([1e-6, 1e-9, 1e-12], 20)[:, None]
    tiny = ((sparse + floors) / (sparse + floors).sum(1, keepdims=True)).reshape(-1, 4, 4, 4)
    function = np.zeros((20, 4, 4, 4))
    x, y = np.indices((4, 4))
    for table in function:
        table[rng.integers(0, 4, (4, 4)), x, y] = 1 / 16
    return np.concatenate([counts, tiny, function, random_tables((4, 4, 4), 20, zeros=0.8)])


@pytest.fixture(scope="module")
def proof():
    tables = hard_tables()
    return tables, discrete.certificate(tables)


def test_fifty_random_tables_agree_with_an_independent_solver():
    for shape, count in (((3, 2, 4), 30), ((4, 4, 4), 20)):
        tables = random_tables(shape, count, seed=count)
        proof = discrete.certificate(tables)
        expected = [union_by_barrier(table) for table in tables]
        np.testing.assert_allclose(proof.union, expected, atol=1e-6)
        assert np.max(proof.gap) <= GAP


def test_gap_is_closed_for_hard_tables(proof):
    assert np.max(proof[1].gap) <= GAP
    assert np.min(proof[1].gap) >= -1e-12


def test_gap_is_closed_for_the_examples_of_the_literature():
    proof = discrete.certificate(np.stack(list(TABLES.values())))
    assert np.max(proof.gap) <= GAP


def test_primal_is_the_information_of_a_coupling_with_the_pairs(proof):
    tables, certificate = proof
    np.testing.assert_allclose(certificate.coupling.sum(-1), tables.sum(-1), atol=1e-15)
    np.testing.assert_allclose(certificate.coupling.sum(-2), tables.sum(-2), atol=1e-15)
    assert np.min(certificate.coupling) >= 0
    expected = [information(coupling) * BITS for coupling in certificate.coupling]
    np.testing.assert_allclose(certificate.primal, expected, atol=1e-12)


def test_dual_is_the_value_of_feasible_potentials(proof):
    tables, certificate = proof
    possible = (tables.sum(-1) > 0)[..., :, None] & (tables.sum(-2) > 0)[..., None, :]
    powers = np.exp(certificate.potential_x[..., :, None] + certificate.potential_y[..., None, :])
    assert np.max(np.sum(np.where(possible, powers, 0), -3)) <= 1 + 1e-14
    target = tables.sum((-1, -2))
    entropy = -np.sum(target * np.log(np.where(target > 0, target, 1)), -1)
    value = entropy + np.sum(tables.sum(-1) * certificate.potential_x, (-1, -2))
    value += np.sum(tables.sum(-2) * certificate.potential_y, (-1, -2))
    np.testing.assert_allclose(certificate.dual, value * BITS, atol=1e-12)


def test_bounds_hold_for_any_coupling_and_any_potentials():
    """The proof does not depend on the solver: random input gives valid bounds, and exact pairs."""
    rng = np.random.default_rng(0)
    tables = random_tables((3, 2, 4), 30, seed=30)
    union = discrete.certificate(tables).union
    for scale in (0.1, 1.0, 5.0):
        arrays = [rng.random((3, 2, 4, 30)), rng.normal(size=(3, 2, 30)), rng.normal(size=(3, 4, 30))]
        rounded, primal, dual, *_ = bounds(
            jnp.asarray(np.moveaxis(tables, 0, -1)), *(jnp.asarray(scale * array) for array in arrays)
        )
        assert np.all(np.asarray(primal) * BITS >= union - 1e-5)  # float32 outside of the library's context
        assert np.all(np.asarray(dual) * BITS <= union + 1e-5)
        np.testing.assert_allclose(
            np.sum(np.asarray(rounded), 2), np.moveaxis(tables, 0, -1).sum(2), atol=1e-6
        )


def test_values_that_never_occur_change_nothing():
    tables = random_tables((3, 2, 4), 30, seed=30)
    padded = np.zeros((30, 4, 4, 4))
    padded[:, :3, 1:3] = tables
    np.testing.assert_allclose(
        discrete.certificate(padded).union, discrete.certificate(tables).union, atol=1e-8
    )


def test_elimination_solves_every_system(x64):
    rng = np.random.default_rng(0)
    root, right = rng.normal(size=(2, 20, 6, 6))
    matrices = root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(6)
    solved = solve_spd(jnp.asarray(np.moveaxis(matrices, 0, -1)), jnp.asarray(np.moveaxis(right, 0, -1)))
    np.testing.assert_allclose(
        np.moveaxis(np.asarray(solved), -1, 0), np.linalg.solve(matrices, right), rtol=1e-8
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 2)])
def test_constant_variables_have_no_information(shape):
    """Axes of length 1, and a table with all probability in one cell."""
    tables = np.stack([np.full(shape, 1 / np.prod(shape)), np.eye(np.prod(shape))[0].reshape(shape)])
    proof = discrete.certificate(tables)
    np.testing.assert_allclose(proof.union, 0, atol=1e-8)
    assert np.max(np.abs(proof.gap)) <= GAP

"""The path graph and its difference operators."""

import jax.numpy as jnp
import numpy as np
import pytest

from pdeformer import stencil
from tests.helpers import oracle

pytestmark = pytest.mark.core

SEGMENTS = {
    "none": None,
    "right padding": [1, 1, 1, 1, 1, 0, 0],
    "hole": [1, 1, 0, 1, 1, 1, 1],
    "packed": [1, 1, 1, 2, 2, 3, 0],
    "left padding and single tokens": [0, 4, 0, 5, 5, 5, 6],
}


def test_laplacian_of_four_tokens_by_hand(x64):
    u = jnp.array([[1.0], [4.0], [9.0], [16.0]])
    by_hand = {
        "neumann": [3.0, 2.0, 2.0, -7.0],
        "periodic": [18.0, 2.0, 2.0, -22.0],
        "dirichlet": [2.0, 2.0, 2.0, -23.0],
        "copy": [0.0, 2.0, 2.0, 0.0],
    }
    for boundary, expected in by_hand.items():
        graph = stencil.path(4, None, boundary)
        np.testing.assert_array_equal(stencil.laplacian(u, graph)[:, 0], expected, err_msg=boundary)


def test_neumann_laplacian_of_four_tokens_is_this_matrix():
    matrix = [[-1, 1, 0, 0], [1, -2, 1, 0], [0, 1, -2, 1], [0, 0, 1, -1]]
    np.testing.assert_array_equal(stencil.laplacian_matrix(4), matrix)


def test_upwind_of_three_tokens_by_hand(x64):
    u = jnp.array([[1.0], [10.0], [100.0]])
    graph = stencil.path(3, None, "neumann")
    np.testing.assert_array_equal(stencil.upwind(u, 0.5, 0.0, graph)[:, 0], [5.0, 45.0, -50.0])
    np.testing.assert_array_equal(stencil.upwind(u, 0.0, 0.5, graph)[:, 0], [-0.5, -4.5, 5.0])


CASES = [(b, name) for b in ("neumann", "dirichlet", "copy") for name in SEGMENTS] + [("periodic", "none")]


@pytest.mark.parametrize(("boundary", "name"), CASES)
def test_operators_equal_their_dense_twins(boundary, name, x64):
    ids = None if SEGMENTS[name] is None else np.array(SEGMENTS[name])
    u = jnp.asarray(np.random.default_rng(0).normal(size=(7, 2)))
    graph = stencil.path(7, None if ids is None else jnp.asarray(ids), boundary)
    L = oracle.increment_matrix(1.0, 0.0, 7, boundary, ids)
    np.testing.assert_array_equal(stencil.laplacian_matrix(7, ids, boundary), L)
    np.testing.assert_allclose(stencil.laplacian(u, graph), L @ u, atol=1e-14)
    for beta in (0.3, -0.3):
        down, up = max(beta, 0.0), max(-beta, 0.0)
        U = oracle.increment_matrix(0.0, beta, 7, boundary, ids)
        np.testing.assert_allclose(stencil.upwind(u, down, up, graph), U @ u, atol=1e-14)


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet", "periodic"])
def test_eigenvalues_are_minus_four_sine_squared_of_half_the_frequency(boundary):
    eigenvalues = -4 * np.sin(stencil.frequencies(9, boundary) / 2) ** 2
    expected = np.linalg.eigvalsh(stencil.laplacian_matrix(9, None, boundary))
    np.testing.assert_allclose(np.sort(eigenvalues), expected, atol=1e-14)


def test_runs_are_numbered_from_the_left_and_split_by_holes():
    ids = jnp.array([[7, 7, 0, 7, 3, 3, 0, 0], [0, 2, 2, 2, 1, 2, 2, 2]])
    np.testing.assert_array_equal(stencil.run_ids(ids), [[1, 1, 0, 2, 3, 3, 0, 0], [0, 1, 1, 1, 2, 3, 3, 3]])


@pytest.mark.parametrize("offset", [1, 2, 4])
def test_divergence_is_minus_the_transpose_of_difference(offset, x64):
    rng = np.random.default_rng(offset)
    u, flux = jnp.asarray(rng.normal(size=(9, 2))), jnp.asarray(rng.normal(size=(9 - offset, 2)))
    pairing = jnp.vdot(flux, stencil.difference(u, offset)) + jnp.vdot(stencil.divergence(flux, offset), u)
    assert abs(pairing) < 1e-13
    assert abs(stencil.divergence(flux, offset).sum()) < 1e-13


def test_divergence_of_the_difference_is_the_neumann_laplacian(x64):
    ids = jnp.array([1, 1, 1, 2, 2, 0, 3, 3])
    u = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)))
    laplacian = stencil.laplacian(u, stencil.path(8, ids, "neumann"))
    composition = stencil.divergence(stencil.difference(u, 1, stencil.run_ids(ids)))
    np.testing.assert_allclose(composition, laplacian, atol=1e-15)


def test_causal_half_changes_only_the_later_end_of_an_edge():
    u = jnp.array([[1.0], [3.0], [7.0]])
    np.testing.assert_array_equal(stencil.receive(stencil.difference(u, 2), 2)[:, 0], [0.0, 0.0, -6.0])


def test_half_line_taps_are_sums_of_neighbouring_heat_taps_and_sum_to_one(x64):
    g = oracle.heat_taps(0.2, 3)
    w = stencil.half_line_taps(jnp.asarray(g)[:, None])[:, 0]
    np.testing.assert_allclose(w, [g[3] + g[4], g[4] + g[5], g[5] + g[6], g[6]], rtol=1e-15)
    assert abs(w.sum() - 1) < 1e-15
    np.testing.assert_allclose(stencil.half_line_taps(jnp.array([[0.2], [0.6], [0.2]]))[:, 0], [0.8, 0.2])


def test_unknown_boundaries_and_segments_on_a_ring_are_refused():
    with pytest.raises(ValueError, match=r"boundary must be one of neumann, .* got 'reflect'"):
        stencil.path(4, None, "reflect")
    with pytest.raises(ValueError, match="knows no segments, got segment_ids; use 'neumann'"):
        stencil.path(4, jnp.ones(4, jnp.int32), "periodic")
    with pytest.raises(ValueError, match="no orthogonal modes"):
        stencil.frequencies(4, "copy")

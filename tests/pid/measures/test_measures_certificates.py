"""Certificates of decompositions: the coupling attains the union information, and the lower bound equals it."""

import numpy as np
import pytest

from pid.measures import certificate, decompose
from tests.helpers import pid_oracle as oracle
from tests.pid.measures.cases import KNOWN, SHAPES, equal_sources, system, with_copies


@pytest.mark.parametrize("dims", [*SHAPES, (10, 10, 10), (30, 30, 30)])
def test_the_coupling_attains_the_union_and_the_bound_meets_it(dims):
    cov = system(dims, 1)
    proof = certificate(cov, dims)
    assert float(proof.primal) == pytest.approx(float(proof.union), abs=1e-8)
    assert float(proof.dual) == pytest.approx(float(proof.union), abs=1e-10)
    assert float(proof.gap) == max(float(proof.primal - proof.dual), 0)
    assert np.linalg.norm(proof.coupling, 2) <= 1 + 1e-12
    assert oracle.union_of_coupling(cov, dims, proof.coupling) == pytest.approx(float(proof.union), abs=1e-8)


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_certificates_of_known_systems(name):
    cov, dims, truth = KNOWN[name]
    proof = certificate(cov, dims)
    union = truth["redundancy"] + truth["unique_x"] + truth["unique_y"]
    np.testing.assert_allclose([proof.union, proof.primal, proof.dual], union, atol=1e-8)


def test_no_feasible_coupling_is_below_the_union():
    dims = (3, 4, 2)
    cov, rng = system(dims), np.random.default_rng(0)
    union = float(certificate(cov, dims).union)
    assert all(
        oracle.union_of_coupling(cov, dims, oracle.sample_coupling(rng, dims)) >= union - 1e-12
        for _ in range(200)
    )


def test_directions_are_ordered_by_what_x_knows_better():
    """wᵀ P_y w = 1 and wᵀ P_x w = λ for posterior precisions P in target units, λ descending."""
    dims = (4, 3, 5)
    cov = system(dims)
    proof = certificate(cov, dims)
    m, x, y = oracle.parts(dims)
    precision_x, precision_y = (np.linalg.inv(oracle.conditional(cov, m, source)) for source in (x, y))
    w = proof.directions
    np.testing.assert_allclose(w.T @ precision_y @ w, np.eye(4), atol=1e-10)
    np.testing.assert_allclose(w.T @ precision_x @ w, np.diag(proof.eigenvalues), atol=1e-10)
    assert np.all(np.diff(proof.eigenvalues) <= 0)
    unique_x = np.log2(proof.eigenvalues[proof.eigenvalues > 1]).sum() / 2
    assert unique_x == pytest.approx(float(decompose(cov, dims).unique_x), abs=1e-12)


def test_certificates_of_a_batch():
    dims = (2, 2, 3)
    covs = np.stack([system(dims, seed) for seed in range(3)])
    proofs = certificate(covs, dims)
    assert proofs.coupling.shape == (3, 2, 3)
    np.testing.assert_allclose(proofs.primal[2], certificate(covs[2], dims).primal, atol=1e-12)


def test_certificates_of_singular_systems():
    dims = (3, 4, 2)
    cov = system(dims)
    proof = certificate(*with_copies(cov, dims))
    np.testing.assert_allclose([proof.primal, proof.dual], decompose(cov, dims).union, atol=1e-8)
    same, wide = equal_sources(cov, dims)
    proof = certificate(same, wide)
    np.testing.assert_allclose([proof.union, proof.primal, proof.dual], decompose(same, wide).mi_x, atol=1e-8)

"""Decompositions of covariances: known answers, oracles, laws, errors."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pid.measures import certificate, decompose
from tests.helpers import pid_oracle as oracle
from tests.pid.measures.cases import (
    KNOWN,
    MEASURES,
    SHAPES,
    apply_maps,
    system,
    to_array,
)

pytestmark = pytest.mark.core

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "gpid_visible.json").read_text())
ORACLES = {"broja": oracle.closed_form, "mmi": oracle.mmi}


# --- known answers and oracles


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_known_answers(name):
    cov, dims, truth = KNOWN[name]
    pid = decompose(cov, dims)
    for field, value in truth.items():
        assert float(getattr(pid, field)) == pytest.approx(value, abs=1e-10), field


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_known_answers_in_float32(name):
    cov, dims, truth = KNOWN[name]
    pid = jax.jit(lambda c: decompose(c, dims))(jnp.asarray(cov, jnp.float32))
    assert pid.union.dtype == jnp.float32
    for field, value in truth.items():
        assert float(getattr(pid, field)) == pytest.approx(value, abs=1e-4), field


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dims", SHAPES)
def test_measures_equal_their_plain_twins(measure, dims):
    for seed in range(3):
        cov = system(dims, seed)
        np.testing.assert_allclose(
            to_array(decompose(cov, dims, measure=measure)), ORACLES[measure](cov, dims), atol=1e-10
        )


@pytest.mark.parametrize("dims", [(1, 1, 1), (2, 2, 2), (3, 2, 4), (4, 4, 3)])
def test_the_closed_form_is_the_minimum_that_a_solver_finds(dims):
    cov = system(dims, 7)
    union, best = float(decompose(cov, dims).union), oracle.optimal_union(cov, dims)
    assert best.lower - 1e-8 <= union <= best.union + 1e-8
    assert best.union - best.lower < 1e-7


@pytest.mark.parametrize("case", range(len(GOLDEN)))
def test_gpid_agrees_within_what_its_iterations_reach(case):
    """The reference adds a ridge of 1e-7 in the joint information, which also changes its synergy."""
    reference = GOLDEN[case]
    cov, dims = np.array(reference["cov"]), (reference["dm"], reference["dx"], reference["dy"])
    for measure in MEASURES:
        pid = decompose(cov, dims, measure=measure)
        for field in ("unique_x", "unique_y", "redundancy"):
            assert float(getattr(pid, field)) == pytest.approx(reference[measure][field], abs=2e-6), (
                measure,
                field,
            )
        assert float(pid.synergy) == pytest.approx(reference[measure]["synergy"], abs=1e-5)
    theirs = sum(reference["broja"][atom] for atom in ("unique_x", "unique_y", "redundancy"))
    assert float(decompose(cov, dims).union) <= theirs + 1e-6


@pytest.mark.codegen
def test_float32_is_good_to_1e_4_bits_up_to_d_20_and_40_bits():
    rng, dims = np.random.default_rng(3), (20, 20, 20)
    rotations = [np.linalg.qr(rng.normal(size=(20, 20)))[0] for _ in range(3)]
    cov = oracle.channel_system(np.diag(rng.uniform(1, 3.2, 20)), np.diag(rng.uniform(1, 3.2, 20)))
    cov, _ = apply_maps(cov, dims, rotations)
    exact = to_array(decompose(cov, dims))
    assert 30 < exact[6] < 40
    rounded = jnp.asarray(cov, jnp.float32)
    traced = jax.jit(lambda c: decompose(c, dims))(rounded)
    np.testing.assert_allclose(to_array(traced), exact, atol=1e-4)
    np.testing.assert_allclose(to_array(decompose(rounded, dims)), exact, atol=1e-4)


# --- laws


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dims", SHAPES)
def test_atoms_add_up_and_the_union_keeps_its_bounds(measure, dims):
    for seed in range(3):
        p = decompose(system(dims, seed), dims, measure=measure)
        assert float(p.redundancy + p.unique_x) == pytest.approx(float(p.mi_x), abs=1e-12)
        assert float(p.redundancy + p.unique_y) == pytest.approx(float(p.mi_y), abs=1e-12)
        assert float(sum(p[:4])) == pytest.approx(float(p.mi_joint), abs=1e-12)
        assert max(p.mi_x, p.mi_y) - 1e-12 <= p.union <= min(p.mi_x + p.mi_y, p.mi_joint) + 1e-12
        assert sum(p.shares()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_invertible_maps_of_each_variable_change_nothing(measure):
    rng, dims = np.random.default_rng(5), (3, 4, 2)
    cov = system(dims)
    maps = [rng.normal(size=(n, n)) + 2 * np.eye(n) for n in dims]
    rotated, _ = apply_maps(cov, dims, maps)
    pid = decompose((rotated + rotated.T) / 2, dims, measure=measure)
    np.testing.assert_allclose(to_array(pid), to_array(decompose(cov, dims, measure=measure)), atol=1e-10)


@pytest.mark.parametrize("measure", MEASURES)
def test_swapping_the_sources_swaps_their_unique_parts(measure):
    m, x, y = oracle.parts((3, 4, 2))
    cov = system((3, 4, 2))
    order = np.concatenate([m, y, x])
    a = decompose(cov, (3, 4, 2), measure=measure)
    b = decompose(cov[np.ix_(order, order)], (3, 2, 4), measure=measure)
    np.testing.assert_allclose(to_array(b)[[0, 2, 1, 3, 5, 4, 6, 7]], to_array(a), atol=1e-12)


def test_independent_coordinates_change_nothing():
    cov, dims = system((2, 3, 2)), (2, 3, 2)
    widened = np.diag([1, 1, 5, 1, 1, 1, 0.1, 1, 1, 2.0])
    old = np.r_[0:2, 3:6, 7:9]
    widened[old[:, None], old] = cov
    np.testing.assert_allclose(
        to_array(decompose(widened, (3, 4, 3))), to_array(decompose(cov, dims)), atol=1e-12
    )


def test_a_source_independent_of_the_target_gives_nothing_but_synergy():
    cov = oracle.channel_system(np.zeros((2, 2)), np.array([[2.0, 0], [1, 1]]), 0.5 * np.eye(2))
    p = decompose(cov, (2, 2, 2))
    np.testing.assert_allclose([p.redundancy, p.unique_x, p.mi_x], 0, atol=1e-12)
    assert float(p.unique_y) == pytest.approx(float(p.mi_y), abs=1e-12)
    assert float(p.synergy) > 0


def test_broja_equals_mmi_for_a_scalar_target():
    for seed in range(5):
        cov = system((1, 3, 4), seed)
        np.testing.assert_allclose(
            to_array(decompose(cov, (1, 3, 4))),
            to_array(decompose(cov, (1, 3, 4), measure="mmi")),
            atol=1e-11,
        )


@pytest.mark.parametrize("copies", [2, 8, 32])
def test_copies_multiply_every_atom(copies):
    cov, dims, truth = KNOWN["gain 3"]
    many, wide = oracle.independent_copies(np.random.default_rng(0), cov, dims, copies)
    pid = decompose(many, wide)
    for field, value in truth.items():
        assert float(getattr(pid, field)) == pytest.approx(copies * value, rel=1e-9, abs=1e-9), field


@pytest.mark.slow
def test_copies_multiply_every_atom_up_to_1024_dimensions():
    cov, dims, truth = KNOWN["gain 3"]
    many, wide = oracle.independent_copies(np.random.default_rng(0), cov, dims, 512)
    pid = decompose(many, wide)
    for field, value in truth.items():
        assert float(getattr(pid, field)) == pytest.approx(512 * value, rel=1e-9, abs=1e-9), field


def test_a_base_is_a_unit():
    cov = system((2, 2, 2))
    np.testing.assert_allclose(
        to_array(decompose(cov, (2, 2, 2), base=4)), to_array(decompose(cov, (2, 2, 2))) / 2, rtol=1e-14
    )


# --- refusals


def test_refusals():
    with pytest.raises(ValueError, match="measure must be one of broja, mmi, got 'ccs'"):
        decompose(np.eye(3), (1, 1, 1), measure="ccs")
    with pytest.raises(ValueError, match="positive semidefinite"):
        decompose(np.eye(3) - 2 * np.eye(3)[::-1], (1, 1, 1))
    with pytest.raises(ValueError, match="certificate needs finite information"):
        certificate(np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]), (1, 1, 1))
    with pytest.raises(ValueError, match="must have shape"):
        certificate(np.eye(4), (1, 1, 1))

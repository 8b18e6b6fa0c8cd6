"""From covariance to PID: known answers, laws, solvers, singular and infinite systems, gradients, batches."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import block_diag

from pid.gaussian import systems
from pid.measures import PID, certificate, decompose
from pid.measures.decomposition import make_measure
from tests.helpers import pid_oracle as oracle

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "gpid_visible.json").read_text())
KNOWN = oracle.known_answers()
SHAPES = ((1, 1, 1), (2, 2, 2), (1, 6, 9), (4, 8, 3), (10, 3, 3), (5, 5, 5), (3, 10, 12))
MEASURES = ("broja", "mmi")
TWINS = {"broja": oracle.closed_form, "mmi": oracle.mmi}


def system(dims, seed=0):
    return oracle.sample_system(np.random.default_rng(seed), dims)


def numbers(pid):
    return np.array([np.asarray(field) for field in pid])


def mapped(cov, dims, maps):
    """Covariance and dims of (A M, B X, C Y)."""
    whole = block_diag(*maps)
    return whole @ cov @ whole.T, tuple(len(part) for part in maps)


# --- known answers and oracles


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_known_answers(name):
    cov, dims, truth = KNOWN[name]
    found = decompose(cov, dims)
    for field, value in truth.items():
        assert float(getattr(found, field)) == pytest.approx(value, abs=1e-10), field


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_known_answers_in_float32(name):
    cov, dims, truth = KNOWN[name]
    found = jax.jit(lambda c: decompose(c, dims))(jnp.asarray(cov, jnp.float32))
    assert found.union.dtype == jnp.float32
    for field, value in truth.items():
        assert float(getattr(found, field)) == pytest.approx(value, abs=1e-4), field


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dims", SHAPES)
def test_measures_equal_their_plain_twins(measure, dims):
    for seed in range(3):
        cov = system(dims, seed)
        np.testing.assert_allclose(
            numbers(decompose(cov, dims, measure=measure)), TWINS[measure](cov, dims), atol=1e-10
        )


@pytest.mark.parametrize("dims", [(1, 1, 1), (2, 2, 2), (3, 2, 4), (4, 4, 3)])
def test_the_closed_form_is_the_minimum_that_a_solver_finds(dims):
    cov = system(dims, 7)
    union, best = float(decompose(cov, dims).union), oracle.optimal_union(cov, dims)
    assert best.lower - 1e-8 <= union <= best.union + 1e-8
    assert best.union - best.lower < 1e-7


@pytest.mark.parametrize("case", range(len(GOLDEN)))
def test_gpid_agrees_within_what_its_iterations_reach(case):
    """Its joint information carries a ridge of 1e-7, which its synergy inherits."""
    given = GOLDEN[case]
    cov, dims = np.array(given["cov"]), (given["dm"], given["dx"], given["dy"])
    for measure in MEASURES:
        found = decompose(cov, dims, measure=measure)
        for field in ("unique_x", "unique_y", "redundancy"):
            assert float(getattr(found, field)) == pytest.approx(given[measure][field], abs=2e-6), (
                measure,
                field,
            )
        assert float(found.synergy) == pytest.approx(given[measure]["synergy"], abs=1e-5)
    theirs = sum(given["broja"][atom] for atom in ("unique_x", "unique_y", "redundancy"))
    assert float(decompose(cov, dims).union) <= theirs + 1e-6


@pytest.mark.codegen
def test_float32_is_good_to_1e_4_bits_up_to_d_20_and_40_bits():
    rng, dims = np.random.default_rng(3), (20, 20, 20)
    turns = [np.linalg.qr(rng.normal(size=(20, 20)))[0] for _ in range(3)]
    cov = oracle.channel_system(np.diag(rng.uniform(1, 3.2, 20)), np.diag(rng.uniform(1, 3.2, 20)))
    cov, _ = mapped(cov, dims, turns)
    exact = numbers(decompose(cov, dims))
    assert 30 < exact[6] < 40
    rounded = jnp.asarray(cov, jnp.float32)
    traced = jax.jit(lambda c: decompose(c, dims))(rounded)
    np.testing.assert_allclose(numbers(traced), exact, atol=1e-4)
    np.testing.assert_allclose(numbers(decompose(rounded, dims)), exact, atol=1e-4)


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
    turned, _ = mapped(cov, dims, maps)
    found = decompose((turned + turned.T) / 2, dims, measure=measure)
    np.testing.assert_allclose(numbers(found), numbers(decompose(cov, dims, measure=measure)), atol=1e-10)


@pytest.mark.parametrize("measure", MEASURES)
def test_swapping_the_sources_swaps_their_unique_parts(measure):
    m, x, y = oracle.parts((3, 4, 2))
    cov = system((3, 4, 2))
    order = np.concatenate([m, y, x])
    a = decompose(cov, (3, 4, 2), measure=measure)
    b = decompose(cov[np.ix_(order, order)], (3, 2, 4), measure=measure)
    np.testing.assert_allclose(numbers(b)[[0, 2, 1, 3, 5, 4, 6, 7]], numbers(a), atol=1e-12)


def test_independent_coordinates_change_nothing():
    cov, dims = system((2, 3, 2)), (2, 3, 2)
    widened = np.diag([1, 1, 5, 1, 1, 1, 0.1, 1, 1, 2.0])
    old = np.r_[0:2, 3:6, 7:9]
    widened[old[:, None], old] = cov
    np.testing.assert_allclose(
        numbers(decompose(widened, (3, 4, 3))), numbers(decompose(cov, dims)), atol=1e-12
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
            numbers(decompose(cov, (1, 3, 4))), numbers(decompose(cov, (1, 3, 4), measure="mmi")), atol=1e-11
        )


@pytest.mark.parametrize("copies", [2, 8, 32])
def test_copies_multiply_every_atom(copies):
    cov, dims, truth = KNOWN["gain 3"]
    many, wide = oracle.doubled(np.random.default_rng(0), cov, dims, copies)
    found = decompose(many, wide)
    for field, value in truth.items():
        assert float(getattr(found, field)) == pytest.approx(copies * value, rel=1e-9, abs=1e-9), field


@pytest.mark.slow
def test_copies_multiply_every_atom_up_to_1024_dimensions():
    cov, dims, truth = KNOWN["gain 3"]
    many, wide = oracle.doubled(np.random.default_rng(0), cov, dims, 512)
    found = decompose(many, wide)
    for field, value in truth.items():
        assert float(getattr(found, field)) == pytest.approx(512 * value, rel=1e-9, abs=1e-9), field


def test_a_base_is_a_unit():
    cov = system((2, 2, 2))
    np.testing.assert_allclose(
        numbers(decompose(cov, (2, 2, 2), base=4)), numbers(decompose(cov, (2, 2, 2))) / 2, rtol=1e-14
    )


# --- certificates


@pytest.mark.parametrize("dims", [*SHAPES, (10, 10, 10), (30, 30, 30)])
def test_the_coupling_attains_the_union_and_the_bound_meets_it(dims):
    cov = system(dims, 1)
    proof = certificate(cov, dims)
    assert float(proof.primal) == pytest.approx(float(proof.union), abs=1e-8)
    assert float(proof.dual) == pytest.approx(float(proof.union), abs=1e-10)
    assert float(proof.gap) == float(proof.primal - proof.dual)
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
    given_x, given_y = (np.linalg.inv(oracle.conditional(cov, m, source)) for source in (x, y))
    w = proof.directions
    np.testing.assert_allclose(w.T @ given_y @ w, np.eye(4), atol=1e-10)
    np.testing.assert_allclose(w.T @ given_x @ w, np.diag(proof.eigenvalues), atol=1e-10)
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


# --- singular and infinite


def with_copies(cov, dims):
    """Duplicated, combined and constant features in every variable."""
    rng = np.random.default_rng(9)
    maps = [
        np.vstack([np.eye(n), 3 * np.eye(n)[:1], rng.normal(size=(1, n)), np.zeros((1, n))]) for n in dims
    ]
    widened, wide = mapped(cov, dims, maps)
    return (widened + widened.T) / 2, wide


def equal_sources(cov, dims):
    m, x, _ = oracle.parts(dims)
    order = np.concatenate([m, x, x])
    return cov[np.ix_(order, order)], (dims[0], dims[1], dims[1])


@pytest.mark.parametrize("measure", MEASURES)
def test_features_that_repeat_others_change_nothing(measure):
    cov, dims = system((3, 4, 2)), (3, 4, 2)
    np.testing.assert_allclose(
        numbers(decompose(*with_copies(cov, dims), measure=measure)),
        numbers(decompose(cov, dims, measure=measure)),
        atol=1e-10,
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_equal_sources_are_redundant(measure):
    cov, dims = system((3, 4, 2)), (3, 4, 2)
    p = decompose(*equal_sources(cov, dims), measure=measure)
    np.testing.assert_allclose([p.unique_x, p.unique_y, p.synergy], 0, atol=1e-10)
    np.testing.assert_allclose([p.redundancy, p.mi_joint], p.mi_x, atol=1e-10)
    assert float(p.mi_x) == pytest.approx(oracle.mutual_informations(cov, dims).x, abs=1e-10)


def copying(cov, dims, pairs, noise):
    """Coordinate `into` of the sources becomes the target's coordinate `of`, plus independent noise."""
    d = sum(dims)
    read = np.eye(d, d + len(pairs))
    for i, (into, of) in enumerate(pairs):
        read[into] = 0
        read[into, of], read[into, d + i] = 1, noise
    widened = np.eye(d + len(pairs))
    widened[:d, :d] = cov
    return read @ widened @ read.T, dims


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("pairs", [((3, 0),), ((3, 0), (4, 1)), ((7, 1),)], ids=str)
def test_a_copied_target_coordinate_is_infinite_and_the_finite_atoms_are_limits(measure, pairs):
    cov, dims = system((3, 4, 2)), (3, 4, 2)
    exact = numbers(decompose(*copying(cov, dims, pairs, 0.0), measure=measure))
    near = numbers(decompose(*copying(cov, dims, pairs, 1e-5), measure=measure))
    names = [name for name, value in zip(PID._fields, exact, strict=True) if np.isinf(value)]
    source = "x" if pairs[0][0] < 7 else "y"
    assert set(names) == {f"unique_{source}", f"mi_{source}", "mi_joint", "union"}
    assert np.all(near[np.isinf(exact)] > 12)
    np.testing.assert_allclose(exact[np.isfinite(exact)], near[np.isfinite(exact)], atol=1e-4)


def test_both_sources_may_copy_other_coordinates():
    cov, dims = system((3, 4, 2)), (3, 4, 2)
    exact, near = (decompose(*copying(cov, dims, ((3, 0), (7, 1)), noise)) for noise in (0.0, 1e-5))
    assert np.isinf([exact.unique_x, exact.unique_y, exact.union]).all()
    np.testing.assert_allclose([exact.redundancy, exact.synergy], [near.redundancy, near.synergy], atol=1e-4)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_target_known_from_both_is_infinitely_redundant(measure):
    """Given what both copy, the sources tell about the rest of the target what they do without it."""
    cov, dims = system((3, 4, 2)), (3, 4, 2)
    read = np.eye(9)
    read[3] = read[7] = np.eye(9)[0]
    p = decompose(read @ cov @ read.T, dims, measure=measure)
    assert np.isinf([p.redundancy, p.mi_x, p.mi_y, p.mi_joint]).all()
    m, x, y = np.r_[1:3], np.r_[4:7], np.r_[8]
    order = np.concatenate([m, x, y])
    rest = oracle.conditional(cov, order, np.r_[0])
    expected = decompose(rest, (2, 3, 1), measure=measure)
    np.testing.assert_allclose(
        [p.unique_x, p.unique_y, p.synergy],
        [expected.unique_x, expected.unique_y, expected.synergy],
        atol=1e-9,
    )


def test_much_but_finite_information_is_finite():
    cov = np.array([[1.0, 1, 0], [1, 1 + 1e-10, 0], [0, 0, 1]])
    assert float(decompose(cov, (1, 1, 1)).mi_x) == pytest.approx(0.5 * np.log2(1e10), abs=1e-4)


def test_shares_of_nothing_are_nan():
    assert np.isnan(decompose(np.eye(3), (1, 1, 1)).shares()).all()


# --- derivatives


def slope(cov, dims, measure, direction, h=1e-6):
    ahead, behind = (numbers(decompose(cov + s * h * direction, dims, measure=measure)) for s in (1, -1))
    return (ahead - behind) / (2 * h)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dims", [(1, 1, 1), (3, 4, 2), (5, 5, 5)])
def test_gradients_equal_finite_differences(measure, dims, x64):
    cov, rng = system(dims), np.random.default_rng(0)
    scale = np.sqrt(np.diag(cov))
    direction = rng.normal(size=cov.shape) * np.outer(scale, scale)
    direction = direction + direction.T
    gradient = jax.jacrev(lambda c: jnp.stack(decompose(c, dims, measure=measure)))(jnp.asarray(cov))
    found = np.einsum("kij,ij->k", gradient, direction)
    np.testing.assert_allclose(found, slope(cov, dims, measure, direction), rtol=1e-6, atol=1e-6)
    assert np.all(np.abs(found[[0, 4, 5, 6]]) > 1e-3)


@pytest.mark.parametrize("name", ["equal channels, correlation 0.0", "gain 1", "gain 3", "angle pi/2"])
def test_gradients_at_known_systems_are_finite_even_where_eigenvalues_tie(name, x64):
    """At a tie λ = 1 the central difference sees half of each side."""
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
        turned = cov * gain
        if singular == "equal sources":
            order = np.r_[0:3, 3:7, 3:7]
            return turned[np.ix_(order, order)], (3, 4, 4)
        read = block_diag(
            np.eye(3), np.vstack([np.eye(4), 2 * np.eye(4)[:1]]), np.vstack([np.eye(2), np.ones((1, 2))])
        )
        return read @ turned @ read.T, (3, 5, 3)

    def atoms(t):
        return jnp.stack(decompose(*family(t, jnp), measure=measure))

    h = 1e-5
    ahead, behind = (numbers(decompose(*family(0.8 + s * h, np), measure=measure)) for s in (1, -1))
    np.testing.assert_allclose(jax.jacfwd(atoms)(0.8), (ahead - behind) / (2 * h), atol=1e-6)
    assert abs(jax.jacfwd(atoms)(0.8)[4]) > 0.1


# --- batches, traces, compiled programs


@pytest.mark.parametrize("measure", MEASURES)
def test_batches_equal_single_systems_whatever_the_way_they_are_mapped(measure, x64):
    dims = (3, 4, 2)
    covs = np.stack([system(dims, seed) for seed in range(6)]).reshape(2, 3, 9, 9)
    covs[1, 1] = 0
    covs[1, 1, :, :] = np.eye(9)
    one = np.array([[numbers(decompose(c, dims, measure=measure)) for c in row] for row in covs])

    def f(c):
        return jnp.stack(decompose(c, dims, measure=measure), axis=-1)

    at_once = np.stack(decompose(covs, dims, measure=measure), axis=-1)
    np.testing.assert_allclose(at_once, one, atol=1e-13)
    for program in (
        f,
        jax.jit(f),
        jax.vmap(f),
        jax.vmap(jax.vmap(f)),
        jax.jit(jax.vmap(jax.jit(jax.vmap(f)))),
    ):
        np.testing.assert_allclose(program(jnp.asarray(covs)), one, atol=1e-13)
    batched = jax.vmap(jax.vmap(jax.grad(lambda c: decompose(c, dims, measure=measure).unique_x)))(
        jnp.asarray(covs)
    )
    single = jax.grad(lambda c: decompose(c, dims, measure=measure).unique_x)(jnp.asarray(covs[0, 2]))
    np.testing.assert_allclose(batched[0, 2], single, atol=1e-12)


def test_the_batched_form_of_accelerators_equals_the_other(x64):
    """Singular systems among regular ones included."""
    dims = (3, 6, 2)
    regular, _ = mapped(system((3, 4, 2)), (3, 4, 2), [np.eye(3), np.eye(6, 4) + np.eye(6, 4, -2), np.eye(2)])
    covs = np.stack([system(dims, 1), regular, system(dims, 2)])
    for measure in MEASURES:
        kind = make_measure(measure, dims, np.float64)
        together = systems._outcomes(kind, jnp.asarray(covs)).values
        alone = jnp.stack([systems.evaluate(kind, jnp.asarray(c)).values for c in covs])
        np.testing.assert_allclose(together, alone, atol=1e-12)


def test_one_program_serves_all_systems_of_a_shape():
    dims = (2, 3, 5)
    decompose(system(dims), dims)
    size = systems._compiled._cache_size  # pyright: ignore[reportAttributeAccessIssue]
    before = size()
    for seed in range(3):
        decompose(system(dims, seed), dims)
    assert size() == before


def test_arrays_come_back_as_they_came():
    cov = system((2, 2, 2))
    assert isinstance(decompose(cov, (2, 2, 2)).union, np.ndarray)
    assert decompose(cov.astype(np.float32), (2, 2, 2)).union.dtype == np.float64
    assert decompose(cov.tolist(), (2, 2, 2)).union.shape == ()
    ours = decompose(jnp.asarray(cov, jnp.float32), (2, 2, 2))
    assert isinstance(ours.union, jax.Array)
    assert ours.union.dtype == jnp.float32


VMAPPED = """
import jax, jax.numpy as jnp, numpy as np
from pid.measures import decompose
jax.config.update("jax_enable_x64", True)
h = np.random.default_rng(0).normal(size=(192, 40, 20)) * 0.17
covs = np.zeros((192, 60, 60))
covs[:, :20, :20] = np.eye(20)
covs[:, 20:, :20], covs[:, :20, 20:] = h, h.transpose(0, 2, 1)
covs[:, 20:, 20:] = h @ h.transpose(0, 2, 1) + np.eye(40)
f = jax.jit(jax.vmap(lambda c: decompose(c, (20, 20, 20)).unique_x))
g = jax.jit(jax.vmap(jax.grad(lambda c: decompose(c, (20, 20, 20)).unique_x)))
for _ in range(5):
    assert bool(jnp.isfinite(f(covs)).all()) and bool(jnp.isfinite(g(covs[:32])).all())
print("done")
"""


@pytest.mark.slow
def test_vmapped_systems_do_not_hang():
    """A vmapped graph of several LAPACK calls may block for ever on CPU, so it runs apart, with a time limit."""
    root = Path(__file__).resolve().parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", VMAPPED], capture_output=True, text=True, timeout=180, cwd=root, check=False
    )
    assert done.stdout.strip() == "done", done.stderr


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

"""The measures on tables of the literature, and laws that hold for every table."""

import numpy as np
import pytest

from pid import discrete
from tests.pid.discrete.tables import AND_INFORMATION, LOG_3, TABLES, WORDS, random_tables

H_AND = 2 - 0.75 * LOG_3  # entropy of the output of an AND gate
CCS_AND = np.log2(4 / 3) / 4
KNOWN = {
    # examples of Bertschinger et al. 2014 and Griffith & Koch 2014
    ("broja", "and"): (AND_INFORMATION, 0, 0, 0.5),
    ("broja", "or"): (AND_INFORMATION, 0, 0, 0.5),
    ("broja", "xor"): (0, 0, 0, 1),
    ("broja", "rdn"): (1, 0, 0, 0),
    ("broja", "unq"): (0, 1, 1, 0),
    ("broja", "unq_x"): (0, 1, 0, 0),
    ("broja", "sum"): (0.5, 0, 0, 1),
    ("broja", "rdn_xor"): (1, 0, 0, 1),
    ("broja", "pw_unq"): (0.5, 0, 0, 0.5),
    # Williams & Beer 2010: the two-bit copy has one bit of redundancy, which is the known defect of I_min
    ("i_min", "and"): (AND_INFORMATION, 0, 0, 0.5),
    ("i_min", "xor"): (0, 0, 0, 1),
    ("i_min", "rdn"): (1, 0, 0, 0),
    ("i_min", "unq"): (1, 0, 0, 1),
    ("i_min", "rdn_xor"): (1, 0, 0, 1),
    ("i_min", "pw_unq"): (0.5, 0, 0, 0.5),
    ("mmi", "and"): (AND_INFORMATION, 0, 0, 0.5),
    ("mmi", "xor"): (0, 0, 0, 1),
    ("mmi", "unq"): (1, 0, 0, 1),
    ("mmi", "unq_x"): (0, 1, 0, 0),
    # AND and gband as in the tests of dit, an independent implementation; the others follow by hand from Ince 2017
    ("ccs", "and"): (
        CCS_AND,
        AND_INFORMATION - CCS_AND,
        AND_INFORMATION - CCS_AND,
        0.5 - AND_INFORMATION + CCS_AND,
    ),
    ("ccs", "xor"): (0, 0, 0, 1),
    ("ccs", "rdn"): (1, 0, 0, 0),
    ("ccs", "unq"): (0, 1, 1, 0),
    ("ccs", "sum"): (0, 0.5, 0.5, 0.5),
    ("ccs", "rdn_xor"): (1, 0, 0, 1),
    ("ccs", "pw_unq"): (0, 0.5, 0.5, 0),
    ("ccs", "gband"): (H_AND, 0.5, 0.5, 0),
}
MEASURES = ("broja", "i_min", "mmi", "ccs")
STACK = np.stack(list(TABLES.values()))


@pytest.fixture(scope="module")
def known():
    return {measure: discrete.decompose(STACK, measure=measure) for measure in MEASURES}


@pytest.fixture(scope="module")
def random():
    tables = random_tables((4, 4, 4), 100, zeros=0.4)
    return tables, {measure: discrete.decompose(tables, measure=measure) for measure in MEASURES}


@pytest.mark.parametrize(("measure", "name"), KNOWN)
def test_atoms_of_the_literature(known, measure, name):
    index = list(WORDS).index(name)
    atoms = [float(field[index]) for field in known[measure][:4]]
    np.testing.assert_allclose(atoms, KNOWN[measure, name], atol=2e-8)


@pytest.mark.parametrize("measure", MEASURES)
def test_atoms_add_up_to_the_three_informations(random, measure):
    pid = random[1][measure]
    np.testing.assert_allclose(pid.redundancy + pid.unique_x, pid.mi_x, atol=1e-12)
    np.testing.assert_allclose(pid.redundancy + pid.unique_y, pid.mi_y, atol=1e-12)
    np.testing.assert_allclose(sum(pid[:4]), pid.mi_joint, atol=1e-12)
    np.testing.assert_allclose(sum(pid[:3]), pid.union, atol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_atoms_are_nonnegative_except_those_of_ccs(random, measure):
    lowest = min(np.min(field) for field in random[1][measure][:4])
    assert lowest >= 0 or (measure == "ccs" and lowest < -1e-3)


def test_measures_are_ordered(random):
    """BROJA has the largest unique information that only the pairs decide: R ≤ MMI, and I_min ≤ MMI."""
    pids = random[1]
    assert np.all(pids["broja"].redundancy <= pids["mmi"].redundancy + 1e-12)
    assert np.all(pids["i_min"].redundancy <= pids["mmi"].redundancy + 1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_order_of_values_changes_nothing(random, measure):
    tables, pids = random
    rng = np.random.default_rng(1)
    renumbered = tables[:, rng.permutation(4)][:, :, rng.permutation(4)][..., rng.permutation(4)]
    tolerance = 1e-9 if measure in ("broja", "ccs") else 1e-13
    for new, old in zip(discrete.decompose(renumbered, measure=measure), pids[measure], strict=True):
        np.testing.assert_allclose(new, old, atol=tolerance)


@pytest.mark.parametrize("measure", MEASURES)
def test_exchanged_sources_exchange_the_unique_atoms(random, measure):
    tables, pids = random
    swapped, pid = discrete.decompose(np.swapaxes(tables, -1, -2), measure=measure), pids[measure]
    for new, old in zip(swapped[:4], (pid.redundancy, pid.unique_y, pid.unique_x, pid.synergy), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-8)


def test_redundancy_with_an_equal_source_is_its_information():
    """Self-redundancy: y = x gives R = I(T;X) and nothing else, for every measure."""
    pair = random_tables((4, 4, 1), 8)[..., 0]
    for measure in MEASURES:
        pid = discrete.decompose(pair[..., None] * np.eye(4), measure=measure)
        np.testing.assert_allclose(pid.redundancy, pid.mi_joint, atol=1e-7)
        np.testing.assert_allclose(pid.synergy, 0, atol=1e-7)


def test_broja_of_independent_systems_adds_up():
    """Additivity: t = (t1, t2), x = (x1, x2), y = (y1, y2) of two independent 2 x 2 x 2 tables."""
    one, two = random_tables((2, 2, 2), 2, seed=3)
    product = np.einsum("abc,def->adbecf", one, two).reshape(4, 4, 4)
    padded = np.zeros((3, 4, 4, 4))
    padded[0, :2, :2, :2], padded[1, :2, :2, :2], padded[2] = one, two, product
    for field in discrete.decompose(np.concatenate([padded] * 3)):
        np.testing.assert_allclose(field[0] + field[1], field[2], atol=2e-8)


def test_unique_information_is_broja_s_for_a_degraded_source():
    """Y is a noisy copy of X (Blackwell order): U_y = 0 and R = I(T;Y)."""
    rng = np.random.default_rng(5)
    pair, channel = rng.dirichlet(np.ones(16), size=9).reshape(9, 4, 4), rng.dirichlet(np.ones(4), size=4)
    pid = discrete.decompose(pair[..., None] * channel)
    np.testing.assert_allclose(pid.unique_y, 0, atol=2e-8)
    np.testing.assert_allclose(pid.redundancy, pid.mi_y, atol=2e-8)


def test_base_changes_the_unit():
    for nats, bits in zip(
        discrete.decompose(STACK, measure="mmi", base=np.e),
        discrete.decompose(STACK, measure="mmi"),
        strict=True,
    ):
        np.testing.assert_allclose(nats, bits * np.log(2), atol=1e-14)


def test_leading_axes_are_batch_axes():
    pid = discrete.decompose(STACK[:6].reshape(2, 3, 4, 4, 4), measure="i_min")
    assert pid.redundancy.shape == (2, 3)
    assert discrete.decompose(STACK[0], measure="i_min").redundancy.shape == ()
    assert discrete.decompose(np.zeros((0, 4, 4, 4)), measure="broja").union.shape == (0,)

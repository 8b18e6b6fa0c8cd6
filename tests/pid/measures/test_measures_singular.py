"""Decompositions of singular covariances and of infinite information."""

import numpy as np
import pytest

from pid.measures import decompose
from tests.helpers import pid_oracle as oracle
from tests.pid.measures.cases import MEASURES, equal_sources, system, to_array, with_copies


@pytest.mark.parametrize("measure", MEASURES)
def test_features_that_repeat_others_change_nothing(measure):
    cov, dims = system((3, 4, 2)), (3, 4, 2)
    np.testing.assert_allclose(
        to_array(decompose(*with_copies(cov, dims), measure=measure)),
        to_array(decompose(cov, dims, measure=measure)),
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
    """Replace source coordinates by target coordinates plus independent noise; pairs are (source, target)."""
    d = sum(dims)
    mixing = np.eye(d, d + len(pairs))
    for i, (source, target) in enumerate(pairs):
        mixing[source] = 0
        mixing[source, target], mixing[source, d + i] = 1, noise
    widened = np.eye(d + len(pairs))
    widened[:d, :d] = cov
    return mixing @ widened @ mixing.T, dims


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("pairs", [((3, 0),), ((3, 0), (4, 1)), ((7, 1),)], ids=str)
def test_a_copied_target_coordinate_is_infinite_and_the_finite_atoms_are_limits(measure, pairs):
    cov, dims = system((3, 4, 2)), (3, 4, 2)
    pid = decompose(*copying(cov, dims, pairs, 0.0), measure=measure)
    exact = to_array(pid)
    near = to_array(decompose(*copying(cov, dims, pairs, 1e-5), measure=measure))
    names = [name for name, value in zip(pid._fields, exact, strict=True) if np.isinf(value)]
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
    """Unique atoms and synergy are those about the rest of the target, given the coordinate that both sources copy."""
    cov, dims = system((3, 4, 2)), (3, 4, 2)
    mixing = np.eye(9)
    mixing[3] = mixing[7] = np.eye(9)[0]
    p = decompose(mixing @ cov @ mixing.T, dims, measure=measure)
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

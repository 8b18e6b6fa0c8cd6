"""Estimates from counts and labels: bias, intervals, null, flags, and independence of the names of labels."""

import jax
import numpy as np
import pytest

import pid
from pid import discrete
from pid.discrete.count_estimates import information_bias, sample_flags, shuffle_target
from pid.discrete.symbol_counts import check_counts
from tests.pid.discrete.tables import random_tables

KEY = jax.random.key(0)
MEASURES = ("broja", "i_min", "mmi", "ccs")


def to_array(result):
    return np.array([float(field) for field in result])


def ends(interval):
    """Return both ends of an interval as arrays."""
    assert interval is not None
    return to_array(interval.low), to_array(interval.high)


def labels(n=400, seed=0, noise=0.1):
    """Return t, x, y of two values each, t mostly x."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 2, size=(2, n))
    return np.where(rng.random(n) < noise, 1 - x, x), x, y


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("debias", ["miller_madow", "shuffle", "none"])
def test_a_value_is_inside_its_interval_and_the_atoms_add_up(measure, debias):
    counts = np.random.default_rng(1).multinomial(40, np.full(8, 1 / 8)).reshape(2, 2, 2)
    result = discrete.from_counts(counts, measure=measure, debias=debias, key=KEY)
    value, (low, high) = to_array(result.pid), ends(result.ci)
    assert np.all(low <= value)
    assert np.all(value <= high)
    atoms = value[:4]
    np.testing.assert_allclose(
        [atoms[0] + atoms[1], atoms[0] + atoms[2], atoms.sum()], value[4:7], atol=1e-12
    )
    if measure != "ccs":
        assert np.min(low) >= 0
    if debias == "none":
        np.testing.assert_allclose(value, to_array(result.plugin), atol=1e-12)


def test_renumbered_labels_give_the_same_estimate_to_the_last_bit():
    target, x, y = labels()
    first = discrete.estimate(target, x, y, key=KEY)
    renamed = discrete.estimate(
        np.where(target == 1, "a", "b"),
        7 - 3 * x,
        [("left", 1.5) if value else "right" for value in y],
        key=KEY,
    )
    np.testing.assert_array_equal(to_array(first.pid), to_array(renamed.pid))
    np.testing.assert_array_equal(ends(first.ci), ends(renamed.ci))
    np.testing.assert_array_equal(ends(first.null), ends(renamed.null))


def test_renumbered_counts_give_the_same_table():
    """Also where counts are tied: the canonical order is one of the table, not of its axes."""
    rng = np.random.default_rng(0)
    ties = np.zeros((4, 4, 4), int)
    ties[range(4), range(4), [1, 2, 3, 0]] = 5
    for counts in (ties, rng.integers(0, 3, (4, 4, 4)), rng.integers(0, 2, (3, 5, 4))):
        shuffled = counts
        for axis in range(3):
            shuffled = np.take(shuffled, rng.permutation(counts.shape[axis]), axis)
        np.testing.assert_array_equal(check_counts(counts), check_counts(shuffled))


def test_one_bit_is_one_bit():
    """A label of two values that x copies, beside a source without information."""
    rng = np.random.default_rng(0)
    for seed in range(3):
        x = np.random.default_rng(10 + seed).integers(0, 2, 2000)
        result = discrete.estimate(x, x, rng.integers(0, 2, 2000), key=KEY)
        assert abs(result.pid.mi_joint - 1) < 0.02
        assert abs(result.pid.unique_x - 1) < 0.02
        assert ends(result.ci)[0][1] > 0.95


def test_miller_madow_counts_what_occurs():
    """By hand: K_t = K_x = K_y = 2, K_tx = 2, K_ty = 4, K_xy = K_txy = 4, n = 8."""
    table = np.zeros((2, 2, 2), int)
    table[0, 0], table[1, 1] = 2, 2
    np.testing.assert_allclose(information_bias(table[None])[0], np.array([-1, 1, -1]) / 16)


def test_correction_removes_most_of_the_bias():
    """Mean of 40 tables of 120 samples against the law: all eight fields."""
    law = random_tables((2, 2, 2), 1, seed=4)[0]
    truth = to_array(discrete.decompose(law))
    rng = np.random.default_rng(2)
    results = [
        discrete.from_counts(
            rng.multinomial(120, law.ravel()).reshape(2, 2, 2), draws=50, shuffles=0, key=KEY
        )
        for _ in range(40)
    ]
    plugin = np.mean([to_array(result.plugin) for result in results], 0) - truth
    corrected = np.mean([to_array(result.pid) for result in results], 0) - truth
    assert abs(corrected[6]) < 0.7 * abs(plugin[6])
    assert np.max(np.abs(corrected)) < 0.02


def test_null_contains_independent_data_and_not_dependent_data():
    rng = np.random.default_rng(3)
    free = discrete.from_counts(rng.multinomial(200, np.full(8, 1 / 8)).reshape(2, 2, 2), key=KEY)
    assert free.pid.mi_joint <= 2 * ends(free.null)[1][6]
    tied = discrete.estimate(*labels(), key=KEY)
    assert tied.pid.unique_x > 10 * ends(tied.null)[1][1]


def test_shuffles_keep_both_margins():
    counts = np.random.default_rng(0).integers(0, 9, (2, 2, 2))
    shuffled = shuffle_target(counts, 20, np.random.default_rng(0))
    assert np.all(shuffled.sum((2, 3)) == counts.sum((1, 2)))
    assert np.all(shuffled.sum(1) == counts.sum(0))


def test_draws_are_optional_and_keyed():
    target, x, y = labels()
    plain = discrete.estimate(target, x, y, draws=0, shuffles=0, key=KEY)
    assert plain.ci is None
    assert plain.null is None
    assert plain.n == 400
    first, again, other = (discrete.estimate(target, x, y, key=jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(ends(first.ci), ends(again.ci))
    assert np.any(ends(first.ci)[0] != ends(other.ci)[0])


def test_few_samples_are_flagged():
    tiny = np.zeros((3, 5, 5), int)
    tiny[np.random.default_rng(0).integers(0, 3, 20), np.arange(20) % 5, np.arange(20) // 4] = 1
    flags = sample_flags(tiny, np.ones(8), np.ones(8), "miller_madow")
    assert [(flag.weight, flag.kind) for flag in flags] == [("unusable", "too few samples for the table")]
    some = np.full((2, 2, 2), 2)
    doubtful = sample_flags(some, np.full(8, 0.5), np.full(8, 0.1), "miller_madow")
    assert [flag.weight for flag in doubtful] == ["doubt"]
    uncorrected = sample_flags(np.full((2, 4, 4), 1), np.full(8, 0.5), np.full(8, 0.5), "none")
    assert [flag.kind for flag in uncorrected] == ["bias not corrected"]
    assert sample_flags(np.full((2, 2, 2), 100), np.ones(8), np.ones(8), "none") == []
    assert all(isinstance(flag, pid.Flag) for flag in flags)


def test_labels_of_any_kind_are_counted_in_order_of_occurrence():
    table = discrete.count_table([True, False], np.array([[1, 2], [1, 3]]), [("a", 1), "b"])
    assert table.target == (True, False)
    assert table.x == ((1, 2), (1, 3))
    assert table.y == (("a", 1), "b")
    assert table.counts[0, 0, 0] == table.counts[1, 1, 1] == 1

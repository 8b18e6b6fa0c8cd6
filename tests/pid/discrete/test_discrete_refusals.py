"""Refusals of bad tables, counts, labels and bins, and the binning of ties."""

import jax
import numpy as np
import pytest

from pid import discrete

KEY = jax.random.key(0)
UNIFORM = np.full((2, 2, 2), 1 / 8)


def with_entry(value):
    table = UNIFORM.copy()
    table[0, 0, 0] = value
    return table


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (with_entry(np.nan), "p must be finite, got 1 entries"),
        (with_entry(-0.1), "no negative entries, got -0.1"),
        (with_entry(0.5), r"p must sum to 1 .*, got 1.375; divide p by"),
        (np.full((2, 2, 2), 3), "got 24; these look like counts: pass them to from_counts"),
        (np.full((2, 2), 1 / 4), "three axes .*, got shape"),
        (np.zeros((2, 0, 2)), "no empty axis"),
        (UNIFORM * (1 + 0j), "real numbers, got dtype complex128"),
        (np.ma.masked_less(with_entry(0), 0.1), "no masked entries"),
    ],
)
def test_bad_tables_are_refused(table, words):
    for function in (discrete.decompose, discrete.certificate):
        with pytest.raises(ValueError, match=words):
            function(table)


def test_bad_choices_are_refused():
    with pytest.raises(ValueError, match="measure must be one of broja, i_min, mmi, ccs, got 'pm'"):
        discrete.decompose(UNIFORM, measure="pm")
    with pytest.raises(ValueError, match="base must be"):
        discrete.decompose(UNIFORM, base=1)
    with pytest.raises(ValueError, match="outside jit"):
        jax.jit(discrete.decompose)(UNIFORM)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (UNIFORM, "counts must be whole numbers.*probabilities to decompose"),
        (np.full((2, 2, 2), -1), "0 or more, got entries from -1"),
        (np.zeros((2, 2, 2), int), "2 samples at least, got 0"),
        (np.ones((1, 2, 2, 2), int), "one table of three axes"),
    ],
)
def test_bad_counts_are_refused(counts, words):
    with pytest.raises(ValueError, match=words):
        discrete.from_counts(counts, key=KEY)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"debias": "jackknife"}, "debias must be one of miller_madow, shuffle, none"),
        ({"draws": 5}, "draws must be 0 .none. or a whole number from 20, got 5"),
        ({"shuffles": True}, "shuffles must be 0"),
        ({"level": 1.0}, "level must be between 0 and 1"),
        ({"measure": "pm"}, "measure must be one of"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        discrete.from_counts(np.full((2, 2, 2), 4), key=KEY, **options)


def test_a_key_is_a_key_or_an_integer_seed():
    table = np.full((2, 2, 2), 4)
    with pytest.raises(ValueError, match="key must be one random key of JAX or an integer seed, got 'seed'"):
        discrete.from_counts(table, key="seed")
    by_seed, by_key = (discrete.from_counts(table, key=key, draws=20, shuffles=0) for key in (0, KEY))
    assert by_seed.ci == by_key.ci


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([0, 1, 1], "equally many samples"),
        ([0.5, np.nan, 1, 2], "target must have no missing values, got 1"),
        (["a", None, "b", "c"], "no missing values"),
        ([{1}, {2}, {1}, {2}], "hashable labels, got a set"),
        (np.zeros((4, 2, 2)), r"rows \(n, d\)"),
        ([], "one sample at least"),
    ],
)
def test_bad_labels_are_refused(target, words):
    with pytest.raises(ValueError, match=words):
        discrete.count_table(target, [0, 1, 0, 1], [0, 0, 1, 1])


def test_continuous_labels_are_referred_to_binning():
    x = np.random.default_rng(0).normal(size=100)
    with pytest.raises(ValueError, match=r"got 100 in 100 samples; pass bin_equal_counts\(x, bins\)"):
        discrete.count_table(x > 0, x, x > 1)


@pytest.mark.parametrize("binning", [discrete.bin_equal_counts, discrete.bin_equal_width])
def test_bins_ascend_and_never_split_equal_values(binning):
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=100), rng.integers(0, 6, 100), np.repeat([1e308, -1e308, 0], 5)):
        bins = binning(values, 3)
        order = np.argsort(values, kind="stable")
        assert np.all(np.diff(bins[order]) >= 0)
        assert all(len(set(bins[values == value])) == 1 for value in np.unique(values))
        assert bins.min() == 0
        assert bins.max() == 2


def test_bins_without_ties_hold_equal_counts():
    for n, bins in ((100, 3), (101, 4), (7, 7), (1000, 10)):
        counts = np.bincount(discrete.bin_equal_counts(np.random.default_rng(n).normal(size=n), bins))
        assert len(counts) == bins
        assert np.ptp(counts) <= 1


@pytest.mark.parametrize(
    ("values", "bins", "words"),
    [
        ([1, 2, 3], 4, "number of different values .3., got 4; pass fewer bins"),
        ([1, 1, 1], 2, "x is constant"),
        ([1, 2, 3], True, "whole number"),
        ([1, np.inf], 2, "finite, got 1"),
        ([[1, 2], [3, 4]], 2, "one-dimensional"),
        (["a", "b"], 2, "array of numbers"),
    ],
)
def test_bad_bins_are_refused(values, bins, words):
    for binning in (discrete.bin_equal_counts, discrete.bin_equal_width):
        with pytest.raises(ValueError, match=words):
            binning(values, bins)

"""Kinds of variables are detected, contradictions refused, and what a Gaussian model misreads is flagged."""

import numpy as np
import pytest

from pid.features.kinds import check_kinds, detect_kinds, flags_of_kinds

N = 900


def columns(seed):
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=N)
    return {
        "normal": (normal, "continuous"),
        "normal, two decimals": (normal.round(2), "continuous"),
        "normal, one decimal": (normal.round(1), "continuous"),
        "whole numbers of deviation 10": ((10 * normal).round(), "continuous"),
        "waiting times, two decimals": (rng.exponential(size=N).round(2), "continuous"),
        "with an outlier": (np.where(np.arange(N) == 5, 1e6, normal), "continuous"),
        "constant": (np.ones(N), "continuous"),
        "many counts": (rng.poisson(100, N), "continuous"),
        "bytes": (np.r_[0, rng.integers(0, 256, N - 1)], "count"),
        "few counts": (rng.poisson(3, N), "count"),
        "binary": (rng.integers(0, 2, N), "categorical"),
        "binary, not whole": (rng.choice([0.2, 0.7], N), "categorical"),
        "three labels": (rng.integers(0, 3, N), "categorical"),
        "ten labels": (rng.integers(0, 10, N), "categorical"),
        "labels from seven on": (
            7 + rng.permutation(6)[rng.choice(6, N, p=[0.35, 0.25, 0.2, 0.1, 0.06, 0.04])],
            None,
        ),
        "five ratings": (1 + rng.choice(5, N, p=[0.1, 0.2, 0.4, 0.2, 0.1]), "ordinal"),
        "quantized": (np.round(2 * normal) / 2, "ordinal"),
        "zero or amount": (np.where(rng.random(N) < 0.3, 0, rng.exponential(size=N)), "mixed"),
        "rectified": (np.maximum(normal, 0), "mixed"),
    }


CASES = [name for name, (_, kind) in columns(0).items() if kind]
CONTINUOUS = [name for name, (_, kind) in columns(0).items() if kind == "continuous"]


@pytest.mark.parametrize("name", CASES)
def test_kinds_are_detected_in_19_of_20_data_sets(name):
    outcomes = [
        detect_kinds(column[:, None]) == (kind,) for column, kind in (columns(s)[name] for s in range(20))
    ]
    assert sum(outcomes) >= 19


def test_renumbering_skewed_labels_leaves_most_of_them_labels():
    kinds = [detect_kinds(columns(s)["labels from seven on"][0][:, None])[0] for s in range(20)]
    assert kinds.count("categorical") >= 10
    assert "continuous" not in kinds


@pytest.mark.parametrize("hint", ["category", "object", "str", "bool"])
def test_the_dtype_decides_where_it_says_more(hint):
    assert detect_kinds(np.arange(40.0).reshape(20, 2), hint) == ("categorical",) * 2
    assert detect_kinds(np.arange(20.0)[:, None], "ordered") == ("ordinal",)
    assert detect_kinds(np.ones((5, 1), dtype=bool)) == ("categorical",)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("variable", ["target", "x"])
def test_continuous_columns_are_silent(name, variable):
    column = columns(0)[name][0][:, None]
    assert flags_of_kinds(variable, column, detect_kinds(column)) == []


@pytest.mark.parametrize(
    ("name", "variable", "weight"),
    [
        ("binary", "target", "unusable"),
        ("ten labels", "target", "unusable"),
        ("ten labels", "x", "doubt"),
        ("binary", "x", "doubt"),
        ("five ratings", "target", "doubt"),
        ("few counts", "target", "note"),
        ("quantized", "x", "note"),
        ("rectified", "x", "doubt"),
    ],
)
def test_the_weight_follows_from_kind_and_ties(name, variable, weight):
    column = columns(0)[name][0][:, None]
    [flag] = flags_of_kinds(variable, column, detect_kinds(column))
    assert (flag.weight, flag.kind) == (weight, "kind of variable")
    assert flag.startswith(f"{variable}: ")


def test_columns_of_one_kind_share_a_flag():
    rng = np.random.default_rng(0)
    array = np.column_stack([rng.integers(0, 3, (N, 2)), rng.normal(size=(N, 3))])
    [flag] = flags_of_kinds("x", array, detect_kinds(array))
    assert "2 of 5 columns" in flag


def test_labels_called_ordinal_are_usable():
    labels = columns(0)["ten labels"][0][:, None]
    assert [flag.weight for flag in flags_of_kinds("target", labels, ("ordinal",))] == ["note"]


def test_values_called_continuous_are_flagged_if_they_are_few():
    ratings = columns(0)["five ratings"][0][:, None]
    assert [flag.weight for flag in flags_of_kinds("x", ratings, ("continuous",))] == ["doubt"]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        (
            "binary",
            "continuous",
            "got 2 in column 0 of x; pass kinds={'x': 'categorical'}",
        ),
        ("normal", "count", "whole number and not negative, got a smallest value of -"),
        ("waiting times, two decimals", "count", "got fractions in column 0"),
        ("normal", "categorical", "at least 2 samples per label"),
        ("normal", "mixed", "at least 1 % of the samples at one value"),
        ("normal", "numeric", "must be among continuous, ordinal, categorical, count, mixed, got 'numeric'"),
        ("normal", ("ordinal", "ordinal"), "got 2 for the 1 columns"),
    ],
)
def test_kinds_that_contradict_the_values_are_refused(name, kind, words):
    with pytest.raises(ValueError, match=words.replace("{", r"\{").replace("}", r"\}")):
        check_kinds("x", kind, columns(0)[name][0][:, None])


@pytest.mark.parametrize("name", CASES)
def test_what_is_detected_is_accepted(name):
    column = columns(0)[name][0][:, None]
    assert check_kinds("x", detect_kinds(column), column) == detect_kinds(column)

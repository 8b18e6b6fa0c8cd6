"""Paired differences: by hand, against NumPy, and how often their intervals contain the truth."""

import math

import numpy as np
import pytest

from experiments.run.report.paired import Difference, compare_hits, mean_difference, mean_ratio, sign_test


def hits_of(counts):
    """Hits of two models, from the numbers of examples that both, only a, only b, and none get right."""
    both, only_a, only_b, none = counts
    a = np.r_[np.ones(both), np.ones(only_a), np.zeros(only_b), np.zeros(none)].astype(bool)
    b = np.r_[np.ones(both), np.zeros(only_a), np.ones(only_b), np.zeros(none)].astype(bool)
    return a, b


def test_the_interval_of_one_seed_is_wald_with_half_an_example_in_each_cell():
    a, b = hits_of((40, 12, 5, 43))
    difference = compare_hits([a], [b])
    n, wins, losses = 102, 12.5, 5.5  # by hand
    half = 1.959964 * math.sqrt(wins + losses - (wins - losses) ** 2 / n) / n
    assert difference.value == pytest.approx(0.07)
    assert difference.low == pytest.approx(7 / 102 - half, rel=1e-6)
    assert difference.high == pytest.approx(7 / 102 + half, rel=1e-6)
    assert (difference.sign, compare_hits([b], [a]).low) == (0, pytest.approx(-difference.high))


def test_equal_models_differ_by_0_within_an_interval_around_it():
    a, _ = hits_of((40, 0, 0, 60))
    difference = compare_hits([a], [a])
    assert difference.value == 0
    assert -0.03 < difference.low < 0 < difference.high < 0.03


def test_seeds_that_differ_give_the_t_interval_where_examples_do_not_matter():
    random = np.random.default_rng(0)
    p = np.array([0.3, 0.5, 0.6])[:, None]
    a, b = (random.random((3, 400_000)) < x for x in (p, np.full((3, 1), 0.4)))
    by_seed = a.mean(1) - b.mean(1)
    half = 4.302653 * by_seed.std(ddof=1) / math.sqrt(3)  # Student's t of two degrees of freedom
    difference = compare_hits(list(a), list(b))
    assert difference.value == pytest.approx(by_seed.mean())
    assert difference.high - difference.value == pytest.approx(half, rel=1e-3)


def test_seeds_that_agree_by_chance_do_not_make_the_interval_narrow():
    a, b = hits_of((20, 3, 1, 26))
    rows = [np.random.default_rng(seed).permutation(50) for seed in (0, 1)]
    difference = compare_hits([a[row] for row in rows], [b[row] for row in rows])  # +0.04 with both seeds
    assert difference.low < 0 < difference.high


def draws(random, seeds, examples, *, seed_sd, example_sd):
    """Hits of two equally good models, with effects of seeds and of examples."""
    effects = example_sd * random.standard_normal((2, 1, examples)) + seed_sd * random.standard_normal(
        (2, seeds, 1)
    )
    rest = 0.5 * random.standard_normal((2, seeds, examples))
    return random.standard_normal(examples) + effects + rest > 0


@pytest.mark.parametrize(
    ("seeds", "examples", "seed_sd", "example_sd"),
    [(1, 60, 0, 0), (1, 300, 0, 0.5), (2, 200, 0.2, 0.5), (3, 200, 0, 0), (3, 200, 0.2, 0.5), (5, 200, 0, 1)],
)
def test_intervals_contain_the_truth_in_95_percent(seeds, examples, seed_sd, example_sd):
    random = np.random.default_rng(1)
    pairs = (draws(random, seeds, examples, seed_sd=seed_sd, example_sd=example_sd) for _ in range(600))
    inside = [compare_hits(a, b).sign == 0 for a, b in pairs]
    # three standard errors of 600 intervals below 95 %; floors make some of them wider than that
    assert np.mean(inside) > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 600)


def test_intervals_find_a_difference_that_is_there():
    random = np.random.default_rng(2)
    latent = random.standard_normal((2, 5, 2000))
    a, b = latent[0] + random.standard_normal(2000) > 0, latent[1] + random.standard_normal(2000) > 0.3
    assert compare_hits(a, b).sign == 1
    assert compare_hits(b, a).sign == -1


def test_other_seeds_or_examples_are_refused():
    a, b = hits_of((4, 1, 1, 4))
    with pytest.raises(ValueError, match=r"same seeds and examples, got arrays \(1, 10\) and \(2, 10\)"):
        compare_hits([a], [b, b])


def test_means_of_pairs_and_ratios_have_students_interval():
    values = [1.0, 2.0, 4.0]
    half = 4.302653 * np.std(values, ddof=1) / math.sqrt(3)
    np.testing.assert_allclose(
        mean_difference(values), np.array([7 / 3, 7 / 3 - half, 7 / 3 + half]), rtol=1e-6
    )
    np.testing.assert_allclose(mean_ratio(np.exp(values)), np.exp(mean_difference(values)), rtol=1e-12)
    assert math.isnan(mean_difference([1.0]).low)


def test_a_difference_is_never_formatted_without_its_interval():
    assert Difference(0.008, -0.004, 0.02).format(100) == "+0.8 [-0.4, +2.0]"
    assert Difference(-0.008).format(100) == "-0.8 [-]"
    assert [Difference(1, 0.1, 2).sign, Difference(1, -0.1, 2).sign, Difference(1).sign] == [1, 0, 0]


# Shares: several labels of an example.


def test_the_interval_of_shares_is_that_of_their_mean():
    random = np.random.default_rng(0)
    a, b = (random.integers(0, 5, 200) / 4 for _ in range(2))
    difference = compare_hits([a.astype(np.float32)], [b.astype(np.float32)])
    half = 1.959964 * np.std(a - b, ddof=1) / math.sqrt(200)
    assert difference == pytest.approx(
        (np.mean(a - b), np.mean(a - b) - half, np.mean(a - b) + half), rel=1e-6
    )
    # over seeds, by the mean squares of a two-way table
    x = random.integers(-4, 5, (3, 50)) / 4
    several = compare_hits(list(np.maximum(x, 0)), list(np.maximum(-x, 0)))
    assert several.value == pytest.approx(x.mean())
    by_seed = 4.302653 * x.mean(1).std(ddof=1) / math.sqrt(3)
    assert several.high - several.value >= by_seed * (1 - 1e-6)
    whole = compare_hits([np.ones(4)], [np.zeros(4)])  # no share: the interval of right and wrong examples
    assert whole == compare_hits([np.ones(4, bool)], [np.zeros(4, bool)])


@pytest.mark.parametrize(("wins", "losses"), [(9, 1), (1, 9), (5, 5), (12, 5), (3, 0), (0, 0)])
def test_the_sign_test_is_the_exact_binomial_one(wins, losses):
    a, b = hits_of((40, wins, losses, 43))
    n, k = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n  # by hand
    assert sign_test([a], [b]) == pytest.approx(min(1.0, 2 * tail))
    halves = [np.where(x, 1.0, 0.25).astype(np.float32) for x in (a, b)]
    assert sign_test([halves[0]], [halves[1]]) == sign_test([a], [b])


def test_the_sign_of_an_example_is_that_of_its_sum_over_seeds():
    third = np.float32(1) / np.float32(3)
    variant = [np.array([third, 1, 0, 1]), np.array([third, 0, 0, 1]), np.array([third, 1, 0, 0])]
    baseline = [np.array([1.0, 0, 0, 0]), np.array([0.0, 0, 0, 0]), np.array([0.0, 0, 1, 0])]
    # 0 up to rounding, then +2, -1, +2: two of three
    assert sign_test(variant, baseline) == pytest.approx(1.0)
    assert sign_test([variant[0][1:]], [baseline[0][1:]]) == pytest.approx(0.5)  # two of two

"""Estimates of information: by neighbors against known answers and another program, by bins against counting."""

import math
from collections import Counter

import numpy as np
import pytest

from experiments import stability
from experiments.stability.analyses import bottleneck
from experiments.stability.analyses.neighbor_information import (
    continuous_information,
    distances,
    label_information,
)
from pid.estimators.checks.neighbors import neighbor_mutual_information


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_neighbors_measure_the_information_of_correlated_gaussians(rho):
    rng = np.random.default_rng(0)
    estimates = []
    for _ in range(6):
        a, noise = rng.normal(size=(2, 500, 1))
        estimates.append(continuous_information(a, rho * a + math.sqrt(1 - rho**2) * noise))
    exact = -0.5 * math.log2(1 - rho**2)
    assert abs(np.mean(estimates) - exact) < 0.1  # three standard errors of six estimates


def test_neighbors_agree_with_the_trees_of_pid():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(300, 2))
    b = np.hstack([a[:, :1] + rng.normal(size=(300, 1)), rng.normal(size=(300, 2))])
    for k in (1, 4):
        tree = neighbor_mutual_information(a, b, neighbors=k)
        np.testing.assert_allclose(continuous_information(a, b, neighbors=k), tree, rtol=1e-6)


def test_distances_are_largest_coordinates():
    a = np.random.default_rng(2).normal(size=(7, 3))
    expected = np.array([[max(abs(x - y)) for y in a] for x in a])
    np.fill_diagonal(expected, np.inf)
    np.testing.assert_array_equal(distances(a), expected)


def test_information_about_labels_is_that_of_a_mixture_of_gaussians():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 2000)
    apart, close, equal = (shift * labels + rng.normal(size=2000) for shift in (30.0, 2.0, 0.0))
    x = np.linspace(-8, 10, 20001)
    p = [np.exp(-((x - shift) ** 2) / 2) / math.sqrt(2 * math.pi) for shift in (0, 2)]
    mean = (p[0] + p[1]) / 2
    exact = sum(0.5 * np.trapezoid(q * np.log2(q / mean), x) for q in p)
    entropy = -sum(q * math.log2(q) for q in np.bincount(labels) / 2000)
    for values, answer in ((apart, entropy), (close, exact), (equal, 0.0)):
        assert abs(label_information(values[:, None], labels) - answer) < 0.06


def test_a_label_of_one_sample_is_left_out():
    rng = np.random.default_rng(4)
    a, labels = rng.normal(size=(60, 1)), np.repeat([0, 1], 30)
    without = label_information(a, labels)
    far = np.vstack([a, [[1e3]]])
    np.testing.assert_allclose(label_information(far, np.append(labels, 7)), without, rtol=1e-6)


def test_more_neighbors_than_samples_are_refused():
    with pytest.raises(ValueError, match="fewer than the samples"):
        continuous_information(np.zeros((4, 1)), np.zeros((4, 1)), neighbors=4)


def test_the_entropy_of_bins_is_that_of_counting():
    symbols = np.random.default_rng(5).integers(0, 5, (3, 40))
    for row, bits in zip(symbols, bottleneck.binned_entropy(symbols), strict=True):
        counts = Counter(row.tolist()).values()
        np.testing.assert_allclose(bits, -sum(c / 40 * math.log2(c / 40) for c in counts))
    np.testing.assert_allclose(
        bottleneck.binned_information(symbols, symbols), bottleneck.binned_entropy(symbols)
    )
    constant = np.zeros_like(symbols)
    np.testing.assert_allclose(bottleneck.binned_information(symbols, constant), 0, atol=1e-12)


def test_bins_have_equal_width_and_the_largest_value_is_in_the_last():
    scores = np.array([[0.0], [0.24], [0.26], [0.9], [1.0]])
    assert bottleneck.bin_codes(scores, 4).tolist() == [0, 0, 1, 3, 3]
    assert bottleneck.bin_codes(np.ones((3, 2)), 4).tolist() == [0, 0, 0]
    two = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert len(set(bottleneck.bin_codes(two, 3).tolist())) == 4


def test_components_have_the_share_of_their_variance():
    rng = np.random.default_rng(6)
    states = rng.normal(size=(2000, 3)) @ np.diag([4.0, 2.0, 0.5])
    scores = bottleneck.scaled_components(1e20 * states, 2)
    np.testing.assert_allclose(scores.std(0), [1, 0.5], rtol=0.05)
    np.testing.assert_array_equal(bottleneck.scaled_components(np.ones((9, 4)), 2), 0)


def plane(input_bits, accuracy):
    """A result with one estimator whose two seeds have these values by snapshot."""
    shape = (1, 2, len(input_bits), 2, 2, 2)
    bits = np.broadcast_to(np.asarray(input_bits, float)[None, None, :, None, :, None], shape)
    right = np.broadcast_to(np.asarray(accuracy, float)[None, :, None, None], shape[1:5])
    return bottleneck.Bottleneck(("4 bins",), (0, 5, 9), 64, 4, bits, bits, 0 * bits, right)


def test_compression_is_the_change_since_the_labels_are_learned():
    result = plane([[1, 1], [5, 6], [2, 2.5]], [0.3, 0.95, 1.0])
    np.testing.assert_array_equal(result.learned(), [1, 1])
    np.testing.assert_array_equal(result.compression(0), [-3, -3.5])
    assert bottleneck.verdict(result)[0].verdict == "supported here"
    grows = plane([[1, 1], [5, 6], [8, 9.1]], [0.3, 0.95, 1.0])
    assert bottleneck.verdict(grows)[0].verdict == "the opposite here: it grows"
    untaught = plane([[1, 1], [5, 6], [2, 2.5]], [0.3, 0.3, 0.3])
    assert bottleneck.verdict(untaught)[0].verdict == "the labels were not learned"


def test_the_default_sizes_are_valid():
    assert stability.Config().analyses.components <= stability.Config().analyses.width

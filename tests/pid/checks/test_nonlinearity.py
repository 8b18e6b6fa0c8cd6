"""Dependence that a Gaussian cannot see is flagged with both numbers; a Gaussian copula is not flagged."""

from itertools import product

import numpy as np
import pytest
from scipy.special import ndtr

from pid.estimators.checks import independence
from pid.estimators.checks.independence import (
    NUM_COSINES,
    RANK_ERROR,
    gaussianize_radius,
    interaction_test,
    linear_residual,
    neighbor_test,
    pair_test,
)
from pid.estimators.checks.neighbors import neighbor_information, neighbor_mutual_information
from pid.estimators.checks.nonlinearity import check_gaussian_copula, nonlinearity_flags
from pid.features.normal_scores import normal_scores

WARPS = [lambda z: z, np.exp, lambda z: z**3, lambda z: np.sinh(2 * z), lambda z: np.round(z, 2)]


def gaussian_information(a, s):
    correlation = np.corrcoef(np.hstack([normal_scores(a), normal_scores(s)]).T)
    m = a.shape[1]
    parts = [correlation[:m, :m], correlation[m:, m:], correlation]
    target, source, joint = (np.linalg.slogdet(part)[1] for part in parts)
    return max(0.0, 0.5 * (target + source - joint) / np.log(2) - m * s.shape[1] / len(a) / 2 / np.log(2))


@pytest.mark.parametrize("few_values", [False, True])
def test_pairs_in_single_precision_are_the_correlations_of_cosines(few_values):
    """One pair by its definition in double precision, with whitened cosines of the source."""
    rng = np.random.default_rng(0)
    source = np.round(rng.normal(size=300)) if few_values else rng.normal(size=300)
    a, s = (normal_scores(v[:, None])[:, 0] for v in (source + rng.normal(size=300), source))
    frequencies = np.pi * np.arange(1, NUM_COSINES + 1)[:, None]
    rho = a @ s / 300
    of_rest, of_source = (
        cosines - cosines.mean(axis=1, keepdims=True)
        for cosines in (np.cos(frequencies * ndtr(v)) for v in ((a - rho * s) / np.sqrt(1 - rho**2), s))
    )
    basis = np.linalg.svd(of_source / np.linalg.norm(of_source, axis=1, keepdims=True), full_matrices=False)
    directions = basis[2][basis[1] ** 2 > 1e-4]
    z = np.sqrt(300) * directions @ (of_rest / np.linalg.norm(of_rest, axis=1, keepdims=True)).T
    inflation = 1 + RANK_ERROR[2] * rho**2 / (1 - rho**2)
    result = pair_test(a[:, None], s[:, None])
    assert result.statistics[0, 0] == pytest.approx(np.sum(z**2) / inflation, rel=0.01)


def test_pairs_with_little_noise_are_the_same_in_double_precision(monkeypatch):
    rng = np.random.default_rng(0)
    s = rng.normal(size=(300, 2))
    a, s = (normal_scores(v) for v in (s[:, :1] + 0.2 * rng.normal(size=(300, 1)), s))
    single = pair_test(a, s)
    monkeypatch.setattr(independence, "MIN_SINGLE_NOISE", 1.0)
    np.testing.assert_allclose(single.statistics, pair_test(a, s).statistics, rtol=1e-3)


def flags_of(target, x, y):
    mi = (
        gaussian_information(target, x),
        gaussian_information(target, y),
        gaussian_information(target, np.hstack([x, y])),
    )
    return nonlinearity_flags(target, x, y, mi=mi)


def gaussian(n, m, d, seed, gain):
    rng = np.random.default_rng(seed)
    s = rng.normal(size=(n, 2 * d))
    a = gain * s @ rng.normal(size=(2 * d, m)) / np.sqrt(2 * d) + rng.normal(size=(n, m))
    warped = [
        np.column_stack([WARPS[rng.integers(len(WARPS))](c / c.std()) for c in v.T])
        for v in (a, s[:, :d], s[:, d:])
    ]
    return tuple(warped)


def situation(name, n, seed):
    rng = np.random.default_rng(seed)
    x, y, noise = rng.normal(size=(3, n, 1))
    wide_x, wide_y = rng.normal(size=(2, n, 8))
    angle = rng.uniform(0, 2 * np.pi, (n, 1))
    sign = rng.choice([-1.0, 1.0], (n, 1))
    cells, column = rng.integers(0, 2, (n, 1)), rng.uniform(0, 4, (n, 1))
    rows = rng.uniform(0, 4, (n, 1))
    along = wide_x.sum(axis=1, keepdims=True) / np.sqrt(8)
    return {
        "parabola": (x**2 + 0.3 * noise, x, y),
        "noisy parabola": (x**2 + noise, x, y),
        "ring": (np.sin(angle) + 0.1 * noise, np.cos(angle) + 0.1 * y, x),
        "sine": (np.sin(3 * x) + 0.3 * noise, x, y),
        "modulus": (np.abs(x) + 0.3 * noise, x, y),
        "scaled noise": (x * noise, x, y),
        "growing noise": (np.exp(0.7 * x) * noise, x, y),
        "two regimes": (sign * x + 0.2 * noise, x, y),
        "checkerboard": (2 * cells + np.floor(column) % 2 + rng.uniform(size=(n, 1)), column, y),
        "product of signs": (np.sign(x * y) + 0.3 * noise, x, y),
        "binary product of signs": (np.sign(x * y), x, y),
        "checkerboard of both": ((np.floor(column) + np.floor(rows)) % 2 + 0.2 * noise, column, rows),
        "parabola along a direction": (along**2 + 0.3 * noise, wide_x, wide_y),
        "line and parabola": (wide_x[:, :4] + wide_x[:, 4:] ** 2 + rng.normal(size=(n, 4)), wide_x, wide_y),
    }[name]


SINGLE = (
    "parabola",
    "noisy parabola",
    "ring",
    "sine",
    "modulus",
    "scaled noise",
    "growing noise",
    "two regimes",
)
WIDE = ("checkerboard", "parabola along a direction", "line and parabola")
JOINT = ("product of signs", "binary product of signs", "checkerboard of both")


@pytest.mark.parametrize("name", [*SINGLE, *WIDE, *JOINT])
@pytest.mark.parametrize("seed", range(2))
def test_nonlinear_dependence_is_unusable_and_both_numbers_are_stated(name, seed):
    [flag] = flags_of(*situation(name, 900, seed))
    assert (flag.weight, flag.kind) == ("unusable", "nonlinear dependence")
    assert "Gaussian" in flag
    assert "nearest neighbors" in flag
    assert "gaussianize='flow'" in flag
    assert ("on x and y together" if name in JOINT else "on x in") in flag


@pytest.mark.parametrize(
    ("n", "m", "d"), [(200, 1, 1), (200, 4, 8), (200, 8, 64), (900, 1, 1), (900, 4, 8), (4000, 2, 4)]
)
@pytest.mark.parametrize("gain", [0, 1, 10])
def test_warped_gaussian_data_are_silent(n, m, d, gain):
    repeats = 5 if n * d * m < 40_000 else 1
    assert [flags_of(*gaussian(n, m, d, seed, gain)) for seed in range(repeats)] == [[]] * repeats


@pytest.mark.parametrize("rounding", [0.5, 0.1, 0.01])
def test_rounding_and_outliers_are_silent(rounding):
    x, y, noise = np.random.default_rng(1).normal(size=(3, 900, 2))
    data = [np.round(v / rounding) * rounding for v in (x + y + noise, x, y)]
    for v in data:
        v[::450] = 1e5
    assert flags_of(*data) == []


def test_labels_that_depend_on_nothing_are_silent():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 900, 3))
    binary = rng.integers(0, 2, (900, 1)).astype(float)
    assert flags_of(binary, x, y) == []
    assert flags_of(x[:, :1] + rng.normal(size=(900, 1)), np.hstack([x, binary]), y) == []


@pytest.mark.parametrize("freedom", [3, 5])
@pytest.mark.parametrize("gain", [0, 1])
def test_a_shared_scale_is_called_heavy_tails(freedom, gain):
    rng = np.random.default_rng(freedom)
    x, y, noise = rng.normal(size=(3, 900, 8)) / np.sqrt(rng.chisquare(freedom, (900, 1)) / freedom)
    [flag] = flags_of(gain * (x + y) + noise, x, y)
    assert (flag.weight, flag.kind) == ("doubt", "heavy tails")


def test_series_are_silent_with_their_effective_size():
    flags = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        series = rng.normal(size=(900, 3, 4))
        for i in range(1, 900):
            series[i] = 0.9 * series[i - 1] + np.sqrt(1 - 0.9**2) * series[i]
        target, x, y = series.transpose(1, 0, 2)
        flags += nonlinearity_flags(
            target, x, y, mi=(0.0, 0.0, 0.0), effective_size=900 * (1 - 0.81) / (1 + 0.81)
        )
    assert flags == []


def test_monotone_maps_change_nothing():
    target, x, y = situation("noisy parabola", 400, 0)
    plain = check_gaussian_copula(target, x, y)
    assert check_gaussian_copula(np.exp(target), x**3, np.arctan(y)) == plain


def test_a_constant_or_copied_column_does_not_disturb():
    x, y, noise = np.random.default_rng(3).normal(size=(3, 400, 2))
    constant = np.hstack([x, np.ones((400, 1))])
    assert nonlinearity_flags(x + noise, np.hstack([x, x]), y, mi=(1.0, 0.0, 1.0)) == []
    assert nonlinearity_flags(x + noise, constant, y, mi=(1.0, 0.0, 1.0)) == []
    assert nonlinearity_flags(x, x, y, mi=(np.inf, 0.0, np.inf)) == []


def test_a_weak_nonlinearity_is_less_than_unusable():
    x, y, noise = np.random.default_rng(4).normal(size=(3, 4000, 1))
    [flag] = flags_of(2 * x + 0.35 * x**2 + noise, x, y) or [None]
    assert flag is not None
    assert flag.weight in ("doubt", "note")


def test_residuals_are_orthogonal_to_the_source_and_of_unit_variance():
    s, noise = np.random.default_rng(5).normal(size=(2, 300, 4))
    a = normal_scores(3 * s + noise)
    rest, ratio = linear_residual(a, normal_scores(s))
    assert np.abs(rest.T @ normal_scores(s) / 300).max() < 0.02  # studentized: orthogonal up to the leverages
    np.testing.assert_allclose(rest.std(axis=0), 1)
    assert np.all((ratio > 5) & (ratio < 13))


def correlate(a, b):
    return float(np.corrcoef(a, b)[0, 1] * len(a) ** 0.5)


def test_the_largest_correlation_of_pairs_in_double_precision():
    a, s = (normal_scores(v) for v in np.random.default_rng(8).normal(size=(2, 400, 3)))
    a = a + 0.5 * s**2
    a = (a - a.mean(axis=0)) / a.std(axis=0)

    def cosines(z):
        return np.sqrt(2) * np.cos(np.arange(1, 6)[:, None] * np.pi * ndtr(z))

    largest = []
    for column, source in product(a.T, s.T):
        rho = column @ source / 400
        unit = cosines(source) - cosines(source).mean(axis=1, keepdims=True)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        values, vectors = np.linalg.eigh(unit @ unit.T)
        symmetric = vectors / np.sqrt(values) @ vectors.T @ unit
        rest = cosines((column - rho * source) / np.sqrt(1 - rho**2))
        error = np.sqrt(1 + RANK_ERROR[2] * rho**2 / (1 - rho**2))
        largest += [abs(correlate(u, v)) / error for u, v in product(symmetric, rest)]
    assert abs(pair_test(a, s).largest - max(largest)) < 0.01


def test_the_largest_correlation_of_products_of_columns():
    s, rest = np.random.default_rng(9).normal(size=(2, 300, 3))
    ratio = np.array([0.5, 2.0, 0.1])
    first_s, first_r = (np.cos(np.pi * ndtr(v)) for v in (s, rest))
    second_s, second_r = (np.cos(2 * np.pi * ndtr(v)) for v in (s, rest))
    pairs = [(0, 1), (0, 2), (1, 2)]
    quadratic = [*second_s.T, *(first_s[:, i] * first_s[:, j] for i, j in pairs)]
    largest = [
        abs(correlate(first_r[:, i], q)) / np.sqrt(1 + RANK_ERROR[0] * ratio[i])
        for i in range(3)
        for q in quadratic
    ]
    of_residual = [
        *((second_r[:, i], ratio[i]) for i in range(3)),
        *((first_r[:, i] * first_r[:, j], max(ratio[i], ratio[j])) for i, j in pairs),
    ]
    for r, own in of_residual:
        for q in (*first_s.T, *quadratic):
            largest.append(abs(correlate(r, q)) / np.sqrt(1 + RANK_ERROR[1] * own))
    np.testing.assert_allclose(interaction_test(rest, ratio, s).largest, max(largest), rtol=1e-6)


def test_p_values_of_independent_data_are_at_least_uniform():
    rng = np.random.default_rng(6)
    p_values = []
    for _ in range(120):
        a, s = rng.normal(size=(300, 2)), rng.normal(size=(300, 4))
        rest, ratio = linear_residual(normal_scores(a), normal_scores(s))
        p_values.append((pair_test(a, s).p_value, interaction_test(rest, ratio, s).p_value))
    below = np.mean(np.array(p_values) < 0.1, axis=0)
    assert np.all(below < 0.1 + 3 * np.sqrt(0.1 * 0.9 / 120))


def test_an_elliptical_law_becomes_gaussian():
    rng = np.random.default_rng(7)
    z = rng.normal(size=(2000, 6)) / np.sqrt(rng.chisquare(3, (2000, 1)))
    a, s = gaussianize_radius(z[:, :2] / z[:, :2].std(axis=0), z[:, 2:] / z[:, 2:].std(axis=0))
    kurtosis = np.mean(np.hstack([a, s]) ** 4, axis=0)
    np.testing.assert_allclose(kurtosis, 3, atol=0.6)


def test_neighbors_of_independent_residuals_are_not_alike():
    p_values = []
    for seed in range(60):
        s, rest = np.random.default_rng(seed).normal(size=(2, 200, 3))
        p_values.append(neighbor_test(rest, np.zeros(3), s, (1, 2)).p_value)
    assert np.mean(np.array(p_values) < 0.05) <= 0.1
    assert np.median(p_values) > 0.3


def test_many_coordinates_are_not_searched_for_neighbors():
    s, rest = np.random.default_rng(0).normal(size=(2, 200, 8))
    assert neighbor_test(rest, np.zeros(8), s, (4, 4)).p_value == 1


def test_the_statistic_of_neighbors_is_morans():
    rng = np.random.default_rng(0)
    s, rest = np.linalg.qr(rng.normal(size=(60, 2)))[0] * 60**0.5, rng.normal(size=(60, 1))
    distance = np.linalg.norm(s[:, None] - s[None], axis=2)
    w = (np.argsort(np.argsort(distance, axis=1), axis=1) <= 6).astype(float) - np.eye(60)
    w = (w + w.T) / 2
    theta = np.pi * ndtr(rest)
    scores = []
    for f in (np.cos(theta), np.cos(2 * theta)):
        f = (f - f.mean()) / np.linalg.norm(f - f.mean())
        scores.append(float((60 * f.T @ w @ f + 6)[0, 0]) / np.sqrt(2 * np.trace(w @ w)))
    test = neighbor_test(rest, np.zeros(1), s, (1, 1))
    assert test.largest == pytest.approx(max(scores), abs=1e-9)


@pytest.mark.parametrize("rho", [0, 0.6, 0.9])
def test_nearest_neighbors_find_the_information_of_a_gaussian(rho):
    a, noise = np.random.default_rng(8).normal(size=(2, 2000, 1))
    b = rho * a + np.sqrt(1 - rho**2) * noise
    assert abs(neighbor_mutual_information(a, b) + 0.5 * np.log2(1 - rho**2)) < 0.06


def test_nearest_neighbors_agree_with_their_definition():
    a, b = np.random.default_rng(9).normal(size=(2, 40, 2))
    k, n = 3, 40
    da, db = (np.abs(v[:, None] - v[None]).max(axis=-1) for v in (a, b))
    radius = np.sort(np.maximum(da, db), axis=1)[:, k]
    harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, n + 1))])  # ψ(j) = H(j-1) - γ
    counts = [(d < radius[:, None]).sum(axis=1) - 1 for d in (da, db)]
    nats = harmonic[k - 1] + harmonic[n - 1] - sum(harmonic[c].mean() for c in counts)
    assert abs(neighbor_mutual_information(a, b, neighbors=k) - nats / np.log(2)) < 1e-6


def test_nearest_neighbors_serve_labels():
    rng = np.random.default_rng(10)
    labels = rng.integers(0, 2, (1000, 1))
    assert abs(neighbor_mutual_information(labels, 6 * labels + rng.normal(size=(1000, 1))) - 1) < 0.02


def test_nearest_neighbors_refuse_more_neighbors_than_samples():
    with pytest.raises(ValueError, match="pass neighbors=4"):
        neighbor_mutual_information(np.zeros((3, 1)), np.zeros((3, 1)), neighbors=3)


def test_information_beyond_the_gaussian_one_is_near_zero_on_gaussian_data():
    target, x, y = gaussian(900, 4, 8, 0, 1)
    mi = (0.3, 0.2, 0.7)
    gains = np.array(neighbor_information(target, x, y, mi=mi)) - mi
    assert np.all(np.abs(gains) < 0.06)


def test_information_of_a_ring():
    target, x, y = situation("ring", 2000, 0)
    information = neighbor_information(target, x, y, mi=(0.0, 0.0, 0.0))
    assert abs(information.mi_x - 1.19) < 0.2
    assert information.mi_joint >= information.mi_x
    assert information.mi_y < 0.05

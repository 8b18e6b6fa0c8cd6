"""Blocks, circular shifts, groups, lagged columns: by hand, as laws, and through `estimate` on known series."""

from typing import Any

import jax
import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov
from scipy.signal import lfilter

import pid
from pid.estimators import bootstrap
from pid.features.autocorrelation import autocovariances, blocks_of, group_covariances, inflation
from pid.features.resampling import Sampling, bootstrap_weights, embed, group_samples, null_orders
from tests.pid.gaussian_samples import KEY, PLAIN, to_array

SERIES: dict[str, Any] = {
    "ci": pid.Bootstrap(100, kind="paired", block="auto"),
    "null": pid.Shuffle(20, kind="circular"),
}


def autoregressive(rng, n, d, phi):
    return np.asarray(lfilter([1], [1, -phi], rng.normal(size=(n + 200, d)), axis=0))[200:]


def independent_series(seed, phi=0.9, n=900, d=4):
    rng = np.random.default_rng(seed)
    return tuple(autoregressive(rng, n, d, phi) for _ in range(3))


def estimate(*samples, **choices) -> Any:
    return pid.estimate(*samples, **PLAIN, **choices, key=KEY)


def subjects(seed, count=90, rows=10, share=0.5, d=4):
    """Independent target, x and y, each with a part that a subject's rows share."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(count), rows)
    own = rng.normal(size=(3, count * rows, d))
    return tuple(np.sqrt(share) * rng.normal(size=(3, count, d))[:, label] + np.sqrt(1 - share) * own), label


# --- indices


def test_a_block_is_a_run_of_neighbors_on_the_circle():
    weights = np.asarray(bootstrap_weights(KEY, 12, 50, Sampling(block=4)))
    assert np.all(weights.sum(axis=1) == 12)
    runs = np.array([np.roll(np.arange(12) < 4, s) for s in range(12)], float)
    for row in weights:
        assert any(
            np.allclose(row, runs[a] + runs[b] + runs[c])
            for a in range(12)
            for b in range(12)
            for c in range(12)
        )


def test_blocks_of_one_resample_single_samples():
    indices = np.asarray(jax.random.randint(KEY, (60,), 0, 20)).reshape(3, 20)
    counts = [np.bincount(row, minlength=20) for row in indices]
    np.testing.assert_array_equal(bootstrap_weights(KEY, 20, 3), counts)


def test_whole_groups_are_resampled():
    groups = group_samples(["a", "b", "a", "c", "c", "c"], 6)
    weights = np.asarray(bootstrap_weights(KEY, 6, 40, Sampling(groups=groups)))
    np.testing.assert_allclose(weights.sum(axis=1), 6)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 3], weights[:, 5])
    counts = weights[:, [0, 1, 3]] / weights[:, [0, 1, 3]].sum(axis=1, keepdims=True) * 3
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-6)


@pytest.mark.parametrize("double", [False, True])
def test_orders_are_uniform_permutations(double):
    with jax.enable_x64(double):
        orders = np.asarray(null_orders(KEY, 3, 6000))
    assert np.all(np.sort(orders, axis=1) == np.arange(3))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    np.testing.assert_allclose(counts, 1000, atol=4 * (6000 * 5 / 36) ** 0.5)


def test_circular_orders_shift_by_at_least_the_minimum():
    orders = np.asarray(null_orders(KEY, 30, 200, Sampling(min_shift=7)))
    assert np.all((orders - np.arange(30) - orders[:, :1]) % 30 == 0)
    assert set(orders[:, 0].tolist()) == set(range(7, 24))


def test_groups_of_equal_size_are_permuted_exactly():
    label = np.array([2, 0, 1, 1, 0, 2])
    groups = group_samples(label, 6)
    for order in np.asarray(null_orders(KEY, 6, 30, Sampling(groups=groups))):
        assert sorted(order) == list(range(6))
        partners = [set(label[order[label == g]]) for g in range(3)]
        assert all(len(p) == 1 for p in partners)


def test_a_group_meets_one_group_of_another_size():
    label = np.repeat([0, 1, 2], [2, 3, 5])
    for order in np.asarray(null_orders(KEY, 10, 30, Sampling(groups=group_samples(label, 10)))):
        partners = [label[order[label == g]] for g in range(3)]
        assert sorted(int(p[0]) for p in partners) == [0, 1, 2]
        assert all(np.all(p == p[0]) for p in partners)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((4, 1)), r"shape \(4,\), got \(4, 1\)"),
        ([1.0, 2.0, np.nan, 1.0], "1 that are missing"),
        (["a"] * 4, "at least two"),
    ],
)
def test_labels_of_groups_are_checked(labels, words):
    with pytest.raises(ValueError, match=words):
        group_samples(labels, 4)


def test_embedded_rows_hold_the_past():
    series = np.arange(12).reshape(6, 2)
    np.testing.assert_array_equal(embed(series, [1, 3]), np.concatenate([series[2:5], series[:3]], axis=1))
    np.testing.assert_array_equal(embed(series[:, 0], 0), series[:, :1])
    for lags in ([], [-1], [6]):
        with pytest.raises(ValueError, match="lags are at least one number from 0 to n - 1 = 5"):
            embed(series, lags)


# --- transfer entropy of a VAR(1)


COUPLING = np.array([[0.5, 0.1, 0, 0], [0, 0.4, 0, 0], [0.4, 0.2, 0.3, 0.1], [0, -0.3, 0, 0.5]])
"""z_t = A z_{t-1} + noise with z = (x, y), two coordinates each: x drives y."""


def transfer_entropy(atoms):
    return float(atoms.unique_x + atoms.synergy)


def exact_transfer_entropy():
    """½ log₂ of the determinants of the covariances of y_t given the past of y, and given the past of both."""
    cov = solve_discrete_lyapunov(COUPLING, np.eye(4))
    lagged = COUPLING @ cov  # E z_t z_{t-1}ᵀ
    given_y = cov[2:, 2:] - lagged[2:, 2:] @ np.linalg.solve(cov[2:, 2:], lagged[2:, 2:].T)
    return 0.5 * np.linalg.slogdet(given_y)[1] / np.log(2), cov, lagged


def test_transfer_entropy_is_unique_information_and_synergy(x64):
    exact, cov, lagged = exact_transfer_entropy()
    joint = np.block([[cov[2:, 2:], lagged[2:]], [lagged[2:].T, cov]])
    assert transfer_entropy(pid.decompose(joint, (2, 2, 2))) == pytest.approx(exact, abs=1e-9)


def test_transfer_entropy_from_samples():
    exact, _, _ = exact_transfer_entropy()
    rng = np.random.default_rng(0)
    z = np.zeros((6000, 4))
    for t in range(1, len(z)):
        z[t] = COUPLING @ z[t - 1] + rng.normal(size=4)
    x, y = z[:, :2], z[:, 2:]
    result = pid.estimate(embed(y, 0)[1:], embed(x, 1), embed(y, 1), **PLAIN, ci=None, null=None, key=KEY)
    assert transfer_entropy(result.pid) == pytest.approx(exact, abs=0.03)


# --- effective number of samples


@pytest.mark.parametrize("phi", [0.5, 0.9, -0.9])
def test_inflation_of_independent_series_is_bartletts(phi):
    z = autoregressive(np.random.default_rng(1), 20000, 6, phi)
    ratio = inflation(autocovariances(z), np.arange(2), np.arange(2, 6)).ratio
    assert ratio == pytest.approx((1 + phi**2) / (1 - phi**2), rel=0.1)


def test_independent_samples_are_not_inflated():
    z = np.random.default_rng(0).normal(size=(2000, 6))
    assert inflation(autocovariances(z), np.arange(2), np.arange(2, 6)).ratio == pytest.approx(1, abs=0.03)
    assert blocks_of(0.0 ** np.arange(50), 900) == (1, 1.0)


def test_copies_of_samples_count_once():
    z = np.tile(np.random.default_rng(0).normal(size=(500, 6)), (3, 1))
    gamma, pairs = group_covariances(z, np.tile(np.arange(500), 3))
    assert inflation(gamma, np.arange(2), np.arange(2, 6), pairs).ratio == pytest.approx(3, rel=0.01)


# --- through `estimate`


def informations(results):
    return np.mean([[float(r.pid.mi_x), float(r.pid.mi_joint)] for r in results], axis=0)


def test_the_bias_of_a_series_is_that_of_its_effective_number():
    """Mean of 12 independent systems: 0.22 bits without blocks, and less than half of it with them."""
    naive, series = (
        [estimate(*independent_series(seed), **options) for seed in range(12)]
        for options in ({"ci": None, "null": None}, {**SERIES, "null": None})
    )
    assert informations(naive)[1] > 0.18
    assert np.all(informations(series) < 0.1)
    assert sum(float(r.ci.low.mi_joint) > 0 for r in series) <= 2


def test_blocks_widen_the_intervals_and_the_null_of_a_series():
    samples = independent_series(0)
    paired = estimate(*samples, ci=pid.Bootstrap(100, kind="paired"), null=pid.Shuffle(20))
    blocks = estimate(*samples, **SERIES)
    width = [float(r.ci.high.mi_x - r.ci.low.mi_x) for r in (paired, blocks)]
    assert width[1] > 1.3 * width[0]
    assert float(blocks.null.high.mi_joint) > 4 * float(paired.null.high.mi_joint)
    assert blocks.resampling.scheme.startswith("blocks of ")
    assert blocks.n == 900


def test_groups_take_the_bias_of_repeated_measurements_away():
    naive, grouped = [], []
    for seed in range(10):
        samples, label = subjects(seed)
        naive.append(estimate(*samples, ci=None, null=None))
        grouped.append(estimate(*samples, ci=pid.Bootstrap(100), groups=label, null=None))
    assert informations(naive)[1] > 0.03
    assert informations(grouped)[1] < 0.02
    assert sum(float(r.ci.low.mi_joint) > 0 for r in grouped) <= 2
    assert grouped[0].resampling.kind == "paired"
    assert grouped[0].resampling.scheme.startswith("groups ")


def test_the_null_of_groups_keeps_them():
    samples, label = subjects(0, share=0.9)
    rows, groups = (estimate(*samples, ci=None, groups=g) for g in (None, label))
    assert float(groups.null.high.mi_joint) > 4 * float(rows.null.high.mi_joint)


def test_groups_of_one_sample_change_little():
    rng = np.random.default_rng(0)
    x, y, noise = rng.normal(size=(3, 400, 2))
    plain, grouped = (
        estimate(x + y + noise, x, y, ci=pid.Bootstrap(200, kind="paired"), groups=groups)
        for groups in (None, np.arange(400))
    )
    np.testing.assert_allclose(to_array(plain.pid), to_array(grouped.pid), atol=1e-3)
    np.testing.assert_allclose(to_array(plain.ci.high), to_array(grouped.ci.high), atol=0.05)


def test_copies_with_one_group_each_have_the_intervals_of_the_originals():
    rng = np.random.default_rng(0)
    x, y, noise = rng.normal(size=(3, 300, 2))
    samples, rows = (x + y + noise, x, y), np.tile(np.arange(300), 4)
    single = estimate(*samples, ci=pid.Bootstrap(200, kind="paired"), null=None)
    copied = estimate(*(a[rows] for a in samples), groups=rows, ci=pid.Bootstrap(200), null=None)
    np.testing.assert_allclose(to_array(single.pid), to_array(copied.pid), atol=0.01)
    widths = [to_array(r.ci.high)[4:7] - to_array(r.ci.low)[4:7] for r in (single, copied)]
    np.testing.assert_allclose(widths[0], widths[1], rtol=0.15)


def test_thinning_splits_the_effective_number():
    result = estimate(*independent_series(3), **SERIES, debias="thinned")
    assert np.all(to_array(result.pid) < 0.3)


def test_estimates_of_other_blocks_are_not_compared():
    base = estimate(*independent_series(0, d=2), ci=pid.Bootstrap(8, kind="paired", block=5), null=None)
    other = estimate(*independent_series(0, d=2), ci=pid.Bootstrap(8, kind="paired"), null=None)
    with pytest.raises(ValueError, match="resampling"):
        pid.compare(base, other)


def test_one_program_serves_blocks_of_every_length():
    sizes = []
    for length in (3, 8):
        estimate(*independent_series(0, d=2), ci=pid.Bootstrap(8, kind="paired", block=length), null=None)
        sizes.append(bootstrap.paired_values._cache_size())  # pyright: ignore[reportAttributeAccessIssue]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pid.Bootstrap(block="auto"), "blocks of samples need paired draws"),
        (
            lambda: pid.Bootstrap(kind="paired", block=0),
            "block must be 'auto', None or a length of at least 1, got 0",
        ),
        (lambda: pid.Bootstrap(kind="paired", block="ten"), "got 'ten'"),
        (lambda: pid.Shuffle(kind="roll"), "kind must be one of permute, circular"),
        (lambda: pid.estimate(*subjects(0)[0], groups=subjects(0)[1], **SERIES, key=KEY), "without blocks"),
        (
            lambda: pid.estimate(*subjects(0)[0], ci=pid.Bootstrap(kind="paired", block=500), key=KEY),
            "at most half as long",
        ),
    ],
)
def test_choices_that_contradict_each_other_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()

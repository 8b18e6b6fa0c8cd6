"""Are the samples independent? Order of the rows, drift, repeated rows, stretches of constant values, groups.

Bias, intervals and null assume n independent rows. What counts is dependence of the target between rows together with
dependence of the sources between the same rows: their product is the inflation n / n_eff (`autocorrelation`).

    n samples, d coordinates of one variable, K lags
"""

from typing import Any, NamedTuple

import numpy as np

from pid.features.autocorrelation import summation_window
from pid.features.kinds import number_rows
from pid.features.resampling import group_samples
from pid.interface.flags import Flag, Weight

LARGE, SMALL = 1.8, 1.1
"""Inflations n / n_eff above which an estimate is unusable, or doubtful."""
DEVIATIONS = 6.0
"""Standard deviations by which the autocorrelation of the target, and that of the sources, exceed chance."""
SLOW = 8
"""Cosines of the order that count as slow: half a period to four periods over all rows."""
TESTED_LAGS = 10
"""Lags of the test of autocorrelation."""
ENOUGH, TOO_FEW = 4, 2.5
"""Independent samples for each dimension below which an estimate with blocks is doubtful, or unusable."""
UNIT_ROOT = 16.0
"""Random walks with k coordinates of sources have n (1 - autocorrelation at lag 1) below this number and 1.5 k."""
FEW_GROUPS = 20
"""Intervals from fewer groups are too short."""
REPEATS = 1e-3
"""Chance that the nearest row is so much nearer than the tenth, if rows are independent."""
MAX_ROWS = 300
"""Rows whose nearest neighbors are sought."""
KIND, REPEATED, GROUPED, DRIFT = "dependent samples", "repeated rows", "groups of samples", "drift"
REMEDY = (
    "if rows are in the order of time pass ci=Bootstrap(kind='paired', block='auto') and "
    "null=Shuffle(kind='circular'), if several rows come from one subject, text or image pass groups=, "
    "else thin the rows"
)


def dependence_flags(
    samples: tuple[np.ndarray, ...],
    coordinates: tuple[np.ndarray, ...],
    *,
    labels: Any = None,
    accounted: bool = False,
) -> list[Flag]:
    """Say whether the rows look independent.

    Rows that are sorted by a feature, or by the class of a categorical target, are no series: a monotone feature is
    noted, and only dependence between rows that remains beside it counts.

    Args:
        samples: target, x and y before reduction, (n, d) each.
        coordinates: the Gaussian coordinates of target, x and y, (n, k) each.
        labels: label of the group of every row, (n,), if the estimate resamples groups; None for none.
        accounted: whether the estimate resamples blocks or groups; dependence is then a note.

    Returns:
        Flags of the kinds "dependent samples", "drift", "repeated rows", "groups of samples".

    Example:
        >>> import numpy as np
        >>> from pid.estimators.checks.dependence import dependence_flags
        >>> rows = tuple(np.random.default_rng(0).normal(size=(3, 400, 2)))
        >>> dependence_flags(rows, rows)
        []
        >>> walks = tuple(np.cumsum(a, axis=0) for a in rows)
        >>> dependence_flags(walks, walks)[0].weight
        'unusable'
    """
    samples = tuple(np.asarray(a, float).reshape(len(a), -1) for a in samples)
    target, x, y = (_orthonormal(np.asarray(a, float)) for a in (coordinates[0], *coordinates[-2:]))
    sources = _orthonormal(np.concatenate([x, y], axis=1))
    if labels is not None:
        return _grouped(target, sources, labels)
    row_labels = tuple(map(number_rows, samples))
    repeats = _repeated(samples, row_labels, (target, sources), accounted=accounted)
    if any(flag.weight == "unusable" for flag in repeats):
        return repeats  # neighbors that are equal are autocorrelated, too
    ordered = _ordered(samples, row_labels, target, sources, accounted=accounted)
    shared = [] if ordered or repeats else _shared(samples, row_labels, target, sources, accounted=accounted)
    return [*ordered, *repeats, *_constant(samples, row_labels), *shared]


# --- order


class _Serial(NamedTuple):
    """Dependence between neighbors of target and sources."""

    ratio: float
    """Inflation n / n_eff of their products."""

    lag_1: tuple[float, float]
    """Mean autocorrelation of target and sources at lag 1."""

    deviations: float
    """Standard deviations by which the autocorrelation of both exceeds chance."""


def _serial(target: np.ndarray, sources: np.ndarray) -> _Serial:
    """Measure dependence along the order of orthonormal columns (n, k)."""
    n = len(target)
    if 0 in (target.shape[1], sources.shape[1]):
        return _Serial(1.0, (0.0, 0.0), 0.0)
    lags = max(1, min(200, n // 4))
    a, b = (_autocorrelation(part, lags) for part in (target, sources))
    products = np.concatenate([[1.0], a.mean(axis=1) * b.mean(axis=1)])
    window, _ = summation_window(products)
    window = max(window, n // 10)
    ratio = 1 + 2 * float(products[1 : window + 1].sum())
    tested = slice(0, min(TESTED_LAGS, lags))
    scores = [_chi_square_deviations(r.mean(axis=1)[tested], float(n * r.shape[1])) for r in (a, b)]
    return _Serial(ratio, (float(a[0].mean()), float(b[0].mean())), min(scores))


def _autocorrelation(z: np.ndarray, lags: int) -> np.ndarray:
    """Compute the autocorrelation of every column at lags 1 … K, (K, k)."""
    n = len(z)
    spectrum = np.fft.rfft(z, 2 * n, axis=0)
    r = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=0)[: lags + 1]
    return r[1:] / np.where(r[0] > 0, r[0], 1)


def _chi_square_deviations(r: np.ndarray, n: float) -> float:
    """Return by how many normal deviations n Σ r² exceeds a χ² of as many degrees [Wilson & Hilferty 1931]."""
    k = len(r)
    return float(((n * np.sum(r**2) / k) ** (1 / 3) - (1 - 2 / (9 * k))) / (2 / (9 * k)) ** 0.5)


def _ordered(
    samples: tuple[np.ndarray, ...],
    row_labels: tuple[np.ndarray, ...],
    target: np.ndarray,
    sources: np.ndarray,
    *,
    accounted: bool,
) -> list[Flag]:
    """Tell a series from drift, and both from sorted rows."""
    n = len(target)
    whole = _serial(target, sources)
    if max(whole.deviations, 0) < DEVIATIONS or whole.ratio < SMALL:
        return []
    sorted_by = _monotone(samples)
    target_classes, *source_classes = map(_classes, row_labels)
    if target_classes is not None:
        sources = _orthonormal(sources - _class_means(sources, target_classes))
    for classes in source_classes:
        target = target if classes is None else _orthonormal(target - _class_means(target, classes))
    whole = _serial(target, sources)
    slow = _slow_columns(n, [column for _, column in sorted_by])
    fast = _serial(*(_orthonormal(part - slow @ (slow.T @ part)) for part in (target, sources)))
    effective = max(1, round(n / max(whole.ratio, 1)))
    observation = (
        f"rows are not independent along their order: the autocorrelation at lag 1 is {whole.lag_1[0]:.2f} in the "
        f"target and {whole.lag_1[1]:.2f} in the sources, and the n={n} rows tell as much as {effective} independent "
        f"ones"
    )
    if fast.deviations >= DEVIATIONS and fast.ratio >= SMALL:
        dimensions = target.shape[1] + sources.shape[1]
        walk = n * (1 - min(whole.lag_1)) < UNIT_ROOT + 1.5 * sources.shape[1]
        if accounted and effective >= ENOUGH * dimensions and not walk:
            return [Flag(f"{observation}; bias and intervals account for it.", "note", KIND)]
        if accounted:
            reason = (
                "as in a random walk; take differences"
                if walk
                else f"few for {dimensions} dimensions; use fewer"
            )
            return [
                Flag(
                    f"{observation}, {reason}, or a longer series.",
                    "unusable" if walk or effective < TOO_FEW * dimensions else "doubt",
                    KIND,
                )
            ]
        large = max(fast.ratio, whole.ratio) >= LARGE and _near_neighbors_depend(target, sources)
        weight: Weight = "unusable" if large else "doubt"
        sentence = f"{observation}, so that bias and null are too low and intervals too short; {REMEDY}."
        return [Flag(sentence, weight, KIND)]
    if sorted_by:
        return [
            Flag(
                f"rows are sorted by feature {sorted_by[0][0]}; this does no harm if rows are independent otherwise.",
                "note",
                KIND,
            )
        ]
    if whole.deviations < DEVIATIONS or whole.ratio < SMALL:
        return []  # the order is that of the target's classes
    return [
        Flag(
            f"target and sources drift along the order of the n={n} rows, which tell as much as {effective} "
            f"independent ones; a common drift looks like information, so subtract it if rows are in the order of time "
            f"(rows that are sorted by a quantity do no harm).",
            "note" if accounted else "doubt",
            DRIFT,
        )
    ]


def _near_neighbors_depend(target: np.ndarray, sources: np.ndarray) -> bool:
    """Return whether target and sources are autocorrelated at lag 1 within most short windows.

    Rows in the order of a few classes are autocorrelated over all rows, but not within a class.
    """
    n = len(target)
    width = int(np.clip(n // 40, 10, 50))
    return all(_window_autocorrelation(part, width) > 4 for part in (target, sources))


def _window_autocorrelation(z: np.ndarray, width: int) -> float:
    """Return the modulus of the median over windows of the autocorrelation at lag 1, in standard deviations."""
    count = len(z) // width
    if count < 4 or z.shape[1] == 0:
        return 0.0
    windows = z[: count * width].reshape(count, width, -1)
    windows = windows - windows.mean(axis=1, keepdims=True)
    power = np.sum(windows**2, axis=(1, 2))
    lagged = np.sum(windows[:, 1:] * windows[:, :-1], axis=(1, 2))
    median = float(np.median(lagged / np.where(power > 0, power, 1))) + 1 / width
    return abs(median) * (count * width * z.shape[1]) ** 0.5 / 1.25


def _monotone(samples: tuple[np.ndarray, ...]) -> list[tuple[str, np.ndarray]]:
    """Return names and values of features that never fall or never rise."""
    monotone_features = []
    for name, a in zip(("target", "x", "y"), samples, strict=True):
        steps = np.diff(a, axis=0)
        monotone = (np.all(steps >= 0, axis=0) | np.all(steps <= 0, axis=0)) & np.any(steps != 0, axis=0)
        monotone_features += [(f"{j} of {name}", a[:, j]) for j in np.flatnonzero(monotone)[:3]]
    return monotone_features


def _slow_columns(n: int, features: list[np.ndarray]) -> np.ndarray:
    """Return an orthonormal basis of slow functions of the order and of cubic functions of monotone features."""
    time = (np.arange(n) + 0.5) / n
    columns = [np.cos(np.pi * j * time) for j in range(SLOW + 1)]
    for feature in features:
        scale = feature.std()
        columns += [((feature - feature.mean()) / scale) ** power for power in (1, 2, 3)]
    return _basis(np.stack(columns, axis=1))


def _classes(label: np.ndarray) -> np.ndarray | None:
    """Return the number of every row's values if the variable has few different rows, else None."""
    return label if 10 * (label.max() + 1) <= len(label) and label.max() < 50 else None


def _class_means(z: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return for every row the mean of its class."""
    sums = np.zeros((int(label.max()) + 1, z.shape[1]))
    np.add.at(sums, label, z)
    return (sums / np.bincount(label)[:, None])[label]


# --- repeated rows


def _repeated(
    samples: tuple[np.ndarray, ...],
    row_labels: tuple[np.ndarray, ...],
    coordinates: tuple[np.ndarray, ...],
    *,
    accounted: bool,
) -> list[Flag]:
    """Say whether complete rows are repeated, exactly or nearly."""
    label = number_rows(np.stack(row_labels, axis=1))
    n = len(label)
    distinct = int(label.max()) + 1
    if distinct < n and any(_is_continuous(a, label) for a in samples):
        ratio = float(np.sum(np.bincount(label).astype(float) ** 2)) / n
        weight: Weight = "unusable" if ratio >= LARGE else "doubt" if ratio >= SMALL else "note"
        return [
            Flag(
                f"{n - distinct} of {n} rows repeat another row exactly, so that bias and null are too low and "
                f"intervals too short; drop repeated rows, or pass groups= with one label for all copies of a row.",
                "note" if accounted else weight,
                REPEATED,
            )
        ]
    share = _nearly_equal(np.concatenate(coordinates, axis=1))
    if distinct < n or share <= 0.1:
        return []
    return [
        Flag(
            f"about {share:.0%} of the rows nearly repeat another row (their nearest neighbor is far nearer than "
            f"chance has it), so that bias and null are too low and intervals too short; drop near copies, or pass "
            f"groups= with one label for all copies of a row.",
            "note" if accounted else "unusable" if share > 0.5 else "doubt",
            REPEATED,
        )
    ]


def _shared(
    samples: tuple[np.ndarray, ...],
    row_labels: tuple[np.ndarray, ...],
    target: np.ndarray,
    sources: np.ndarray,
    *,
    accounted: bool,
) -> list[Flag]:
    """Say whether rows that share the values of one variable are alike in others, beyond what these values predict."""
    flags = []
    others = (sources, target, target)
    for name, a, label, other in zip(("target", "x", "y"), samples, row_labels, others, strict=True):
        n, distinct = len(a), int(label.max()) + 1
        codes = a.shape[1] == 1 and bool(np.all(a == np.round(a)))
        if codes or distinct < 50 or distinct > 0.9 * n:
            continue
        known = _orthonormal(a)
        rest = _orthonormal(other - known @ (known.T @ other))
        pairs = float(np.sum(np.bincount(label).astype(float) ** 2)) / n - 1
        alike, columns = _pair_sum(rest, label), max(rest.shape[1], 1)
        ratio = 1 + alike / columns
        if ratio < SMALL or alike < DEVIATIONS * (2 * columns * pairs / n) ** 0.5:
            continue
        flags.append(
            Flag(
                f"{n} rows have {distinct} different values of {name}, and rows that share one are alike in other "
                f"respects, too: they tell as much as {round(n / ratio)} independent rows; pass groups= with one label "
                f"for each subject, text or image.",
                "note" if accounted else "doubt",
                REPEATED,
            )
        )
    return flags[:1]


def _is_continuous(a: np.ndarray, label: np.ndarray) -> bool:
    """Return whether some feature has hardly any equal values but in repeated rows."""
    _, first = np.unique(label, return_index=True)
    return any(len(np.unique(column)) >= 0.9 * len(first) for column in a[first].T)


def _nearly_equal(z: np.ndarray) -> float:
    """Return the share of rows whose nearest neighbor is much nearer than the tenth.

    Rows that are independent lie near a row like points of a Poisson process: (d_1 / d_10)^D is a Beta(1, 9) variate,
    and its dimension D follows from d_10 and d_20 [Levina & Bickel 2005].
    """
    z = _orthonormal(z)
    n = len(z)
    if n < 60:
        return 0.0
    chosen = z if n <= MAX_ROWS else z[np.linspace(0, n - 1, MAX_ROWS).astype(int)]
    squares, ones = np.sum(z**2, axis=1)[:, None], np.ones((n, 1))
    of_chosen = np.sum(chosen**2, axis=1)[:, None]
    # |a|² + |b|² - 2 a·b of all pairs as one product
    distances = np.hstack([of_chosen, ones[: len(chosen)], -2 * chosen]) @ np.hstack([ones, squares, z]).T
    single = np.maximum(distances, 0, out=distances).astype(np.float32)  # sorted in a tenth of the time
    near = np.sqrt(np.sort(np.partition(single, 20, axis=1)[:, :21], axis=1)[:, [1, 10, 20]].astype(float))
    spread = float(np.mean(np.log(np.maximum(near[:, 2], 1e-300) / np.maximum(near[:, 1], 1e-300))))
    dimension = np.log(2) / max(spread, 1e-3)
    return float(np.mean(near[:, 0] < REPEATS ** (1 / dimension) * near[:, 1]))


def _constant(samples: tuple[np.ndarray, ...], row_labels: tuple[np.ndarray, ...]) -> list[Flag]:
    """Say whether a continuous variable stands still over stretches of rows."""
    flags = []
    for name, a, label in zip(("target", "x", "y"), samples, row_labels, strict=True):
        count = np.bincount(label)
        n = len(a)
        if len(count) == n or len(count) < max(10, n // 20):
            continue
        still = int(np.sum(label[1:] == label[:-1]))
        expected = float(np.sum(count * (count - 1.0))) / n
        if still <= expected + DEVIATIONS * (expected + 1) ** 0.5 + 0.02 * n or _monotone(
            (a, a[:, :0], a[:, :0])
        ):
            continue
        flags.append(
            Flag(
                f"{name} stands still from one row to the next in {still} of {n - 1} steps, {expected:.0f} of which "
                f"are expected by chance; drop stretches of constant values, or pass groups= with one label for "
                f"each stretch.",
                "doubt" if still - expected > 0.05 * n else "note",
                REPEATED,
            )
        )
    return flags


# --- groups


def _grouped(target: np.ndarray, sources: np.ndarray, labels: Any) -> list[Flag]:
    """Say how much groups inflate the bias, and whether they are enough."""
    n = len(target)
    label = np.asarray(group_samples(labels, n).label)
    count = np.bincount(label)
    pairs = float(np.sum(count.astype(float) ** 2)) / n - 1
    shares = [_within_group(part, label, pairs) for part in (target, sources)]
    ratio = max(1.0, 1 + pairs * shares[0] * shares[1])
    flags = [
        Flag(
            f"rows of one group share {shares[0]:.0%} of the target's and {shares[1]:.0%} of the sources' variance: "
            f"{n} rows in {len(count)} groups tell as much as {round(n / ratio)} independent ones; bias and intervals "
            f"account for it.",
            "note",
            GROUPED,
        )
    ]
    if len(count) < FEW_GROUPS:
        flags.append(
            Flag(
                f"{len(count)} groups are too few for intervals, which need about {FEW_GROUPS}; collect more groups.",
                "doubt",
                GROUPED,
            )
        )
    return flags


def _within_group(z: np.ndarray, label: np.ndarray, pairs: float) -> float:
    """Return the intra-class correlation, the mean over orthonormal columns (n, k)."""
    n, k = z.shape
    if pairs <= 0 or k == 0:
        return 0.0
    share = _pair_sum(z, label) / (k * pairs)
    return float(np.clip(share + (1 + pairs * max(share, 0)) / n, 0, 1))


def _pair_sum(z: np.ndarray, label: np.ndarray) -> float:
    """Return Σ z_s · z_t over ordered pairs s ≠ t of one group, for orthonormal columns."""
    sums = np.zeros((int(label.max()) + 1, z.shape[1]))
    np.add.at(sums, label, z)
    return float(np.sum(sums**2)) - z.shape[1]


# --- linear algebra


def _orthonormal(z: np.ndarray) -> np.ndarray:
    """Return orthonormal columns that span the centered columns of z; directions without variance are left out."""
    return _basis(z - z.mean(axis=0))


def _basis(z: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.sum(z**2, axis=0))
    z = z[:, scale > 0] / scale[scale > 0]
    values, vectors = np.linalg.eigh(z.T @ z)
    keep = values > 1e-9 * max(1.0, values[-1] if len(values) else 1.0)
    return z @ (vectors[:, keep] / np.sqrt(values[keep]))

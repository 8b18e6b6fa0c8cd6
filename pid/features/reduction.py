"""Reduction of target, x and y to few coordinates, with the share of variance and of information that remains.

n samples, d features, m coordinates of the target
"""

import math
from typing import NamedTuple

import numpy as np

from pid.features.gaussianize import PCA, count_components, principal_components, standardize
from pid.features.normal_scores import normal_scores
from pid.features.regression import CrossFittedRegression, Predictions, predictions_by_subsets
from pid.gaussian import systems, wishart
from pid.interface.flags import Flag

NAMES = ("target", "x", "y")
SIGNIFICANT = 2.0
"""Standard errors by which a prediction has to correlate with its coordinate of the target."""
MIN_GAIN = 0.03
"""Share of what each source alone leaves of the target that both together have to explain more."""
CHANCE = 4.0
"""Standard errors of independent samples up to which dropped information is chance."""
FEW_DIMENSIONS = 2
"""The information of all features together is computed if they are at most 1/2 as many as the samples."""
SOUND_PIVOT = 1e-6
"""Smallest squared pivot of a correlation matrix whose directions all exist; eigenvalues decide below it."""


class Reduced(NamedTuple):
    """The coordinates of one layer."""

    target: np.ndarray
    """Coordinates of the target, (n, m)."""

    x: np.ndarray
    """Coordinates of x, (n, k_x)."""

    y: np.ndarray
    """Coordinates of y, (n, k_y)."""

    variance: tuple[float, float, float]
    """Share of the variance of each variable that its coordinates explain."""

    dropped: float
    """Bits about the target's coordinates that the sources have beyond their own; 0 if they are within chance."""

    dropped_target: float
    """Bits about what was cut from the target that the sources have; 0 if they are within chance."""


def to_columns(name: str, array: np.ndarray, *, scores: bool) -> tuple[np.ndarray, list[Flag]]:
    """Return the columns that vary, standardized or as rank-Gaussian scores.

    Raises:
        ValueError: a variable without any variance.
    """
    with systems.x64_context():
        standardized = standardize(systems.to_float64(array))
        constant = np.asarray(standardized.constant)
        if constant.all():
            raise ValueError(
                f"a variable needs some variance, got {name} with constant features only; drop it."
            )
        flags = []
        if constant.any():
            flags.append(
                Flag(
                    f"{name}: {constant.sum()} of {constant.size} features are constant and were dropped.",
                    "note",
                    "constant features",
                )
            )
        values = np.asarray(standardized.values)[:, ~constant]
        return (normal_scores(values) if scores else values), flags


def components_of(name: str, columns: np.ndarray, reduce: PCA) -> tuple[np.ndarray, list[Flag]]:
    """Return the leading principal components; columns that are no more than the components stay as they are."""
    n, d = columns.shape
    possible = min(n - 1, d)
    requested = possible if reduce.components is None else reduce.components
    if reduce.variance is None and d <= requested:
        return columns, []
    with systems.x64_context():
        components = principal_components(columns, min(requested, possible))
        mask = np.array(components.present)
        if reduce.variance is not None:
            count = int(count_components(components.variances, components.total, reduce.variance))
            mask &= np.arange(mask.size) < count
        scores = np.asarray(components.scores)[:, mask]
    if reduce.variance is None and mask.sum() < requested:
        text = f"{name}: only {mask.sum()} of the {requested} components asked for exist."
        return scores, [Flag(text, "note", "missing components")]
    return scores, []


def explained_variance(columns: np.ndarray, coordinates: np.ndarray) -> float:
    """Compute the share of the columns' variance that the coordinates explain linearly."""
    if columns.shape == coordinates.shape:
        return 1.0
    centered = coordinates - coordinates.mean(axis=0)
    basis, values, _ = np.linalg.svd(centered, full_matrices=False)
    basis = basis[:, values > 1e-9 * values[0]]
    deviation = columns - columns.mean(axis=0)
    return float(np.sum((basis.T @ deviation) ** 2) / np.sum(deviation**2))


def joint_information(target: np.ndarray, sources: np.ndarray) -> float:
    """Compute I(M;X) of Gaussian samples in bits, less its exact bias; below 0 where noise prevails, NaN if n ≤ m+d."""
    n, m, d = len(target), target.shape[1], sources.shape[1]
    if n <= m + d:
        return math.nan
    values = np.concatenate([sources, target], axis=1)
    corr = np.corrcoef(values.T).reshape(m + d, m + d)
    log_target, _ = _log_dets(corr[d:, d:], m)
    log_joint, log_sources = _log_dets(corr, d)
    log_ratio = (log_target + log_sources - log_joint) / 2
    return (log_ratio - wishart.pair_bias(m, d, n)) / math.log(2)


def _log_dets(corr: np.ndarray, d: int) -> tuple[float, float]:
    """Return log det of a correlation matrix, and of its first d coordinates, over the directions that exist.

    A Cholesky factor has both, in a fifth of the time of eigenvalues, where its pivots are sound.
    """
    try:
        pivots = np.square(np.diagonal(np.linalg.cholesky(corr)))
    except np.linalg.LinAlgError:
        pivots = np.zeros(1)
    if np.min(pivots) > SOUND_PIVOT:
        logs = np.log(pivots)
        return float(np.sum(logs)), float(np.sum(logs[:d]))
    whole, part = (
        float(np.sum(np.log(np.maximum(np.linalg.eigvalsh(c), 1e-12)))) for c in (corr, corr[:d, :d])
    )
    return whole, part


def beyond_chance(information: float, n: int, m: int, d: int) -> float:
    """Return the information of m with d coordinates in bits, or 0 if independent samples could have it.

    2 n I nats of independent samples is a χ² variate with m d degrees of freedom, whose variance is 2 m d.
    """
    return information if information > CHANCE * math.sqrt(2 * m * d) / (2 * n * math.log(2)) else 0.0


def reduce_by_components(columns: tuple[np.ndarray, ...], reduce: PCA) -> tuple[Reduced, list[Flag]]:
    """Reduce each variable to its own principal components."""
    pairs = [components_of(name, c, reduce) for name, c in zip(NAMES, columns, strict=True)]
    target, x, y = (coordinates for coordinates, _ in pairs)
    shares = [explained_variance(c, coordinates) for c, (coordinates, _) in zip(columns, pairs, strict=True)]
    reduced = Reduced(target, x, y, (shares[0], shares[1], shares[2]), 0.0, 0.0)
    return reduced, [flag for _, flags in pairs for flag in flags]


def reduce_target(columns: np.ndarray, reduce: CrossFittedRegression) -> tuple[np.ndarray, list[Flag]]:
    """Return the target's columns, or its leading principal components if it is wide."""
    if not is_wide(columns, reduce):
        return columns, []
    return components_of("target", columns, PCA(min(reduce.components, max(1, len(columns) // 9))))


def is_wide(columns: np.ndarray, reduce: CrossFittedRegression) -> bool:
    """Return whether a variable has more features than it may keep."""
    return columns.shape[1] > min(reduce.max_features, max(1, len(columns) // 9))


def reduce_by_regression(
    columns: tuple[np.ndarray, ...], target: np.ndarray, reduce: CrossFittedRegression, folds: np.ndarray
) -> Reduced:
    """Reduce wide sources to cross-fitted regressions of the target.

    Args:
        columns: columns of target, x and y.
        target: coordinates of the target, the result of `reduce_target`.
        reduce: the reduction.
        folds: result of `make_folds`.
    """
    sources = columns[1:]
    wide = [is_wide(source, reduce) for source in sources]
    coordinates = list(sources)
    if any(wide):
        cut = [i for i, is_cut in enumerate(wide) if is_cut]
        *singles, joint = _regress(target, sources, folds, (*((i,) for i in cut), tuple(range(len(sources)))))
        parts = list(sources)
        for i, single in zip(cut, singles, strict=True):
            [parts[i]] = _predicted_parts(target, single)
        coordinates = _with_joint_part(target, joint, parts, wide)
    shares = [explained_variance(c, k) for c, k in zip(columns, (target, *coordinates), strict=True)]
    return Reduced(target, coordinates[0], coordinates[1], (shares[0], shares[1], shares[2]), 0.0, 0.0)


def _regress(
    target: np.ndarray,
    sources: tuple[np.ndarray, ...],
    folds: np.ndarray,
    subsets: tuple[tuple[int, ...], ...],
) -> tuple[Predictions, ...]:
    """Return the cross-fitted regressions of the target on some subsets of the sources."""
    with systems.x64_context():
        return predictions_by_subsets(target, sources, folds, subsets)


def _predict(target: np.ndarray, sources: tuple[np.ndarray, ...], folds: np.ndarray) -> list[np.ndarray]:
    """Return the parts of the sources in the regression of the target."""
    [result] = _regress(target, sources, folds, (tuple(range(len(sources))),))
    return _predicted_parts(target, result)


def _predicted_parts(target: np.ndarray, result: Predictions) -> list[np.ndarray]:
    """Return the parts of the sources, for the coordinates of the target that are predicted.

    Coordinates of the target that are not predicted are left out, except the best one: their predictions would be other
    combinations of the features in each fold, and no coordinates.
    """
    prediction = np.asarray(result.prediction)
    scale = np.maximum(prediction.std(axis=0) * target.std(axis=0), 1e-300)
    correlation = np.mean(prediction * target, axis=0) / scale
    mask = correlation > SIGNIFICANT / math.sqrt(len(target))
    mask[np.argmax(correlation)] = True
    return [np.asarray(part)[:, mask] for part in result.parts]


def _with_joint_part(
    target: np.ndarray, joint: Predictions, parts: list[np.ndarray], wide: list[bool]
) -> list[np.ndarray]:
    """Append the sources' parts of the joint regression if they add information.

    They are used for the coordinates of the target that both sources together predict better than the coordinates of
    each one do, as where a source explains the noise of the other, and only if they add more than their own bias.
    """
    basis = np.linalg.qr(np.concatenate(parts, axis=1))[0]
    left = np.sum((target - basis @ (basis.T @ target)) ** 2, axis=0)
    mask = np.sum((target - np.asarray(joint.prediction)) ** 2, axis=0) < (1 - MIN_GAIN) * left
    n, m, extra = len(target), target.shape[1], sum(wide) * int(mask.sum())
    if extra == 0 or m + extra + sum(part.shape[1] for part in parts) > n // 3:
        return parts
    longer = [
        np.concatenate([part, np.asarray(own)[:, mask]], axis=1) if cut else part
        for part, own, cut in zip(parts, joint.parts, wide, strict=True)
    ]
    before, after = (joint_information(target, np.concatenate(s, axis=1)) for s in (parts, longer))
    return longer if after - before > m * extra / (2 * n * math.log(2)) else parts


def dropped_information(columns: tuple[np.ndarray, ...], reduced: Reduced, folds: np.ndarray) -> Reduced:
    """Add what was dropped: the information of the cut sources and of the cut target, in bits.

    If all features are at most half as many as the samples, the information of the sources is that of all features.
    Else it is that of the cross-fitted regression on them, and what it would gain with more samples is extrapolated:
    what is missing is proportional to 1/s with the s samples of a fit, and F folds and two give it at two values of s.
    """
    parts = (reduced.target, reduced.x, reduced.y)
    cut = [c.shape[1] > k.shape[1] or c.shape != k.shape for c, k in zip(columns, parts, strict=True)]
    n, coordinates = len(reduced.target), np.concatenate(parts[1:], axis=1)
    if coordinates.shape[1] + 2 * reduced.target.shape[1] >= n:
        return reduced  # the samples do not tell
    base = joint_information(reduced.target, coordinates) if any(cut) else 0.0
    dropped = dropped_target = 0.0
    if any(cut[1:]):
        features = np.concatenate(columns[1:], axis=1)
        if features.shape[1] + reduced.target.shape[1] <= n // FEW_DIMENSIONS:
            dropped = joint_information(reduced.target, features) - base
            d = features.shape[1]
        else:
            dropped = _dropped_of_wide(columns, reduced, folds, base)
            d = coordinates.shape[1] + 2 * reduced.target.shape[1]
        dropped = beyond_chance(dropped, n, reduced.target.shape[1], d)
    if cut[0]:
        rest, features = _rest_of(columns[0], reduced.target), np.concatenate(columns[1:], axis=1)
        if features.shape[1] > 2 * rest.shape[1]:  # the number of predictions
            features = np.concatenate(_predict(rest, columns[1:], folds), axis=1)
        dropped_target = beyond_chance(joint_information(rest, features), n, rest.shape[1], features.shape[1])
    return reduced._replace(dropped=dropped, dropped_target=dropped_target)


def _dropped_of_wide(
    columns: tuple[np.ndarray, ...], reduced: Reduced, folds: np.ndarray, base: float
) -> float:
    """Return what the regression on all features adds to the coordinates, and what more samples would add, in bits."""
    count, half = len(folds), len(folds) // 2
    joint = _predict(reduced.target, columns[1:], folds)
    added = joint_information(reduced.target, np.concatenate([reduced.x, reduced.y, *joint], axis=1)) - base
    if count < 4:
        return added
    parts = [fold.ravel() for fold in (folds[:half], folds[half:])]
    size = max(part.size for part in parts)
    halves = np.stack([np.append(part, np.full(size - part.size, len(joint[0]))) for part in parts])
    few, many = (
        joint_information(
            reduced.target,
            np.concatenate([_predict(reduced.target, (s,), rows)[0] for s in columns[1:]], axis=1),
        )
        for rows in (halves, folds)
    )
    return max(added, (many - few) * count / (count - 2))


def _rest_of(columns: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Return the leading components, as many as there are coordinates, of what the coordinates leave of the columns."""
    basis = np.linalg.svd(coordinates - coordinates.mean(axis=0), full_matrices=False)[0]
    rest = columns - basis @ (basis.T @ columns)
    with systems.x64_context():
        components = principal_components(rest - rest.mean(axis=0), coordinates.shape[1], whiten=True)
        return np.asarray(components.scores)[:, np.asarray(components.present)]

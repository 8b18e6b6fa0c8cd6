"""Reduction of target, x and y to few coordinates, with the share of variance and of information that remains.

n samples, d features, m coordinates of the target
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pid.features.gaussianize import PCA, count_components, principal_components, rank_gaussian, standardize
from pid.features.regression import CrossFittedRegression, cross_fitted_predictions, make_folds
from pid.gaussian import systems, wishart
from pid.interface.flags import Flag

NAMES = ("target", "x", "y")
FEW_DIMENSIONS = 2
"""The information of all features together is computed if they are at most 1/2 as many as the samples."""


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
    """Bits about the target's coordinates that the sources have beyond their own coordinates; 0 if nothing is cut."""

    dropped_target: float
    """Bits about what was cut from the target that the sources have; 0 if nothing is cut."""


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
        return (np.asarray(rank_gaussian(values)) if scores else values), flags


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
        kept = np.asarray(components.scores)[:, mask]
    if reduce.variance is None and mask.sum() < requested:
        text = f"{name}: only {mask.sum()} of the {requested} components asked for exist."
        return kept, [Flag(text, "note", "missing components")]
    return kept, []


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
    """Compute I(M;X) of Gaussian samples in bits, less its exact bias; below 0 where noise prevails."""
    n, m, d = len(target), target.shape[1], sources.shape[1]
    values = np.concatenate([target, sources], axis=1)
    corr = np.corrcoef(values.T).reshape(m + d, m + d)
    logs = [_log_det(corr[:m, :m]), _log_det(corr[m:, m:]), _log_det(corr)]
    bias = wishart.information_bias((m, 1, max(d - 1, 1), d), n).joint
    return float((logs[0] + logs[1] - logs[2]) / (2 * math.log(2)) - bias)


def _log_det(corr: np.ndarray) -> float:
    """Return log det over the directions that exist."""
    values = np.linalg.eigvalsh(corr)
    return float(np.sum(np.log(np.maximum(values, 1e-12))))


def reduce_by_components(columns: tuple[np.ndarray, ...], reduce: PCA) -> tuple[Reduced, list[Flag]]:
    """Reduce each variable to its own principal components."""
    pairs = [components_of(name, c, reduce) for name, c in zip(NAMES, columns, strict=True)]
    target, x, y = (kept for kept, _ in pairs)
    shares = [explained_variance(c, kept) for c, (kept, _) in zip(columns, pairs, strict=True)]
    reduced = Reduced(target, x, y, (shares[0], shares[1], shares[2]), 0.0, 0.0)
    return reduced, [flag for _, flags in pairs for flag in flags]


def reduce_by_regression(
    columns: tuple[np.ndarray, ...], reduce: CrossFittedRegression, key: jax.Array
) -> tuple[Reduced, list[Flag]]:
    """Reduce the target to principal components, and the sources to cross-fitted regressions of them."""
    limit = max(1, len(columns[0]) // 9)
    target, flags = columns[0], []
    if target.shape[1] > min(reduce.max_features, limit):
        target, flags = components_of("target", target, PCA(min(reduce.components, limit)))
    sources = columns[1:]
    wide = [source.shape[1] > min(reduce.max_features, limit) for source in sources]
    kept = list(sources)
    if any(wide):
        folds = make_folds(key, len(target), reduce.folds)
        with systems.x64_context():
            parts = [
                _predict(target, (source,), folds)[0] if cut else source
                for source, cut in zip(sources, wide, strict=True)
            ]
            kept = _with_joint_part(target, sources, parts, wide, folds)
    shares = [explained_variance(c, k) for c, k in zip(columns, (target, *kept), strict=True)]
    return Reduced(target, kept[0], kept[1], (shares[0], shares[1], shares[2]), 0.0, 0.0), flags


def _predict(target: np.ndarray, sources: tuple[np.ndarray, ...], folds: np.ndarray) -> list[np.ndarray]:
    arrays = tuple(jnp.asarray(source) for source in sources)
    return [np.asarray(part) for part in cross_fitted_predictions(jnp.asarray(target), arrays, folds).parts]


def _with_joint_part(
    target: np.ndarray,
    sources: tuple[np.ndarray, ...],
    parts: list[np.ndarray],
    wide: list[bool],
    folds: np.ndarray,
) -> list[np.ndarray]:
    """Append the sources' parts of the joint regression if they add more information than their own bias."""
    joint = _predict(target, sources, folds)
    longer = [
        np.concatenate([part, own], axis=1) if cut else part
        for part, own, cut in zip(parts, joint, wide, strict=True)
    ]
    m, extra = target.shape[1], sum(wide) * target.shape[1]
    n = len(target)
    if m + sum(part.shape[1] for part in longer) > n // 3:
        return parts
    gain = joint_information(target, np.concatenate(longer, axis=1)) - joint_information(
        target, np.concatenate(parts, axis=1)
    )
    return longer if gain > m * extra / (2 * n * math.log(2)) else parts


def dropped_information(
    columns: tuple[np.ndarray, ...], reduced: Reduced, folds: int, key: jax.Array
) -> Reduced:
    """Add what was dropped: the information of the cut sources and of the cut target, in bits.

    The sources' features beside their coordinates are represented by the cross-fitted regression of the target on
    them, or, if all features are at most half as many as the samples, by themselves.
    """
    kept = (reduced.target, reduced.x, reduced.y)
    cut = [c.shape[1] > k.shape[1] or c.shape != k.shape for c, k in zip(columns, kept, strict=True)]
    n, coordinates = len(reduced.target), np.concatenate(kept[1:], axis=1)
    if coordinates.shape[1] + 2 * reduced.target.shape[1] >= n:
        return reduced  # the samples do not tell
    fold_rows = make_folds(key, n, folds)
    base = joint_information(reduced.target, coordinates) if any(cut) else 0.0
    dropped = dropped_target = 0.0
    if any(cut[1:]):
        features = np.concatenate(columns[1:], axis=1)
        if features.shape[1] + reduced.target.shape[1] > n // FEW_DIMENSIONS:
            with systems.x64_context():
                predictions = _predict(reduced.target, columns[1:], fold_rows)
            features = np.concatenate([coordinates, *predictions], axis=1)
        dropped = max(0.0, joint_information(reduced.target, features) - base)
    if cut[0]:
        rest, features = _rest_of(columns[0], reduced.target), np.concatenate(columns[1:], axis=1)
        if features.shape[1] > 2 * rest.shape[1]:  # the number of predictions
            with systems.x64_context():
                features = np.concatenate(_predict(rest, columns[1:], fold_rows), axis=1)
        dropped_target = max(0.0, joint_information(rest, features))
    return reduced._replace(dropped=dropped, dropped_target=dropped_target)


def _rest_of(columns: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Return the leading components, as many as there are coordinates, of what the coordinates leave of the columns."""
    basis = np.linalg.svd(coordinates - coordinates.mean(axis=0), full_matrices=False)[0]
    rest = columns - basis @ (basis.T @ columns)
    with systems.x64_context():
        components = principal_components(rest - rest.mean(axis=0), coordinates.shape[1], whiten=True)
        return np.asarray(components.scores)[:, np.asarray(components.present)]

"""From samples to few Gaussian coordinates: reduction of each variable, Gaussianization, rank.

L layers, n samples, d features, k coordinates that remain, D coordinates of all variables together
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pid import flow as flows
from pid.estimators.config import Gaussianize, flow_of
from pid.features.elliptical import student_rows
from pid.features.gaussianize import PCA
from pid.features.input_arrays import Samples, Variable
from pid.features.kinds import FEW_VALUES
from pid.features.reduced_information import reduction_flags
from pid.features.reduction import (
    NAMES,
    Reduced,
    dropped_information,
    reduce_by_components,
    reduce_by_regression,
    reduce_target,
    to_columns,
)
from pid.features.regression import CrossFittedRegression, make_folds
from pid.features.tails import SCORE_VARIANCE, tail_flags, variance_inflation
from pid.flow import FlowConfig
from pid.gaussian.covariance import DOUBLE
from pid.interface.flags import Flag

MIN_WIDTH = 16
"""Minimum width to which layers of different widths are padded."""
FOLDS = 10
"""Folds of the regression that measures what principal components dropped."""
CUT_MULTIPLE = 4
"""Coordinates of reduced variables are padded to this multiple, so that data sets of similar width share programs."""
VARIANCE_CAP = 3
"""Components chosen by variance take at most 1/3 as many dimensions as there are samples."""


Layers = list[np.ndarray]
"""One variable: (n, k) for every layer."""


class FeatureColumns(NamedTuple):
    """The features that vary, before any reduction."""

    variables: tuple[Layers, Layers, Layers]
    """Target, x and y: (n, d) for every layer, standardized or as normal scores."""

    flags: tuple[tuple[Flag, ...], ...]
    """Flags of every layer."""

    are_scores: bool
    """Whether the columns are normal scores."""

    def layer(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return target, x and y of one layer."""
        target, x, y = (variable[layer] for variable in self.variables)
        return target, x, y


class GaussianFeatures(NamedTuple):
    """Gaussian coordinates of every layer, padded with zeros to the widest layer."""

    parts: tuple[np.ndarray, ...]
    """Coordinates of target, x, y, or of target, target_y, x, y with two targets; (L, n, k) each."""

    masks: tuple[np.ndarray, ...]
    """Masks of the coordinates that a layer has, for every part: bool (L, k) each."""

    flags: tuple[tuple[Flag, ...], ...]
    """Flags of every layer."""

    variance: tuple[tuple[float, float, float], ...]
    """Share of the variance of target, x and y that their coordinates explain, for every layer."""

    inflation: np.ndarray
    """Factor by which heavy tails inflate the variance of second moments, (L,); 1 without heavy tails."""

    are_scores: np.ndarray
    """Whether all coordinates of a layer are rank scores of single features, normal or Student's, (L,)."""

    @property
    def values(self) -> np.ndarray:
        """All parts side by side, (L, n, D)."""
        return np.concatenate(self.parts, axis=-1)

    @property
    def mask(self) -> np.ndarray:
        """All masks side by side, (L, D)."""
        return np.concatenate(self.masks, axis=-1)

    @property
    def counts(self) -> np.ndarray:
        """Number of coordinates of target, x and y that a layer has, (L, 3)."""
        counts = np.stack([mask.sum(axis=-1) for mask in self.masks], axis=-1)
        return counts[:, [0, -2, -1]]


def feature_columns(samples: Samples, *, scores: bool) -> FeatureColumns:
    """Standardize the features that vary, or compute their normal scores.

    Raises:
        ValueError: a variable without any variance.
    """
    flags: list[list[Flag]] = [[] for _ in range(samples.num_layers)]
    target, x, y = (_columns_of_layers(variable, flags, scores=scores) for variable in samples)
    return FeatureColumns((target, x, y), tuple(map(tuple, flags)), scores)


def to_gaussian_features(
    columns: FeatureColumns,
    *,
    reduce: PCA | CrossFittedRegression | None,
    gaussianize: Gaussianize | FlowConfig | str,
    key: jax.Array,
    groups: np.ndarray | None,
    series: bool,
) -> GaussianFeatures:
    """Reduce every variable of every layer, make it Gaussian, and leave out directions that do not exist."""
    flags, targets = [list(messages) for messages in columns.flags], columns.variables[0]
    layers = len(targets)
    num_folds = reduce.folds if isinstance(reduce, CrossFittedRegression) else FOLDS
    folds = make_folds(key, len(targets[0]), num_folds, groups=groups, series=series)
    reduced = []
    for layer in range(layers):
        of_layer = columns.layer(layer)
        same_target = layer > 0 and targets[layer] is targets[layer - 1]
        reduced.append(_reduce(of_layer, reduce, folds, flags[layer], reduced[-1] if same_target else None))
    variables = [list(variable) for variable in zip(*((r.target, r.x, r.y) for r in reduced), strict=True)]
    if isinstance(reduce, PCA) and reduce.variance is not None:
        variables = _cap_dimensions(variables, flags)
    gaussian = _gaussianize(variables, gaussianize, key, flags)
    names = NAMES if len(gaussian) == 3 else ("target", "target_y", "x", "y")
    full_rank = [
        [_within_rank(name, part[layer], flags[layer]) for layer in range(layers)]
        for name, part in zip(names, gaussian, strict=True)
    ]
    inflation = np.ones(layers)
    for layer, messages in enumerate(flags):
        inflation[layer] = _treat_heavy_tails(full_rank, layer, messages, copula=gaussianize == "copula")
    cut = any(r.variance != (1.0, 1.0, 1.0) for r in reduced)
    parts, masks = zip(*(_pad(part, multiple=CUT_MULTIPLE if cut else 1) for part in full_rank), strict=True)
    single = [gaussianize == "copula" and r.variance == (1.0, 1.0, 1.0) for r in reduced]
    plain = np.array([own and not _has_few_values(full_rank, layer) for layer, own in enumerate(single)])
    return GaussianFeatures(
        parts,
        masks,
        tuple(map(tuple, flags)),
        tuple(r.variance for r in reduced),
        inflation,
        plain,
    )


def _columns_of_layers(variable: Variable, flags: list[list[Flag]], *, scores: bool) -> Layers:
    """Return the columns of a variable in every layer. A variable without layers is treated once for all of them."""
    results = [to_columns(variable.name, table.values, scores=scores) for table in variable.layers]
    for layer, messages in enumerate(flags):
        messages += results[min(layer, len(results) - 1)][1]
    return [results[min(layer, len(results) - 1)][0] for layer in range(len(flags))]


def _reduce(
    columns: tuple[np.ndarray, np.ndarray, np.ndarray],
    reduce: PCA | CrossFittedRegression | None,
    folds: np.ndarray,
    flags: list[Flag],
    previous: Reduced | None,
) -> Reduced:
    """Reduce the columns of one layer; `previous` is a layer with the same target, which is reduced once."""
    if reduce is None:
        return Reduced(*columns, (1.0, 1.0, 1.0), 0.0, 0.0)
    if isinstance(reduce, PCA):
        reduced, messages = reduce_by_components(columns, reduce)
    else:
        target, messages = (previous.target, []) if previous else reduce_target(columns[0], reduce)
        reduced = reduce_by_regression(columns, target, reduce, folds)
    reduced = dropped_information(columns, reduced, folds)
    flags += [*messages, *reduction_flags(reduced, columns, reduce)]
    return reduced


def _has_few_values(parts: list[Layers], layer: int) -> bool:
    """Return whether a coordinate takes at most `FEW_VALUES` values: its ranks are mostly ties, and no Gaussian's."""
    return any(len(np.unique(column)) <= FEW_VALUES for part in parts for column in part[layer].T)


def _treat_heavy_tails(parts: list[Layers], layer: int, flags: list[Flag], *, copula: bool) -> float:
    """Replace scores with heavy tails by rows of an elliptical copula, in place, and return the variance inflation.

    Tyler's scatter has (D + 2) / D times the asymptotic variance of Gaussian second moments.
    """
    values = np.concatenate([part[layer] for part in parts], axis=1)
    n, d = values.shape
    inflation = variance_inflation(values, least_variance=SCORE_VARIANCE if copula else 0.0)
    if inflation == 1:
        return 1.0
    freedom = None
    if copula and n > 2 * d and np.linalg.matrix_rank(values) == d:
        rows, freedom = student_rows(values)
        edges = np.cumsum([part[layer].shape[1] for part in parts])[:-1]
        for part, own in zip(parts, np.split(rows, edges, axis=1), strict=True):
            part[layer] = own
        inflation = (d + 2) / d
    flags += tail_flags(inflation, n, freedom)
    return inflation


def _cap_dimensions(reduced: list[Layers], flags: list[list[Flag]]) -> list[Layers]:
    """Keep at most n/3 dimensions in all, by one common limit for the widest variables."""
    for layer, messages in enumerate(flags):
        sizes = [variable[layer].shape[1] for variable in reduced]
        total = max(reduced[0][layer].shape[0] // VARIANCE_CAP, len(sizes))
        if sum(sizes) <= total:
            continue
        limit = max(c for c in range(1, total + 1) if sum(min(size, c) for size in sizes) <= total)
        for variable in reduced:
            variable[layer] = variable[layer][:, :limit]
        text = (
            f"the requested share of variance needs {sizes[0]}, {sizes[1]} and {sizes[2]} components of target, x and "
            f"y; cut to {limit} each, n/{VARIANCE_CAP} in all."
        )
        messages.append(Flag(text, "doubt", "cut dimensions"))
    return reduced


def _gaussianize(
    reduced: list[Layers],
    gaussianize: Gaussianize | FlowConfig | str,
    key: jax.Array,
    flags: list[list[Flag]],
) -> list[Layers]:
    flow = flow_of(gaussianize)
    return reduced if flow is None else gaussianize_by_flow(flow, reduced, key, flags)


def gaussianize_by_flow(
    flow: FlowConfig, reduced: list[Layers], key: jax.Array, flags: list[list[Flag]]
) -> list[Layers]:
    """Map every layer by a cross-fitted flow, or by the copula if the flow is no better.

    Layers of equal shape are trained by one compiled program. Without couplings, layers of other shapes are padded to
    a common one.

    Returns:
        Target, x, y, or target, target_y, x, y if each pair has a target of its own. Flags are appended to `flags`.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for layer in range(len(flags)):
        groups.setdefault(tuple(variable[layer].shape[1] for variable in reduced), []).append(layer)
    if len(groups) > 1 and not flow.couplings:
        groups = {tuple(map(_common_width, reduced)): list(range(len(flags)))}
    num_parts = 3 if flow.shared_target else 4
    result: list[Layers] = [[np.empty(0)] * len(flags) for _ in range(num_parts)]
    for widths, members in groups.items():
        target, x, y = (
            jnp.asarray(np.stack([_widen(part[layer], width) for layer in members]))
            for part, width in zip(reduced, widths, strict=True)
        )
        fit = flows.cross_fit(flow, target, x, y, jnp.stack([key] * len(members)))
        latents = fit.latents
        second_target = [] if latents.target_y is None else [latents.target_y]
        outputs = [latents.target, *second_target, latents.x, latents.y]
        inputs = [reduced[0], *reduced] if second_target else reduced
        for i, layer in enumerate(members):
            for part, values, before in zip(result, outputs, inputs, strict=True):
                part[layer] = np.asarray(values[i], np.float64)[:, : before[layer].shape[1]]
            if not bool(fit.beats_copula[i]):
                text = "the flow was no better than the copula on held-out samples; the copula was used."
                flags[layer].append(Flag(text, "note", "no gain by the flow"))
    return result


def _within_rank(name: str, values: np.ndarray, flags: list[Flag]) -> np.ndarray:
    """Return the coordinates, or, if some are collinear, coordinates along the eigenvectors that exist."""
    centered = values - values.mean(axis=0)
    deviation = centered.std(axis=0)
    centered = centered / np.where(deviation > 0, deviation, 1)
    eigenvalues, vectors = np.linalg.eigh(centered.T @ centered / len(centered))
    mask = eigenvalues > DOUBLE.rank * max(eigenvalues[-1], DOUBLE.rank)
    # with no more samples than coordinates the covariance is singular: `fit_covariances` raises or shrinks
    if mask.all() or len(values) <= values.shape[1]:
        return values
    text = f"{name}: {(~mask).sum()} of {mask.size} directions do not exist (collinear features) and were left out."
    flags.append(Flag(text, "note", "collinear features"))
    return centered @ (vectors[:, mask] / np.sqrt(eigenvalues[mask]))


def _common_width(variable: Layers) -> int:
    """Return a power of two, so that data of similar widths run the same program."""
    return max(MIN_WIDTH, 1 << (max(layer.shape[1] for layer in variable) - 1).bit_length())


def _widen(values: np.ndarray, width: int) -> np.ndarray:
    """Append columns of zeros."""
    return np.pad(values, ((0, 0), (0, width - values.shape[1])))


def _pad(layers: Layers, multiple: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Stack layers of different widths with zeros on the right, and return also the mask of their coordinates."""
    width = -(-max(layer.shape[1] for layer in layers) // multiple) * multiple
    padded = np.stack([_widen(layer, width) for layer in layers])
    masks = np.stack([np.arange(width) < layer.shape[1] for layer in layers])
    return padded, masks

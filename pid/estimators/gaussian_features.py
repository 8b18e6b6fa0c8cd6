"""From samples to few Gaussian coordinates: reduction of each variable, Gaussianization, rank.

L layers, n samples, d features, k coordinates that remain, D coordinates of all variables together
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pid import flow as flows
from pid.estimators.config import Gaussianize, flow_of
from pid.features.gaussianize import PCA, count_components, principal_components, rank_gaussian, standardize
from pid.features.input_arrays import Samples, Variable
from pid.flow import FlowConfig
from pid.gaussian import systems
from pid.gaussian.covariance import DOUBLE

NAMES = ("target", "x", "y")
MIN_WIDTH = 16
"""Minimum width to which layers of different widths are padded."""
VARIANCE_CAP = 3
"""Components chosen by variance take at most 1/3 as many dimensions as there are samples."""


class GaussianFeatures(NamedTuple):
    """Gaussian coordinates of every layer, padded with zeros to the widest layer."""

    parts: tuple[np.ndarray, ...]
    """Coordinates of target, x, y, or of target, target_y, x, y with two targets; (L, n, k) each."""

    masks: tuple[np.ndarray, ...]
    """Masks of the coordinates that a layer has, for every part: bool (L, k) each."""

    flags: tuple[tuple[str, ...], ...]
    """Warnings of every layer."""

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


def to_gaussian_features(
    samples: Samples,
    *,
    reduce: PCA | None,
    gaussianize: Gaussianize | FlowConfig | str,
    key: jax.Array,
) -> GaussianFeatures:
    """Reduce every variable of every layer, make it Gaussian, and leave out directions that do not exist.

    Raises:
        ValueError: a variable without any variance.
    """
    layers = samples.num_layers
    flags: list[list[str]] = [[] for _ in range(layers)]
    reduced = [_reduce_layers(variable, reduce, flags) for variable in samples]
    if reduce is not None and reduce.variance is not None:
        reduced = _cap_dimensions(reduced, flags)
    gaussian = _gaussianize(reduced, gaussianize, key, flags)
    names = NAMES if len(gaussian) == 3 else ("target", "target_y", "x", "y")
    full_rank = [
        [_within_rank(name, part[layer], flags[layer]) for layer in range(layers)]
        for name, part in zip(names, gaussian, strict=True)
    ]
    parts, masks = zip(*map(_pad, full_rank), strict=True)
    return GaussianFeatures(parts, masks, tuple(map(tuple, flags)))


Layers = list[np.ndarray]
"""One variable: (n, k) for every layer."""


def _reduce_layers(variable: Variable, reduce: PCA | None, flags: list[list[str]]) -> Layers:
    """Reduce every layer of a variable. A variable without layers is reduced once for all of them."""
    results = [_reduce(variable.name, table.values, reduce) for table in variable.layers]
    for layer, messages in enumerate(flags):
        messages += results[min(layer, len(results) - 1)][1]
    return [results[min(layer, len(results) - 1)][0] for layer in range(len(flags))]


def _reduce(name: str, array: np.ndarray, reduce: PCA | None) -> tuple[np.ndarray, list[str]]:
    flags = []
    with systems.x64_context():
        standardized = standardize(systems.to_float64(array))
        constant = np.asarray(standardized.constant)
        if constant.all():
            raise ValueError(
                f"a variable needs some variance, got {name} with constant features only; drop it."
            )
        if constant.any():
            flags.append(
                f"{name}: {constant.sum()} of {constant.size} features are constant and were dropped."
            )
        if reduce is None:
            return np.asarray(standardized.values)[:, ~constant], flags
        possible = min(array.shape[0] - 1, constant.size)
        requested = possible if reduce.components is None else reduce.components
        components = principal_components(standardized.values, min(requested, possible))
        keep_mask = np.array(components.present)
        if reduce.variance is not None:
            count = int(count_components(components.variances, components.total, reduce.variance))
            keep_mask &= np.arange(keep_mask.size) < count
        elif keep_mask.sum() < requested:
            flags.append(f"{name}: only {keep_mask.sum()} of the {requested} components asked for exist.")
        return np.asarray(components.scores)[:, keep_mask], flags


def _cap_dimensions(reduced: list[Layers], flags: list[list[str]]) -> list[Layers]:
    """Keep at most n/3 dimensions in all, by one common limit for the widest variables."""
    for layer, messages in enumerate(flags):
        sizes = [variable[layer].shape[1] for variable in reduced]
        total = max(reduced[0][layer].shape[0] // VARIANCE_CAP, len(sizes))
        if sum(sizes) <= total:
            continue
        limit = max(c for c in range(1, total + 1) if sum(min(size, c) for size in sizes) <= total)
        for variable in reduced:
            variable[layer] = variable[layer][:, :limit]
        messages.append(
            f"the requested share of variance needs {sizes[0]}, {sizes[1]} and {sizes[2]} components of target, x and "
            f"y; cut to {limit} each, n/{VARIANCE_CAP} in all."
        )
    return reduced


def _gaussianize(
    reduced: list[Layers],
    gaussianize: Gaussianize | FlowConfig | str,
    key: jax.Array,
    flags: list[list[str]],
) -> list[Layers]:
    if gaussianize == "none":
        return reduced
    flow = flow_of(gaussianize)
    if flow is None:
        return [_gaussianize_by_copula(variable) for variable in reduced]
    return gaussianize_by_flow(flow, reduced, key, flags)


def _gaussianize_by_copula(variable: Layers) -> Layers:
    padded, masks = _pad(variable)
    with systems.x64_context():
        values = np.asarray(jax.vmap(rank_gaussian)(padded))
    return [values[layer][:, mask] for layer, mask in enumerate(masks)]


def gaussianize_by_flow(
    flow: FlowConfig, reduced: list[Layers], key: jax.Array, flags: list[list[str]]
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
                flags[layer].append(
                    "the flow was no better than the copula on held-out samples; the copula was used."
                )
    return result


def _within_rank(name: str, values: np.ndarray, flags: list[str]) -> np.ndarray:
    """Return the coordinates, or, if some are collinear, coordinates along the eigenvectors that exist."""
    centered = values - values.mean(axis=0)
    deviation = centered.std(axis=0)
    centered = centered / np.where(deviation > 0, deviation, 1)
    eigenvalues, vectors = np.linalg.eigh(centered.T @ centered / len(centered))
    mask = eigenvalues > DOUBLE.rank * max(eigenvalues[-1], DOUBLE.rank)
    # with no more samples than coordinates the covariance is singular: `fit_covariances` raises or shrinks
    if mask.all() or len(values) <= values.shape[1]:
        return values
    flags.append(
        f"{name}: {(~mask).sum()} of {mask.size} directions do not exist (collinear features) and were left out."
    )
    return centered @ (vectors[:, mask] / np.sqrt(eigenvalues[mask]))


def _common_width(variable: Layers) -> int:
    """Return a power of two, so that data of similar widths run the same program."""
    return max(MIN_WIDTH, 1 << (max(layer.shape[1] for layer in variable) - 1).bit_length())


def _widen(values: np.ndarray, width: int) -> np.ndarray:
    """Append columns of zeros."""
    return np.pad(values, ((0, 0), (0, width - values.shape[1])))


def _pad(layers: Layers) -> tuple[np.ndarray, np.ndarray]:
    """Stack layers of different widths with zeros on the right, and return also the mask of their coordinates."""
    width = max(layer.shape[1] for layer in layers)
    padded = np.stack([_widen(layer, width) for layer in layers])
    masks = np.stack([np.arange(width) < layer.shape[1] for layer in layers])
    return padded, masks

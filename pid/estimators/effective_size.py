"""Samples that depend on each other: their effective number, the bias that belongs to it, and how to resample them.

L layers, n samples
"""

import math
import zlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pid.estimators.config import Bootstrap, Shuffle
from pid.estimators.covariance_fit import CovarianceFit
from pid.features.autocorrelation import (
    Blocks,
    Inflation,
    autocovariances,
    blocks_of,
    group_covariances,
    inflation,
    moment_terms,
)
from pid.features.resampling import Groups, Sampling, group_samples
from pid.gaussian import covariance, systems, wishart

STEP = 1.05
"""Effective numbers are rounded to powers of this number, so that data of similar dependence share programs."""


def account_for_dependence(
    fit: CovarianceFit, ci: Bootstrap | None, null: Shuffle | None, groups: Any
) -> CovarianceFit:
    """Return the fit with the bias of the effective number of samples, and how samples are resampled.

    The fit is unchanged if no choice says that samples depend on each other: `groups`, the blocks of `ci`, or circular
    shifts of `null`. Each mutual information has an effective number n / Σ_k r(k) of its own (`autocorrelation`), and
    its bias is the exact one of so many independent samples. All layers share one length of blocks, the longest that
    any of them needs.

    Raises:
        ValueError: labels of groups that do not fit the samples; blocks longer than half the series.
    """
    block = None if ci is None else ci.block
    circular = null is not None and null.kind == "circular"
    if groups is None and block is None and not circular:
        return fit
    indexed = None if groups is None else group_samples(groups, fit.n)
    if isinstance(block, int) and block > fit.n // 2:
        raise ValueError(
            f"blocks are at most half as long as the series, got block={block} with n={fit.n}; pass block='auto'."
        )
    fixed = block if isinstance(block, int) else None
    layers = [_inflations(fit, layer, indexed, fixed) for layer in range(len(fit.covs))]
    ratios = np.array([[each.ratio for each in layer.pairs] for layer in layers])
    shifts = np.array([[each.of_means for each in layer.pairs] for layer in layers]) / fit.n
    auto, scale = max(layer.blocks for layer in layers)
    if block is None:
        scale = 1.0
    if indexed is not None:
        scale = math.sqrt(len(indexed.size) / (len(indexed.size) - 1))
    series = circular or block is not None
    shift = max(1, min(2 * auto, fit.n // 4)) if series else None
    bias = np.stack(
        [
            _bias(fit, layer, ratio, shift)
            for layer, (ratio, shift) in enumerate(zip(ratios, shifts, strict=True))
        ]
    )
    smallest = STEP ** math.floor(math.log(fit.n / max(1.0, float(ratios.max())), STEP))
    return fit._replace(
        bias=bias,
        bias_of_draws=bias,
        sampling=Sampling(1 if block is None else auto, scale, shift, indexed),
        effective_n=min(fit.n, max(math.ceil(smallest), fit.covs.shape[-1] + 2)),
    )


def draws_for(ci: Bootstrap | None, groups: Any) -> Bootstrap | None:
    """Return the draws of the intervals: paired ones if there are groups, which are resampled as wholes."""
    if ci is None or groups is None or ci.kind == "paired":
        return ci
    return Bootstrap(ci.draws, ci.level, "paired", ci.block)


def describe_scheme(sampling: Sampling) -> str:
    """Return what one paired draw resamples, for the comparison of two estimates."""
    if sampling.groups is not None:
        return f"groups {zlib.crc32(np.asarray(sampling.groups.label, np.int32).tobytes()):08x}"
    return "samples" if sampling.block == 1 else f"blocks of {sampling.block}"


class _Layer(NamedTuple):
    """Dependence between the samples of one layer."""

    pairs: list[Inflation]
    """Inflation of I_x, I_y and I_xy."""

    blocks: Blocks
    """Blocks that all second moments need, or the products of target and sources, whichever are longer."""


def _inflations(fit: CovarianceFit, layer: int, groups: Groups | None, block: int | None) -> _Layer:
    """Measure the dependence between the samples of a layer."""
    z = fit.features.values[layer]
    target, *second, x, y = _indices(fit, layer)
    gamma, pairs = (
        (autocovariances(z), None) if groups is None else group_covariances(z, np.asarray(groups.label))
    )
    tasks = [(target, x), (second[0] if second else target, y), (target, np.concatenate([x, y]))]
    results = [inflation(gamma, a, b, pairs) for a, b in tasks]
    if groups is not None:
        return _Layer(results, Blocks(1, 1.0))
    terms = moment_terms(gamma, np.flatnonzero(fit.features.mask[layer]))[0]
    candidates = [blocks_of(r, fit.n, block) for r in (terms / terms[0], results[2].products)]
    return _Layer(results, max(candidates))


def _indices(fit: CovarianceFit, layer: int) -> list[np.ndarray]:
    """Return the indices of the coordinates that a layer has, for every part."""
    masks = fit.features.masks
    starts = np.cumsum([0, *(mask.shape[-1] for mask in masks)])
    return [start + np.flatnonzero(mask[layer]) for start, mask in zip(starts, masks, strict=False)]


def _bias(fit: CovarianceFit, layer: int, ratios: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Compute the bias of I_x, I_y and I_xy in bits.

    It is the exact bias of n / ratio independent samples, or the ratio times that of n samples if it is below 1, and
    the bias that comes from the means.
    """
    if not np.any(fit.bias[layer]):
        return fit.bias[layer]
    *_, x_index, y_index = _indices(fit, layer)
    sources = np.concatenate([x_index, y_index])
    m, x, y = (int(count) for count in fit.features.counts[layer])
    joint = int(np.linalg.matrix_rank(fit.covs[layer][np.ix_(sources, sources)], hermitian=True))
    with systems.x64_context():
        nats = [
            min(ratio, 1) * _pair_bias(m, d, max(fit.n / max(ratio, 1), m + joint + 3)) + shift
            for d, ratio, shift in zip((x, y, joint), ratios.tolist(), shifts.tolist(), strict=True)
        ]
    return np.array(nats) * covariance.units_per_nat(2)


def _pair_bias(m: int, d: int, n: float) -> float:
    b = np.asarray(wishart.log_determinant_bias(jnp.array([m, d, m + d]), n, max_d=m + d))
    return float(b[0] + b[1] - b[2]) / 2

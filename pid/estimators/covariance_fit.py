"""Covariances of all layers, and the exact bias of the information computed from them.

L layers, n samples, D coordinates
"""

import math
from typing import NamedTuple

import numpy as np

from pid.estimators.config import Bootstrap
from pid.estimators.gaussian_features import GaussianFeatures
from pid.features.normal_scores import normal_scores
from pid.features.resampling import INDEPENDENT, Sampling
from pid.gaussian import systems, wishart
from pid.gaussian.covariance import DOUBLE, Dims
from pid.gaussian.information import mutual_information
from pid.gaussian.shrinkage import shrink, shrinkage_intensity

SIMULATIONS = 4
"""Simulated data sets from which the bias of scores is computed."""
SMALL_LOSS = 0.004
"""A bias of scores below this, in bits, is not computed."""


class CovarianceFit(NamedTuple):
    """Gaussian features of all layers, their covariances, and how these are decomposed."""

    features: GaussianFeatures
    """The coordinates of every layer."""

    covs: np.ndarray
    """Covariances (L, D, D), with independent coordinates of unit variance in the place of missing ones."""

    bias: np.ndarray
    """Bias of I_x, I_y and I_xy in bits, (L, 3): of Gaussian samples times the inflation, and of rank scores."""

    bias_of_draws: np.ndarray
    """Bias of I_x, I_y and I_xy of parametric draws and of shuffles in bits, (L, 3): of Gaussian samples alone."""

    n: int
    """Number of samples."""

    measure: str
    """Name of the measure of the decomposition."""

    two_targets: bool
    """Whether each pair has a target of its own: coordinates are then target, target_y, x, y."""

    shrinkage: str | None
    """Method by which the covariances were shrunk, or None."""

    sampling: Sampling = INDEPENDENT
    """How samples depend on each other."""

    effective_n: int | None = None
    """Number of independent samples with the same bias, the smallest of all layers; None for n."""

    @property
    def dims(self) -> Dims:
        """Coordinates of target, x and y, missing ones included."""
        parts = self.features.parts
        return parts[0].shape[-1], parts[-2].shape[-1], parts[-1].shape[-1]


def fit_covariances(
    features: GaussianFeatures,
    n: int,
    *,
    measure: str,
    two_targets: bool,
    shrinkage: str | None,
    ci: Bootstrap | None,
) -> CovarianceFit:
    """Compute covariances and bias of every layer.

    Raises:
        ValueError: fewer samples than dimensions, unless the covariances are shrunk and the draws are not parametric.
    """
    counts = features.counts
    max_dims = int(counts.sum(axis=1).max())
    if n - 1 < max_dims and shrinkage is None:
        raise ValueError(
            f"an estimate needs more samples than dimensions, got n={n} samples for {max_dims} dimensions "
            f"{tuple(int(c) for c in counts[counts.sum(axis=1).argmax()])}; reduce each variable to fewer components "
            f"(reduce=PCA(components={max(1, (n - 1) // 9)})), add samples, or use shrinkage='ledoit_wolf' with "
            f"debias='none' and ci=None."
        )
    if n - 1 < max_dims and (ci is not None and ci.kind == "parametric"):
        raise ValueError(
            f"parametric draws need more samples than dimensions, got n={n} for {max_dims}; "
            f"use ci=None or kind='paired'."
        )
    z = features.values - features.values.mean(axis=1, keepdims=True)
    covs = np.stack([_covariance(*layer, shrinkage) for layer in zip(z, features.mask, strict=True)])
    gaussian = _bias(covs, features, n)
    bias = gaussian * features.inflation[:, None] + _bias_of_scores(covs, features, n)
    return CovarianceFit(features, covs, bias, gaussian, n, measure, two_targets, shrinkage)


def _covariance(z: np.ndarray, mask: np.ndarray, shrinkage: str | None) -> np.ndarray:
    """Compute the covariance of centered samples (n, D); missing coordinates get variance 1."""
    n = len(z)
    cov = z.T @ z / (n - 1)
    if shrinkage is not None:
        index = np.ix_(mask, mask)
        scale = np.sqrt(np.diag(cov)[mask])
        rho = shrinkage_intensity(z[:, mask] / scale, shrinkage)
        cov[index] = shrink(cov[index] / scale / scale[:, None], rho)
    return np.where(mask[:, None] & mask[None, :], cov, np.eye(len(cov)))


def _bias(covs: np.ndarray, features: GaussianFeatures, n: int) -> np.ndarray:
    """Compute the bias in bits, (L, 3); for the joint information, directions that both sources share count once."""
    sources = sum(mask.shape[-1] for mask in features.masks[-2:])
    deficits = [
        int(np.sum(eigenvalues <= DOUBLE.rank * eigenvalues[-1]))
        for eigenvalues in np.linalg.eigvalsh(covs[:, -sources:, -sources:])
    ]
    rows = []
    for (m, x, y), deficit in zip(features.counts.tolist(), deficits, strict=True):
        with systems.x64_context():
            enough = n - 1 >= m + x + y - deficit
            rows.append(
                wishart.information_bias((m, x, y, x + y - deficit), n) if enough else (0.0, 0.0, 0.0)
            )
    return np.array(rows, float)


def _bias_of_scores(covs: np.ndarray, features: GaussianFeatures, n: int) -> np.ndarray:
    """Compute what rank scores lose of the information of Gaussian samples, in bits, (L, 3), at most 0.

    The loss is the mean over Gaussian samples of the estimated covariance, with their scores against without. It is
    about 5 I / n, and is left out where that is below `SMALL_LOSS`.
    """
    bias = np.zeros((len(covs), 3))
    if len(features.parts) != 3:
        return bias
    for layer, (cov, mask) in enumerate(zip(covs, features.mask, strict=True)):
        existing = cov[np.ix_(mask, mask)]
        dims = features.counts[layer]
        information = mutual_information(existing, dims)
        if not features.are_scores[layer] or not SMALL_LOSS < 5 * information.joint / n < math.inf:
            continue
        rng = np.random.default_rng(0)
        values, vectors = np.linalg.eigh(existing)
        root = vectors * np.sqrt(np.maximum(values, 0))
        simulated = [rng.standard_normal((n, len(existing))) @ root.T for _ in range(SIMULATIONS)]
        covs_of = [np.cov(a.T) for samples in simulated for a in (normal_scores(samples), samples)]
        scored, plain = (
            np.stack(mutual_information(np.stack(covs_of), dims), axis=-1).reshape(-1, 2, 3).mean(axis=0)
        )
        bias[layer] = np.minimum(scored - plain, 0)
    return bias

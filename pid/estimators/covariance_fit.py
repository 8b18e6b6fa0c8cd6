"""Covariances of all layers, and the exact bias of the information computed from them.

L layers, n samples, D coordinates
"""

from typing import NamedTuple

import numpy as np

from pid.estimators.config import Bootstrap
from pid.estimators.gaussian_features import GaussianFeatures
from pid.features.resampling import INDEPENDENT, Sampling
from pid.gaussian import systems, wishart
from pid.gaussian.covariance import DOUBLE, Dims
from pid.gaussian.shrinkage import shrink, shrinkage_intensity


class CovarianceFit(NamedTuple):
    """Gaussian features of all layers, their covariances, and how these are decomposed."""

    features: GaussianFeatures
    """The coordinates of every layer."""

    covs: np.ndarray
    """Covariances (L, D, D), with independent coordinates of unit variance in the place of missing ones."""

    bias: np.ndarray
    """Exact bias of I_x, I_y and I_xy in bits, (L, 3); 0 if the samples are too few to compute it."""

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
    return CovarianceFit(features, covs, _bias(covs, features, n), n, measure, two_targets, shrinkage)


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

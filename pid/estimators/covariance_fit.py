"""What a Gaussian keeps of the samples: covariances of all layers, the exact bias of their information, the plug-in.

L layers, n samples, D coordinates
"""

from typing import NamedTuple

import numpy as np

from pid.estimators import bootstrap, wishart_thinning
from pid.estimators.bootstrap import Plan
from pid.estimators.config import EstimateConfig, two_targets
from pid.estimators.gaussian_features import Latents
from pid.estimators.shrinkage import intensity, shrunk
from pid.gaussian import systems, wishart
from pid.gaussian.covariance import DOUBLE
from pid.measures.decomposition import make_measure


class Observed(NamedTuple):
    """The samples of all layers, reduced to their covariances, and how to decompose them."""

    found: Latents
    covs: np.ndarray  # (L, D, D), independent coordinates of unit variance in the place of missing ones
    plan: Plan
    bias: np.ndarray  # bits, (L, 3): of I_x, I_y, I_xy
    config: EstimateConfig

    @property
    def thinned(self) -> bool:
        """Whether unique information is measured by thinning: asked for, of use, and with samples enough."""
        asked = self.config["debias"] == "thinned" and self.config["measure"] == "broja"
        return asked and wishart_thinning.sizes(self.covs.shape[-1], self.plan.n - 1) is not None

    def plugin(self) -> np.ndarray:
        """The uncorrected fields of a PID, in bits: (L, fields)."""
        return bootstrap.in_bits(bootstrap.observed, self.plan, self.covs, self.found.mask)


def observe(found: Latents, n: int, config: EstimateConfig) -> Observed:
    """Covariances and bias of every layer. Raises ValueError if there are fewer samples than dimensions."""
    counts = found.counts
    most = int(counts.sum(axis=1).max())
    if n - 1 < most and config["shrinkage"] is None:
        raise ValueError(
            f"an estimate needs more samples than dimensions, got n={n} samples for {most} dimensions "
            f"{tuple(int(c) for c in counts[counts.sum(axis=1).argmax()])}; reduce each variable to fewer components "
            f"(reduce=PCA(components={max(1, (n - 1) // 9)})), add samples, or use shrinkage='ledoit_wolf' with "
            f"debias='none' and ci=None."
        )
    if n - 1 < most and (config["ci"] is not None and config["ci"].kind == "parametric"):
        raise ValueError(
            f"parametric draws need more samples than dimensions, got n={n} for {most}; use ci=None or kind='paired'."
        )
    z = found.values - found.values.mean(axis=1, keepdims=True)
    covs = np.stack([_covariance(*layer, config["shrinkage"]) for layer in zip(z, found.mask, strict=True)])
    dims = tuple(part.shape[-1] for part in (found.parts[0], *found.parts[-2:]))
    plan = Plan(make_measure(config["measure"], dims, np.float64), two_targets(config), n)
    return Observed(found, covs, plan, _bias(covs, found, n), config)


def _covariance(z: np.ndarray, exists: np.ndarray, shrinkage: str | None) -> np.ndarray:
    """Of centred samples; what does not exist gets variance 1."""
    n = len(z)
    cov = z.T @ z / (n - 1)
    if shrinkage is not None:
        inside = np.ix_(exists, exists)
        scale = np.sqrt(np.diag(cov)[exists])
        standard = z[:, exists] / scale
        rho = intensity(standard, shrinkage)
        cov[inside] = shrunk(cov[inside] / scale / scale[:, None], rho)
    return np.where(exists[:, None] & exists[None, :], cov, np.eye(len(cov)))


def _bias(covs: np.ndarray, found: Latents, n: int) -> np.ndarray:
    """Bits, (L, 3); the joint one counts the directions that both sources have together."""
    both = sum(part.shape[-1] for part in found.exists[-2:])
    missing = [
        np.sum(eigenvalues <= DOUBLE.rank * eigenvalues[-1])
        for eigenvalues in np.linalg.eigvalsh(covs[:, -both:, -both:])
    ]
    rows = []
    for (m, x, y), lost in zip(found.counts, missing, strict=True):
        with systems.x64_context():
            enough = n - 1 >= m + x + y - lost
            rows.append(wishart.information_bias((m, x, y, x + y - lost), n) if enough else (0.0, 0.0, 0.0))
    return np.array(rows, float)

"""The batched closed form of BROJA against the same form in a SciPy loop, and against the published iteration."""

from collections.abc import Iterator

import numpy as np
from scipy import linalg

from experiments.bench import iterative_broja
from experiments.bench.config import Config
from experiments.bench.timing import Row, paired_calls
from pid.measures import decompose


def decomposition_rows(config: Config) -> Iterator[Row]:
    """Time the decomposition per system. The iteration gets another system in each call, since its length differs."""
    size = config.pid
    for name, covs, is_loop in _cases(config):
        d = covs.shape[-1] // 3
        indices = iter(np.resize(np.arange(len(covs)), 10**6))
        yield Row(
            f"{name}, d = {d}",
            paired_calls(
                lambda covs=covs, d=d: decompose(covs, (d, d, d)),
                (lambda covs=covs, d=d: [closed_form(cov, d) for cov in covs])
                if is_loop
                else (
                    lambda covs=covs, d=d, i=indices: iterative_broja.union_information(
                        covs[next(i)], (d, d, d)
                    )
                ),
                per=(size.batch, size.batch if is_loop else 1),
                pairs=config.pairs,
                seconds=config.seconds,
            ),
        )


def _cases(config: Config) -> Iterator[tuple[str, np.ndarray, bool]]:
    size = config.pid
    yield "SciPy loop of the closed form", random_channels(size.loop, size.batch), True
    for d in size.iterative:
        yield "iterative method", random_channels(d, size.batch), False


def random_channels(d: int, count: int) -> np.ndarray:
    """Return covariances (count, 3d, 3d) of X = H_x M + n, Y = H_y M + n', with H of standard deviation 0.75/√d."""
    h = np.random.default_rng(0).normal(size=(count, 2 * d, d)) * 0.75 / d**0.5
    covs = np.empty((count, 3 * d, 3 * d))
    covs[:, :d, :d] = np.eye(d)
    covs[:, d:, :d], covs[:, :d, d:] = h, h.transpose(0, 2, 1)
    covs[:, d:, d:] = h @ h.transpose(0, 2, 1) + np.eye(2 * d)
    return covs


def closed_form(cov: np.ndarray, d: int) -> tuple[float, float, float, float]:
    """Return (R, U_x, U_y, S) in bits of one system, by Cholesky factors and one generalized eigenproblem."""
    m, x, y = (slice(i * d, (i + 1) * d) for i in range(3))
    prior = _cholesky(cov[m, m])
    posterior_x, posterior_y = (_posterior(cov[m, m], cov[s, s], cov[s, m]) for s in (x, y))
    factor_x = _cholesky(posterior_x)
    half = linalg.solve_triangular(factor_x, posterior_y, lower=True, check_finite=False)
    ratio = linalg.solve_triangular(factor_x, half.T, lower=True, check_finite=False)
    logs = np.log2(linalg.eigvalsh((ratio + ratio.T) / 2, check_finite=False)) / 2
    sources, joint = _cholesky(cov[d:, d:]), _cholesky(cov)
    i_x = _bits(prior) - _bits(factor_x)
    i_xy = _bits(prior) + _bits(sources) - _bits(joint)
    unique_x, unique_y = logs[logs > 0].sum(), -logs[logs < 0].sum()
    return i_x - unique_x, unique_x, unique_y, i_xy - i_x - unique_y


def _posterior(target: np.ndarray, source: np.ndarray, cross: np.ndarray) -> np.ndarray:
    projection = linalg.solve_triangular(_cholesky(source), cross, lower=True, check_finite=False)
    return target - projection.T @ projection


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    return linalg.cholesky(matrix, lower=True, check_finite=False)


def _bits(factor: np.ndarray) -> float:
    """Return ½ log2 det of L Lᵀ."""
    return float(np.log2(np.diagonal(factor)).sum())

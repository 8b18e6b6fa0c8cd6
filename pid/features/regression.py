"""Reduction of wide sources that is aware of the target: cross-fitted regressions of the target on the sources.

For jointly Gaussian variables the regression E[M|X] is sufficient: I(M; E[M|X]) = I(M;X), and the unique and redundant
information stay as they are. Only synergy needs more, the part of E[M|X,Y] that belongs to x. So a source of d features
becomes at most 2m coordinates without loss. From n samples the coefficients are noisy, and coordinates that were
fitted to the samples they describe would invent information. Every sample is therefore mapped by coefficients that were
fitted without it:

    z_i = x_i B_f,   B_f = argmin_B  1/n Σ_{j not in f} |m_j - x_j B|² + λ |B|²,   i in fold f

The coordinates of all folds predict the same coordinate of the target, and are scaled to unit variance in the samples
of the fit, so that they can be pooled. λ minimizes the generalized cross-validation error. With fewer features than
samples a second fit penalizes each feature by its own λ_j, the variance of its coefficients over their mean square
(automatic relevance determination). It is used where it predicts better.

    n samples, m coordinates of the target, d features of all sources, F folds, s samples in a fold
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float, Int

GRID = 10.0 ** np.arange(-4.0, 4.5, 0.5)
"""Ridge penalties that are tried, in units of the mean variance of a direction."""
ROUNDS = 4
"""Refits with a penalty for each feature."""
ROW_MULTIPLE, FOLD_MULTIPLE = 128, 16
"""Rows of zeros fill the samples and the folds up to these multiples, so that similar data share programs."""
MIN_GAIN = 0.01
"""Share of the held-out error by which the penalties of features have to be better than one penalty."""


@dataclass(frozen=True)
class CrossFittedRegression:
    """Reduction that keeps what predicts the target, fitted on other samples than those it is applied to.

    A variable of at most `max_features` features keeps them as they are. A wider target keeps its leading principal
    components. A wider source becomes the cross-fitted regression of the target on it, one coordinate for each one of
    the target's, and, where that adds information, its part of the regression on both sources.

    Raises:
        ValueError: max_features or components < 1, or fewer than two folds.

    Example:
        >>> from pid import CrossFittedRegression
        >>> CrossFittedRegression()
        CrossFittedRegression(max_features=16, components=8, folds=10)

    Reference:
        Sufficiency of the regression: Cook, "Fisher lecture: dimension reduction in regression", Statistical Science
        2007. Cross-fitting: Chernozhukov et al., The Econometrics Journal 2018.
    """

    max_features: int = 16
    """Features that a variable may have without being reduced, at least 1; n/9 if that is less."""

    components: int = 8
    """Components of a wider target, at least 1; n/9 if that is less."""

    folds: int = 10
    """Folds of the samples; the coefficients of a fold come from all others. At least 2."""

    def __post_init__(self) -> None:
        """Check the fields."""
        for name, default in (("max_features", 16), ("components", 8)):
            if (value := getattr(self, name)) < 1:
                raise ValueError(
                    f"CrossFittedRegression needs {name} >= 1, got {value}; the default is {default}."
                )
        if self.folds < 2:
            raise ValueError(
                f"CrossFittedRegression needs at least two folds, got {self.folds}; the default is 10."
            )


class Predictions(NamedTuple):
    """Cross-fitted regression of the target on several sources together."""

    parts: tuple[Float[Array | np.ndarray, "n m"], ...]
    """The part of each source in the prediction of every sample, with unit variance in the samples of each fit."""

    prediction: Float[Array | np.ndarray, "n m"]
    """The prediction of the target."""

    error: Float[Array | np.ndarray, ""]
    """Mean square of what is left of the target, over samples and coordinates."""


def make_folds(
    key: Array, n: int, folds: int, *, groups: np.ndarray | None = None, series: bool = False
) -> np.ndarray:
    """Distribute n samples over folds, (F, s); the number n stands for "no sample".

    Args:
        key: key of the random order.
        n: number of samples.
        folds: number of folds; fewer if there are fewer samples or groups.
        groups: number of the group of every sample, 0 … G-1, (n,): a group lies in one fold, because its other samples
            would tell about those of the fold. None for none.
        series: whether the samples are a series; a fold is then a stretch of it, for the same reason.
    """
    if groups is not None:
        fold_of_group = np.asarray(jax.random.permutation(key, int(groups.max()) + 1)) % folds
        members = [np.flatnonzero(fold_of_group[groups] == fold) for fold in range(folds)]
        members = [fold for fold in members if fold.size]
    else:
        order = np.arange(n) if series else np.asarray(jax.random.permutation(key, n))
        members = np.array_split(order, min(folds, n))
    rows = np.full((len(members), max(fold.size for fold in members)), n)
    for row, fold in zip(rows, members, strict=True):
        row[: fold.size] = fold
    return rows


def cross_fitted_predictions(
    target: np.ndarray, sources: tuple[np.ndarray, ...], folds: np.ndarray
) -> Predictions:
    """Predict every sample of the target by coefficients that were fitted without its fold.

    Args:
        target: columns of mean 0.
        sources: columns of mean 0, one array for each source.
        folds: result of `make_folds`.
    """
    n, features = target.shape[0], sum(source.shape[1] for source in sources)
    program = predict_by_features if features <= n else predict_by_samples
    rows, columns = -n % ROW_MULTIPLE, -folds.shape[1] % FOLD_MULTIPLE
    padded_folds = np.pad(
        np.where(folds == n, n + rows, folds), ((0, 0), (0, columns)), constant_values=n + rows
    )
    padded = [np.pad(a, ((0, rows), (0, 0))) for a in (target, *sources)]
    result = jax.device_get(program(padded[0], tuple(padded[1:]), padded_folds, n))
    return Predictions(tuple(part[:n] for part in result.parts), result.prediction[:n], result.error)


def _fold_rows(a: Float[Array, "n d"], folds: Int[Array, "f s"]) -> Float[Array, "f s d"]:
    return jnp.concatenate([a, jnp.zeros_like(a[:1])])[folds]


def _pool(rows: Float[Array, "f s d"], folds: Int[Array, "f s"], n: int) -> Float[Array, "n d"]:
    """Bring the rows of all folds into the order of the samples."""
    return jnp.zeros((n + 1, rows.shape[-1]), rows.dtype).at[folds].set(rows)[:n]


def _scale(square: Float[Array, "*f m"], n: Array | int) -> Float[Array, "*f m"]:
    """Return the standard deviation of predictions from the sum of their squares over n samples; 1 if it is 0."""
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1) / n), 1)


def _best_penalty(
    variances: Float[Array, " r"],
    projections: Float[Array, "r m"],
    total: Float[Array, ""],
    features: int,
    n: Array | int,
) -> Float[Array, ""]:
    """Return the λ that minimizes n · RSS / (n - df)², given the spectrum of the sources' covariance.

    Args:
        variances: eigenvalues of XᵀX/n.
        projections: Vᵀ Xᵀ M / n for its eigenvectors V.
        total: mean of |m_i|².
        features: number d of features, by which the mean variance is taken.
        n: number of samples.
    """
    penalties = jnp.asarray(GRID, variances.dtype) * jnp.sum(variances) / features
    shrunk = variances[None] + penalties[:, None]
    explained = (2 / shrunk - variances[None] / shrunk**2) @ jnp.sum(projections**2, axis=1)
    freedom = jnp.sum(variances[None] / shrunk, axis=1)
    return penalties[jnp.argmin((total - explained) / (1 - jnp.minimum(freedom / n, 0.99)) ** 2)]


@jax.jit
def predict_by_features(
    target: Array, sources: tuple[Array, ...], folds: Array, n: Array | int
) -> Predictions:
    """Solve the normal equations of the features."""
    x, size = jnp.concatenate(sources, axis=1), target.shape[0]
    d = x.shape[1]
    gram, cross = x.T @ x, x.T @ target
    variances, vectors = jnp.linalg.eigh(gram / n)
    variances = jnp.maximum(variances, 0)
    penalty = _best_penalty(variances, vectors.T @ cross / n, jnp.sum(target**2) / n, d, n)
    total = jnp.sum(target**2, axis=0)

    def fold(rows: tuple[Array, Array]) -> tuple[Array, Array]:
        x_rows, m_rows = rows
        covariance, moment = (gram - x_rows.T @ x_rows) / n, (cross - x_rows.T @ m_rows) / n
        scale = (total - jnp.sum(m_rows**2, axis=0)) / n

        def solve(penalties: Array) -> Array:
            matrix = covariance + jnp.diag(penalties)
            factor = jnp.linalg.cholesky(matrix)  # half the time of LU, but rounding may leave no factor
            return jax.lax.cond(
                jnp.isfinite(factor[-1, -1]),
                lambda: cho_solve((factor, True), moment),
                lambda: jnp.linalg.solve(matrix, moment),
            )

        def refit(_: Array | int, coefficients: Array) -> Array:
            left = 1 - jnp.sum(coefficients * moment, axis=0) / scale
            variance = jnp.mean(jnp.maximum(left, 0.01)) / n
            return solve(variance / jnp.maximum(jnp.mean(coefficients**2 / scale[None], axis=1), 1e-9))

        ridge = solve(jnp.full(d, penalty))
        return ridge, jax.lax.fori_loop(0, ROUNDS, refit, ridge)

    x_rows = _fold_rows(x, folds)
    coefficients = jax.lax.map(fold, (x_rows, _fold_rows(target, folds)))
    ridge, relevance = (_pool(jnp.einsum("fsd,fdm->fsm", x_rows, b), folds, size) for b in coefficients)
    errors = [jnp.sum((target - p) ** 2) / n / target.shape[1] for p in (ridge, relevance)]
    better = errors[1] < (1 - MIN_GAIN) * errors[0]
    chosen = jnp.where(better, coefficients[1], coefficients[0])
    edges = np.cumsum([0, *(source.shape[1] for source in sources)])

    def part(a: int, b: int) -> Array:
        own, rows = chosen[:, a:b], x_rows[..., a:b]
        values = jnp.einsum("fsd,fdm->fsm", rows, own)
        square = jnp.einsum("fdm,de,fem->fm", own, gram[a:b, a:b], own) - jnp.sum(values**2, axis=1)
        return _pool(values / _scale(square, n)[:, None], folds, size)

    parts = tuple(part(a, b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    prediction = jnp.where(better, relevance, ridge)
    return Predictions(parts, prediction, jnp.where(better, errors[1], errors[0]))


@jax.jit
def predict_by_samples(
    target: Array, sources: tuple[Array, ...], folds: Array, n: Array | int
) -> Predictions:
    """Solve the equations of the samples, fewer than features, with K = Σ X Xᵀ and Q = (K/n + λ)⁻¹.

    What the fit without fold f leaves of the fold is (Q_ff)⁻¹ (Q M)_f. Its dual coefficients are Q M' / n, where M' has
    the predictions in the place of the fold.
    """
    size = target.shape[0]
    kernels = [source @ source.T for source in sources]
    values, vectors = jnp.linalg.eigh(sum(kernels[1:], kernels[0]) / n)
    variances = jnp.maximum(values, 0)
    projections = jnp.sqrt(variances / n)[:, None] * (vectors.T @ target)
    features = sum(source.shape[1] for source in sources)
    penalty = _best_penalty(variances, projections, jnp.sum(target**2) / n, features, n)
    inverse = (vectors / (variances + penalty)[None]) @ vectors.T
    solved = inverse @ target

    def fold(rows: Array) -> tuple[Array, ...]:
        absent = rows == size
        index = jnp.where(absent, 0, rows)
        block = jnp.where(absent[:, None] | absent[None, :], jnp.eye(rows.size), inverse[index][:, index])
        left = jnp.linalg.solve(block, jnp.where(absent[:, None], 0, solved[index]))
        dual = (solved - inverse[:, index] @ left) / n  # zero in the fold itself, up to rounding
        values = [kernel @ dual for kernel in kernels]
        inside = [jnp.where(absent[:, None], 0, v[index]) for v in values]
        scaled = [
            own / _scale(jnp.sum(v**2, axis=0) - jnp.sum(own**2, axis=0), n)[None]
            for v, own in zip(values, inside, strict=True)
        ]
        return (*scaled, sum(inside[1:], inside[0]))

    *parts, prediction = (_pool(rows, folds, size) for rows in jax.lax.map(fold, folds))
    error = jnp.sum((target - prediction) ** 2) / n / target.shape[1]
    return Predictions(tuple(parts), prediction, error)

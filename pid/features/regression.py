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

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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

Rows = Array | np.ndarray


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
        fold_of_group = np.asarray(_permute(key, int(groups.max()) + 1)) % folds
        members = [np.flatnonzero(fold_of_group[groups] == fold) for fold in range(folds)]
        members = [fold for fold in members if fold.size]
    else:
        order = np.arange(n) if series else np.asarray(_permute(key, n))
        members = np.array_split(order, min(folds, n))
    rows = np.full((len(members), max(fold.size for fold in members)), n)
    for row, fold in zip(rows, members, strict=True):
        row[: fold.size] = fold
    return rows


_permute = jax.jit(jax.random.permutation, static_argnums=1)  # one program instead of one for each operation


def cross_fitted_predictions(
    target: np.ndarray, sources: tuple[np.ndarray, ...], folds: np.ndarray
) -> Predictions:
    """Predict every sample of the target by coefficients that were fitted without its fold.

    Args:
        target: columns of mean 0.
        sources: columns of mean 0, one array for each source.
        folds: result of `make_folds`.
    """
    return predictions_by_subsets(target, sources, folds, (tuple(range(len(sources))),))[0]


def predictions_by_subsets(
    target: np.ndarray,
    sources: tuple[np.ndarray, ...],
    folds: np.ndarray,
    subsets: tuple[tuple[int, ...], ...],
) -> tuple[Predictions, ...]:
    """Predict the target by several subsets of the sources, as `cross_fitted_predictions` does by each.

    All subsets with at most as many features as samples share one program, and the second moments of the features.

    Args:
        target: columns of mean 0.
        sources: columns of mean 0, one array for each source.
        folds: result of `make_folds`.
        subsets: indices of the sources of each regression.
    """
    n = target.shape[0]
    rows, columns = -n % ROW_MULTIPLE, -folds.shape[1] % FOLD_MULTIPLE
    padded_folds = np.pad(
        np.where(folds == n, n + rows, folds), ((0, 0), (0, columns)), constant_values=n + rows
    )
    padded, *features = [np.pad(a, ((0, rows), (0, 0))) for a in (target, *sources)]
    narrow = tuple(own for own in subsets if sum(sources[i].shape[1] for i in own) <= n)
    used = sorted({i for own in narrow for i in own})
    results: dict[tuple[int, ...], Predictions] = {}
    if narrow:
        moved = tuple(tuple(used.index(i) for i in own) for own in narrow)
        shared = predict_subsets_by_features(
            padded, tuple(features[i] for i in used), padded_folds, n, subsets=moved
        )
        results |= zip(narrow, shared, strict=True)
    for own in subsets:
        if own not in results:
            results[own] = predict_by_samples(padded, tuple(features[i] for i in own), padded_folds, n)
    return tuple(
        Predictions(tuple(part[:n] for part in own.parts), own.prediction[:n], own.error)
        for own in jax.device_get([results[own] for own in subsets])
    )


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


class Moments(NamedTuple):
    """Second moments of features and target in every fold, and in all samples."""

    gram: Float[Array, "d d"]
    """XᵀX of all samples."""

    grams: Float[Array, "f d d"]
    """XᵀX of every fold."""

    cross: Float[Array, "d m"]
    """XᵀM of all samples."""

    crosses: Float[Array, "f d m"]
    """XᵀM of every fold."""

    total: Float[Array, " m"]
    """Σ m_i² of all samples."""

    totals: Float[Array, "f m"]
    """Σ m_i² of every fold."""

    def of_features(self, index: np.ndarray) -> "Moments":
        """Return the moments of some features."""
        first, last = int(index[0]), int(index[-1]) + 1
        own = slice(first, last) if last - first == len(index) else index
        rows = (self.gram[own], self.grams[:, own], self.cross[own], self.crosses[:, own])
        return Moments(rows[0][:, own], rows[1][:, :, own], rows[2], rows[3], self.total, self.totals)


def predict_by_features(target: Rows, sources: tuple[Rows, ...], folds: Rows, n: Array | int) -> Predictions:
    """Solve the normal equations of the features of all sources."""
    return predict_subsets_by_features(target, sources, folds, n, subsets=(tuple(range(len(sources))),))[0]


@partial(jax.jit, static_argnames="subsets")
def predict_subsets_by_features(
    target: Array,
    sources: tuple[Array, ...],
    folds: Array,
    n: Array | int,
    *,
    subsets: tuple[tuple[int, ...], ...],
) -> tuple[Predictions, ...]:
    """Solve the normal equations of the features of each subset of the sources."""
    rows_of_folds = _fold_rows(jnp.concatenate([*sources, target], axis=1), folds)
    d = rows_of_folds.shape[-1] - target.shape[1]
    x_rows, m_rows = rows_of_folds[..., :d], rows_of_folds[..., d:]
    products = jnp.einsum("fsd,fse->fde", rows_of_folds, rows_of_folds)  # one product for all moments
    totals = jnp.diagonal(products[:, d:, d:], axis1=1, axis2=2)
    of_folds = (products[:, :d, :d], products[:, :d, d:], totals)
    moments = Moments(*(a for own in of_folds for a in (jnp.sum(own, axis=0), own)))
    edges = np.cumsum([0, *(source.shape[1] for source in sources)])
    blocks = [np.arange(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    def predict(subset: tuple[int, ...]) -> Predictions:
        own = moments.of_features(np.concatenate([blocks[i] for i in subset]))
        rows = [x_rows[..., blocks[i][0] : blocks[i][-1] + 1] for i in subset]
        ridge, relevance = fold_coefficients(own, n)
        bounds = np.cumsum([0, *(r.shape[-1] for r in rows)]).tolist()
        slices = [slice(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]

        def values_of(coefficients: Array) -> list[Array]:
            return [
                jnp.einsum("fsd,fdm->fsm", r, coefficients[:, k]) for r, k in zip(rows, slices, strict=True)
            ]

        values = [values_of(b) for b in (ridge, relevance)]
        errors = [jnp.sum((m_rows - sum(v[1:], v[0])) ** 2) / n / target.shape[1] for v in values]
        better = errors[1] < (1 - MIN_GAIN) * errors[0]
        chosen = jnp.where(better, relevance, ridge)

        def part(index: int) -> Array:
            block, k = jnp.where(better, values[1][index], values[0][index]), slices[index]
            square = jnp.sum(chosen[:, k] * (own.gram[k, k] @ chosen[:, k]), axis=1)
            scale = _scale(square - jnp.sum(block**2, axis=1), n)
            return _pool(block / scale[:, None], folds, target.shape[0])

        prediction = jnp.where(better, *(sum(v[1:], v[0]) for v in reversed(values)))
        return Predictions(
            tuple(map(part, range(len(rows)))),
            _pool(prediction, folds, target.shape[0]),
            jnp.where(better, errors[1], errors[0]),
        )

    return tuple(map(predict, subsets))


def fold_coefficients(moments: Moments, n: Array | int) -> tuple[Array, Array]:
    """Compute the coefficients of every fold, (F, d, m), with one penalty, and with a penalty for each feature.

    Cholesky takes half the time of LU, but rounding may leave no factor of a matrix that is nearly singular. All folds
    are then solved again by LU: a choice in every solution would copy its matrix.
    """
    d = moments.gram.shape[0]
    variances, vectors = jnp.linalg.eigh(moments.gram / n)
    total = jnp.sum(moments.total) / n
    penalty = _best_penalty(jnp.maximum(variances, 0), vectors.T @ moments.cross / n, total, d, n)

    def by_cholesky(matrix: Array, moment: Array) -> Array:
        # the transpose of a symmetric matrix is the layout of LAPACK: no copy
        return cho_solve((jax.lax.linalg.cholesky(matrix.T, symmetrize_input=False), True), moment)

    def fit(solve: Callable[[Array, Array], Array]) -> tuple[Array, Array]:
        def fold(arrays: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            gram, cross, square = arrays
            covariance, moment = (moments.gram - gram) / n, (moments.cross - cross) / n
            scale = (moments.total - square) / n

            def refit(_: Array | int, coefficients: Array) -> Array:
                left = 1 - jnp.sum(coefficients * moment, axis=0) / scale
                variance = jnp.mean(jnp.maximum(left, 0.01)) / n
                relevance = jnp.maximum(jnp.mean(coefficients**2 / scale[None], axis=1), 1e-9)
                return solve(covariance + jnp.diag(variance / relevance), moment)

            ridge = solve(covariance + jnp.diag(jnp.full(d, penalty)), moment)
            return ridge, jax.lax.fori_loop(0, ROUNDS, refit, ridge)

        return jax.lax.map(fold, (moments.grams, moments.crosses, moments.totals))

    solutions = fit(by_cholesky)
    sound = jnp.all(jnp.isfinite(solutions[0])) & jnp.all(jnp.isfinite(solutions[1]))
    return jax.lax.cond(sound, lambda: solutions, lambda: fit(jnp.linalg.solve))


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

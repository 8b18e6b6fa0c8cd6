"""Forty situations in which an estimate is right or misleads: what its verdict should say is known.

Twenty are sound: the assumptions hold, or the choices account for what they break. Twenty are unsound, of ten kinds:
the number that a Gaussian decomposition returns is not the information, or its interval is too short.

    n samples, d features, m target
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from pid import PCA, Bootstrap
from pid.measures import PID, decompose

N = 900
Rng = np.random.Generator
Rows = Float[np.ndarray, "n d"]


class Case(NamedTuple):
    """One data set of a situation."""

    target: np.ndarray
    x: np.ndarray
    y: np.ndarray
    choices: dict[str, Any] = {}
    """Choices of the estimate that belong to the situation."""
    truth: PID | None = None
    """The exact decomposition in bits, where it is known."""


class Situation(NamedTuple):
    """A way to draw data sets, and whether an estimate of them is sound."""

    name: str
    kind: str
    """What is unsound, or "sound"."""
    generate: Callable[[Rng], Case]

    @property
    def sound(self) -> bool:
        """Whether the estimate is right."""
        return self.kind == "sound"


# --- sound


def linear(rng: Rng, dims: tuple[int, int, int], n: int = N, *, noise: float = 1.0, rows: Any = None) -> Case:
    """Draw M ~ N(0, 1), X = H_x M / √m + σ N and Y = H_y M / √m + X / 4 + σ N', H of entries N(0, 1).

    `rows` draws standard normal columns (n, d) in another way than independently.
    """
    m, x, y = dims
    rows = rows or (lambda d: rng.standard_normal((n, d)))
    h_x, h_y, shared = rng.standard_normal((x, m)), rng.standard_normal((y, m)), rng.standard_normal((y, x))
    mixing = np.zeros((m + x + y, m + x + y))
    mixing[:m, :m] = np.eye(m)
    mixing[m : m + x, : m + x] = np.hstack([h_x / m**0.5, noise * np.eye(x)])
    mixing[m + x :, :] = np.hstack([h_y / m**0.5, np.zeros((y, x)), noise * np.eye(y)])
    mixing[m + x :, : m + x] += 0.25 * shared @ mixing[m : m + x, : m + x] / x**0.5
    samples = rows(m + x + y) @ mixing.T
    truth = decompose(mixing @ mixing.T, dims)
    target, first, second = np.split(samples, [m, m + x], axis=1)
    return Case(target, first, second, truth=truth)


def independent(rng: Rng, dims: tuple[int, int, int], n: int) -> Case:
    """Draw independent variables."""
    target, x, y = (rng.standard_normal((n, d)) for d in dims)
    zero = np.zeros(())
    return Case(target, x, y, truth=PID(zero, zero, zero, zero, zero, zero, zero, zero))


def _warped(rng: Rng) -> Case:
    case = linear(rng, (2, 4, 4))
    return case._replace(target=case.target**3, x=np.sinh(2 * case.x), y=np.exp(case.y / 2))


def _redundant(rng: Rng) -> Case:
    m, noise = rng.standard_normal((N, 2)), rng.standard_normal((3, N, 2))
    x = m + 0.5 * noise[0]
    cov = np.kron([[1, 1, 1], [1, 1.25, 1.25], [1, 1.25, 1.5]], np.eye(2))
    return Case(m, x, x + 0.5 * noise[1], truth=decompose(cov, (2, 2, 2)))


def _wide(rng: Rng) -> Case:
    x, y = rng.standard_normal((2, N, 64))
    target = np.hstack([x[:, :4], y[:, :4]]) + rng.standard_normal((N, 8))
    i, zero = np.eye(4), np.zeros((4, 4))
    cov = np.block([[2 * i, zero, i, zero], [zero, 2 * i, zero, i], [i, zero, i, zero], [zero, i, zero, i]])
    return Case(target, x, y, truth=decompose(cov, (8, 4, 4)))


def _counts(rng: Rng) -> Case:
    x, y = rng.standard_normal((2, N, 2))
    return Case(rng.poisson(np.exp(3.5 + 0.3 * x[:, :1] + 0.2 * y[:, :1])), x, y)


def _ratings(rng: Rng) -> Case:
    x, y, noise = rng.standard_normal((3, N, 1))
    return Case(
        np.clip(np.round(50 + 12 * (x + noise)), 0, 100), x, np.clip(np.round(20 + 6 * (x + y)), 0, 40)
    )


def _rounded(rng: Rng) -> Case:
    case = linear(rng, (2, 3, 3))
    return case._replace(target=case.target.round(1), x=case.x.round(1), y=case.y.round(1))


def _indicators(rng: Rng) -> Case:
    x, y = (rng.random((N, 6)) < 0.5).astype(float), rng.standard_normal((N, 2))
    return Case(x[:, :2] + 0.5 * y + rng.standard_normal((N, 2)), x, y)


def _sorted(rng: Rng) -> Case:
    case = linear(rng, (2, 3, 3))
    order = np.argsort(case.target[:, 0])
    return case._replace(target=case.target[order], x=case.x[order], y=case.y[order])


def _duplicate_features(rng: Rng) -> Case:
    case = linear(rng, (2, 3, 3))
    return case._replace(
        x=np.hstack([case.x, case.x[:, :1], np.ones((N, 1))]), y=np.hstack([case.y, 2 * case.y])
    )


def _heavy_tails(rng: Rng, freedom: float) -> Case:
    """Draw a multivariate t distribution: a scale that all coordinates share."""
    case = linear(rng, (2, 4, 4))
    scale = np.sqrt(freedom / rng.chisquare(freedom, size=(N, 1)))
    return Case(case.target * scale, case.x * scale, case.y * scale)


def _classes(rng: Rng) -> Case:
    label = rng.integers(0, 3, N)
    x, y = rng.standard_normal((2, N, 4))
    x[:, 0] += 2 * (label == 1)
    y[:, 0] += 2 * (label == 2)
    return Case(label[:, None], x, y)


def _subject_rows(rng: Rng, size: int, weight: float) -> Callable[[int], np.ndarray]:
    """Draw columns of variance 1 of which a share is the same for all samples of a subject."""

    def rows(d: int) -> np.ndarray:
        subject = np.repeat(rng.standard_normal((N // size, d)), size, axis=0)
        return weight**0.5 * subject + (1 - weight) ** 0.5 * rng.standard_normal((N, d))

    return rows


def autoregression(rng: Rng, n: int, phi: float) -> Callable[[int], np.ndarray]:
    """Draw stationary AR(1) columns z_t = φ z_{t-1} + √(1 - φ²) e_t of variance 1."""

    def rows(d: int) -> np.ndarray:
        z = rng.standard_normal((n, d))
        for t in range(1, n):
            z[t] = phi * z[t - 1] + (1 - phi**2) ** 0.5 * z[t]
        return z

    return rows


def _grouped(rng: Rng) -> Case:
    case = linear(rng, (2, 3, 3), rows=_subject_rows(rng, 5, 0.5))
    return case._replace(choices={"groups": np.repeat(np.arange(N // 5), 5)})


def _series_with_blocks(rng: Rng) -> Case:
    case = linear(rng, (1, 2, 2), rows=autoregression(rng, N, 0.6))
    return case._replace(choices={"ci": Bootstrap(draws=100, kind="paired", block="auto")})


SOUND = (
    ("Gaussian, 1-1-1, n = 300", lambda rng: linear(rng, (1, 1, 1), 300)),
    ("Gaussian, 2-3-3", lambda rng: linear(rng, (2, 3, 3))),
    ("Gaussian, 4-8-8", lambda rng: linear(rng, (4, 8, 8))),
    ("Gaussian, 8-16-16, n = 3000", lambda rng: linear(rng, (8, 16, 16), 3000)),
    ("high information", lambda rng: linear(rng, (2, 3, 3), noise=0.03)),
    ("warped marginals", _warped),
    ("redundant sources", _redundant),
    ("no information, 4-4-4, n = 300", lambda rng: independent(rng, (4, 4, 4), 300)),
    ("no information, 8-64-64", lambda rng: independent(rng, (8, 64, 64), N)),
    ("64 features, 4 informative", _wide),
    ("counts of many values", _counts),
    ("ratings of many values", _ratings),
    ("rounded values", _rounded),
    ("indicators as a source", _indicators),
    ("rows sorted by the target", _sorted),
    ("constant and duplicate features", _duplicate_features),
    ("t distribution, 5 degrees", lambda rng: _heavy_tails(rng, 5)),
    ("classes as target", _classes),
    ("subjects, with groups=", _grouped),
    ("series, with blocks", _series_with_blocks),
)


# --- unsound


def _with_noise(rng: Rng, signal: np.ndarray, noise: float) -> np.ndarray:
    return signal + noise * rng.standard_normal(signal.shape)


def _components_of_white_features(rng: Rng) -> Case:
    return _wide(rng)._replace(choices={"reduce": PCA(8)}, truth=None)


def _components_of_large_factors(rng: Rng) -> Case:
    def source() -> tuple[np.ndarray, np.ndarray]:
        factors, signal = 10 * rng.standard_normal((N, 8)), rng.standard_normal((N, 2))
        mixing = np.linalg.qr(rng.standard_normal((64, 64)))[0]
        return _with_noise(rng, np.hstack([factors, signal]) @ mixing[:10], 0.1), signal

    (x, s_x), (y, s_y) = source(), source()
    return Case(_with_noise(rng, s_x + s_y, 0.5), x, y, {"reduce": PCA(8)})


def _label_column_in_target(rng: Rng) -> Case:
    label, x, y = rng.integers(0, 4, N), rng.standard_normal((N, 2)), rng.standard_normal((N, 2))
    x[:, 0] += 3 * np.array([0.0, 2.0, 1.0, -1.0])[label]
    return Case(np.column_stack([label, _with_noise(rng, y[:, 0], 1.0)]), x, y)


def _labels_as_source(rng: Rng) -> Case:
    label, y = rng.integers(0, 6, N), rng.standard_normal((N, 2))
    effect = rng.permutation(6)[label] - 2.5
    return Case(_with_noise(rng, effect + y[:, 0], 0.5)[:, None], label[:, None], y)


def _series(rng: Rng) -> Case:
    rows = autoregression(rng, N, 0.9)
    return Case(rows(4), rows(4), rows(4))


def _walks(rng: Rng) -> Case:
    target, x, y = np.cumsum(rng.standard_normal((3, N, 2)), axis=1)
    return Case(target, x, y)


def _drift(rng: Rng) -> Case:
    trend = np.linspace(-2, 2, N)[:, None]
    target, x, y = trend + rng.standard_normal((3, N, 2))
    return Case(target, x, y)


def _repeated_rows(rng: Rng) -> Case:
    case = linear(rng, (2, 4, 4))
    rows = rng.permutation(np.repeat(np.arange(N // 3), 3))
    return Case(case.target[rows], case.x[rows], case.y[rows])


def _subjects(rng: Rng) -> Case:
    rows = _subject_rows(rng, 15, 0.6)
    return Case(rows(2), rows(3), rows(3))


def _parabola(rng: Rng) -> Case:
    x, y = rng.standard_normal((2, N, 2))
    return Case(_with_noise(rng, x[:, :1] ** 2, 0.5), x, y)


def _ring(rng: Rng) -> Case:
    angle = rng.uniform(0, 2 * np.pi, (N, 1))
    return Case(
        _with_noise(rng, np.cos(angle), 0.2),
        _with_noise(rng, np.sin(angle), 0.2),
        rng.standard_normal((N, 2)),
    )


def _product(rng: Rng) -> Case:
    x, y = rng.standard_normal((2, N, 3))
    return Case(_with_noise(rng, x[:, :1] * y[:, :1], 0.5), x, y)


def _checkerboard(rng: Rng) -> Case:
    x, y = rng.uniform(0, 4, (2, N, 1))
    field = (np.floor(x) + np.floor(y)) % 2
    return Case(_with_noise(rng, field, 0.2), x, y)


def _outliers(rng: Rng) -> Case:
    case = linear(rng, (2, 4, 4))
    far = rng.choice(N, 5, replace=False)
    for part in case[:3]:
        part[far] *= 1e4
    return Case(*case[:3], choices={"gaussianize": "none"})


def _copied_target(rng: Rng) -> Case:
    case = linear(rng, (2, 3, 3))
    return Case(case.target, np.hstack([case.x, case.target[:, :1]]), case.y)


def _few_samples(rng: Rng) -> Case:
    case = linear(rng, (8, 20, 20), 60)
    return Case(*case[:3], choices={"reduce": None})


def _uncorrected(rng: Rng) -> Case:
    case = independent(rng, (8, 16, 16), 300)
    return Case(*case[:3], choices={"debias": "none"})


def _zero_inflated(rng: Rng) -> Case:
    x, y = rng.standard_normal((2, N, 2))
    silent = x[:, :1] ** 2 + 0.2 * rng.standard_normal((N, 1)) > 1
    return Case(np.where(silent, 0.0, np.exp(_with_noise(rng, y[:, :1], 0.5))), x, y)


def _above_the_entropy(rng: Rng) -> Case:
    grade, noise = rng.binomial(6, 0.5, (N, 1)), 0.05 * rng.standard_normal((2, N, 3))
    return Case(
        grade, grade + noise[0], grade + noise[1], {"kinds": {"target": "ordinal"}, "gaussianize": "none"}
    )


UNSOUND = (
    ("eight components of white features", "reduction", _components_of_white_features),
    ("eight components of large factors", "reduction", _components_of_large_factors),
    ("a column of labels in the target", "labels", _label_column_in_target),
    ("labels as a source", "labels", _labels_as_source),
    ("autoregression, lag-1 correlation .9", "serial dependence", _series),
    ("random walks", "serial dependence", _walks),
    ("a common drift", "serial dependence", _drift),
    ("rows repeated three times", "repeated rows", _repeated_rows),
    ("subjects of 15 rows", "repeated rows", _subjects),
    ("parabola", "nonlinear dependence", _parabola),
    ("ring", "nonlinear dependence", _ring),
    ("product of two sources", "nonlinear dependence", _product),
    ("checkerboard", "nonlinear dependence", _checkerboard),
    ("t distribution, 2 degrees", "heavy tails", lambda rng: _heavy_tails(rng, 2)),
    ("five outliers, without normal scores", "heavy tails", _outliers),
    ("a copy of the target", "copies", _copied_target),
    ("60 samples of 48 features", "few samples", _few_samples),
    ("no bias correction", "few samples", _uncorrected),
    ("zeros that tell", "ties", _zero_inflated),
    ("information above the entropy", "entropy", _above_the_entropy),
)
SITUATIONS = {
    situation.name: situation
    for situation in (
        *(Situation(name, "sound", generate) for name, generate in SOUND),
        *(Situation(*fields) for fields in UNSOUND),
    )
}

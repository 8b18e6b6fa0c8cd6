"""Information about a categorical target, and its atoms, by predictions of the labels.

    I(T;X) ≥ H(T) + E[log q(T|X)]    for any prediction q; 0 ≤ I(T;X) ≤ H(T)

Each prediction is trained on a part of the samples and scored on the rest. The best of three counts: Gaussian mixture
(one covariance for each label), logistic regression, and logistic regression with quadratic terms.

The union of BROJA is a function of p(t, x) and p(t, y), and a prediction q(t|x) is sufficient for t. So the union is
that of the table p(t, t̂_x, t̂_y) of the predicted labels; the synergy is what the prediction from both sources adds.

    n samples, d coordinates of a source, K labels; information in bits
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from pid.discrete.table_decomposition import decompose
from pid.features.normal_scores import principal_scores, to_unit_variance
from pid.measures import PID, Interval

FOLDS = 5
MIN_PER_LABEL = 10
"""Samples of every label that an estimate needs."""
QUADRATIC_COORDINATES = 8
"""Principal components of each source whose squares and products are added."""
SAMPLES_PER_TERM = 4
"""Samples in training for each quadratic term."""
PRIOR_SAMPLES = 5.0
"""Samples of the pooled covariance that are added to the covariance of a label, per coordinate."""
RIDGE = 1.0
"""Penalty ridge/2 |w|² of the weights of the logistic regression, whose loss is a sum over samples."""
FLOOR = 1e-4
"""Probability that a prediction gives to all labels, in the shares of the training samples."""
METHODS = ("gaussian mixture", "logistic", "quadratic logistic")


class LabelEstimate(NamedTuple):
    """Information about a categorical target and its decomposition, in bits."""

    pid: PID
    """The atoms, with mi_x, mi_y and mi_joint."""

    entropy: float
    """H(T), the entropy of the labels in these samples: the largest possible information."""

    ci: Interval
    """Intervals of all fields by bootstrap of the samples' scores; the predictions and the table are not refitted."""

    draws: PID
    """Fields of every bootstrap draw, (B,). Equal keys resample the same samples."""

    methods: tuple[str, str, str]
    """The prediction that scored best from x, from y and from both; see `METHODS`."""

    num_labels: int
    """K, the number of labels."""

    @property
    def mi_x(self) -> float:
        """I(T;X)."""
        return float(self.pid.mi_x)

    @property
    def mi_y(self) -> float:
        """I(T;Y)."""
        return float(self.pid.mi_y)

    @property
    def mi_joint(self) -> float:
        """I(T;X,Y)."""
        return float(self.pid.mi_joint)


class Prediction(NamedTuple):
    """Cross-fitted predictions of the labels of all samples."""

    log_probabilities: np.ndarray
    """log q(t|x), (n, K), nats."""

    gain: np.ndarray
    """log₂ q(t|x) / p(t) of the label of each sample, (n,): its mean is the information."""

    method: str
    """The prediction that scored best."""


def estimate_labels(
    labels: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    key: jax.Array,
    draws: int = 200,
    level: float = 0.9,
    group_labels: np.ndarray | None = None,
) -> LabelEstimate:
    """Decompose the information that two sources carry about labels.

    Args:
        labels: one label for each sample, (n,) or (n, 1), of any dtype. Only which samples share a label counts.
        x: samples (n, d_x) of the first source.
        y: samples (n, d_y) of the second source.
        key: key of the folds and of the bootstrap.
        draws: bootstrap draws of the samples' scores.
        level: level of the intervals.
        group_labels: number of the group of every sample, 0 … G-1, (n,): a group lies in one fold, and the bootstrap
            resamples whole groups. None for independent samples.

    Returns:
        LabelEstimate. The three informations lie between 0 and the entropy. They are lower bounds in expectation,
        because predictions are scored on samples that they were not trained on.

    Raises:
        ValueError: shapes that do not fit, a single label, or a label of fewer than 10 samples.

    Example:
        >>> import jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> labels = rng.integers(0, 2, 400)
        >>> x, y = labels[:, None] + 0.1 * rng.normal(size=(2, 400, 1))
        >>> result = estimate_labels(labels, x, y, key=jax.random.key(0))
        >>> round(result.mi_x, 2), round(float(result.pid.redundancy), 2), round(result.entropy, 2)
        (0.99, 0.99, 0.99)
    """
    codes = _check_labels(labels, x, y)
    counts = np.bincount(codes)
    shares = counts / len(codes)
    seed = np.asarray(jax.random.bits(key, (2,), dtype=np.uint32))
    rng = np.random.default_rng(seed)
    folds = (
        _stratified_folds(codes, rng)
        if group_labels is None
        else rng.permutation(group_labels.max() + 1)[group_labels] % FOLDS
    )
    sources = [_standardize(x), _standardize(y)]
    from_x, from_y = (_predict(codes, [source], folds, shares) for source in sources)
    candidates = [_predict(codes, sources, folds, shares), from_x, from_y]
    joint = max(candidates, key=lambda prediction: prediction.gain.mean())
    gains = np.stack([from_x.gain, from_y.gain, joint.gain], axis=1)
    entropy = float(-np.sum(shares * np.log2(shares)))
    table = _prediction_table(codes, from_x, from_y)
    overlap = _overlap(decompose(table))
    values = _atoms(gains.mean(axis=0), overlap, entropy)
    units = np.arange(len(codes)) if group_labels is None else group_labels
    weights = _resample_weights(np.random.default_rng((*seed, 1)), draws, units)
    resampled = np.stack([_atoms(weight @ gains / weight.sum(), overlap, entropy) for weight in weights])
    tail = (1 - level) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return LabelEstimate(
        pid=_to_pid(values),
        entropy=entropy,
        ci=Interval(_to_pid(np.minimum(low, values)), _to_pid(np.maximum(high, values))),
        draws=PID(*resampled.T),
        methods=(from_x.method, from_y.method, joint.method),
        num_labels=len(counts),
    )


def _check_labels(labels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return labels 0 … K-1 in the order of their first occurrence."""
    labels = np.asarray(labels)
    shapes = f"labels {labels.shape}, x {np.shape(x)}, y {np.shape(y)}"
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or np.ndim(x) != 2 or np.ndim(y) != 2 or not len(labels) == len(x) == len(y):
        raise ValueError(
            f"labels must have shape (n,), and x and y (n, d) with the same samples, got {shapes}."
        )
    _, first, codes, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        raise ValueError("a categorical target needs at least 2 labels, got 1; there is nothing to predict.")
    if counts.min() < MIN_PER_LABEL:
        rare = int(np.sum(counts < MIN_PER_LABEL))
        raise ValueError(
            f"a categorical target needs at least {MIN_PER_LABEL} samples of each label, got {rare} of {len(counts)} "
            f"labels with fewer, the rarest with {counts.min()}; merge rare labels, drop their samples, or pass "
            f"kinds={{'target': 'ordinal'}} if their order counts."
        )
    return np.argsort(np.argsort(first))[codes]


def _resample_weights(rng: np.random.Generator, draws: int, groups: np.ndarray) -> np.ndarray:
    """Return how often each sample occurs in draws of groups with replacement, (B, n)."""
    count = int(groups.max()) + 1
    drawn = rng.integers(0, count, size=(draws, count))
    return np.stack([np.bincount(row, minlength=count)[groups] for row in drawn]).astype(float)


def _stratified_folds(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the fold of every sample: equally many samples of each label in each fold."""
    folds = np.empty(len(codes), dtype=int)
    for code in range(codes.max() + 1):
        members = np.flatnonzero(codes == code)
        folds[rng.permutation(members)] = np.arange(len(members)) % FOLDS
    return folds


def _predict(
    codes: np.ndarray, sources: Sequence[np.ndarray], folds: np.ndarray, shares: np.ndarray
) -> Prediction:
    """Predict every sample from the folds it is not in, by the method that scores best."""
    s = np.hstack(sources)
    few = np.hstack([principal_scores(source, QUADRATIC_COORDINATES) for source in sources])
    rows, columns = np.triu_indices(few.shape[1])
    designs: list[tuple[str, np.ndarray, Callable]] = [
        (METHODS[0], s, _gaussian_mixture),
        (METHODS[1], s, _logistic),
    ]
    if (len(rows) + s.shape[1]) * SAMPLES_PER_TERM <= len(s):
        designs.append(
            (METHODS[2], np.hstack([s, to_unit_variance(few[:, rows] * few[:, columns])]), _logistic)
        )
    n, floor = len(codes), np.log(FLOOR * shares)
    predictions = []
    for method, design, fit in designs:
        logs = np.empty((n, len(shares)))
        for fold in range(FOLDS):
            test = folds == fold
            logs[test] = fit(design[~test], codes[~test], design[test], len(shares))
        logs = np.logaddexp(np.log1p(-FLOOR) + logs, floor[None])
        gain = (logs[np.arange(n), codes] - np.log(shares)[codes]) / np.log(2)
        predictions.append(Prediction(logs, gain, method))
    return max(predictions, key=lambda prediction: prediction.gain.mean())


def _gaussian_mixture(train: np.ndarray, codes: np.ndarray, test: np.ndarray, num_labels: int) -> np.ndarray:
    """Compute log q(t|x) with Gaussian p(x|t): means and shrunk covariances of the labels.

    Σ_t = (n_t S_t + κ S) / (n_t + κ), S the pooled covariance with a small multiple of the identity, κ = 5 d.
    """
    n, d = train.shape
    groups = [train[codes == code] for code in range(num_labels)]
    centered = [group - group.mean(axis=0) for group in groups]
    scatters = [group.T @ group for group in centered]
    pooled = np.sum(scatters, axis=0) / n
    pooled = pooled + (1e-6 + d / n * np.trace(pooled) / d) * np.eye(d)
    weight = PRIOR_SAMPLES * d
    logs = np.empty((len(test), num_labels))
    for code, (group, scatter) in enumerate(zip(groups, scatters, strict=True)):
        factor = np.linalg.cholesky((scatter + weight * pooled) / (len(group) + weight))
        z = np.linalg.solve(factor, (test - group.mean(axis=0)).T)
        logs[:, code] = np.log(len(group) / n) - np.log(np.diag(factor)).sum() - 0.5 * np.sum(z * z, axis=0)
    return log_softmax(logs, axis=1)


def _logistic(train: np.ndarray, codes: np.ndarray, test: np.ndarray, num_labels: int) -> np.ndarray:
    """Compute log q(t|x) = log softmax(W x + b), W with a ridge penalty, by L-BFGS."""
    design, onehot = np.column_stack([np.ones(len(train)), train]), np.eye(num_labels)[codes]
    penalized = np.ones((design.shape[1], 1))
    penalized[0] = 0

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(-1, num_labels)
        logs = log_softmax(design @ weights, axis=1)
        value = -np.sum(logs * onehot) + RIDGE / 2 * np.sum(penalized * np.square(weights))
        gradient = design.T @ (np.exp(logs) - onehot) + RIDGE * penalized * weights
        return float(value) / len(train), gradient.ravel() / len(train)

    start = np.zeros(design.shape[1] * num_labels)
    weights = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x.reshape(
        -1, num_labels
    )
    return log_softmax(np.column_stack([np.ones(len(test)), test]) @ weights, axis=1)


def _prediction_table(codes: np.ndarray, from_x: Prediction, from_y: Prediction) -> np.ndarray:
    """Compute the table p(t, t̂_x, t̂_y) of labels and predictions, in which a prediction is sure or unsure.

    t̂ is the likeliest label, and whether its probability is above the median of the samples that share it: at most 2 K
    values. Where samples are few (n < 20 K³) only the likeliest label counts.
    """
    num_labels = int(codes.max()) + 1
    levels = 2 if len(codes) >= 20 * num_labels**3 else 1
    symbols = [_symbols(prediction.log_probabilities, levels) for prediction in (from_x, from_y)]
    table = np.zeros((num_labels, levels * num_labels, levels * num_labels))
    np.add.at(table, (codes, *symbols), 1 / len(codes))
    return table


def _symbols(logs: np.ndarray, levels: int) -> np.ndarray:
    best = np.argmax(logs, axis=1)
    if levels == 1:
        return best
    top = logs.max(axis=1)
    medians = np.array(
        [np.median(top[best == code]) if np.any(best == code) else 0.0 for code in range(logs.shape[1])]
    )
    return 2 * best + (top > medians[best])


def _overlap(table_pid: PID) -> float:
    """Return R / min(I_x, I_y) of the table of predictions: the shared part of the smaller information."""
    smaller = min(float(table_pid.mi_x), float(table_pid.mi_y))
    return float(np.clip(float(table_pid.redundancy) / smaller, 0, 1)) if smaller > 1e-12 else 0.0


def _atoms(information: np.ndarray, overlap: float, entropy: float) -> np.ndarray:
    """Return (R, U_x, U_y, S, I_x, I_y, I_xy, union) from the three informations and the shared part of the smaller."""
    mi_x, mi_y = np.clip(information[:2], 0, entropy)
    joint = np.clip(information[2], max(mi_x, mi_y), entropy)
    smaller = min(mi_x, mi_y)
    shared = max(overlap * smaller, mi_x + mi_y - joint)  # the union is at most the joint information
    shared = min(shared, smaller)
    union = mi_x + mi_y - shared
    return np.array([shared, mi_x - shared, mi_y - shared, joint - union, mi_x, mi_y, joint, union])


def _standardize(x: np.ndarray) -> np.ndarray:
    """Standardize columns of any scale; a constant column becomes zeros."""
    x = np.asarray(x, dtype=np.float64)
    scale = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(scale > 0, scale, np.inf)


def _to_pid(values: np.ndarray) -> PID:
    return PID(*values)

"""Analysis 1, information flow: what the state after each layer still tells about the input and about the label.

Three measures, by layer, of one random token and of the mean token of test rows, which are independent samples:

- the accuracy of a linear probe for the id of the token, from its own state;
- the Gaussian information between the state of the token before the first layer and after layer l, of the leading
  principal components of each, without its bias [`pid.mutual_information`, `pid.gaussian.wishart.pair_bias`];
- the accuracy of a linear probe for the label, from the mean token.

Probes are fitted on one half of the rows and scored on the other. Token states are no Gaussians, and the Gaussian
information reads only linear dependence: it is a relative measure, comparable between layers and corners.

    S seeds, L layers, n rows, D channels, K classes
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

import pid
from experiments.run.report.claim_lines import Line, by_sign, interval
from experiments.run.report.paired import mean_difference
from experiments.stability.analyses.corners import NORMS, RESIDUALS, Networks
from pid.gaussian.wishart import pair_bias

RIDGE = 1e-3
"""Penalty of the weights of a probe, relative to the mean square of the features."""


@dataclass(frozen=True)
class InformationFlow:
    """Information by layer. Axes: norm, stage (random weights, trained), residual, seed, layer (0 before the first)."""

    classes: int
    """Number of tokens, and of labels."""
    token_accuracy: Float[np.ndarray, "2 2 2 s l"]
    """Held-out accuracy of the probe for the id of a token; NaN where a state is not finite."""
    label_accuracy: Float[np.ndarray, "2 2 2 s l"]
    """Held-out accuracy of the probe for the label."""
    token_bits: Float[np.ndarray, "2 2 2 s l"]
    """Gaussian information between the state of a token and its first state, bits; NaN at layer 0, where it is
    infinite."""
    samples: int
    """Rows of each estimate."""

    def at(
        self, name: str, *, norm: str = "pre", stage: int = 1, residual: float = 1.0
    ) -> Float[np.ndarray, "s l"]:
        """Return a measure of one corner, by seed and layer."""
        return getattr(self, name)[NORMS.index(norm), stage, RESIDUALS.index(residual)]


def measure(networks: Networks) -> InformationFlow:
    """Measure the first and the last snapshot of every network."""
    size, ends = networks.size, [0, -1]
    token, pooled = networks.states.token[:, ends], networks.states.pooled[:, ends]
    ids = np.broadcast_to(networks.token_ids, (*token.shape[:4], networks.size.rows))
    labels = np.broadcast_to(networks.labels, ids.shape)
    return InformationFlow(
        size.vocabulary,
        _over_layers(probe_accuracy, token, ids, size.vocabulary),
        _over_layers(probe_accuracy, pooled, labels, size.vocabulary),
        token_information(token, size.components),
        size.rows,
    )


def _over_layers(measure_one, states: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    values = np.full(states.shape[:5], np.nan)
    for index in np.ndindex(*values.shape):
        values[index] = measure_one(states[index], labels[index[:4]], classes)
    return values


def probe_accuracy(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], classes: int) -> float:
    """Return the held-out accuracy of ridge regression on indicators of the labels; NaN if a feature is not finite."""
    if not np.all(np.isfinite(features)):
        return np.nan
    half = len(features) // 2
    scale = max(float(np.abs(features).max()), np.finfo(np.float32).tiny)
    x = np.asarray(features, np.float64) / scale
    mean = x[:half].mean(0)
    x = np.hstack([x - mean, np.ones((len(x), 1))])
    target = np.eye(classes)[labels[:half]]
    gram = x[:half].T @ x[:half]
    penalty = RIDGE * np.trace(gram[:-1, :-1]) / max(gram.shape[0] - 1, 1) + 1e-12
    weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), x[:half].T @ target)
    return float(np.mean(np.argmax(x[half:] @ weights, axis=1) == labels[half:]))


def token_information(states: Float[np.ndarray, "*g l n d"], components: int) -> Float[np.ndarray, "*g l"]:
    """Return the Gaussian information between each layer and layer 0 in bits, without its bias.

    The bias of n Gaussian samples is exact; of other samples it is an approximation of order 1/n.
    """
    samples, is_finite = states.shape[-2], np.all(np.isfinite(states), axis=(-2, -1))
    scores = principal_scores(np.where(is_finite[..., None, None], states, 0.0), components)
    first = np.broadcast_to(scores[..., :1, :, :], scores[..., 1:, :, :].shape)
    both = np.concatenate([first, scores[..., 1:, :, :]], axis=-1)
    cov = np.swapaxes(both, -2, -1) @ both / (samples - 1)
    cov = cov + 1e-12 * np.eye(2 * components)
    plugin = np.asarray(pid.mutual_information(cov, (components, components)))
    bits = np.maximum(plugin - pair_bias(components, components, samples) / np.log(2), 0)
    bits = np.where(is_finite[..., 1:], bits, np.nan)
    return np.concatenate([np.full((*bits.shape[:-1], 1), np.nan), bits], axis=-1)


def principal_scores(states: Float[np.ndarray, "*g n d"], components: int) -> Float[np.ndarray, "*g n k"]:
    """Return the leading principal components, each of variance 1; those of no variance are 0."""
    directions, sizes = centered_svd(states, components)
    exists = sizes > 1e-6 * np.maximum(sizes[..., :1], 1e-30)
    return np.where(exists, directions, 0) * np.sqrt(states.shape[-2] - 1)


def centered_svd(
    states: Float[np.ndarray, "*g n d"], components: int
) -> tuple[Float[np.ndarray, "*g n k"], Float[np.ndarray, "*g 1 k"]]:
    """Return the leading left singular vectors of the centered states, and their singular values up to a factor."""
    scale = np.maximum(np.abs(states).max((-2, -1), keepdims=True), np.finfo(np.float32).tiny)
    centered = np.asarray(states, np.float64) / scale
    centered = centered - centered.mean(-2, keepdims=True)
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    return u[..., :components], s[..., None, :components]


def verdict(result: InformationFlow) -> list[Line]:
    """Judge the claims about the flow of information."""
    return [*_token(result), _information(result), _label(result)]


def _token(result: InformationFlow) -> list[Line]:
    lines = []
    for stage, name in enumerate(("at random weights", "after training")):
        with_it, without = (result.at("token_accuracy", stage=stage, residual=r)[:, -1] for r in RESIDUALS)
        difference = mean_difference(with_it - without)
        lines.append(
            Line(
                f"the residual connection keeps the input token in the last state, {name} (pre-LN)",
                f"accuracy of a linear probe {interval(with_it)}, without it {interval(without)}, difference "
                f"{difference.format(digits=3)}; chance {1 / result.classes:.3g}",
                by_sign(difference, "supported here", "the opposite here"),
            )
        )
    return lines


def _information(result: InformationFlow) -> Line:
    bits = result.at("token_bits")
    difference = mean_difference(bits[:, -1] - bits[:, 1])
    return Line(
        "information about the input falls from layer to layer (trained, residual, pre-LN)",
        f"Gaussian bits about the own first state, after layer 1 {interval(bits[:, 1])}, after the last "
        f"{interval(bits[:, -1])}, difference {difference.format(digits=2)}; {result.samples} rows, bias subtracted",
        by_sign(difference, "the opposite here", "supported here"),
    )


def _label(result: InformationFlow) -> Line:
    accuracy = result.at("label_accuracy")
    difference = mean_difference(accuracy[:, -1] - accuracy[:, 0])
    without = result.at("label_accuracy", residual=0.0)[:, -1]
    return Line(
        "information about the label rises from layer to layer (trained, residual, pre-LN)",
        f"accuracy of a linear probe on the mean token, before the first layer {interval(accuracy[:, 0])}, after the "
        f"last {interval(accuracy[:, -1])}, difference {difference.format(digits=3)}; without residual "
        f"{interval(without)}",
        by_sign(difference, "supported here", "the opposite here"),
    )

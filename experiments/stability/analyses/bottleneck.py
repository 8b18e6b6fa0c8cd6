"""Analysis 3, information bottleneck: I(X;T) and I(T;Y) over training, and whether there is a phase of compression.

X is the row of tokens, Y its label, and T the leading principal components of the mean token after a layer, each of
variance 1 times its share (all scaled by the largest). The claim [Shwartz-Ziv & Tishby 2017] is that I(X;T) falls after
the labels are learned. It is measured twice:

binning  Every component has bins of equal width between its smallest and largest value. A network is a deterministic
         function, so I(X;T) = H(T) is the entropy of the bins, which depends on their number: it is infinite in the
         limit of narrow bins, and a scale of T that grows under fixed bins looks like a change of information [Saxe et
         al. 2018]. It cannot exceed log2 of the rows, and it is biased downward near that; I(T;Y) is biased upward, by
         about the value at shuffled labels, which is reported too. Both are plug-in estimates.
KSG      Neighbors measure I(T;T + noise) = I(X;T + noise) for Gaussian noise of a fixed share of the scale of T, and
         I(T;Y) [Kraskov et al. 2004; Ross 2014]. The value depends on the noise as that of bins does on their width,
         and the estimate is biased downward where the dependence is strong.

Only a change that both show, at all widths, is one of the network.

    E estimators, P snapshots, S seeds, L layers, n rows, k components
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from experiments.run.report.claim_lines import Line, by_sign, interval
from experiments.run.report.paired import mean_difference
from experiments.stability.analyses.corners import NORMS, RESIDUALS, Networks
from experiments.stability.analyses.information_flow import centered_svd
from experiments.stability.analyses.neighbor_information import continuous_information, label_information

LEARNED = 0.9
"""Share of the last accuracy from which the labels count as learned."""
TOO_FEW = 2
"""Times the accuracy of chance that a network must reach for a verdict."""


@dataclass(frozen=True)
class Bottleneck:
    """Information in bits. Axes: estimator, norm, snapshot, residual, seed, layer (0 before the first)."""

    estimators: tuple[str, ...]
    """Names of the estimators: numbers of bins, and KSG."""
    steps: tuple[int, ...]
    """Training steps of the snapshots."""
    samples: int
    """Test rows."""
    classes: int
    """Number of labels, equally frequent."""
    input_bits: Float[np.ndarray, "e 2 p 2 s l"]
    """I(X;T), with noise for KSG; NaN where a state is not finite."""
    label_bits: Float[np.ndarray, "e 2 p 2 s l"]
    """I(T;Y)."""
    shuffled_bits: Float[np.ndarray, "e 2 p 2 s l"]
    """The same estimate of I(T;Y) with shuffled labels: its bias."""
    accuracy: Float[np.ndarray, "2 p 2 s"]
    """Accuracy on the test rows."""

    def compression(
        self, estimator: int, *, norm: str = "pre", residual: float = 1.0
    ) -> Float[np.ndarray, " s"]:
        """Return the change of I(X;T) of the last layer from the snapshot that has learned the labels to the last."""
        bits = self.input_bits[estimator, NORMS.index(norm), :, RESIDUALS.index(residual), :, -1]
        return (
            bits[-1] - np.take_along_axis(bits, self.learned(norm=norm, residual=residual)[None], axis=0)[0]
        )

    def learned(self, *, norm: str = "pre", residual: float = 1.0) -> Int[np.ndarray, " s"]:
        """Return by seed the first snapshot whose accuracy is 0.9 of the last one."""
        accuracy = self.accuracy[NORMS.index(norm), :, RESIDUALS.index(residual)]
        return np.argmax(accuracy >= LEARNED * accuracy[-1:], axis=0)


def measure(networks: Networks) -> Bottleneck:
    """Estimate both informations at all snapshots and layers of all networks."""
    size = networks.size
    states = networks.states.pooled
    is_finite = np.all(np.isfinite(states), axis=(-2, -1))
    scores = scaled_components(np.where(is_finite[..., None, None], states, 0.0), size.components)
    labels = np.broadcast_to(networks.labels[:, None], (*scores.shape[:-2], size.rows))
    rng = np.random.default_rng(0)
    shuffled = np.take(labels, rng.permutation(size.rows), axis=-1)
    names: list[str] = []
    results: list[Any] = []
    for bins in size.bins:
        symbols = bin_codes(scores, bins)
        names.append(f"{bins} bins")
        results.append(
            [binned_entropy(symbols), *(binned_information(symbols, y) for y in (labels, shuffled))]
        )
    noise = size.noise * rng.standard_normal(scores.shape[-2:])
    names.append(f"KSG, noise {size.noise:g}")
    results.append(_by_neighbors(scores, noise, labels, shuffled, size.neighbors))
    first, second, third = (
        np.where(is_finite, np.stack([result[i] for result in results]), np.nan) for i in range(3)
    )
    arrays: Any = (first, second, third, networks.states.accuracy)
    sizes: Any = (tuple(names), networks.steps, size.rows, size.vocabulary)
    return Bottleneck(*sizes, *arrays)


def scaled_components(states: Float[np.ndarray, "*g n d"], components: int) -> Float[np.ndarray, "*g n k"]:
    """Return the leading principal components, divided by the standard deviation of the first; 0 for equal states."""
    directions, sizes = centered_svd(states, components)
    return directions * (sizes / np.maximum(sizes[..., :1], 1e-12)) * np.sqrt(states.shape[-2])


def bin_codes(scores: Float[np.ndarray, "*g n k"], bins: int) -> Int[np.ndarray, "*g n"]:
    """Return one number for each cell of the grid of `bins` bins of equal width for every component."""
    low, high = scores.min(-2, keepdims=True), scores.max(-2, keepdims=True)
    width = np.where(high > low, high - low, 1)
    codes = np.minimum((bins * (scores - low) / width).astype(int), bins - 1)
    return codes @ bins ** np.arange(scores.shape[-1])


def binned_entropy(symbols: Int[np.ndarray, "*g n"]) -> Float[np.ndarray, "*g"]:
    """Return the plug-in entropy of symbols in bits."""
    n = symbols.shape[-1]
    ordered = np.sort(symbols, axis=-1)
    first = np.concatenate([np.ones((*ordered.shape[:-1], 1), bool), np.diff(ordered, axis=-1) != 0], axis=-1)
    # a run of c equal symbols adds c/n log2(n/c): its start index comes back as the place of its last member
    place = np.arange(n)
    start = np.maximum.accumulate(np.where(first, place, 0), axis=-1)
    last = np.concatenate([first[..., 1:], np.ones((*ordered.shape[:-1], 1), bool)], axis=-1)
    counts = np.where(last, place - start + 1, 0)
    share = counts / n
    return -np.sum(share * np.log2(np.where(share > 0, share, 1)), axis=-1)


def binned_information(
    symbols: Int[np.ndarray, "*g n"], labels: Int[np.ndarray, "*g n"]
) -> Float[np.ndarray, "*g"]:
    """Return the plug-in information of symbols and labels, H(T) + H(Y) - H(T,Y), in bits."""
    joint = symbols * (int(labels.max()) + 1) + labels
    return binned_entropy(symbols) + binned_entropy(labels) - binned_entropy(joint)


def _by_neighbors(
    scores: np.ndarray, noise: np.ndarray, labels: np.ndarray, shuffled: np.ndarray, neighbors: int
) -> np.ndarray:
    values = np.empty((3, *scores.shape[:-2]))
    for index in np.ndindex(*scores.shape[:-2]):
        t = scores[index].astype(np.float32)
        jitter = t + (1e-6 * noise).astype(np.float32)  # separates equal rows
        disturbed = t + noise.astype(np.float32)
        values[0][index] = continuous_information(jitter, disturbed, neighbors=neighbors)
        values[1][index] = label_information(jitter, labels[index], neighbors=neighbors)
        values[2][index] = label_information(jitter, shuffled[index], neighbors=neighbors)
    return values


def verdict(result: Bottleneck) -> list[Line]:
    """Judge the phase of compression by every estimator, with and without LayerNorm."""
    lines = [
        _compression(result, estimator, norm)
        for norm in reversed(NORMS)
        for estimator in range(len(result.estimators))
    ]
    return [*lines, _labels(result)]


def _compression(result: Bottleneck, estimator: int, norm: str) -> Line:
    change = mean_difference(result.compression(estimator, norm=norm))
    bits = result.input_bits[estimator, NORMS.index(norm), :, 0, :, -1]
    accuracy = result.accuracy[NORMS.index(norm), -1, 0]
    steps = np.asarray(result.steps)[result.learned(norm=norm)]
    word = by_sign(change, "the opposite here: it grows", "supported here")
    return Line(
        f"a phase of compression: I(X;T) of the last layer falls once the labels are learned (norm {norm}, "
        f"{result.estimators[estimator]})",
        f"bits at step 0 {interval(bits[0])}, at the end {interval(bits[-1])}; change since the labels are learned "
        f"(step {' '.join(map(str, steps))} by seed) {change.format(digits=2)}; at most {np.log2(result.samples):.3g}",
        word if np.all(accuracy > TOO_FEW / result.classes) else "the labels were not learned",
    )


def _labels(result: Bottleneck) -> Line:
    last = [values[-1, NORMS.index("pre"), -1, 0] for values in (result.label_bits, result.shuffled_bits)]
    gain = mean_difference(last[0][:, -1] - last[0][:, 0])
    return Line(
        f"I(T;Y) grows from layer to layer (trained, pre-LN, residual on, {result.estimators[-1]})",
        f"bits before the first layer {interval(last[0][:, 0])}, after the last {interval(last[0][:, -1])}, "
        f"difference {gain.format(digits=2)}; with shuffled labels {interval(last[1][:, -1])}; at most "
        f"{np.log2(result.classes):.3g}",
        by_sign(gain, "supported here", "the opposite here"),
    )

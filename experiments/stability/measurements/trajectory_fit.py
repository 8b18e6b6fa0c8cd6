"""Are the layer states of a trained Transformer the trajectory of one PDE that does not depend on time?

The simulator with the same weights in all layers is fitted to the states of a network that is trained and frozen, one
network per seed. It is compared with baselines on rows held out of all fits. Consecutive residual states are similar
anyway, so that the R² of the increments u_{l+1} - u_l is what decides.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.run.report.claim_lines import Line, by_sign, interval
from experiments.run.report.paired import Difference, mean_difference
from experiments.stability.config import Fit
from experiments.stability.trajectories.explained_variance import Score, score, score_rollout
from experiments.stability.trajectories.language_states import (
    principal_components,
    read_language,
    read_rows,
    record_language_states,
)
from experiments.stability.trajectories.linear_maps import (
    IDENTITY,
    LINEAR,
    LINEAR_PER_LAYER,
    fit_baselines,
    predict_next,
    roll_out,
)
from experiments.stability.trajectories.recall_trajectories import record_trajectories
from experiments.stability.trajectories.shared_simulator import (
    KINDS,
    PARALLEL_PDE,
    PDE,
    ROLLED_PDE,
    STILL_PDE,
    FittedPDE,
    fit_simulator,
)
from experiments.stability.trajectories.vmapped_training import Schedule
from pdeformer.simulator import SimulatorConfig

MODES = ("one step ahead", "rolled out")
NETWORK = "network itself"
NEARLY_ALL = 0.9  # share of the increments from which a fit explains nearly all of them
LITTLE = 0.01  # difference of two R² below which it is little
TRACKED = 6  # tokens whose trajectory is drawn


@dataclass(frozen=True)
class Explained:
    """R² of baselines and fits on held-out rows, -inf where predictions are not finite. Modes are `MODES`."""

    models: tuple[str, ...]
    """Baselines, the network itself where it is known, then the fits of `KINDS`."""
    seeds: tuple[int, ...]
    r2_by_layer: Float[np.ndarray, "model mode seed layer"]
    """R² of the state after each layer."""
    r2: Float[np.ndarray, "model mode seed"]
    """R² of all states after a layer."""
    increment_r2_by_layer: Float[np.ndarray, "model mode seed layer"]
    """R² of the change in each layer."""
    increment_r2: Float[np.ndarray, "model mode seed"]
    """R² of all changes."""
    mse: Float[np.ndarray, "model mode seed"]
    """Mean square of the error of an entry."""
    diffusivity_alone: Float[np.ndarray, " seed"]
    """D of the baseline that only diffuses."""
    diffusivity: Float[np.ndarray, "kind seed"]
    """Fitted D of every fit."""
    attention: Float[np.ndarray, "kind seed"]
    """Fitted λ, in units of a network with initial weights."""
    terms: Float[np.ndarray, "kind seed 3"]
    """Size of diffusion, attention and feed-forward term, in units of the true increments."""
    losses: Float[np.ndarray, "kind seed chunk"]
    """Losses of the fits, by chunk of steps."""
    norms: Float[np.ndarray, "2 seed state"]
    """Root mean square of every state: true, and rolled out by `ROLLED_PDE`."""
    plane: Float[np.ndarray, "2 token state 2"]
    """Some tokens of the first seed on the two leading principal components: true, and rolled out."""

    def at(self, name: str, model: str, mode: int = 0) -> Float[np.ndarray, "seed *layer"]:
        """Return a number of one model by seed."""
        return getattr(self, name)[self.models.index(model), mode]

    def of_kind(self, name: str, model: str) -> Float[np.ndarray, "seed *x"]:
        """Return a fitted number of one fit by seed."""
        return getattr(self, name)[list(KINDS).index(model)]


@dataclass(frozen=True)
class LanguageResult:
    """The fit to SmolLM2; seeds choose the held-out rows, initial weights and batches."""

    explained: Explained
    components: int
    """Principal components on which the states are projected."""
    share: Float[np.ndarray, " seed"]
    """Share of the variance of the states on them."""
    increment_share: Float[np.ndarray, " seed"]
    """Share of the mean square of the increments on them."""


@dataclass(frozen=True)
class FitResult:
    """Numbers of the fits."""

    task: Explained
    """Small Transformers trained to recall the first token (synthetic data)."""
    accuracy: Float[np.ndarray, " seed"]
    """Accuracy of the networks on the held-out rows."""
    language: LanguageResult | None
    """SmolLM2, if its folder was named."""


def measure(size: Fit, seeds: tuple[int, ...]) -> FitResult:
    """Train the networks, fit the simulator to their states, and compare it with the baselines."""
    trajectories = record_trajectories(size, seeds)
    config = SimulatorConfig(
        layers=size.layers, width=size.width, heads=size.heads, ffn=size.ffn, shared=True
    )
    fitted = fit_simulator(
        *(trajectories.fit, trajectories.test, config, seeds),
        schedule=Schedule(size.steps, size.learning_rate, size.batch * size.tokens * size.layers),
        batch=size.batch,
    )
    task = compare(
        *(trajectories.fit, trajectories.test, fitted, seeds), next_states=trajectories.next_states
    )
    language = None if size.smollm2 is None else measure_language(size, seeds)
    return FitResult(task, trajectories.accuracy, language)


def measure_language(size: Fit, seeds: tuple[int, ...]) -> LanguageResult:
    """Fit the simulator to the states of SmolLM2 on its principal components; every fourth row is held out."""
    assert size.smollm2 is not None
    ids = read_rows(size.smollm2, size.text_rows, size.text_tokens)
    states = record_language_states(read_language(size.smollm2), ids)
    fit, test, shares = [], [], []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(ids))
        test_rows, fit_rows = np.split(order, [max(1, len(ids) // 4)])
        components = principal_components(states[:, fit_rows], size.components)
        fit.append(components(states[:, fit_rows]))
        test.append(components(states[:, test_rows]))
        shares.append((components.share, components.increment_share))
    config = SimulatorConfig(
        layers=len(states) - 1,
        width=size.components,
        heads=size.heads,
        ffn=size.ffn,
        shared=True,
        causal=True,
    )
    fitted = fit_simulator(
        *(np.stack(fit), np.stack(test), config, seeds),
        schedule=Schedule(size.steps, size.learning_rate, size.text_batch * states.shape[2] * config.layers),
        batch=size.text_batch,
        title="PDE of SmolLM2",
    )
    explained = compare(np.stack(fit), np.stack(test), fitted, seeds, causal=True)
    return LanguageResult(explained, size.components, *np.array(shares).T)


def compare(
    fit: Float[np.ndarray, "s p b t d"],
    test: Float[np.ndarray, "s p b2 t d"],
    fitted: FittedPDE,
    seeds: tuple[int, ...],
    *,
    next_states: Float[np.ndarray, "s l b2 t d"] | None = None,
    causal: bool = False,
) -> Explained:
    """Score baselines and fits on the held-out rows; `next_states` are those of the network's own layers."""
    scores: list[dict[str, tuple[Score, Score]]] = []
    diffusivities = []
    for index, states in enumerate(test):
        baselines = fit_baselines(fit[index], causal=causal)
        diffusivities.append(baselines.diffusivity)
        predictions = {
            name: (predict_next(step, states), roll_out(step, states))
            for name, step in baselines.steps.items()
        }
        if next_states is not None:
            predictions[NETWORK] = (next_states[index], states[1:])
        for name, one_step, rollout in zip(KINDS, fitted.next_states, fitted.rollouts, strict=True):
            predictions[name] = (one_step[index], rollout[index])
        scores.append(
            {
                name: (score(one_step, states[:-1], states), score_rollout(rollout, states))
                for name, (one_step, rollout) in predictions.items()
            }
        )
    models = tuple(scores[0])

    def stack(field: str) -> np.ndarray:
        by_model = [[[getattr(s[name][mode], field) for s in scores] for mode in (0, 1)] for name in models]
        return np.array(by_model)

    rolled = fitted.rollouts[list(KINDS).index(ROLLED_PDE)]
    rolled = np.concatenate([test[:, :1], rolled], axis=1)
    return Explained(
        models=models,
        seeds=seeds,
        r2_by_layer=stack("r2_by_layer"),
        r2=stack("r2"),
        increment_r2_by_layer=stack("increment_r2_by_layer"),
        increment_r2=stack("increment_r2"),
        mse=stack("mse"),
        diffusivity_alone=np.array(diffusivities),
        diffusivity=fitted.diffusivity,
        attention=fitted.attention,
        terms=fitted.terms,
        losses=fitted.losses,
        norms=np.stack([root_mean_square(test), root_mean_square(rolled)]),
        plane=project(test[0], rolled[0]),
    )


def root_mean_square(states: Float[np.ndarray, "s p b t d"]) -> Float[np.ndarray, "s p"]:
    """Return the root mean square of the entries of every state."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(np.mean(np.square(states.astype(np.float64)), axis=(2, 3, 4)))


def project(
    states: Float[np.ndarray, "p b t d"], predicted: Float[np.ndarray, "p b t d"]
) -> Float[np.ndarray, "2 token p 2"]:
    """Return the middle tokens of a few rows on the two leading principal components of the true states."""
    flat = states.reshape(-1, states.shape[-1]).astype(np.float64)
    mean = flat.mean(axis=0)
    axes = np.linalg.eigh((flat - mean).T @ (flat - mean))[1][:, :-3:-1]
    tokens = [x[:, :TRACKED, x.shape[2] // 2].swapaxes(0, 1) for x in (states, predicted)]
    with np.errstate(over="ignore", invalid="ignore"):
        return (np.stack(tokens) - mean) @ axes


def verdict(result: FitResult) -> list[Line]:
    """Judge the claims by the numbers on held-out rows."""
    lines = judge_claims(result.task, f"trained Transformers of accuracy {interval(result.accuracy)}")
    if result.language is not None:
        share, increments = (
            mean_difference(x).value for x in (result.language.share, result.language.increment_share)
        )
        about = (
            f"SmolLM2 on {result.language.components} principal components with {share:.1%} of the variance of the "
            f"states and {increments:.1%} of that of the increments"
        )
        lines += judge_claims(result.language.explained, about)
    return lines


def judge_claims(explained: Explained, about: str) -> list[Line]:
    """Judge the claims for one set of trajectories."""
    return [
        _explains(explained, about),
        _rolls_out(explained, about),
        _beats_identity(explained, about),
        _beats_linear(explained, about),
        _diffuses(explained, about),
        _consists(explained, about),
    ]


def _explains(explained: Explained, about: str) -> Line:
    increments = explained.at("increment_r2", PDE)
    network = ""
    if NETWORK in explained.models:
        network = f"; the network itself {interval(explained.at('increment_r2', NETWORK))}"
    by_layer = np.mean(explained.at("increment_r2_by_layer", PDE), axis=0)
    below = int(np.sum(~(by_layer > 0)))
    word = extent(increments, "increments")
    if 2 * below > len(by_layer) and not word.startswith("no"):
        word += ", because a few layers have most of their variance; worse than its mean in most layers"
    return Line(
        f"one PDE explains the layers ({about})",
        f"R² of the increments, held out, one step ahead: sequential {interval(increments)}, parallel "
        f"{interval(explained.at('increment_r2', PARALLEL_PDE))}{network}; R² of the states "
        f"{interval(explained.at('r2', PDE))}, MSE {interval(explained.at('mse', PDE))}; of single layers, increments "
        f"are explained better than by their mean in {len(by_layer) - below} of {len(by_layer)}",
        word,
    )


def _rolls_out(explained: Explained, about: str) -> Line:
    states = explained.at("r2", ROLLED_PDE, 1)
    last = explained.at("r2_by_layer", ROLLED_PDE, 1)[:, -1]
    return Line(
        f"one PDE follows the trajectory from the input alone ({about})",
        f"R² of the states rolled out {interval(states)}, of the last {interval(last)}; identity "
        f"{interval(explained.at('r2', IDENTITY, 1))}, linear map {interval(explained.at('r2', LINEAR, 1))}; fitted "
        f"one step ahead instead {interval(explained.at('r2', PDE, 1))}",
        extent(states, "variance of the states"),
    )


def _beats_identity(explained: Explained, about: str) -> Line:
    pair = [explained.at("r2", model) for model in (PDE, IDENTITY)]
    difference = paired_difference(*pair)
    more = "yes, but the identity already explains most" if np.mean(pair[1]) > 1 / 2 else "yes"
    return Line(
        f"the PDE explains more of the states than the identity ({about})",
        f"R² of the states one step ahead {interval(pair[0])}, identity {interval(pair[1])}, difference "
        f"{difference.format(digits=3)}",
        by_sign(difference, more, "no, less"),
    )


def _beats_linear(explained: Explained, about: str) -> Line:
    pde, shared, per_layer = (
        explained.at("increment_r2", model) for model in (PDE, LINEAR, LINEAR_PER_LAYER)
    )
    differences = [paired_difference(pde, other) for other in (shared, per_layer)]
    words = [
        by_sign(difference, f"better than {name}", f"worse than {name}")
        for difference, name in zip(differences, ("one linear map", "a linear map per layer"), strict=True)
    ]
    return Line(
        f"the PDE is better than a linear map ({about})",
        f"R² of the increments {interval(pde)}, linear map {interval(shared)}, linear map per layer "
        f"{interval(per_layer)}; differences {differences[0].format(digits=3)} and {differences[1].format(digits=3)}",
        "; ".join(words),
    )


def _diffuses(explained: Explained, about: str) -> Line:
    pair = [explained.at("increment_r2", model) for model in (PDE, STILL_PDE)]
    difference = paired_difference(*pair)
    word = by_sign(difference, "yes", "no, the fit is worse with it")
    if difference.sign and abs(difference.value) < LITTLE:
        word = f"no: measurably {'better' if difference.sign > 0 else 'worse'} with it, but by less than {LITTLE}"
    return Line(
        f"the diffusion contributes ({about})",
        f"D {interval(explained.of_kind('diffusivity', PDE))}; R² of the increments with it {interval(pair[0])}, with "
        f"D = 0 {interval(pair[1])}, difference {difference.format(digits=4)}",
        word,
    )


def _consists(explained: Explained, about: str) -> Line:
    terms = explained.of_kind("terms", PDE).T
    return Line(
        f"what the fitted PDE consists of ({about})",
        f"D {interval(explained.of_kind('diffusivity', PDE))}, λ {interval(explained.of_kind('attention', PDE))}, "
        f"parallel D {interval(explained.of_kind('diffusivity', PARALLEL_PDE))}, λ "
        f"{interval(explained.of_kind('attention', PARALLEL_PDE))}; size of the terms over that of the increments: "
        f"diffusion {interval(terms[0])}, attention {interval(terms[1])}, feed-forward {interval(terms[2])}; D without "
        f"the other terms {interval(explained.diffusivity_alone)}",
        "a description, no claim",
    )


def paired_difference(a: Float[np.ndarray, " seed"], b: Float[np.ndarray, " seed"]) -> Difference:
    """Return the mean of paired differences; NaN if a number is not finite."""
    is_finite = np.all(np.isfinite(a)) and np.all(np.isfinite(b))
    return mean_difference(a - b) if is_finite else Difference(np.nan)


def extent(r2: Float[np.ndarray, " seed"], of_what: str) -> str:
    """Return in words how much an R² by seed explains, by the lower end of its interval."""
    if not np.all(np.isfinite(r2)):
        return "no: predictions are not finite"
    mean = mean_difference(r2)
    low = mean.value if np.isnan(mean.low) else mean.low
    if low > NEARLY_ALL:
        return f"yes: nearly all of the {of_what}"
    if low > 0:
        return f"in part: {mean.value:.0%} of the {of_what}"
    return f"no: not more of the {of_what} than their mean"

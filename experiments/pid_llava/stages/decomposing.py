"""Decompose captured states layer by layer, and measure the effect of the knockout.

Each question that is used is one sample of target, x and y. Under the knockout, all three come from the model under the
knockout. The states of the image do not change, since image tokens precede the question.

L layers, n samples, B draws; information in bits
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.data.preparation.activation_files import Activations
from experiments.pid_llava import result_cache
from experiments.pid_llava.checkpoint import ModelFolder
from experiments.pid_llava.config import Config, ConfigName, Estimation
from experiments.pid_llava.stages.capturing import GROUPS, Capture
from experiments.pid_llava.stages.knockout_conditions import ALL, BASELINE
from pid import (
    Bootstrap,
    CrossFittedRegression,
    SeparableFlow,
    Shuffle,
    aggregate,
    compare,
    layerwise,
    paper_config,
    recommended_config,
)
from pid.estimators import Comparison, Estimate, EstimateConfig
from pid.estimators.results import pid_from_array, pid_to_array
from pid.llava import TokenType


class Decomposition(NamedTuple):
    """The decomposition of all layers of one model in one task, by one configuration."""

    model: str
    task: str
    config: ConfigName
    layers: np.ndarray
    """Numbers of the layers (L,); 0 is the input of the first block."""
    estimate: Estimate
    """The estimate with its intervals."""
    paired: Estimate
    """An estimate of the same samples with paired draws, for comparisons of layers or conditions."""
    knockout: Estimate | None
    """An estimate with the same draws under the knockout; None if there is no knockout."""


class Variables(NamedTuple):
    """Target and sources under one condition, and the numbers of their layers."""

    data: Activations
    layers: np.ndarray


def make_variables(model: ModelFolder, capture: Capture, condition: str, config: Config) -> Variables:
    """Return the arrays to decompose. A layer whose target is the same for all questions is left out."""
    store, used = capture.store, capture.used

    def states(group: int) -> np.ndarray:
        return np.asarray(store.states(condition, group, normalized=config.normalized))[:, used]

    x, y = states(GROUPS[config.x]), states(GROUPS[config.y])
    target = _target(model, capture, condition, config)
    layers = np.arange(len(x))
    if target.ndim == 3:
        layers = np.flatnonzero(np.ptp(target, axis=1).max(axis=-1) > 0)
        target = target[layers]
    return Variables(Activations(target, x[layers], y[layers]), layers)


def _target(model: ModelFolder, capture: Capture, condition: str, config: Config) -> np.ndarray:
    store, used = capture.store, capture.used
    last = store.states(condition, TokenType.LAST)
    if config.target == "last":
        return last[-1][used]
    if config.target == "same_layer":
        return np.asarray(last)[:, used]
    if config.target == "logits":
        return model.logits(last[-1][used])
    return model.rows_of_head(store.greedy(condition)[used])


def estimate_config(name: ConfigName, size: Estimation, *, paired: bool) -> EstimateConfig:
    """Return the configuration of this name with these sizes.

    Args:
        name: "recommended" or "paper". The paper reports neither intervals nor a null distribution; we add paired draws
            around its plug-in values.
        size: components, draws, shuffles and sizes of the flow.
        paired: whether the estimate is for comparisons. Thinning needs parametric draws, so the correction is then
            `wishart`.
    """
    config = paper_config() if name == "paper" else recommended_config()
    config["ci"] = Bootstrap(size.draws, size.level, "paired" if paired or name == "paper" else "parametric")
    if name == "paper":
        config["gaussianize"] = SeparableFlow(
            shared_target=False, couplings=size.couplings, steps=size.steps, folds=size.folds
        )
        return config
    config["reduce"] = CrossFittedRegression(components=size.components)
    config["null"] = None if paired else Shuffle(size.shuffles, size.level)
    if paired:
        config["debias"] = "wishart"
    return config


class EstimateCache(NamedTuple):
    """The cache of estimates, and the configuration of estimates that are not in it."""

    folder: Path
    size: Estimation
    config: ConfigName
    seed: int
    kinds: dict[str, str] | None = None
    """Kinds of the variables that are stated; None detects them."""

    def estimate(self, facts: Any, read: Callable[[], Activations], *, paired: bool) -> Estimate:
        """Restore or make the estimate of every layer. `facts` identify the samples."""
        options = estimate_config(self.config, self.size, paired=paired)
        if self.kinds is not None:
            options["kinds"] = self.kinds
        name = result_cache.digest([facts, {key: repr(value) for key, value in options.items()}, self.seed])
        return result_cache.restore_or_estimate(
            self.folder, name, lambda: layerwise(*read(), key=jax.random.key(self.seed), **options)
        )


def sample_facts(capture: Capture, condition: str, config: Config) -> Any:
    """Return everything on which the samples of a decomposition depend."""
    used = result_cache.digest(capture.used.tolist())
    return [capture.name, used, condition, config.target, config.x, config.y, config.normalized]


def decompose(
    model: ModelFolder, capture: Capture, config: Config, name: ConfigName, say: Callable[[str], None]
) -> Decomposition:
    """Decompose baseline and full knockout of a task. Cached estimates are not repeated."""
    # rows of the output map are amounts, however few answers there are
    kinds = {"target": "ordinal"} if config.target == "unembedding" else None
    cached = EstimateCache(config.cache, config.estimation, name, config.seed, kinds)

    @cache  # two estimates need the variables of the baseline; none does if all are in the cache
    def variables(condition: str) -> Activations:
        return make_variables(model, capture, condition, config).data

    def estimate(condition: str, *, paired: bool) -> Estimate:
        say(f"{condition}{', paired draws' * paired}")
        facts = sample_facts(capture, condition, config)
        return cached.estimate(facts, lambda: variables(condition), paired=paired)

    single, paired = estimate(BASELINE, paired=False), estimate(BASELINE, paired=True)
    knockout = estimate(ALL, paired=True)
    layers = np.arange(len(capture.store.states(BASELINE, TokenType.LAST)))[-len(single.dims) :]
    return Decomposition(capture.model, capture.task, name, layers, single, paired, knockout)


def decompose_file(data: Activations, file: str, config: Config, name: ConfigName) -> Decomposition:
    """Decompose activations of a file, which have layers and no knockout."""
    layers = np.arange(next(len(array) for array in data if array.ndim == 3))
    facts = [[array.shape, hashlib.sha256(array.tobytes()).hexdigest()] for array in data]
    cached = EstimateCache(config.cache, config.estimation, name, config.seed)
    single, paired = (cached.estimate(facts, lambda: data, paired=paired) for paired in (False, True))
    return Decomposition(file, "file", name, layers, single, paired, None)


def knockout_change(decomposition: Decomposition) -> Comparison | None:
    """Return knockout - baseline of every layer, with paired intervals."""
    if decomposition.knockout is None:
        return None
    return compare(decomposition.paired, decomposition.knockout)


def aggregate_draws(estimate: Estimate, aggregation: str) -> Estimate:
    """Aggregate the layers of an estimate and of its draws. The result has no intervals."""
    draws = estimate.draws
    if draws is not None:
        draws = aggregate(pid_from_array(np.moveaxis(pid_to_array(draws), 1, 0)), aggregation)
    pid, plugin = aggregate(estimate.pid, aggregation), aggregate(estimate.plugin, aggregation)
    return estimate._replace(pid=pid, plugin=plugin, ci=None, null=None, draws=draws)

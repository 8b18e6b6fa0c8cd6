"""From captured states to a decomposition of every layer, and of what the knockout changes.

Target, x and y are one of each for every question that is used. Under the knockout all three are those of the model as
it then is; the image's states are the same, since no image token comes behind a question.

L layers, n samples, B draws; information in bits
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.data.activation_files import Activations
from experiments.pid_llava import result_cache
from experiments.pid_llava.capturing import ALL, BASELINE, GROUPS, Captured
from experiments.pid_llava.checkpoint import Opened
from experiments.pid_llava.config import Config, Estimation, Named
from pid import (
    PCA,
    Bootstrap,
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


class Decomposed(NamedTuple):
    """What is estimated of one model in one task by one configuration."""

    model: str
    task: str
    config: Named
    layers: np.ndarray
    """Numbers of the layers (L,): 0 is what enters the first block."""
    shown: Estimate
    """The estimate with its intervals."""
    paired: Estimate
    """The same samples with paired draws, for what compares layers or conditions."""
    knocked: Estimate | None
    """The same draws under the knockout; None where there is none."""


class Sides(NamedTuple):
    """Target and sources under one condition, and the numbers of their layers."""

    data: Activations
    layers: np.ndarray


def sides(opened: Opened, captured: Captured, condition: str, config: Config) -> Sides:
    """The arrays that are decomposed; a layer whose target is the same for all questions is left out."""
    store, used = captured.store, captured.used

    def states(group: int) -> np.ndarray:
        return np.asarray(store.states(condition, group, normalized=config.normalised))[:, used]

    x, y = states(GROUPS[config.x]), states(GROUPS[config.y])
    target = _target(opened, captured, condition, config)
    layers = np.arange(len(x))
    if target.ndim == 3:
        layers = np.flatnonzero(np.ptp(target, axis=1).max(axis=-1) > 0)
        target = target[layers]
    return Sides(Activations(target, x[layers], y[layers]), layers)


def _target(opened: Opened, captured: Captured, condition: str, config: Config) -> np.ndarray:
    store, used = captured.store, captured.used
    last = store.states(condition, TokenType.LAST)
    if config.target == "last":
        return last[-1][used]
    if config.target == "same_layer":
        return np.asarray(last)[:, used]
    if config.target == "logits":
        return opened.logits(last[-1][used])
    return opened.rows_of_head(store.greedy(condition)[used])


def choices(named: Named, size: Estimation, *, paired: bool) -> EstimateConfig:
    """The named configuration with these sizes.

    paired: for comparisons. Thinning is made for parametric draws, so the correction is then that of Wishart. The paper
    states neither intervals nor a null; paired draws around its plug-in values are ours.
    """
    config = paper_config() if named == "paper" else recommended_config()
    config["ci"] = Bootstrap(size.draws, size.level, "paired" if paired or named == "paper" else "parametric")
    if named == "paper":
        config["gaussianize"] = SeparableFlow(
            shared_target=False, couplings=size.couplings, steps=size.steps, folds=size.folds
        )
        return config
    config["reduce"] = PCA(components=size.components)
    config["null"] = None if paired else Shuffle(size.shuffles, size.level)
    if paired:
        config["debias"] = "wishart"
    return config


class Kept(NamedTuple):
    """Where estimates are kept, and how they are made."""

    folder: Path
    size: Estimation
    named: Named
    seed: int

    def estimate(self, facts: Any, read: Callable[[], Activations], *, paired: bool) -> Estimate:
        """The estimate of every layer, read or made; `facts` tell samples apart."""
        chosen = choices(self.named, self.size, paired=paired)
        name = result_cache.digest([facts, {key: repr(value) for key, value in chosen.items()}, self.seed])
        return result_cache.estimate(
            self.folder, name, lambda: layerwise(*read(), key=jax.random.key(self.seed), **chosen)
        )


def facts_of(captured: Captured, condition: str, config: Config) -> Any:
    """What the samples of a decomposition depend on."""
    used = result_cache.digest(captured.used.tolist())
    return [captured.name, used, condition, config.target, config.x, config.y, config.normalised]


def decompose(
    opened: Opened, captured: Captured, config: Config, named: Named, say: Callable[[str], None]
) -> Decomposed:
    """Baseline and full knockout of a task; what has been estimated before is read."""
    read = {name: _Once(lambda name=name: sides(opened, captured, name, config)) for name in (BASELINE, ALL)}

    keep = Kept(config.kept, config.estimation, named, config.seed)

    def estimate(condition: str, *, paired: bool) -> Estimate:
        say(f"{condition}{', paired draws' * paired}")
        facts = facts_of(captured, condition, config)
        return keep.estimate(facts, lambda: read[condition]().data, paired=paired)

    shown, paired = estimate(BASELINE, paired=False), estimate(BASELINE, paired=True)
    knocked = estimate(ALL, paired=True)
    layers = np.arange(len(captured.store.states(BASELINE, TokenType.LAST)))[-len(shown.dims) :]
    return Decomposed(captured.model, captured.task, named, layers, shown, paired, knocked)


class _Once:
    """Reads at the first call."""

    def __init__(self, read: Callable[[], Sides]):
        self._read, self._found = read, None

    def __call__(self) -> Sides:
        self._found = self._found or self._read()
        return self._found


def of_file(data: Activations, name: str, config: Config, named: Named) -> Decomposed:
    """Activations of a file: layers, and no knockout."""
    layers = np.arange(next(len(array) for array in data if array.ndim == 3))
    facts = [[array.shape, hashlib.sha256(array.tobytes()).hexdigest()] for array in data]
    keep = Kept(config.kept, config.estimation, named, config.seed)
    shown, paired = (keep.estimate(facts, lambda: data, paired=paired) for paired in (False, True))
    return Decomposed(name, "file", named, layers, shown, paired, None)


def change(found: Decomposed) -> Comparison | None:
    """knockout - baseline of every layer, with paired intervals."""
    return None if found.knocked is None else compare(found.paired, found.knocked)


def gathered(estimate: Estimate, how: str) -> Estimate:
    """The estimate of one number for all layers, its draws gathered in the same way; it has no intervals."""
    draws = estimate.draws
    if draws is not None:
        draws = aggregate(pid_from_array(np.moveaxis(pid_to_array(draws), 1, 0)), how)
    pid, plugin = aggregate(estimate.pid, how), aggregate(estimate.plugin, how)
    return estimate._replace(pid=pid, plugin=plugin, ci=None, null=None, draws=draws)

"""The variants of a run: official and corrected models by name, each group with a baseline of its own."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from flax import nnx

from experiments.lra.config import BASELINE
from experiments.text.config import Config, Official
from pdeformer import cta, train
from pdeformer.model import Classifier, ModelConfig
from pid.interface.command_options import NONE

OFFICIAL = "official"
"""Name of the official baseline, and prefix of the official models with an equation."""
Group = Literal["official", "corrected"]
BASELINES: dict[Group, str] = {"official": OFFICIAL, "corrected": BASELINE}
"""Group -> its variant without a PDE."""


class Rows(NamedTuple):
    """What a model has to know of the data."""

    vocabulary: int
    classes: int
    max_len: int


class Variant(NamedTuple):
    """One variant."""

    name: str
    group: Group
    build: Callable[[Rows], Callable[[nnx.Rngs], Any]]
    """Rows -> the function that makes its model; equal rows give the same function object."""
    optimizer: train.Optimizer
    """AdamW, with the decay of its group."""


def variants(config: Config) -> dict[str, Variant]:
    """Return the variants by name, the baseline of each group first."""
    return {variant.name: variant for variant in (*_official(config), *_corrected(config))}


def _official(config: Config) -> list[Variant]:
    if not config.has_official:
        return []
    kinds = (None, *config.official.kinds)
    return [
        Variant(
            OFFICIAL if kind is None else f"{OFFICIAL}_{kind}",
            "official",
            functools.partial(official_builder, config.official, kind),
            config.optimizer,
        )
        for kind in kinds
    ]


def _corrected(config: Config) -> list[Variant]:
    if not config.has_corrected:
        return []
    changes: dict[str, dict[str, Any]] = {BASELINE: {}}
    if config.equations != (NONE,):
        changes |= {
            f"{equation}_{target}": {"attention": config.attention(equation, target)}
            for equation in config.equations
            for target in config.targets
        }
    if config.placement != (NONE,):
        changes |= {place: {"placements": (place,), "stencil": config.stencil} for place in config.placement}
    optimizer = dataclasses.replace(config.optimizer, decay="kernels")
    fields = dataclasses.asdict(config.model) | {"dtype": config.dtype}
    return [
        Variant(name, "corrected", functools.partial(_corrected_builder, fields | change), optimizer)
        for name, change in changes.items()
    ]


def _corrected_builder(fields: dict[str, Any], rows: Rows) -> Callable[[nnx.Rngs], Any]:
    return corrected_builder(ModelConfig(rows.vocabulary, classes=rows.classes, **fields))


@functools.cache
def corrected_builder(model: ModelConfig) -> Callable[[nnx.Rngs], Classifier]:
    """Return the function that makes a corrected model."""
    return lambda rngs: Classifier(model, rngs)


@functools.cache
def official_builder(
    official: Official, kind: str | None, rows: Rows
) -> Callable[[nnx.Rngs], cta.OfficialClassifier]:
    """Return the function that makes an official model with the initial weights of PyTorch.

    Args:
        official: its sizes.
        kind: its equation; None is the baseline.
        rows: sizes of the data.
    """
    sizes = {"layers": official.layers, "width": official.width, "ffn": official.ffn}
    identical = official.identical_layers and kind is None

    def build(rngs: nnx.Rngs) -> cta.OfficialClassifier:
        weights = cta.init_weights(
            rngs.params(),
            vocabulary=rows.vocabulary,
            outputs=rows.classes,
            length=rows.max_len,
            kind=kind,
            steps=official.steps,
            identical_layers=identical,
            **sizes,
        )
        return cta.OfficialClassifier(weights, kind=kind, heads=official.heads, dropout=official.dropout)

    return build


def check_variants(config: Config) -> None:
    """Raise ValueError if the model of a variant cannot be built; it makes no array."""
    for task, data in config.data().items():
        for name, variant in variants(config).items():
            try:
                build = variant.build(Rows(config.text.vocabulary, data.classes, data.max_len))
                nnx.eval_shape(lambda build=build: build(nnx.Rngs(0)))
            except ValueError as error:
                raise ValueError(f"{task} cannot have the variant {name}: {error}") from None

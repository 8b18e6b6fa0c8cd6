"""A tiny task of `experiments.placement`, and trainings of its members one by one, by the step of `experiments.lra`."""

import contextlib
import dataclasses

import jax
import numpy as np
import pytest

from experiments import placement, run
from experiments.data import arrays
from experiments.lra import program as lra_program
from experiments.lra.presets import CONFIGURATIONS
from experiments.placement.family_training import FamilyTraining, make_family
from experiments.placement.layer_kinds import KINDS
from experiments.placement.variant_families import BASE, Variant
from pdeformer import sharding
from pdeformer.layers import StencilConfig
from tests.experiments.lra.test_lra import TINY

TASK = dataclasses.replace(
    TINY,
    steps=12,
    batch=8,
    generated=dataclasses.replace(TINY.generated, train=96, val=12, test=20),
    cadence=run.LoopIntervals(log_every=2, eval_every=4, checkpoint_every=4),
)
"""ListOps of few tokens for a Transformer of few channels, with dropout."""
ONCE = run.LoopIntervals(log_every=1, eval_every=2, checkpoint_every=2)
CONFIG = placement.Config(
    layers=("adaptive",),
    places=("after_embedding", "after_attention"),
    controls=("convolution",),
    seeds=(0, 3),
    steps=(6,),
    cadence=ONCE,
    rows=4,
    mesh=placement.Mesh(data=1),
)
"""Two families, of five variants in all."""


@contextlib.contextmanager
def small_listops():
    """Make ListOps of the tiny task the one of `experiments.placement`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONFIGURATIONS["quick"], "listops", TASK)
        yield


def one(kind: str, place: str, alpha: float | None = None) -> Variant:
    """Return a variant with the default smoothing of its kind, unless there is another."""
    return Variant(kind, place, KINDS[kind].default if alpha is None else alpha)


def train_together(variants, seeds, splits, *, config=TASK, concurrency=1, devices=1, model=1):
    """Return the training of a family, not begun."""
    data = splits["train"]
    family = make_family(config, variants, seeds, len(data.vocabulary), data.classes)
    return FamilyTraining(family, splits, sharding.make_mesh(devices // model, model, 1), concurrency)


def train_alone(variant: Variant, seed: int, splits, steps: int, *, config=TASK):
    """Return parameters and losses after some steps of `experiments.lra`, of the model with this layer alone."""
    data, mesh = splits["train"], sharding.make_mesh(data=1)
    model = config.network((), len(data.vocabulary), data.classes)
    if variant != BASE:
        smoothing = None if variant.kind == "canon" else variant.alpha
        stencil = StencilConfig(**{**vars(KINDS[variant.kind].stencil), "alpha": smoothing})
        model = dataclasses.replace(model, placements=(variant.place,), stencil=stencil)
    loss = arrays.classifier_loss(data.first_id)
    programs = run.make_programs(
        lra_program.builder(model, "classifier"), config.optimizer, config.steps, mesh, loss
    )
    state, key = programs.init(jax.random.key(seed)), run.training_key(seed)
    losses = []
    for step in range(steps):
        state, metrics = programs.step(
            state, lra_program.batch(config, data, mesh, seed=seed, step=step), key
        )
        losses.append(float(metrics.loss))
    return jax.device_get(state.params), np.array(losses)

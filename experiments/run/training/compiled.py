"""Compiled functions of a training, shared by all seeds of a variant and all resumed runs of a process."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from flax import nnx
from jax.sharding import Mesh

from pdeformer import train


class Programs(NamedTuple):
    """The compiled functions that `run.train` needs for every seed."""

    graphdef: Any
    """The model without its parameters."""
    init: Callable[[Any], train.TrainState]
    """key -> initial state."""
    step: Any
    """(state, batch, key) -> (state, `train.Metrics`)."""
    evaluate: Callable[..., train.Evaluation]
    """(params, batches, hits=None) -> means over the batches; see `train.make_evaluate`."""


@functools.cache  # for every variant: a run may return to each of them with the next seed
def make_programs(
    build: Callable[[nnx.Rngs], Any],
    optimizer: train.Optimizer,
    steps: int,
    mesh: Mesh,
    loss_fn: train.LossFunction = train.classification_loss,
    *,
    fsdp: bool = False,
) -> Programs:
    """Return the programs of the model `build(rngs)`; with `fsdp` its state is split over "data" as well.

    Equal arguments return the same programs, so callers pass the same function objects as `build` and `loss_fn`.
    """
    graphdef, init, shardings = train.make_init(build, optimizer, steps, mesh, fsdp=fsdp)
    step = train.make_train_step(graphdef, optimizer, steps, mesh, shardings, loss_fn)
    evaluate = train.make_evaluate(graphdef, mesh, shardings, loss_fn, with_hits=True)
    return Programs(graphdef, init, step, evaluate)

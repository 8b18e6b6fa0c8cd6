"""The compiled programs of a training, made once in a process for all seeds of a variant and for resumed runs."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from flax import nnx
from jax.sharding import Mesh

from pdeformer import train


class Programs(NamedTuple):
    """What `run.train` is given for every seed."""

    graphdef: Any
    """The model without its parameters."""
    init: Callable[[Any], train.TrainState]
    """key -> the state to begin with."""
    step: Any
    """(state, batch, key) -> (state, `train.Metrics`)."""
    evaluate: Callable[[Any, Any], train.Evaluation]
    """(params, batches) -> means over them."""


@functools.cache  # of every variant: a run may come back to each of them with the next seed
def programs(
    build: Callable[[nnx.Rngs], Any],
    optimizer: train.Optimizer,
    steps: int,
    mesh: Mesh,
    loss_fn: train.LossFunction = train.classification_loss,
) -> Programs:
    """The programs of the model `build(rngs)`; the same ones if `build` and `loss_fn` are the same functions."""
    graphdef, init, shardings = train.make_init(build, optimizer, steps, mesh)
    step = train.make_train_step(graphdef, optimizer, steps, mesh, shardings, loss_fn)
    return Programs(graphdef, init, step, train.make_evaluate(graphdef, mesh, shardings, loss_fn))

"""Training on short rows of a recall task, and the accuracy of the trained model on long ones."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from experiments import run
from experiments.data import arrays
from experiments.lm.long.long_config import LongConfig
from pdeformer import sharding, train
from pdeformer.model import CausalLM, ModelConfig

TEST_TOKENS = 32_768
"""Tokens of a batch of long rows, at most."""


@functools.cache
def builder(model: ModelConfig) -> Callable[[nnx.Rngs], CausalLM]:
    """Return a function that builds the model; equal configurations give the same function, and share programs."""
    return lambda rngs: CausalLM(model, rngs)


def programs_of(config: LongConfig, variant: str, mesh: Mesh) -> Any:
    """Return the compiled functions of a variant."""
    return run.make_programs(
        builder(config.network(variant)), config.optimizer, config.steps, mesh, arrays.token_loss(0)
    )


def train_variant(
    config: LongConfig, variant: str, seed: int, splits: dict[str, arrays.Split], mesh: Mesh, folder: run.Run
) -> run.Result:
    """Train one variant with one seed on short rows; a finished training is read from the run folder."""
    if (result := run.read_result(folder, variant, seed, config.steps, config.cadence)) is not None:
        return result
    programs = programs_of(config, variant, mesh)

    def evaluate(params: Any, split: str) -> train.Evaluation:
        return programs.evaluate(params, rows_of(splits[split], config.batch, mesh))

    def inputs(step: int) -> dict[str, jax.Array]:
        rows = sharding.host_rows(config.batch, mesh)
        own = arrays.batch(splits["train"], config.batch, seed=seed, step=step, rows=rows)
        return sharding.put_batch(own._asdict(), mesh, rows=config.batch)

    return run.train(
        folder,
        variant=variant,
        seed=seed,
        steps=config.steps,
        state=programs.init(jax.random.key(seed)),
        step_fn=programs.step,
        batch_fn=inputs,
        evaluate_fn=lambda params: evaluate(params, "val"),
        test_fn=lambda params: evaluate(params, "test"),
        tokens_per_step=config.batch * config.train_length,
        cadence=config.cadence,
    )


def long_accuracy(
    config: LongConfig, variant: str, seed: int, length: int, mesh: Mesh, folder: run.Run
) -> dict[str, Any]:
    """Return accuracy and loss of a trained variant on rows of a length; a finished measurement is read.

    The weights are those of the last step, from the checkpoint of the training.
    """
    name = f"{variant} accuracy T{length}"
    if (row := folder.row(name, seed, ("accuracy", "loss", "rows"))) is not None:
        return row
    programs = programs_of(config, variant, mesh)
    with run.Checkpoints(folder.checkpoints(variant, seed)) as checkpoints:
        params = checkpoints.restore(programs.init(jax.random.key(seed)), config.steps).params
    devices = mesh.shape["data"]
    size = devices * max(1, min(config.test_rows, TEST_TOKENS // length) // devices)
    evaluation = programs.evaluate(params, rows_of(test_rows(config, length), size, mesh))
    row = {"accuracy": evaluation.accuracy, "loss": evaluation.loss, "rows": int(evaluation.weight)}
    folder.finish(name, seed, row)
    return row


def test_rows(config: LongConfig, length: int) -> arrays.Split:
    """Return the test rows of a length, which are generated and not stored."""
    task = config.rows(length, test_rows=config.test_rows)
    blocks = list(task.blocks("test"))
    tokens, labels = (
        np.concatenate([getattr(block, name) for block in blocks]) for name in ("tokens", "labels")
    )
    lengths = np.full(len(tokens), length, np.int32)
    return arrays.Split(tokens, lengths, labels, task.symbols, len(task.symbols))


def rows_of(split: arrays.Split, size: int, mesh: Mesh) -> Iterator[dict[str, jax.Array]]:
    """Yield every row of a split once, with its labels."""
    for own in arrays.evaluation_batches(split, size, rows=sharding.host_rows(size, mesh)):
        yield sharding.put_batch(own._asdict(), mesh, rows=size)

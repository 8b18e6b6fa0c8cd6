"""The two-layer Transformer of the Long Range Arena on ListOps: model, optimizer, batch and training step.

B batch, T tokens
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from experiments.data import arrays, listops
from pdeformer import sharding, train
from pdeformer.model import Classifier, ModelConfig

STEPS = 5000
OPTIMIZER = train.Optimizer(learning_rate=1e-4, schedule="constant", eps=1e-6)
"""AdamW; a schedule would take no time."""
RATE = 0.1
"""Dropout rate of states and attention weights."""
MIN_LENGTH, MAX_LENGTH = 500, 2000
"""Sequences of the benchmark are longer and shorter than these."""


class Training(NamedTuple):
    """A training of one device."""

    state: train.TrainState
    """The state at step 0."""
    step: Any
    """The jitted function `(state, batch, key) -> (state, metrics)`, which donates its state."""
    mesh: Mesh
    """The mesh of one device."""


def two_layer(tokens: int, dropout: float) -> ModelConfig:
    """Return the configuration of the model for sequences of up to `tokens` tokens."""
    return ModelConfig(
        vocabulary=len(listops.VOCABULARY),
        classes=listops.CLASSES,
        head_width=32,
        classifier_width=128,
        positions="learned",
        attention_bias=True,
        max_len=tokens,
        dropout=dropout,
        attention_dropout=dropout,
    )


def make_training(config: ModelConfig) -> Training:
    """Make state and step as the programs do."""
    mesh = sharding.make_mesh(data=1)
    graphdef, state, shardings = train.init_state(
        lambda rngs: Classifier(config, rngs=rngs), OPTIMIZER, STEPS, mesh, seed=0
    )
    loss = arrays.classifier_loss(first_id=0)
    step = train.make_train_step(graphdef, OPTIMIZER, STEPS, mesh, shardings, loss)
    return Training(state, step, mesh)


def listops_rows(count: int, tokens: int, *, seed: int = 0) -> arrays.Batch:
    """Return generated sequences of the lengths of the benchmark, cut to those of at most T tokens."""
    max_length = min(tokens + 1, MAX_LENGTH)
    min_length = MIN_LENGTH if max_length > 2 * MIN_LENGTH else max_length // 2
    sequences = list(listops.generate(count, seed=seed, min_length=min_length, max_length=max_length))
    values = np.zeros((count, tokens), np.uint8)
    for row, (symbols, _) in zip(values, sequences, strict=True):
        row[: len(symbols)] = listops.encode(symbols)
    lengths = np.array([len(symbols) for symbols, _ in sequences], np.int32)
    labels = np.array([label for _, label in sequences], np.int32)
    return arrays.Batch(values, lengths, labels, np.ones(count, np.float32))


def full_rows(count: int, tokens: int) -> arrays.Batch:
    """Return rows of random symbols without padding."""
    rng = np.random.default_rng(0)
    values = rng.integers(1, len(listops.VOCABULARY), (count, tokens), np.uint8)
    labels = rng.integers(0, listops.CLASSES, count, np.int32)
    return arrays.Batch(values, np.full(count, tokens, np.int32), labels, np.ones(count, np.float32))


def on_device(batch: arrays.Batch, mesh: Mesh) -> dict[str, jax.Array]:
    """Return the entries of a batch on the device of the mesh."""
    return jax.device_put(batch._asdict(), sharding.batch_sharding(mesh))

"""Losses of models on batches of arrays, whose ids and segment ids are made on the device.

Equal arguments give the same function object, so that runs share compiled programs.
"""

import functools
from typing import Any

import jax.numpy as jnp

from experiments.data.arrays.model_inputs import model_inputs
from pdeformer import train


@functools.cache
def classifier_loss(first_id: int) -> train.LossFunction:
    """Return the loss of a `Classifier`: the cross-entropy of one label per row.

    Args:
        first_id: id of the value 0, see `Split`.
    """

    def loss(model: Any, batch: dict[str, Any], key: Any) -> train.Sums:
        inputs = model_inputs(batch["tokens"], batch["lengths"], first_id)
        logits = model(inputs.ids, inputs.segment_ids, key=key)
        return train.cross_entropy(logits, batch["labels"], batch["weights"])

    return loss


@functools.cache
def matcher_loss(first_id: int) -> train.LossFunction:
    """Return the loss of a `Matcher` on pairs of sequences: the cross-entropy of one label per pair.

    Args:
        first_id: id of the value 0, see `Split`.
    """

    def loss(model: Any, batch: dict[str, Any], key: Any) -> train.Sums:
        ids, segment_ids = model_inputs(batch["tokens"], batch["lengths"], first_id)
        logits = model(ids[:, 0], ids[:, 1], segment_ids[:, 0], segment_ids[:, 1], key=key)
        return train.cross_entropy(logits, batch["labels"], batch["weights"])

    return loss


@functools.cache
def token_loss(first_id: int) -> train.LossFunction:
    """Return the loss of a `CausalLM` on labels of tokens: the mean cross-entropy over the labels of a row.

    A row has weight 1, whatever the number of its labels, and its hit is the share of labels that are right.

    Args:
        first_id: id of the value 0, see `Split`.
    """

    def loss(model: Any, batch: dict[str, Any], key: Any) -> train.Sums:
        inputs = model_inputs(batch["tokens"], batch["lengths"], first_id)
        logits = model(inputs.ids, inputs.segment_ids, key=key)
        has_label = batch["labels"] >= 0
        share = has_label / jnp.maximum(jnp.sum(has_label, axis=-1, keepdims=True), 1)
        return train.cross_entropy(logits, batch["labels"], share * batch["weights"][:, None])

    return loss

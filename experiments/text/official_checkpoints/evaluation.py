"""Evaluation of an official checkpoint on the test texts of one corpus."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from experiments.data import arrays
from experiments.data.arrays import Split
from experiments.lra.program import all_examples
from experiments.text.config import Config
from experiments.text.official_checkpoints.checkpoint_files import read_state_dict
from pdeformer import cta, train
from pid.interface.command_options import NONE


class CheckpointResult(NamedTuple):
    """Result of a checkpoint on the test texts."""

    loss: float
    """Mean cross-entropy in nats."""
    accuracy: float
    """Share of right predictions."""
    hits: np.ndarray
    """Whether each test text is right."""


def load_checkpoint(config: Config) -> cta.OfficialClassifier:
    """Return the model of --evaluate.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or of another model or equation.
    """
    if config.evaluate is None:
        raise ValueError("a checkpoint is needed, got no --evaluate; pass its file.")
    (kind,) = config.official.kinds
    state = read_state_dict(config.evaluate)
    try:
        return cta.load_classifier(state, kind=None if kind == NONE else kind, heads=config.official.heads)
    except ValueError as error:
        raise ValueError(
            f"{config.evaluate} must be an official classifier, got: {error} The equation is --official.kinds, the "
            f"heads are --official.heads."
        ) from None


def check_fit(model: cta.OfficialClassifier, split: Split) -> None:
    """Raise ValueError unless the checkpoint has the vocabulary, the classes and the length of the texts."""
    vocabulary, classes = model.embedding.shape[0], model.fc["weight"].shape[0]
    if vocabulary != len(split.vocabulary):
        raise ValueError(
            f"ids are those of the tokenizer of the checkpoint, got {len(split.vocabulary):,} symbols for its "
            f"{vocabulary:,} embeddings; put its tokenizer.json or vocab.txt into --manual-dir, and use "
            f"--text.tokenizer published."
        )
    if classes != split.classes:
        raise ValueError(
            f"labels are those of the checkpoint, got {split.classes} classes for its {classes} outputs; change "
            f"--corpora."
        )
    if split.tokens.shape[-1] > model.positions.shape[1]:
        raise ValueError(
            f"rows must fit the positions of the checkpoint, got {split.tokens.shape[-1]} tokens for "
            f"{model.positions.shape[1]}; lower --text.max-len."
        )


def evaluate_checkpoint(
    config: Config, model: cta.OfficialClassifier, split: Split, mesh: Mesh
) -> CheckpointResult:
    """Return loss, accuracy and hits of a model on a split.

    Args:
        config: the options, whose batch is that of the evaluation.
        model: the model.
        split: the texts.
        mesh: devices that share a batch.
    """
    graphdef, params = nnx.split(model, nnx.Param)
    pure = nnx.to_pure_dict(params)
    shardings: Any = train.TrainState(None, None, None)
    evaluate = train.make_evaluate(
        graphdef, mesh, shardings, arrays.classifier_loss(split.first_id), with_hits=True
    )
    batches: list[Any] = []
    evaluation = evaluate(pure, all_examples(config, split, mesh), batches)  # type: ignore[arg-type]  it has a batch
    hits = np.concatenate(batches)[: len(split.labels)]
    return CheckpointResult(evaluation.loss, evaluation.accuracy, hits)


def logits_of(model: cta.OfficialClassifier, split: Split) -> jnp.ndarray:
    """Return the logits of all rows of a small split at once."""
    inputs = arrays.model_inputs(split.tokens, split.lengths, split.first_id)
    return model(inputs.ids, inputs.segment_ids)

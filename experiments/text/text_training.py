"""One training: a variant on the texts of a task with a seed, its hits on the test texts, its learned coefficients."""

import functools
from typing import Any, cast

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from experiments import run
from experiments.data import arrays
from experiments.lra.learned import example_hits, learned_coefficients
from experiments.lra.program import all_examples, batch
from experiments.text.config import Config
from experiments.text.variants import Rows, Variant
from pdeformer import cta, train

Splits = dict[str, arrays.Split]


def training_name(task: str, variant: str) -> str:
    """Return the name of a training in the run folder."""
    return f"{task}.{variant}"


def rows_of(split: arrays.Split) -> Rows:
    """Return what a model has to know of the data."""
    return Rows(len(split.vocabulary), split.classes, split.tokens.shape[-1])


def train_variant(
    config: Config, task: str, variant: Variant, seed: int, splits: Splits, mesh: Mesh, folder: run.Run
) -> run.Result:
    """Train a variant with a seed; a finished training is read from the run folder.

    The validation split chooses the best weights. The test split is read after the last step, with the last weights and
    with the best ones.
    """
    name = training_name(task, variant.name)
    if (result := run.read_result(folder, name, seed, config.steps, config.cadence)) is not None:
        return result
    data = splits["train"]
    loss = arrays.classifier_loss(data.first_id)
    build = variant.build(rows_of(data))
    options: Any = {"fsdp": config.mesh.fsdp}
    programs = run.make_programs(build, variant.optimizer, config.steps, mesh, loss, **options)
    batches_of = functools.partial(all_examples, cast(Any, config), mesh=mesh)
    hits: list[Any] = []  # of the last weights, and then of the best ones if they differ

    def test(params: Any) -> train.Evaluation:
        learned_coefficients.save(folder, name, seed, coefficients_of(nnx.merge(programs.graphdef, params)))
        batches: list[Any] = []
        evaluation = programs.evaluate(params, batches_of(splits["test"]), batches)
        hits.append(np.concatenate(batches)[: len(splits["test"].labels)])  # the rest fills the last batch
        example_hits.save(folder, name, seed, example_hits.Hits(last=hits[0], best=hits[-1]))
        return evaluation

    return run.train(
        folder,
        variant=name,
        seed=seed,
        steps=config.steps,
        state=programs.init(jax.random.key(seed)),
        step_fn=programs.step,
        batch_fn=lambda step: batch(cast(Any, config), data, mesh, seed=seed, step=step),
        evaluate_fn=lambda params: programs.evaluate(params, batches_of(splits["val"])),
        test_fn=test,
        tokens_per_step=config.batch * data.tokens[0].size,
        cadence=config.cadence,
        profile=config.profile,
    )


def coefficients_of(model: Any) -> learned_coefficients.Coefficients:
    """Return the coefficients of the equations of a model; empty for a baseline.

    Those of an official model are (layers, steps).
    """
    if isinstance(model, cta.OfficialClassifier):
        values = {name: np.asarray(jax.device_get(value[...])) for name, value in model.steps.items()}
        return {name: value.tolist() for name, value in values.items()}
    coefficients = dict(learned_coefficients.of_model(model))
    for place, layer in model.blocks.stencils.items():
        if hasattr(layer, "alpha"):
            coefficients[f"{place} alpha"] = np.asarray(jax.device_get(layer.alpha)).tolist()
    return coefficients

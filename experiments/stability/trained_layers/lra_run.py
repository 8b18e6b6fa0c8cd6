"""Models of a run of `experiments.lra`, rebuilt from its `config.json` and checkpoints, and its test rows.

B batch, T tokens, D channels
"""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from experiments.data import arrays, listops
from experiments.data.listops.listops_options import Generated, Release, Source, listops_config
from experiments.data.listops.listops_splits import prepare_listops
from experiments.run.folder import saved_config
from experiments.run.training.checkpoints import find_fault_in_checkpoint, read_arrays
from experiments.stability.trained_layers.layer_measures import (
    LayerMeasures,
    Stack,
    measure_stack,
    random_tangent,
)
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model import PLACEMENTS, Architecture, Classifier, ModelConfig
from pdeformer.sharding import path_name
from pdeformer.train import cross_entropy

RENAMED = {"together": "combine"}
"""Old -> new names of saved fields."""


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """The options of a run that its models and its data depend on."""

    task: str = "listops"
    controls: tuple[str, ...] = ()
    windows: tuple[int, ...] = ()
    model: Architecture = Architecture()
    stencil: StencilConfig = StencilConfig(kind="adaptive")
    attention: PDEAttentionConfig = PDEAttentionConfig()
    source: Source = "generated"
    generated: Generated = Generated()
    release: Release = Release()
    data_dir: Path = Path("data")
    manual_dir: Path | None = None


class Training(NamedTuple):
    """One training of a run."""

    variant: str
    seed: int
    step: int
    """Step of its last checkpoint."""
    checkpoint: Path


def read_run(folder: Path) -> SavedRun:
    """Return the saved options of a run. Raises ValueError if the file is damaged, or the run is of another task."""
    fields = saved_config.read_fields(folder, RENAMED)
    run = saved_config.build(SavedRun(), fields, folder / saved_config.NAME)
    if run.task != "listops":
        raise ValueError(
            f"layers are measured on rows of ListOps, got a run of the task {run.task} in {folder}; use a run of "
            f"ListOps."
        )
    return run


def trainings(folder: Path, run: SavedRun = SavedRun()) -> list[Training]:
    """Return the variants and seeds that have a checkpoint, each with its last one that is whole.

    Args:
        folder: the run folder.
        run: the saved options; its controls are left out.

    Raises:
        ValueError: there is none.
    """
    last, controls = [], {*run.controls, *(f"window_{window}" for window in run.windows)}
    for path in sorted((folder / "checkpoints").glob("*-*")):
        variant, _, seed = path.name.rpartition("-")
        steps = sorted((int(p.name) for p in path.iterdir() if p.name.isdecimal()), reverse=True)
        whole = next((step for step in steps if not find_fault_in_checkpoint(path / str(step))), None)
        if whole is not None and seed.isdecimal() and unquote(variant) not in controls:
            last.append(Training(unquote(variant), int(seed), whole, path / str(whole)))
    if not last:
        raise ValueError(
            f"a run of experiments.lra has checkpoints/VARIANT-SEED/STEP, got {folder} without a whole checkpoint; "
            f"continue the run with --resume."
        )
    return last


def model_config(run: SavedRun, variant: str) -> ModelConfig:
    """Return the configuration of a variant, computed in float32.

    Raises:
        ValueError: the name has a component that is neither a place nor the evolved attention of the run.
    """
    evolved = f"attention_{run.attention.kind}"
    components = () if variant == "baseline" else tuple(variant.split("+"))
    if unknown := [name for name in components if name not in (*PLACEMENTS, evolved)]:
        raise ValueError(
            f"a variant is baseline, or places and {evolved} with + between them, got {unknown[0]!r} in {variant!r}; "
            f"correct config.json or the name of the folder."
        )
    return ModelConfig(
        vocabulary=len(listops.VOCABULARY),
        classes=listops.CLASSES,
        placements=tuple(name for name in components if name != evolved),
        stencil=run.stencil,
        attention=run.attention if evolved in components else PDEAttentionConfig(),
        **dataclasses.asdict(run.model),
    )


def restore(config: ModelConfig, checkpoint: Path) -> tuple[Any, Any]:
    """Return structure and weights of a model from a checkpoint, without its optimizer.

    Raises:
        ValueError: the arrays are not those of the model.
    """
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: Classifier(config, nnx.Rngs(0))))
    prefix = "params/"
    saved = {n.removeprefix(prefix): x for n, x in read_arrays(checkpoint) if n.startswith(prefix)}
    expected = {path_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    differing = [
        name
        for name in sorted(expected | saved)
        if name not in saved or saved[name].shape != expected.get(name)
    ]
    if differing:
        raise ValueError(
            f"a checkpoint has the weights of the model in config.json, got a difference in {', '.join(differing[:4])} "
            f"in {checkpoint}; use the config.json of that run."
        )
    params = jax.tree_util.tree_map_with_path(lambda path, _: jnp.asarray(saved[path_name(path)]), shapes)
    return graphdef, params


def test_rows(run: SavedRun, rows: int) -> arrays.Batch:
    """Return the first test rows of the run; its data are generated or read again where they are missing."""
    splits = prepare_listops(
        listops_config(run.source, run.generated, run.release),
        max_len=run.model.max_len,
        data_dir=run.data_dir,
        manual_dir=run.manual_dir if run.source == "lra_release" else None,
    )
    test = splits["test"]
    return next(arrays.evaluation_batches(test, min(rows, len(test.labels))))


def measure_run(folder: Path, rows: int) -> Iterator[tuple[Training, LayerMeasures]]:
    """Yield the measures of the baseline and of every variant with a PDE; controls are left out."""
    run = read_run(folder)
    models = trainings(folder, run)
    batch = test_rows(run, rows)
    inputs = arrays.model_inputs(batch.tokens, batch.lengths, first_id=0)
    for training in models:
        graphdef, params = restore(model_config(run, training.variant), training.checkpoint)
        measures = _measure(params, *inputs, batch.labels, graphdef=graphdef)
        yield training, jax.device_get(measures)


def stack_of(model: Classifier, tokens: Array, segment_ids: Array, labels: Array) -> Stack:
    """Return the blocks of a classifier as a stack, with its embedding before and its loss after them.

    Raises:
        ValueError: the mixer is no attention to all tokens.
    """
    if not model.blocks.attention.has_plain_scores:
        raise ValueError(
            f"attention is measured as softmax of q·k over all tokens, got mixer {model.config.mixer!r} with positions "
            f"{model.config.positions!r}; measure a run with mixer 'attention' and other positions than 'alibi'."
        )
    ids = segment_ids
    if model.embed.cls is not None:
        ids = jnp.concatenate([jnp.max(ids, axis=1, keepdims=True), ids], axis=1)
    u = model.embedded(tokens, ids)
    graphdef, params = nnx.split(model.blocks)

    def scan(layer: Any, carry: Any, *inputs: Any) -> tuple[Any, Any]:
        def run(carry: Any, xs: Any) -> tuple[Any, Any]:
            return layer(nnx.merge(graphdef, xs[0]), carry, *xs[1])

        return jax.lax.scan(run, carry, (params, inputs))

    def project(block: Any, u: Array) -> tuple[Array, Array, Array]:
        def at(place: str, u: Array) -> Array:
            return block.stencils[place](u, ids, causal=False) if place in block.hooks else u

        u = block.norm_attention(at("before_norm", u)) if block.pre_norm else u
        return block.attention.project(at("before_attention", u), ids)

    def loss(u: Array) -> Array:
        u = u if model.norm is None else model.norm(u)
        valid = (ids > 0)[..., None]
        mean = jnp.sum(jnp.where(valid, u, 0), axis=1) / jnp.maximum(jnp.sum(valid, axis=1), 1)
        sums = cross_entropy(model.classify(u[:, 0] if model.embed.cls is not None else mean), labels)
        return sums.loss / sums.weight

    return Stack(model.config.layers, u, ids, scan, lambda block, u: block(u, ids), project, loss)


@functools.partial(jax.jit, static_argnames=("graphdef",))
def _measure(
    params: Any, tokens: Array, segment_ids: Array, labels: Array, *, graphdef: Any
) -> LayerMeasures:
    stack = stack_of(nnx.merge(graphdef, params), tokens, segment_ids, labels)
    return measure_stack(stack, jnp.asarray(random_tangent(stack.first.shape)))

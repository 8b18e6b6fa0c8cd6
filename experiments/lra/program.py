"""The program: prepare the data, train every variant with every seed, write `summary.json` and figures, print."""

import functools
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from rich.console import Console

from experiments import run
from experiments.data import arrays, listops
from experiments.data.listops.listops_splits import prepare_listops
from experiments.lra import example_hits, learned_coefficients, learned_stencils, report
from experiments.lra.config import BASELINE, Config
from experiments.lra.figures import draw_curves
from experiments.lra.figures_learned import draw_coefficients, draw_stencils
from experiments.lra.presets import CONTINUATION
from pdeformer import sharding, train
from pdeformer.model import Classifier, ModelConfig

Splits = dict[str, arrays.Split]
WEIGHTS: run.Arrays = {
    (
        "model.layers",
        "model.width",
        "model.ffn",
    ): 32,  # two matrices, their gradients and two moments, in float32
    ("model.layers", "model.width", "model.heads", "model.head-width"): 64,
    ("model.classifier-width", "model.width"): 16,
    ("model.max-len", "model.width"): 4,
    ("stencil.width", "model.width"): 4,
}
STATES: run.Arrays = {("batch", "model.max-len", "model.width", "model.layers"): 2}
SEQUENCES: run.Arrays = {
    (f"generated.{name}", *factor): size
    for name in ("train", "val", "test")
    for factor, size in (((), 100), (("generated.min-length",), 1))
}
"""The generator has all sequences in memory, one byte for each token."""


@run.safe_output("the run is finished and all its files are written")
@run.stop_at_signals()
def main(config: Config) -> dict[str, Any]:
    """Train every variant with every seed, print and save the comparison, and return the summary.

    Writes `summary.json`, `differences.json`, `curves.png`, `stencils.png` and `coefficients.png` into the run folder,
    beside the files of `experiments.run`, before it prints any result. A finished training is not repeated.

    Raises:
        Preempted: a signal arrived or standard output has failed; the step is saved.
        ValueError: the configuration cannot be trained; raised before the program reads or writes data.
    """
    run.join_hosts(config.hosts, config.out)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model, config.mesh.seq)
    check(config, mesh)
    run.introduce_process(mesh.shape)
    out = config.out or run.next_folder(Path("runs/lra"), config.preset)
    with run.open_run(out, config, resume=config.resume, continuation=CONTINUATION) as folder:
        return compare(config, mesh, folder)


def compare(config: Config, mesh: Mesh, folder: run.Run) -> dict[str, Any]:
    """Train every variant with every seed in the run folder, report, and return the summary."""
    console = run.open_console()
    splits = prepare(config)
    folder.record_data({f"listops {name}": split.sha256 for name, split in splits.items()})
    introduce(config, splits, folder, console)
    results = [
        train_one(config, variant, seed, splits, mesh, folder)
        for seed, variant in itertools.product(config.seeds, config.variants())
    ]
    test_examples = len(splits["test"].labels)

    def row(result: run.Result) -> dict[str, Any]:
        data = {"data": config.source, "test_examples": test_examples}
        coefficients = learned_coefficients.load(folder, result.variant, result.seed)
        return result._asdict() | data | ({"coefficients": coefficients} if coefficients else {})

    baselines = listops.baseline_accuracies(splits["train"], splits["test"])
    summary = {
        "program": "lra",
        "preset": config.preset,
        "rows": [row(result) for result in results],
        "baselines": baselines,
        "ladder": baselines,  # the old key, for one release
    }
    summary = folder.summarize(summary)  # before anything is printed, which may fail
    conclude(config, results, baselines, test_examples, folder, console)
    return summary


def check(config: Config, mesh: Mesh) -> None:
    """Check that the devices can share the batch, that the data can be read, and that options of a model fit together.

    Raises:
        FileNotFoundError: a published file is missing.
        PermissionError: the folder of the data cannot be created.
        ValueError: the batch or the options of a model do not fit, or not the memory.
    """
    devices, micro_batches = mesh.shape["data"], config.optimizer.accumulate
    if config.batch % (devices * micro_batches):
        raise ValueError(
            f"a batch must be a multiple of data devices times micro-batches, got batch={config.batch} for {devices} "
            f"devices on {jax.process_count()} hosts and optimizer.accumulate={micro_batches}; use a multiple of "
            f"{devices * micro_batches}."
        )
    size = config.data().train
    if config.batch > size:
        raise ValueError(
            f"a batch is drawn from {size} training examples, got batch={config.batch}; lower it."
        )
    run.check_memory(config, WEIGHTS)
    run.check_memory(config, STATES, share=micro_batches * mesh.size)
    if config.source == "generated":
        run.check_memory(config, SEQUENCES)
    if config.source == "lra_release" and config.manual_dir is not None:
        listops.published_files(config.manual_dir)
    if not config.data_dir.is_dir():
        run.check_folder(config.data_dir, "--data-dir")
    for components in config.variants().values():
        config.network(components, vocabulary=len(listops.VOCABULARY), classes=listops.CLASSES)


def prepare(config: Config) -> Splits:
    """Return the splits; the first run generates or reads the data, later runs reuse the files.

    Raises:
        FileNotFoundError: published files are missing.
        ValueError: a published or prepared file is damaged, or its sequences are too long for the model.
    """
    return prepare_listops(
        config.data(),
        max_len=config.model.max_len,
        data_dir=config.data_dir,
        manual_dir=config.manual_dir,
        verify=config.verify,
    )


def introduce(config: Config, splits: Splits, folder: run.Run, console: Console) -> None:
    """Print a description of the data, the run folder and the options that resume the run."""
    sizes = " / ".join(f"{name} {len(split.labels):,}" for name, split in splits.items())
    lengths = splits["train"].lengths
    console.print(f"ListOps, {config.source}: {sizes}, {lengths.min()} to {lengths.max()} tokens")
    console.print(f"run folder {folder.folder}")
    for note in folder.notes:
        console.print(note)
    if config.optimizer.warmup >= config.steps:
        console.print(
            f"warm-up of {config.optimizer.warmup} steps is not shorter than the run of {config.steps}: the "
            f"learning rate never reaches its peak",
            style="yellow",
        )


def train_one(
    config: Config, variant: str, seed: int, splits: Splits, mesh: Mesh, folder: run.Run
) -> run.Result:
    """Train one variant with one seed; a finished training is read from the run folder."""
    if (result := run.read_result(folder, variant, seed, config.steps, config.cadence)) is not None:
        return result
    data = splits["train"]
    model = config.network(config.variants()[variant], len(data.vocabulary), data.classes)
    loss = arrays.classifier_loss(data.first_id)
    programs = run.make_programs(
        builder(model), config.optimizer, config.steps, mesh, loss, fsdp=config.mesh.fsdp
    )

    hits: list[Any] = []  # of the last weights, and then of the best ones if they differ

    def test(params: Any) -> train.Evaluation:
        classifier = nnx.merge(programs.graphdef, params)
        learned_stencils.save(folder, variant, seed, learned_stencils.of_model(classifier))
        learned_coefficients.save(folder, variant, seed, learned_coefficients.of_model(classifier))
        batches: list[Any] = []
        evaluation = programs.evaluate(params, all_examples(config, splits["test"], mesh), batches)
        hits.append(
            np.concatenate(batches)[: len(splits["test"].labels)]
        )  # the rest only fills the last batch
        example_hits.save(folder, variant, seed, example_hits.Hits(last=hits[0], best=hits[-1]))
        return evaluation

    return run.train(
        folder,
        variant=variant,
        seed=seed,
        steps=config.steps,
        state=programs.init(jax.random.key(seed)),
        step_fn=programs.step,
        batch_fn=lambda step: batch(config, data, mesh, seed=seed, step=step),
        evaluate_fn=lambda params: programs.evaluate(params, all_examples(config, splits["val"], mesh)),
        test_fn=test,
        tokens_per_step=config.batch * config.model.max_len,
        cadence=config.cadence,
        profile=config.profile,
    )


@functools.cache
def builder(model: ModelConfig) -> Callable[[nnx.Rngs], Classifier]:
    """Return a function that builds the model.

    Equal configurations give the same function object, so that `run` reuses the compiled programs.
    """
    return lambda rngs: Classifier(model, rngs)


def batch(config: Config, split: arrays.Split, mesh: Mesh, *, seed: int, step: int) -> dict[str, jax.Array]:
    """Return the training batch of a step on the mesh; all variants get the same batch."""
    rows = sharding.host_rows(config.batch, mesh)
    own = arrays.batch(split, config.batch, seed=seed, step=step, rows=rows)
    return sharding.put_batch(own._asdict(), mesh, rows=config.batch)


def all_examples(config: Config, split: arrays.Split, mesh: Mesh) -> Iterator[dict[str, jax.Array]]:
    """Yield every example of a split once, in batches of the size of a micro-batch."""
    size = config.batch // config.optimizer.accumulate
    for own in arrays.evaluation_batches(split, size, rows=sharding.host_rows(size, mesh)):
        yield sharding.put_batch(own._asdict(), mesh, rows=size)


def conclude(
    config: Config,
    results: list[run.Result],
    baselines: dict[str, float],
    test_examples: int,
    folder: run.Run,
    console: Console,
) -> None:
    """Write differences and figures, then print the tables and the learned coefficients."""
    hits = {(r.variant, r.seed): example_hits.load(folder, r.variant, r.seed) for r in results}
    for result in results:
        example_hits.check(folder, result, hits[result.variant, result.seed], test_examples)
    lines = report.lines(results, test_examples, {key: value for key, value in hits.items() if value})
    paths = []
    if run.is_first():
        differences = {
            line.variant: {"last": line.last_difference, "best": line.best_difference}
            for line in lines
            if line.variant != BASELINE
        }
        path = folder.folder / "differences.json"
        run.write_atomically(path, (json.dumps(run.to_json(differences), indent=2) + "\n").encode())
        title = f"lra {config.preset}, run folder {folder.folder.name}, ListOps ({config.source})"
        paths = [
            draw_curves(folder, results, baselines, title),
            draw_stencils(folder, results, config, title),
            draw_coefficients(folder, results, config, title),
        ]
    report.show_results(lines, baselines, config=config, test_examples=test_examples, console=console)
    for result in results:
        if coefficients := learned_coefficients.load(folder, result.variant, result.seed):
            text = learned_coefficients.describe(coefficients, config.attention.initial_pde().coefficients())
            console.print(f"{result.variant}, seed {result.seed}: {text}")
    console.print(f"wrote {', '.join(str(path) for path in paths if path)}")

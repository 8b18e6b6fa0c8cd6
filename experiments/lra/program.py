"""The program: prepare the data, train every variant with every seed, write `summary.json` and figures, print."""

import functools
import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from rich.console import Console

from experiments import run
from experiments.data import arrays, listops
from experiments.lra.benchmark_tasks import HEADS, TASKS, Head
from experiments.lra.comparison import report
from experiments.lra.comparison.figures import draw_curves
from experiments.lra.comparison.matched_controls import Match, match_controls, show_matches
from experiments.lra.config import BASELINE, Config
from experiments.lra.controls import control_of
from experiments.lra.learned import depth_accuracy, example_hits, learned_coefficients, learned_stencils
from experiments.lra.learned.figures_learned import draw_coefficients, draw_stencils
from experiments.lra.presets import CONTINUATION
from experiments.lra.requirements import check
from pdeformer import sharding, train
from pdeformer.model import ModelConfig

Splits = dict[str, arrays.Split]
LOSSES: dict[Head, Callable[[int], train.LossFunction]] = {
    "classifier": arrays.classifier_loss,
    "matcher": arrays.matcher_loss,
    "tokens": arrays.token_loss,
}
"""Head of a task -> its loss."""


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
        return compare(config, mesh, folder).summary


class Comparison(NamedTuple):
    """The result of a run."""

    summary: dict[str, Any]
    """What `summary.json` has."""
    lines: list[report.Line]
    """A line for each variant, the baseline first."""
    matches: list[Match]
    """The diffusion layer against every control in its place."""


def compare(config: Config, mesh: Mesh, folder: run.Run) -> Comparison:
    """Train every variant with every seed in the run folder, report, and return the results."""
    console = run.open_console()
    splits = prepare(config)
    folder.record_data({f"{config.task} {name}": split.sha256 for name, split in splits.items()})
    introduce(config, splits, folder, console)
    test_examples = len(splits["test"].labels)
    for seed, variant in itertools.product(config.seeds, config.variants()):
        example_hits.check_finished(folder, variant, seed, config.steps, config.cadence, test_examples)
    results = [
        train_one(config, variant, seed, splits, mesh, folder)
        for seed, variant in itertools.product(config.seeds, config.variants())
    ]
    hits = {(r.variant, r.seed): example_hits.load(folder, r.variant, r.seed) for r in results}
    for result in results:
        example_hits.check(folder, result, hits[result.variant, result.seed], test_examples)

    def row(result: run.Result) -> dict[str, Any]:
        data = {"data": config.data().source, "test_examples": test_examples}
        coefficients = learned_coefficients.load(folder, result.variant, result.seed)
        by_depth = {}
        if config.task == "listops":
            by_depth = depth_accuracy.of_hits(splits["test"].tokens, hits[result.variant, result.seed])
        more = {"coefficients": coefficients, "accuracy_by_depth": by_depth}
        return result._asdict() | data | {name: value for name, value in more.items() if value}

    baselines = predictors(config, splits)
    known = {key: value for key, value in hits.items() if value}
    lines = report.lines(results, test_examples, known)
    matches = match_controls(results, config.variants(), known)
    summary = {
        "program": "lra",
        "preset": config.preset,
        "task": config.task,
        "title": config.data().title,
        "rows": [row(result) for result in results],
        "baselines": baselines,
        "ladder": baselines,  # the old key, for one release
        "matches": [run.to_json(match) for match in matches],
    }
    summary = folder.summarize(summary)  # before anything is printed, which may fail
    comparison = Comparison(summary, lines, matches)
    conclude(config, results, comparison, folder, console)
    return comparison


def prepare(config: Config) -> Splits:
    """Return the splits; the first run generates or reads the data, later runs reuse the files.

    Raises:
        FileNotFoundError: published files are missing.
        ValueError: a published or prepared file is damaged, or its sequences are too long for the model.
    """
    return dict(config.data().prepare(config.data_dir, manual_dir=config.manual_dir, verify=config.verify))


def predictors(config: Config, splits: Splits) -> dict[str, float]:
    """Return the accuracies of predictors without a model."""
    if config.task == "listops":
        return listops.baseline_accuracies(splits["train"], splits["test"])
    floors = dict(config.data().floors)
    if splits["test"].labels.ndim == 1:
        common = np.bincount(splits["train"].labels).argmax()
        floors.pop("majority class", None)  # of the whole set; here of the test split
        floors = {"majority": float(np.mean(splits["test"].labels == common))} | floors
    return floors


def introduce(config: Config, splits: Splits, folder: run.Run, console: Console) -> None:
    """Print a description of the data, the run folder and the options that resume the run."""
    sizes = " / ".join(f"{name} {len(split.labels):,}" for name, split in splits.items())
    lengths = splits["train"].lengths
    console.print(f"{config.data().title}: {sizes}, {lengths.min()} to {lengths.max()} tokens", markup=False)
    console.print(f"run folder {folder.folder}")
    for note in folder.notes:
        console.print(note)
    run.warn_of_warmup(config.optimizer, config.steps, console)


def train_one(
    config: Config, variant: str, seed: int, splits: Splits, mesh: Mesh, folder: run.Run
) -> run.Result:
    """Train one variant with one seed; a finished training is read from the run folder."""
    if (result := run.read_result(folder, variant, seed, config.steps, config.cadence)) is not None:
        return result
    data = splits["train"]
    model = config.network(config.variants()[variant], len(data.vocabulary), data.classes)
    head = TASKS[config.task].head
    programs = run.make_programs(
        builder(model, head),
        config.optimizer,
        config.steps,
        mesh,
        LOSSES[head](data.first_id),
        fsdp=config.mesh.fsdp,
    )

    hits: list[Any] = []  # of the last weights, and then of the best ones if they differ

    def test(params: Any) -> train.Evaluation:
        classifier = nnx.merge(programs.graphdef, params)
        if not any(map(control_of, config.variants()[variant])):  # the figures compare PDEs with their start
            learned_stencils.save(folder, variant, seed, learned_stencils.of_model(classifier))
            learned_coefficients.save(folder, variant, seed, learned_coefficients.of_model(classifier))
        batches: list[Any] = []
        evaluation = programs.evaluate(params, all_examples(config, splits["test"], mesh), batches)
        hits.append(
            np.concatenate(batches)[: len(splits["test"].labels)]
        )  # the rest only fills the last batch
        example_hits.save(folder, variant, seed, example_hits.Hits(last=hits[0], best=hits[-1]))
        return evaluation

    inputs: Any = functools.partial(batch, config, data, mesh, seed=seed)
    state, step_fn, group = programs.init(jax.random.key(seed)), programs.step, 1
    if config.device_data:
        group = math.gcd(config.cadence.eval_every, config.cadence.checkpoint_every, config.steps)
        inputs = functools.partial(arrays.DeviceData(data, mesh).batches, config.batch, seed=seed)
        step_fn = arrays.scan_steps(programs.step, mesh, state)
    return run.train(
        folder,
        variant=variant,
        seed=seed,
        steps=config.steps,
        state=state,
        step_fn=step_fn,
        batch_fn=lambda step, **count: inputs(step=step, **count),
        evaluate_fn=lambda params: programs.evaluate(params, all_examples(config, splits["val"], mesh)),
        test_fn=test,
        tokens_per_step=config.batch * data.tokens[0].size,
        cadence=config.cadence,
        profile=config.profile,
        steps_per_call=group,
    )


@functools.cache
def builder(model: ModelConfig, head: Head = "classifier") -> Callable[[nnx.Rngs], Any]:
    """Return a function that builds the model with the head of a task.

    Equal configurations give the same function object, so that `run` reuses the compiled programs.
    """
    return lambda rngs: HEADS[head](model, rngs)


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
    comparison: Comparison,
    folder: run.Run,
    console: Console,
) -> None:
    """Write differences and figures, then print the tables and the learned coefficients."""
    summary, lines, matches = comparison
    baselines, rows, paths = summary["baselines"], summary["rows"], []
    if run.is_first():
        differences = {
            line.variant: {"last": line.last_difference, "best": line.best_difference}
            for line in lines
            if line.variant != BASELINE
        }
        path = folder.folder / "differences.json"
        run.write_atomically(path, (json.dumps(run.to_json(differences), indent=2) + "\n").encode())
        title = f"lra {config.preset}, run folder {folder.folder.name}, {config.data().title}"
        paths = [
            draw_curves(folder, results, baselines, title),
            draw_stencils(folder, results, config, title),
            draw_coefficients(folder, results, config, title),
        ]
    test_examples = rows[0]["test_examples"]
    report.show_results(lines, baselines, config=config, test_examples=test_examples, console=console)
    show_matches(matches, console)
    depth_accuracy.show_depths(rows, console)
    for result in results:
        if coefficients := learned_coefficients.load(folder, result.variant, result.seed):
            text = learned_coefficients.describe(coefficients, config.attention.initial_pde().coefficients())
            console.print(f"{result.variant}, seed {result.seed}: {text}")
    console.print(f"wrote {', '.join(str(path) for path in paths if path)}")

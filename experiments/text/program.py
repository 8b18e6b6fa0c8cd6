"""The program: prepare the texts, train every variant with every seed, or evaluate a checkpoint; report."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax.sharding import Mesh
from rich.console import Console

from experiments import run
from experiments.data.text.corpora import bag_of_words
from experiments.lra.learned import example_hits, learned_coefficients
from experiments.run.report import Layout, Table, show
from experiments.text.config import Config
from experiments.text.figures import draw_accuracies
from experiments.text.official_checkpoints.evaluation import check_fit, evaluate_checkpoint, load_checkpoint
from experiments.text.presets import CONTINUATION
from experiments.text.published_results import ACCURACIES
from experiments.text.result_tables import GroupResult, group_result, show_groups
from experiments.text.text_requirements import check
from experiments.text.text_training import Splits, train_variant, training_name
from experiments.text.variants import BASELINES, Group, variants
from pdeformer import sharding

Floors = Mapping[str, Mapping[str, float]]


@run.safe_output("the run is finished and all its files are written")
@run.stop_at_signals()
def main(config: Config) -> dict[str, Any]:
    """Train every variant with every seed, or evaluate a checkpoint; print and save the results.

    Writes `summary.json` and, after a training, `accuracies.png` into the run folder, beside the files of
    `experiments.run`. A finished training is not repeated.

    Raises:
        FileNotFoundError: published files are missing.
        Preempted: a signal arrived or standard output has failed; the step is saved.
        ValueError: the configuration cannot be trained; raised before the program reads or writes data.
    """
    run.join_hosts(config.hosts, config.out)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model, config.mesh.seq)
    check(config, mesh)
    run.introduce_process(mesh.shape)
    out = config.out or run.next_folder(Path("runs/text"), config.preset)
    with run.open_run(out, config, resume=config.resume, continuation=CONTINUATION) as folder:
        if config.evaluate is not None:
            return evaluate(config, mesh, folder)
        return compare(config, mesh, folder)


def prepare(config: Config, folder: run.Run, console: Console) -> dict[str, Splits]:
    """Return the splits of every task, and print what they are."""
    console.print(f"run folder {folder.folder}")
    for note in folder.notes:
        console.print(note)
    splits = {}
    for task, data in config.data().items():
        splits[task] = data.prepare(config.data_dir, manual_dir=config.manual_dir, verify=config.verify)
        sizes = " / ".join(f"{name} {len(split.labels):,}" for name, split in splits[task].items())
        symbols, length = len(splits[task]["train"].vocabulary), splits[task]["train"].lengths.mean()
        console.print(
            f"{task}: {data.title}, {data.source}: {sizes}, {symbols:,} symbols, {length:.0f} tokens on average, cut "
            f"at {data.max_len}",
            markup=False,
        )
    hashes = {
        f"{task} {name}": split.sha256 for task, parts in splits.items() for name, split in parts.items()
    }
    folder.record_data(hashes)
    return splits


def compare(config: Config, mesh: Mesh, folder: run.Run) -> dict[str, Any]:
    """Train every variant with every seed on every task in the run folder, report, and return the summary."""
    console = run.open_console()
    splits = prepare(config, folder, console)
    run.warn_of_warmup(config.optimizer, config.steps, console)
    floors = measure_floors(config, splits, console)
    results: dict[str, list[run.Result]] = {task: [] for task in splits}
    for task, seed, variant in itertools.product(splits, config.seeds, variants(config)):
        name, count = training_name(task, variant), len(splits[task]["test"].labels)
        example_hits.check_finished(folder, name, seed, config.steps, config.cadence, count)
    for task, seed, variant in itertools.product(splits, config.seeds, variants(config).values()):
        result = train_variant(config, task, variant, seed, splits[task], mesh, folder)
        results[task].append(result._replace(variant=variant.name))
    groups = [
        group for task in splits for group in groups_of(config, task, results[task], splits[task], folder)
    ]
    rows = [row_of(config, task, result, folder) for task in splits for result in results[task]]
    summary = {
        "program": "text",
        "preset": config.preset,
        "rows": rows,
        "floors": floors,
        "lines": [
            {"task": group.task, "group": group.group, **run.to_json(line)}
            for group in groups
            for line in group.lines
        ],
        "published": {task: ACCURACIES[task]._asdict() for task in splits if task in ACCURACIES},
    }
    summary = folder.summarize(summary)  # before anything is printed, which may fail
    title = f"text {config.preset}, run folder {folder.folder.name}"
    path = draw_accuracies(folder, groups, floors, results, title) if run.is_first() else None
    show_groups(groups, floors, config.seeds, console)
    if path is not None:
        console.print(f"wrote {path}")
    return summary


def measure_floors(
    config: Config, splits: Mapping[str, Splits], console: Console
) -> dict[str, dict[str, float]]:
    """Return the accuracies without a model of every task: majority class, bag of words, and known ones."""
    floors = {}
    for task, data in config.data().items():
        console.print(f"{task}: fitting a bag of words, unless an earlier run has", markup=False)
        floors[task] = bag_of_words(splits[task], config.data_dir) | data.floors
    return floors


def groups_of(
    config: Config, task: str, results: list[run.Result], splits: Splits, folder: run.Run
) -> list[GroupResult]:
    """Return the results of the groups of variants on a task.

    Raises:
        ValueError: saved hits are not those of the saved results.
    """
    count, hits = len(splits["test"].labels), {}
    for result in results:
        name = training_name(task, result.variant)
        saved = example_hits.load(folder, name, result.seed)
        example_hits.check(folder, result._replace(variant=name), saved, count)
        if saved is not None:
            hits[result.variant, result.seed] = saved
    by_group: dict[Group, list[run.Result]] = {
        group: [r for r in results if variants(config)[r.variant].group == group] for group in BASELINES
    }
    title = config.data()[task].title
    return [group_result(task, title, group, rows, hits, count) for group, rows in by_group.items() if rows]


def row_of(config: Config, task: str, result: run.Result, folder: run.Run) -> dict[str, Any]:
    """Return the row of a training in `summary.json`."""
    data = config.data()[task]
    coefficients = learned_coefficients.load(folder, training_name(task, result.variant), result.seed)
    facts = {"task": task, "group": variants(config)[result.variant].group, "data": data.source}
    more = {"validated_on_test": data.is_validated_on_test}
    return facts | result._asdict() | more | ({"coefficients": coefficients} if coefficients else {})


def evaluate(config: Config, mesh: Mesh, folder: run.Run) -> dict[str, Any]:
    """Evaluate a checkpoint on the test texts in the run folder, report, and return the summary."""
    console = run.open_console()
    model = load_checkpoint(config)
    splits = prepare(config, folder, console)
    ((task, parts),) = splits.items()
    check_fit(model, parts["test"])
    folder.record_start()
    floors = measure_floors(config, splits, console)[task]
    result = evaluate_checkpoint(config, model, parts["test"], mesh)
    kind = config.official.kinds[0]
    name, count = config.evaluate.name if config.evaluate else "", len(parts["test"].labels)
    row: dict[str, Any] = {"task": task, "equation": kind, "checkpoint": name, "test_examples": count}
    row |= {"test_loss": result.loss, "test_accuracy": result.accuracy}
    summary = folder.summarize(
        {"program": "text", "preset": config.preset, "evaluation": row, "floors": {task: floors}}
    )
    columns = ("checkpoint", "equation", "test texts", "accuracy %", "loss, nats", "bag of words %")
    accuracies = f"{100 * result.accuracy:.2f}", f"{result.loss:.4f}", f"{100 * floors['bag of words']:.2f}"
    title = f"{config.data()[task].title}: official checkpoint"
    show([Table(title, columns, [(name, kind, f"{count:,}", *accuracies)])], console, Layout("right"))
    return summary

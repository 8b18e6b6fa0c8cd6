"""The program: train all families of every task, measure the sites, write `summary.json` and figures, print."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from rich.console import Console

from experiments import run
from experiments.data import listops
from experiments.lra import Config as TaskConfig
from experiments.lra import program as lra_program
from experiments.lra.learned import example_hits, learned_stencils
from experiments.lra.requirements import LARGEST_VOCABULARY
from experiments.lra.requirements import check as check_task
from experiments.placement import report
from experiments.placement.config import Config
from experiments.placement.family_training import (
    Family,
    FamilyTraining,
    Splits,
    make_family,
    train_family,
)
from experiments.placement.figures import figures_of_task
from experiments.placement.member_files import load_sites, save_files
from experiments.placement.member_results import (
    MemberResult,
    SavedGroup,
    count_parameters,
    read_member,
    save_group,
    save_member,
    saved_groups,
)
from experiments.placement.presets import CONTINUATION
from experiments.placement.variant_families import BASE, Variant, families
from experiments.run.figures import save_all
from experiments.run.folder.atomic_files import check_subfolder
from experiments.run.training.member_programs import default_concurrency
from pdeformer import sharding
from pdeformer.sharding.mesh import mesh_of_devices


class TaskRun(NamedTuple):
    """The results of one task."""

    task: str
    title: str
    variants: list[Variant]
    results: list[MemberResult]
    hits: dict[tuple[str, int], example_hits.Hits]
    floors: dict[str, float]
    lines: list[report.Line]
    sites: dict[str, list[dict[str, Any]]]
    """Measures of the baseline of the first seed at every site."""


@run.safe_output("the run is finished and all its files are written")
@run.stop_at_signals()
def main(config: Config) -> dict[str, Any]:
    """Train every variant of every task, print and save the comparison, and return the summary.

    Raises:
        FileNotFoundError: published files are missing; raised before any task is trained.
        Preempted: a signal arrived; the step is saved.
        ValueError: a task cannot be trained; raised before any task is trained.
    """
    run.join_hosts(config.hosts, config.out)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model, 1)
    check(config)
    run.introduce_process(mesh.shape)
    out = config.out or run.next_folder(Path("runs/placement"), config.preset)
    with run.open_run(out, config, resume=config.resume, continuation=CONTINUATION) as folder:
        console = run.open_console()
        console.print(f"run folder {folder.folder}")
        for note in folder.notes:
            console.print(note)
        runs = [run_task(config, task, mesh, folder, console) for task in config.tasks]
        summary = {
            "program": "placement",
            "preset": config.preset,
            "rows": [
                {"task": task.task, "title": task.title, **run.to_json(result._asdict())}
                for task in runs
                for result in task.results
            ],
            "lines": [{"task": task.task, **run.to_json(line)} for task in runs for line in task.lines],
            "verdicts": {task.task: report.verdicts(task.lines) for task in runs},
            "sites": {task.task: task.sites for task in runs},
            "baselines": {task.task: task.floors for task in runs},
        }
        summary = folder.summarize(summary)
        for task in runs:
            report.show_task(task.title, task.lines, task.floors, len(config.seeds), console)
            if task.sites:
                report.show_sites(task.sites, console)
        return summary


def check(config: Config) -> None:
    """Check what all tasks need, before anything is read or written.

    Raises:
        FileNotFoundError: a published file is missing.
        ValueError: a model cannot have a layer at a place, or sizes do not fit.
    """
    alone = mesh_of_devices(jax.local_devices()[:1])  # a batch is not split over the devices
    for task in config.tasks:
        task_config = config.task_config(task)
        check_task(task_config, alone)
        for variants in families(config.variants(task)).values():
            family = make_family(task_config, variants, config.seeds, LARGEST_VOCABULARY, listops.CLASSES)
            for variant in variants:
                try:
                    count_parameters(task_config, variant, family.model)
                except ValueError as error:
                    raise ValueError(f"{task} cannot have the variant {variant.name}: {error}") from None


def run_task(config: Config, task: str, mesh: Mesh, parent: run.Run, console: Console) -> TaskRun:
    """Train the variants of a task in its folder that have no result yet, and return all results."""
    folder = run.Run(parent.folder / task)  # its lock and its start are those of the run
    check_subfolder(folder.folder)
    run.check_entries(folder.folder)
    folder.folder.mkdir(exist_ok=True)
    task_config, variants = config.task_config(task), config.variants(task)
    splits = lra_program.prepare(task_config)
    parent.record_data({f"{task} {name}": split.sha256 for name, split in splits.items()})
    introduce(task_config, splits, console)
    read_results(config, variants, folder, len(splits["test"].labels))  # damaged files are refused first
    for family in unfinished_families(config, task, splits, folder):
        parent.record_start()
        train_and_save(config, family, splits, mesh, folder, console)
    results, hits = read_results(config, variants, folder, len(splits["test"].labels))
    floors = lra_program.predictors(task_config, splits)
    title = task_config.data().title
    lines = report.make_lines(variants, results, hits)
    sites = load_sites(folder, BASE.name, config.seeds[0])
    task_run = TaskRun(task, title, variants, results, hits, floors, lines, sites)
    if run.is_first():
        draw_task(config, task_run, folder)
    console.print(f"wrote the figures of {task} into {folder.folder}", markup=False)
    return task_run


def introduce(config: TaskConfig, splits: lra_program.Splits, console: Console) -> None:
    """Print a description of the data, and what the options imply."""
    sizes = " / ".join(f"{name} {len(split.labels):,}" for name, split in splits.items())
    lengths = splits["train"].lengths
    console.print(f"{config.data().title}: {sizes}, {lengths.min()} to {lengths.max()} tokens", markup=False)
    run.warn_of_warmup(config.optimizer, config.steps, console)


def read_results(
    config: Config, variants: Sequence[Variant], folder: run.Run, test_examples: int
) -> tuple[list[MemberResult], dict[tuple[str, int], example_hits.Hits]]:
    """Return the results of all members, and which test examples each gets right.

    Raises:
        FileNotFoundError: the file of the hits is missing.
        ValueError: a file is damaged, or its hits are not those of the result.
    """
    results, hits = [], {}
    for seed in config.seeds:
        for variant in variants:
            if (result := read_member(folder, variant.name, seed)) is None:
                continue
            results.append(result)
            own = example_hits.load(folder, variant.name, seed)
            if own is None:
                raise FileNotFoundError(
                    f"a finished training has its hits, got no file for {variant.name}, seed {seed} in "
                    f"{folder.folder / 'hits'}; {run.remedy_of_row(folder, variant.name, seed)}."
                )
            example_hits.check(folder, result, own, test_examples)
            hits[variant.name, seed] = own
    return results, hits


def draw_task(config: Config, task: TaskRun, folder: run.Run) -> None:
    """Write the figures of a task."""
    pairs = [(variant, seed) for seed in config.seeds for variant in task.variants]
    stencils = {(v, s): learned_stencils.load(folder, v.name, s) for v, s in pairs if v.kind}
    sites = {(v.name, s): load_sites(folder, v.name, s) for v, s in pairs}
    title = f"placement {config.preset}, run folder {folder.folder.parent.name}, {task.title}"
    figures = figures_of_task(task.lines, {key: taps for key, taps in stencils.items() if taps}, sites)
    save_all(figures, folder.folder, title=title)


def unfinished_families(config: Config, task: str, splits: Splits, folder: run.Run) -> list[Family]:
    """Return the families of all members without a result.

    Members that began together go on together, from their common checkpoint, even if some of them have a result.
    """
    order = [(v, seed) for v in config.variants(task) for seed in config.seeds]
    missing = {(v, seed) for v, seed in order if read_member(folder, v.name, seed) is None}
    by_name = {v.name: v for v, _ in order}
    parts: list[tuple[list[Variant], list[int]]] = []
    for group in saved_groups(folder):
        own = [by_name[name] for name in group.variants if name in by_name]
        members = {(v, seed) for v in own for seed in group.seeds}
        if members & missing and len(own) == len(group.variants) and members <= set(order):
            parts.append((own, list(group.seeds)))
            missing -= members
    for variants in families(config.variants(task)).values():
        alike: dict[tuple[Variant, ...], list[int]] = {}  # seeds with the same variants are one group
        for seed in config.seeds:
            if rest := tuple(v for v in variants if (v, seed) in missing):
                alike.setdefault(rest, []).append(seed)
        parts += [(list(rest), seeds) for rest, seeds in alike.items()]
    parts.sort(key=lambda part: order.index((part[0][0], part[1][0])))
    data, task_config = splits["train"], config.task_config(task)
    return [make_family(task_config, *part, len(data.vocabulary), data.classes) for part in parts]


def train_and_save(
    config: Config, family: Family, splits: Splits, mesh: Mesh, folder: run.Run, console: Console
) -> None:
    """Train a family, and save hits, stencils, measures and results of its members that have none."""
    members = len(family.variants) * len(family.seeds)
    concurrency = config.concurrency or default_concurrency(members, mesh.devices.flat[0].platform)
    groups = mesh.shape["data"]
    if idle := -len(family.variants) % groups:
        console.print(
            f"{family.group.title}: {idle} of {groups} groups of devices repeat a variant; a larger --mesh.model gives "
            f"every training more devices",
            style="yellow",
            markup=False,
        )
    training = FamilyTraining(family, splits, mesh, concurrency)
    save_group(folder, family.group.name, SavedGroup(family.group.variants, family.group.seeds))
    group, results = train_family(training, folder, config.cadence)
    tested = f"{family.group.title}: tested on {len(splits['test'].labels):,} examples"
    console.print(f"{tested}{', measuring the sites' if config.rows else ''}", markup=False)
    save_files(training, group, folder, config.rows, bound_of=config.seeds[0])
    for result, hits in results:
        if read_member(folder, result.variant, result.seed) is None:
            save_member(folder, result, hits)
    run.barrier()  # so that all hosts read what process 0 has written

"""The program of a suite: the run of every task in a folder of its own, then one table and one figure."""

import dataclasses
from pathlib import Path
from typing import Any

from jax.sharding import Mesh
from rich.console import Console

from experiments import run
from experiments.lra import program
from experiments.lra.benchmark_tasks import TASKS
from experiments.lra.comparison.matched_controls import conclude_tasks
from experiments.lra.config import Config
from experiments.lra.presets import CONTINUATION
from experiments.lra.requirements import check
from experiments.lra.suite.suite_config import SuiteConfig
from experiments.lra.suite.suite_figure import draw_suite
from experiments.lra.suite.suite_presets import SUITE_CONTINUATION
from experiments.lra.suite.suite_table import TaskResult, matches_by_title, tabulate_suite
from experiments.run.report import Layout, show
from pdeformer import sharding


@run.safe_output("the suite is finished and all its files are written")
@run.stop_at_signals()
def run_suite(config: SuiteConfig) -> dict[str, Any]:
    """Train every task, print and save the table, and return the summary.

    Writes `summary.json` and `suite.png` into the run folder. The run of a task is that of `experiments.lra` in the
    folder of its name; a finished training is not repeated. The data of all tasks are prepared before any of them is
    trained. If the loss of a task is not finite, the other tasks are trained and summarized before the error.

    Raises:
        FileNotFoundError: published files are missing; raised before any task is trained.
        FloatingPointError: the loss of a task was not finite.
        Preempted: a signal arrived; the step is saved.
        ValueError: a task cannot be trained; raised before any task is trained.
    """
    run.join_hosts(config.hosts, config.out)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model, config.mesh.seq)
    for task in config.tasks:
        check(config.task_config(task), mesh)
    run.introduce_process(mesh.shape)
    out = config.out or run.next_folder(Path("runs/lra"), config.preset)
    with run.open_run(out, config, resume=config.resume, continuation=SUITE_CONTINUATION) as folder:
        console = run.open_console()
        console.print(f"run folder {folder.folder}")
        for note in folder.notes:
            console.print(note)
        for task in config.tasks:
            program.prepare(config.task_config(task))
        results, failures = _train_tasks(config, mesh, folder, console)
        summary = {
            "program": "lra",
            "preset": config.preset,
            "rows": [
                {"task": result.task, "title": result.title, **run.to_json(line)}
                for result in results
                for line in result.lines
            ],
            "baselines": {result.task: dict(result.floors) for result in results},
            "matches": [
                {"task": result.task, **run.to_json(match)} for result in results for match in result.matches
            ],
            "failures": {task: str(error) for task, error in failures.items()},
        }
        summary = folder.summarize(summary)
        if results:
            _conclude(config, results, folder, console)
        for error in failures.values():
            raise error
        return summary


def _train_tasks(
    config: SuiteConfig, mesh: Mesh, folder: run.Run, console: Console
) -> tuple[list[TaskResult], dict[str, FloatingPointError]]:
    """Return the results of all tasks, and the errors of those whose loss was not finite."""
    results, failures = [], {}
    for task in config.tasks:
        try:
            results.append(_train_task(config, task, mesh, folder))
        except FloatingPointError as error:
            failures[task] = error
            console.print(f"{task}: {error} The other tasks go on.", style="yellow", markup=False)
    return results, failures


def _train_task(config: SuiteConfig, task: str, mesh: Mesh, suite: run.Run) -> TaskResult:
    """Train a task in its folder, or read the results of a finished one."""
    out = suite.folder / task
    exists = (out / "config.json").exists()
    task_config = dataclasses.replace(config.task_config(task), out=out, resume=exists)
    with run.open_run(out, task_config, resume=exists, continuation=CONTINUATION) as folder:
        if not _is_finished(task_config, folder):
            suite.record_start()
        comparison = program.compare(task_config, mesh, folder)
    data = task_config.data()
    is_benchmark = config.scale != "quick" and TASKS[task].in_benchmark and not data.is_stand_in
    floors = comparison.summary["baselines"]
    return TaskResult(task, data.title, is_benchmark, comparison.lines, floors, comparison.matches)


def _is_finished(config: Config, folder: run.Run) -> bool:
    """Return whether the folder has the results of all variants and seeds."""
    pairs = [(variant, seed) for variant in config.variants() for seed in config.seeds]
    return all(folder.row_path(variant, seed).exists() for variant, seed in pairs)


def _conclude(config: SuiteConfig, results: list[TaskResult], folder: run.Run, console: Console) -> None:
    """Draw the figure and print the tables."""
    title = f"Accuracy in % on test, {config.preset}, seeds {' '.join(map(str, config.seeds))}"
    path = None
    if run.is_first():
        path = draw_suite(folder.folder, results, f"lra {config.preset}, run folder {folder.folder.name}")
    show(tabulate_suite(results, title), console, Layout(justify="right"))
    console.print()
    console.print(
        "after the last step; ±: sd over seeds; ( ): binomial standard error of one test set; p: two-sided exact sign "
        "test of the test examples that one of both has right more often",
        style="dim",
    )
    for sentence in conclude_tasks(matches_by_title(results)):
        console.print(sentence, markup=False)
    if path is not None:
        console.print(f"wrote {path}")

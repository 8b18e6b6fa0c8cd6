"""The program of the runs on long sequences: train, test at every length, measure time and memory, report."""

from pathlib import Path
from typing import Any

from flax import nnx
from jax.sharding import Mesh
from rich.console import Console

from experiments import run
from experiments.lm.long.long_config import LongConfig
from experiments.lm.long.long_presets import LONG_CONTINUATION
from experiments.lm.long.long_report import LongRow, draw_long, long_row, long_table
from experiments.lm.long.long_training import long_accuracy, train_variant
from experiments.lm.long.step_cost import step_cost
from experiments.run.report import Layout, show
from pdeformer import sharding
from pdeformer.model import CausalLM

WEIGHTS: run.Arrays = {
    ("model.layers", "model.width", "model.ffn"): 32,
    ("model.layers", "model.width", "model.heads", "model.head-width"): 64,
}
STATES: run.Arrays = {
    ("batch", "train-length", "model.width", "model.layers"): 2,
    ("train-rows", "train-length"): 1,
    ("cost-batch", "lengths", "model.width", "model.layers"): 2,
}


@run.safe_output("the run is finished and all its files are written")
@run.stop_at_signals()
def run_long(config: LongConfig) -> dict[str, Any]:
    """Train and measure every variant, print and save the table, and return the summary.

    Writes `summary.json` and `long.png` into the run folder. What is finished is not repeated.

    Raises:
        Preempted: a signal arrived; the step is saved.
        ValueError: the configuration cannot be trained; raised before anything is generated or written.
    """
    run.join_hosts(config.hosts, config.out)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model, config.mesh.seq)
    check(config, mesh)
    run.introduce_process(mesh.shape)
    out = config.out or run.next_folder(Path("runs/lm"), config.preset)
    with run.open_run(out, config, resume=config.resume, continuation=LONG_CONTINUATION) as folder:
        return _measure(config, mesh, folder)


def check(config: LongConfig, mesh: Mesh) -> None:
    """Check that the devices share the batch, and that every variant is causal and fits the memory.

    Raises:
        PermissionError: the folder of the data cannot be created.
        ValueError: the batch, a model or the memory does not fit.
    """
    micro_batches = config.optimizer.accumulate
    run.check_batch(config.batch, mesh, micro_batches)
    if config.cost_batch % micro_batches:
        raise ValueError(
            f"the measured step has micro-batches too, got cost_batch={config.cost_batch} for "
            f"optimizer.accumulate={micro_batches}; change --cost-batch."
        )
    run.check_memory(config, WEIGHTS)
    run.check_memory(config, STATES, share=micro_batches * mesh.size)
    if not config.data_dir.is_dir():
        run.check_folder(config.data_dir, "--data-dir")
    for variant in config.variants:
        try:
            nnx.eval_shape(lambda variant=variant: CausalLM(config.network(variant), nnx.Rngs(0)))
        except ValueError as error:
            raise ValueError(f"a causal model cannot have the variant {variant}: {error}") from None


def _measure(config: LongConfig, mesh: Mesh, folder: run.Run) -> dict[str, Any]:
    console, task = run.open_console(), config.rows(config.train_length, config.train_rows)
    splits = task.prepare(config.data_dir)
    folder.record_data({f"{task.task} {name}": split.sha256 for name, split in splits.items()})
    console.print(f"{task.title}, {config.train_rows:,} training rows", markup=False)
    console.print(f"run folder {folder.folder}")
    for note in folder.notes:
        console.print(note)
    results = [
        train_variant(config, variant, seed, splits, mesh, folder)
        for seed in config.seeds
        for variant in config.variants
    ]
    rows = _short_rows(config, results, len(splits["test"].labels))
    for length in config.lengths:
        for variant in config.variants:
            rows.append(_long_row(config, variant, length, mesh, folder, console))
    summary = {
        "program": "lm",
        "preset": config.preset,
        "title": task.title,
        "rows": [result._asdict() for result in results],
        "long": [row._asdict() for row in rows],
        "floors": dict(task.floors),
    }
    summary = folder.summarize(summary)  # before anything is printed, which may fail
    _conclude(config, rows, summary, folder, console)
    return summary


def _short_rows(config: LongConfig, results: list[run.Result], count: int) -> list[LongRow]:
    """Return the accuracies at the training length, whose cost is not measured; none if it is a length of the tests."""
    if config.train_length in config.lengths:
        return []
    return [
        long_row(
            variant,
            config.train_length,
            [{"accuracy": r.test_accuracy, "rows": count} for r in results if r.variant == variant],
            None,
        )
        for variant in config.variants
    ]


def _long_row(
    config: LongConfig, variant: str, length: int, mesh: Mesh, folder: run.Run, console: Console
) -> LongRow:
    console.print(f"{variant}: accuracy at {length:,} tokens", style="dim")
    accuracies = [long_accuracy(config, variant, seed, length, mesh, folder) for seed in config.seeds]
    console.print(f"{variant}: time and memory at {length:,} tokens", style="dim")
    return long_row(variant, length, accuracies, step_cost(config, variant, length, mesh, folder))


def _conclude(
    config: LongConfig, rows: list[LongRow], summary: dict[str, Any], folder: run.Run, console: Console
) -> None:
    """Draw the figure and print the table."""
    path = None
    if run.is_first():
        title = f"lm {config.preset}, run folder {folder.folder.name}, {summary['title']}"
        path = draw_long(folder, rows, summary["floors"], title)
    seeds = f"seeds {' '.join(map(str, config.seeds))}"
    name = f"{summary['title']}, trained at {config.train_length:,} tokens, {seeds}; cost of {config.cost_batch} rows"
    show([long_table(rows, summary["floors"], name)], console, Layout(justify="right"))
    console.print()
    console.print(
        "right: labels that are right, [ ] worst and best seed; s/step: fastest of the measured training steps; MiB: "
        "what the compiler plans beside weights and results; vs first: ratio to the first variant at this length",
        style="dim",
    )
    if path is not None:
        console.print(f"wrote {path}")

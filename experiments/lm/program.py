"""The program: prepare the text, train every variant with every seed, write `summary.json` and figures, print."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh
from rich.console import Console

from experiments import run
from experiments.data import arrays
from experiments.data.language_modeling import ngram_nats, stream_of
from experiments.lm import padding, report, scores
from experiments.lm.causal_requirements import check
from experiments.lm.cells import Cell, cells, corpus, first_blocks
from experiments.lm.config import Config
from experiments.lm.figures import binned, draw_ablation, draw_context, draw_padding, position_bins
from experiments.lm.next_token import (
    Nats,
    all_batches,
    count_once,
    measure_nats,
    next_token_loss,
    training_batch,
    windows,
)
from experiments.lm.presets import CONTINUATION
from experiments.lm.scores import Scores, TextSize
from experiments.lra.comparison.figures import draw_curves
from experiments.run.report import Layout, show
from pdeformer import sharding, train
from pdeformer.model import CausalLM, ModelConfig

Splits = Mapping[str, arrays.Split]
NGRAMS = (1, 2, 3, 5)
"""Orders of the models without a network."""


@run.safe_output("the run is finished and all its files are written")
@run.stop_at_signals()
def main(config: Config) -> dict[str, Any]:
    """Train every variant with every seed, print and save the comparison, and return the summary.

    Writes `summary.json`, `curves.png`, `context.png` and, if they apply, `ablation.png` and `padding.png` into the run
    folder, beside the files of `experiments.run`, before it prints any result. A finished training is not repeated.

    Raises:
        Preempted: a signal arrived or standard output has failed; the step is saved.
        ValueError: the configuration cannot be trained; raised before the program reads or writes data.
    """
    run.join_hosts(config.hosts, config.out)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model, config.mesh.seq)
    check(config, mesh)
    run.introduce_process(mesh.shape)
    out = config.out or run.next_folder(Path("runs/lm"), config.preset)
    with run.open_run(out, config, resume=config.resume, continuation=CONTINUATION) as folder:
        return compare(config, mesh, folder)


def compare(config: Config, mesh: Mesh, folder: run.Run) -> dict[str, Any]:
    """Train every variant with every seed in the run folder, report, and return the summary."""
    console, trainings = run.open_console(), cells(config)
    texts = {length: prepare(config, length) for length in config.lengths}
    folder.record_data(
        {
            f"T={length} {name}": split.sha256
            for length, splits in texts.items()
            for name, split in splits.items()
        }
    )
    sizes = {length: TextSize.of(splits["test"]) for length, splits in texts.items()}
    introduce(config, texts, sizes, folder, console)
    for cell, seed in itertools.product(trainings, config.seeds):  # damaged files are refused first
        if (result := finished(config, cell, seed, folder)) is not None:
            scores.load(folder, result, sizes[cell.length])
    results = [
        train_one(config, cell, seed, texts[cell.length], mesh, folder)
        for seed in config.seeds
        for cell in trainings
    ]
    lengths = {cell.name: cell.length for cell in trainings}
    own = {(r.variant, r.seed): scores.load(folder, r, sizes[lengths[r.variant]]) for r in results}
    padded = train_on_padded_lines(config, mesh, folder)
    lines = report.lines(trainings, results, own, sizes)
    floors = ngram_floors(texts[config.lengths[-1]], sizes[config.lengths[-1]])
    summary = {
        "program": "lm",
        "preset": config.preset,
        "title": config.text.title,
        "test_text": {str(length): size._asdict() for length, size in sizes.items()},
        "rows": [
            _row(result, own[result.variant, result.seed], sizes[lengths[result.variant]])
            for result in results
        ],
        "lines": [run.to_json(line) for line in lines],
        "floors": floors,
        "padding": [row._asdict() | {"gain": row.gain, "honest_gain": row.honest_gain} for row in padded],
    }
    summary = folder.summarize(summary)  # before anything is printed, which may fail
    conclude(config, results, own, lines, padded, summary, folder, console)
    return summary


def prepare(config: Config, length: int) -> dict[str, arrays.Split]:
    """Return the splits in blocks of a length; the first run reads the text, later runs reuse the files.

    Raises:
        FileNotFoundError: published files are missing.
        ValueError: a file is damaged, or the text is too short.
    """
    text = corpus(config, length)
    splits = text.prepare(config.data_dir, manual_dir=config.manual_dir, verify=config.verify)
    smallest = len(first_blocks(splits["train"], config.shares[0]).labels)
    if config.batch > smallest:
        raise ValueError(
            f"a batch is drawn from {smallest} training blocks of {length} tokens, got batch={config.batch}; lower it, "
            f"or raise --shares."
        )
    return splits


def introduce(
    config: Config,
    texts: Mapping[int, Splits],
    sizes: Mapping[int, TextSize],
    folder: run.Run,
    console: Console,
) -> None:
    """Print a description of the text and the run folder."""
    for length, splits in texts.items():
        counts = " / ".join(f"{name} {len(split.labels):,}" for name, split in splits.items())
        text, size = corpus(config, length).title, sizes[length]
        console.print(
            f"{text}, blocks of {length}: {counts}, vocabulary {len(splits['train'].vocabulary):,}; "
            f"test text {size.bytes:,} bytes, {size.words:,} words, {size.tokens:,} predicted tokens",
            markup=False,
        )
    console.print(f"run folder {folder.folder}")
    for note in folder.notes:
        console.print(note)
    run.warn_of_warmup(config.optimizer, config.steps, console)


def finished(config: Config, cell: Cell, seed: int, folder: run.Run) -> run.Result | None:
    """Return the result of a finished training, None if it has not finished."""
    return run.read_result(folder, cell.name, seed, config.steps, config.cadence)


def train_one(
    config: Config, cell: Cell, seed: int, splits: Splits, mesh: Mesh, folder: run.Run
) -> run.Result:
    """Train one variant with one seed; a finished training is read from the run folder."""
    if (result := finished(config, cell, seed, folder)) is not None:
        return result
    data = first_blocks(splits["train"], cell.share)
    model = config.network(config.variants()[cell.variant], len(data.vocabulary), cell.length)
    programs = run.make_programs(
        builder(model), config.optimizer, config.steps, mesh, next_token_loss, fsdp=config.mesh.fsdp
    )
    size = config.batch // config.optimizer.accumulate
    measured: list[Nats] = []  # of the last weights, and then of the best ones if they differ

    def test(params: Any) -> train.Evaluation:
        nats = measure_nats(programs.graphdef, params, splits["test"], mesh, size)
        measured.append(nats)
        if len(measured) == 1:
            in_windows = None
            if config.stride:
                moved = windows(splits["test"], config.stride)
                in_windows = count_once(
                    measure_nats(programs.graphdef, params, moved, mesh, size), config.stride
                )
            measured_windows.append(in_windows)
        scores.save(folder, cell.name, seed, scores.scores_of(measured[0], measured[-1], measured_windows[0]))
        return nats.evaluation()

    measured_windows: list[Nats | None] = []
    return run.train(
        folder,
        variant=cell.name,
        seed=seed,
        steps=config.steps,
        state=programs.init(jax.random.key(seed)),
        step_fn=programs.step,
        batch_fn=functools.partial(training_batch, data, config.batch, mesh, seed=seed),
        evaluate_fn=lambda params: programs.evaluate(params, all_batches(splits["val"], size, mesh)),
        test_fn=test,
        tokens_per_step=config.batch * cell.length,
        cadence=config.cadence,
        profile=config.profile,
    )


@functools.cache
def builder(model: ModelConfig) -> Callable[[nnx.Rngs], CausalLM]:
    """Return a function that builds the model; equal configurations give the same function, and share programs."""
    return lambda rngs: CausalLM(model, rngs)


def ngram_floors(splits: Splits, size: TextSize) -> dict[str, float]:
    """Return the bits per byte of n-gram models of the same text."""
    vocabulary = len(splits["train"].vocabulary)
    test = stream_of(splits["test"])
    nats = ngram_nats(stream_of(splits["train"]), test, vocabulary, max(NGRAMS))
    return {f"{order}-gram": size.bits_per_byte(nats[order - 1]) for order in NGRAMS}


def train_on_padded_lines(config: Config, mesh: Mesh, folder: run.Run) -> list[Any]:
    """Train the official models on padded lines, and return their perplexities; none without --official-padding."""
    trainings = padding.padded_cells(config)
    if not trainings:
        return []
    options = config.padding
    lines = {
        length: padding.read_lines(
            corpus(config, length),
            train=options.lines,
            test=options.test_lines,
            data_dir=config.data_dir,
            manual_dir=config.manual_dir,
        )
        for length in config.lengths
    }
    padded_scores = {
        (cell.model, cell.length, seed): padding.train_padded(
            config, cell, seed, lines[cell.length], mesh, folder
        )
        for seed in config.seeds
        for cell in trainings
    }
    baseline, pde = dict.fromkeys(cell.model for cell in trainings)
    return padding.pattern(
        {
            length: [
                (padded_scores[baseline, length, seed], padded_scores[pde, length, seed])
                for seed in config.seeds
            ]
            for length in config.lengths
        }
    )


def _row(result: run.Result, own: Scores, size: TextSize) -> dict[str, Any]:
    last, best = float(own.last.mean()), float(own.best.mean())
    return result._asdict() | {
        "bits_per_byte": size.bits_per_byte(last),
        "best_bits_per_byte": size.bits_per_byte(best),
        "word_perplexity": size.word_perplexity(last),
        "token_perplexity": math.exp(last),
        "position_edges": position_bins(len(own.position)).tolist(),
        "position_nats": binned(own.position).tolist(),
    }


def causal_perplexities(config: Config, lines: list[report.Line]) -> dict[int, tuple[str, float, float]]:
    """Return length -> name of the first variant, and perplexity per token of the causal baseline and of it."""
    if len(config.variants()) == 1:
        return {}
    values = {line.name: line.token_perplexity for line in lines}
    first = list(config.variants())[1]
    by_length = {}
    for cell in cells(config):
        if cell.variant == first and cell.share == config.shares[-1]:
            by_length[cell.length] = (first, values[cell.baseline], values[cell.name])
    return by_length


def conclude(
    config: Config,
    results: list[run.Result],
    own: report.ScoresOfTrainings,
    lines: list[report.Line],
    padded: list[Any],
    summary: dict[str, Any],
    folder: run.Run,
    console: Console,
) -> None:
    """Write the figures, then print the tables."""
    causal, trainings, paths = causal_perplexities(config, lines), cells(config), []
    if run.is_first():
        title = f"lm {config.preset}, run folder {folder.folder.name}, {config.text.title}"
        paths = [
            draw_curves(folder, results, {}, title),
            draw_context(folder, trainings, config.seeds, own, title),
            draw_ablation(folder, trainings, lines, title),
            draw_padding(folder, padded, causal, title) if padded else None,
        ]
    name = f"{config.text.title}, test text, seeds {' '.join(map(str, config.seeds))}"
    report.show_results(lines, summary["floors"], title=name, seeds=len(config.seeds), console=console)
    if padded:
        show([padding.table(padded, causal, config.text.title)], console, Layout(justify="right"))
        console.print()
        console.print(padding.conclusion(padded))
    console.print(f"wrote {', '.join(str(path) for path in paths if path)}")

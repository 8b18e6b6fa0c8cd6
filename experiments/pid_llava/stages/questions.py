"""Questions of a task in a fixed order, of the toy world or of GQA."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from experiments import run
from experiments.pid_llava.config import Config
from experiments.pid_llava.result_cache import digest
from pid import toyworld
from pid.llava import Buckets, EncodedPrompt, Processor, Sample, TokenType, encode_prompts, fingerprint
from pid.toyworld.vocabulary import SIDE

_IMAGE_TOKENS = SIDE**2


class Questions(NamedTuple):
    """Questions about images."""

    task: str
    """Name of the task, or of a corner and the task."""
    answers: tuple[str, ...]
    """Answers in the order of the samples."""
    fingerprint: str
    """Fingerprint of names, questions, images and answers."""
    rows: Callable[[Processor], Iterator[EncodedPrompt]]
    """Encodes the questions one after another; it can be called again."""
    buckets: Buckets | None
    """Lengths to pad to; None takes those of the model."""
    warnings: tuple[str, ...] = ()
    """Sentences that say how far the answers can be guessed."""


def make_questions(config: Config) -> list[Questions]:
    """Return the questions of every task.

    Raises FileNotFoundError or ValueError if the data are not those of GQA.
    """
    count = config.capture.rows
    if config.data is not None:
        return _gqa(config, config.data)
    return [make_toy_questions(task, toyworld.WORLD[task], count, config.seed) for task in config.tasks]


def make_toy_questions(
    task: str, leak_rates: toyworld.LeakRates, count: int, seed: int, name: str = ""
) -> Questions:
    """Return questions about scenes of the test split, on which no toy model was trained."""
    examples = list(toyworld.generate(count, seed=seed, split="test", world={task: leak_rates}))
    return Questions(
        name or task,
        tuple(example.answer for example in examples),
        digest([example._asdict() for example in examples]),
        partial(_toy_rows, examples),
        Buckets(prefix=(_IMAGE_TOKENS,), suffix=(toyworld.LENGTH - _IMAGE_TOKENS,)),
    )


def _toy_rows(examples: list[toyworld.Example], processor: Processor) -> Iterator[EncodedPrompt]:
    """Encode the examples. The processor of the toy world takes arrays, which is faster and equal to rounding."""
    if fingerprint(processor) != fingerprint(toyworld.processor()):
        yield from encode_prompts(processor, toyworld.samples(examples))
        return
    arrays, size = toyworld.arrays(examples), SIDE * toyworld.PATCH
    for at, example in enumerate(examples):
        mask = arrays.types[at] > TokenType.PAD
        pixels = arrays.pixels[at][None]
        yield EncodedPrompt(example.name, arrays.ids[at][mask], arrays.types[at][mask], pixels, (size, size))


def _gqa(config: Config, download: Path) -> list[Questions]:
    """Draw from the balanced questions of val. The tables are built once, below --cache."""
    from pid import gqa

    questions, pictures = _tables(config.cache / "gqa", download)
    every = list(gqa.questions(questions, "val"))
    images = gqa.Images(pictures, "val")

    def encode(rows: list[Any], processor: Processor) -> Iterator[EncodedPrompt]:
        samples = (Sample(row.question_id, images[row.image_id], row.question) for row in rows)
        return encode_prompts(processor, samples)

    selected = {
        task: gqa.select(every, task, limit=config.capture.rows, seed=config.seed) for task in config.tasks
    }
    if empty := [task for task, rows in selected.items() if not rows]:
        raise ValueError(
            f"every task has questions, got none for {', '.join(empty)} in {download}; change --tasks or --data."
        )
    return [
        Questions(
            task,
            tuple(row.answer for row in rows),
            digest([[row.question_id, row.image_id, row.question, row.answer] for row in rows]),
            partial(encode, rows),
            None,
            gqa.answer_diagnostics(rows),
        )
        for task, rows in selected.items()
    ]


def _tables(folder: Path, download: Path) -> tuple[Any, Any]:
    """Return the builders of GQA's questions of the tasks and of their images. Process 0 builds them first."""
    import tensorflow_datasets as tfds

    from pid import gqa

    configs = [gqa.GQAConfig(table=table, only_tasks=True) for table in ("questions", "images")]
    for first in (True, False):
        if run.is_first() == first:
            builders = [
                gqa.GQA(config=config, data_dir=folder, file_format="array_record") for config in configs
            ]
            for builder in builders:
                builder.download_and_prepare(
                    download_config=tfds.download.DownloadConfig(manual_dir=str(download))
                )
        run.barrier()
    return builders[0], builders[1]

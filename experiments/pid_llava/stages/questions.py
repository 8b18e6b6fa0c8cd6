"""The questions of a task in a fixed order, from the toy world or from GQA."""

import hashlib
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
    """Encodes the questions one after another. Each call starts at the first question."""
    buckets: Buckets | None
    """Lengths to which prompts are padded; None takes the defaults of the model."""
    warnings: tuple[str, ...] = ()
    """Sentences about how well the answers can be guessed."""


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
    """Encode the examples. For the processor of the toy world, arrays are faster and equal up to rounding."""
    if fingerprint(processor) != fingerprint(toyworld.processor()):
        yield from encode_prompts(processor, toyworld.samples(examples))
        return
    arrays, size = toyworld.arrays(examples), SIDE * toyworld.PATCH
    for i, example in enumerate(examples):
        mask = arrays.types[i] > TokenType.PAD
        pixels = arrays.pixels[i][None]
        yield EncodedPrompt(example.name, arrays.ids[i][mask], arrays.types[i][mask], pixels, (size, size))


def _gqa(config: Config, download: Path) -> list[Questions]:
    """Sample the balanced questions of the split val. The tables of a download are built once, below --cache."""
    from pid import gqa

    question_table, image_table = _tables(config.cache / "gqa", download)
    questions = list(gqa.questions(question_table, "val"))
    images = gqa.Images(image_table, "val")

    def encode(rows: list[Any], processor: Processor) -> Iterator[EncodedPrompt]:
        samples = (Sample(row.question_id, images.jpeg(row.image_id), row.question) for row in rows)
        return encode_prompts(processor, samples)

    def facts_of(row: Any) -> list[str]:
        return [row.question_id, row.image_id, row.question, row.answer]

    def image_hash(image_id: str) -> str:
        return hashlib.sha256(images.jpeg(image_id)).hexdigest()

    selected = {
        task: gqa.select(questions, task, limit=config.capture.rows, seed=config.seed)
        for task in config.tasks
    }
    if empty := [task for task, rows in selected.items() if not rows]:
        raise ValueError(
            f"every task has questions, got none for {', '.join(empty)} in {download}; change --tasks or --data."
        )
    return [
        Questions(
            task,
            tuple(row.answer for row in rows),
            digest(
                [
                    [row.question_id, row.image_id, row.question, row.answer, image_hash(row.image_id)]
                    for row in rows
                ]
            ),
            partial(encode, rows),
            None,
            gqa.answer_diagnostics(rows),
        )
        for task, rows in selected.items()
    ]


def _tables(folder: Path, download: Path) -> tuple[Any, Any]:
    """Return the builders of GQA's questions and images of the tasks. Process 0 builds them first."""
    from experiments.data.preparation.tfds_files import prepare_files, without_messages
    from pid import gqa

    folder = folder / gqa.download_fingerprint(
        download
    )  # another download never meets the tables of this one
    configs = [gqa.GQAConfig(table=table, only_tasks=True) for table in ("questions", "images")]
    for first in (True, False):
        if run.is_first() == first:
            with without_messages():
                builders = [
                    gqa.GQA(config=config, data_dir=folder, file_format="array_record") for config in configs
                ]
            for builder in builders:
                prepare_files(builder, download)
        run.barrier()
    return builders[0], builders[1]

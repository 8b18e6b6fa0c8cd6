"""What a model is asked: a task's questions in a fixed order, of the toy world or of GQA."""

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
    """Questions about pictures."""

    task: str
    """A task's name, or a corner's and a task's."""
    answers: tuple[str, ...]
    """In the order of the samples."""
    fingerprint: str
    """Of names, questions, pictures and answers."""
    rows: Callable[[Processor], Iterator[EncodedPrompt]]
    """Encodes them one after the other, each time anew."""
    buckets: Buckets | None
    """Lengths to pad to; None takes those of the model."""
    doubts: tuple[str, ...] = ()
    """What the answers give away, in plain sentences."""


def of_tasks(config: Config) -> list[Questions]:
    """The questions of every task.

    Raises FileNotFoundError or ValueError for data that are not GQA's.
    """
    count = config.asking.rows
    if config.data is not None:
        return _gqa(config, config.data)
    return [toy(task, toyworld.WORLD[task], count, config.seed) for task in config.tasks]


def toy(task: str, dials: toyworld.LeakRates, count: int, seed: int, name: str = "") -> Questions:
    """Questions about scenes of the test split, on which no toy model was trained."""
    examples = list(toyworld.generate(count, seed=seed, split="test", world={task: dials}))
    return Questions(
        name or task,
        tuple(example.answer for example in examples),
        digest([example._asdict() for example in examples]),
        partial(_toy_rows, examples),
        Buckets(prefix=(_IMAGE_TOKENS,), suffix=(toyworld.LENGTH - _IMAGE_TOKENS,)),
    )


def _toy_rows(examples: list[toyworld.Example], processor: Processor) -> Iterator[EncodedPrompt]:
    """As the processor encodes them; where it is that of the toy world, by arrays: the same to rounding, and faster."""
    if fingerprint(processor) != fingerprint(toyworld.processor()):
        yield from encode_prompts(processor, toyworld.samples(examples))
        return
    found, size = toyworld.arrays(examples), SIDE * toyworld.PATCH
    for at, example in enumerate(examples):
        real = found.types[at] > TokenType.PAD
        pixels = found.pixels[at][None]
        yield EncodedPrompt(example.name, found.ids[at][real], found.types[at][real], pixels, (size, size))


def _gqa(config: Config, download: Path) -> list[Questions]:
    """Seeded draws from the balanced questions of val; the tables are built below --kept once."""
    from pid import gqa

    found, pictures = _tables(config.kept / "gqa", download)
    every = list(gqa.questions(found, "val"))
    images = gqa.Images(pictures, "val")

    def encoded(rows: list[Any], processor: Processor) -> Iterator[EncodedPrompt]:
        asked = (Sample(row.question_id, images[row.image_id], row.question) for row in rows)
        return encode_prompts(processor, asked)

    drawn = {
        task: gqa.select(every, task, limit=config.asking.rows, seed=config.seed) for task in config.tasks
    }
    if empty := [task for task, rows in drawn.items() if not rows]:
        raise ValueError(
            f"every task has questions, got none for {', '.join(empty)} in {download}; change --tasks or --data."
        )
    return [
        Questions(
            task,
            tuple(row.answer for row in rows),
            digest([[row.question_id, row.image_id, row.question, row.answer] for row in rows]),
            partial(encoded, rows),
            None,
            gqa.answer_diagnostics(rows),
        )
        for task, rows in drawn.items()
    ]


def _tables(folder: Path, download: Path) -> tuple[Any, Any]:
    """GQA's questions of the tasks, and the images they are about; process 0 builds them."""
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

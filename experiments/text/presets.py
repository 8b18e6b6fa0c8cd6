"""The presets: values for the command line, whose first word selects one; `--task imdb` is the word imdb."""

import dataclasses
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from experiments import run
from experiments.text.config import (
    EQUATIONS,
    MAY_CHANGE_ON_RESUME,
    Config,
    Official,
    TextNetwork,
    TextOptions,
)
from experiments.text.text_extension import extend
from pdeformer.train import Optimizer

OFFICIAL_OPTIMIZER = Optimizer(
    learning_rate=1e-4,
    schedule="constant",
    warmup_start=0.1,
    weight_decay=0.01,
    decay="all",
    clip=1.0,
)
"""AdamW of the official code: the rate rises from a tenth in the first tenth of the steps, and then is constant."""
SAME_SIZES: dict[str, Any] = {"layers": 2, "width": 128, "heads": 4, "ffn": 256}
QUICK = Config(
    preset="quick",
    steps=300,
    batch=32,
    official=Official(width=64, heads=2, ffn=128),
    model=TextNetwork(width=64, heads=2, ffn=128, positions="learned"),
    optimizer=dataclasses.replace(OFFICIAL_OPTIMIZER, learning_rate=2e-3, warmup=30),
    cadence=run.LoopIntervals(log_every=5, eval_every=50, checkpoint_every=150),
)
"""python -m experiments.text

Docstrings of Python, SciPy, Matplotlib and JAX as installed here, 64 word pieces each, 4,000 of them for training:
which package does a text come from?
"""
STAND_INS = Config(
    preset="stand-ins",
    corpora=("snippets", "bbc", "polarity"),
    seeds=(0, 1, 2),
    steps=600,
    batch=32,
    model=TextNetwork(**SAME_SIZES, positions="learned"),
    optimizer=dataclasses.replace(OFFICIAL_OPTIMIZER, learning_rate=5e-4, warmup=60),
    cadence=run.LoopIntervals(log_every=10, eval_every=50, checkpoint_every=300),
)
"""Stand-ins of SST-2, AG News and IMDb from packages, three seeds."""


def _published(task: str, *, steps: int, batch: int, epochs: int, official: Official | None = None) -> Config:
    """Return a task at the sizes of the official code, with the updates that it makes on all training texts."""
    sizes = official or Official()
    return Config(
        preset=task,
        corpora=(task,),
        seeds=(0, 1, 2),
        steps=steps,
        batch=batch,
        official=dataclasses.replace(sizes, kinds=EQUATIONS),
        equations=EQUATIONS,
        targets=("weights", "logits"),
        model=TextNetwork(
            layers=sizes.layers, width=sizes.width, heads=sizes.heads, ffn=sizes.ffn, positions="learned"
        ),
        optimizer=dataclasses.replace(OFFICIAL_OPTIMIZER, warmup=steps // 10),
        cadence=run.LoopIntervals(log_every=50, eval_every=steps // epochs, checkpoint_every=steps // epochs),
        text=TextOptions(tokenizer="published"),
    )


PRESETS: dict[str, tuple[str, Config]] = {
    "quick": (
        "Documentation of four installed packages, no download; takes minutes on two CPU cores. The default.",
        QUICK,
    ),
    "stand-ins": (
        "Texts of packages in place of SST-2, AG News and IMDb, three seeds; hours on two CPU cores.",
        STAND_INS,
    ),
    "imdb": (
        "IMDb, 256 word pieces, all equations (published 59.4 % and 62.4 %); accelerator.",
        _published("imdb", steps=1955, batch=64, epochs=5),
    ),
    "ag-news": (
        "AG News, 256 word pieces, all equations (published 60.5 % and 72.1 %); accelerator.",
        _published("ag-news", steps=9375, batch=64, epochs=5),
    ),
    "sst2": (
        "SST-2, 128 word pieces, all equations (published 56.6 % and 76.3 %); accelerator.",
        _published("sst2", steps=264, batch=512, epochs=2),
    ),
    "char-imdb": (
        "IMDb, 2048 characters, all equations (published 64.68 % and 65.44 %); accelerator.",
        _published(
            "char-imdb",
            steps=15_630,
            batch=16,
            epochs=10,
            official=Official(layers=4, width=256, heads=4, ffn=1024),
        ),
    ),
}
CONTINUATION = run.Continuation("text", PRESETS, MAY_CHANGE_ON_RESUME, extend=extend)


class TextCommandLine(run.CommandLine[Config]):
    """A command line whose preset may also be written as --task."""

    def read(self, arguments: Sequence[str]) -> Config:
        """Return the configuration that the arguments describe; see `run.CommandLine.read`."""
        return super().read(preset_first(arguments))


def preset_first(arguments: Sequence[str]) -> list[str]:
    """Replace --task by the word of its preset, in front of the other arguments.

    Raises:
        ValueError: the task is unknown, or there is no value.
    """
    rest, chosen, words = [], [], list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name != "--task":
            rest.append(word)
            continue
        if not equals and not words:
            raise ValueError(f"--task needs a value, got none; name one of {', '.join(PRESETS)}.")
        chosen.append((value if equals else words.pop(0)).replace("_", "-").lower())
    for task in chosen:
        if task not in PRESETS:
            similar = get_close_matches(task, PRESETS, n=1)
            hint = f"did you mean {similar[0]}?" if similar else "change --task."
            raise ValueError(f"a task is one of {', '.join(PRESETS)}, got {task!r}; {hint}")
    return [*dict.fromkeys(chosen), *rest]


command_line = TextCommandLine(
    "experiments.text",
    "Text classification of Continuous-Time Attention: official and corrected models on the same batches, with a bag "
    f"of words beside every number. --task {'|'.join(PRESETS)} is another way to write a preset.",
    PRESETS,
    continuation=CONTINUATION,
)

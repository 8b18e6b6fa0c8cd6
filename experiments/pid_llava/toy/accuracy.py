"""How often a model answers a task of the toy world rightly, on scenes that were never trained on."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from pid import llava, toyworld
from pid.llava import TokenType
from pid.toyworld import TASKS, WORLD, Example, LeakRates
from pid.toyworld.truth import World

BOTH_NEEDED: World = dict.fromkeys(TASKS, LeakRates())
"""The six tasks where neither words nor image alone tell the answer: nothing can be guessed."""


class Accuracy(NamedTuple):
    """How well a task is answered."""

    accuracy: float
    """Share of right answers, the most likely of all words in the vocabulary."""
    error: float
    """Its binomial standard error √(a(1 - a)/n)."""
    chance: float
    """What the best guess without the image reaches: 1 where the words tell, 1/2 where two answers remain."""
    examples: int
    """n."""


def chance(task: str, dials: LeakRates) -> float:
    """λ + (1 - λ)/2: unless words tell the answer they leave two, in all six tasks."""
    if task not in TASKS:
        raise ValueError(f"chance is known for {', '.join(TASKS)}, got {task!r}.")
    return dials.language + (1 - dials.language) / 2


def is_right(model: llava.Llava, examples: Sequence[Example], *, batch: int = 256) -> np.ndarray:
    """For each example whether its answer is the most likely word, bool (n,)."""
    right = []
    for start in range(0, len(examples), batch):
        rows = toyworld.arrays((list(examples[start : start + batch]) * batch)[:batch])
        said = llava.forward(
            model,
            rows.ids,
            rows.pixels,
            token_types=rows.types,
            collect="pooled",
            groups=(TokenType.LAST,),
        ).logits
        right.append(np.asarray(said).argmax(axis=-1) == rows.answers)
    return np.concatenate(right)[: len(examples)]


def measure(model: llava.Llava, *, count: int, seed: int = 0, world: World = WORLD) -> dict[str, Accuracy]:
    """The accuracy of each task of a world, on `count` examples of the test split in all."""
    examples = list(toyworld.generate(count, seed=seed, split="test", world=world))
    right, tasks = is_right(model, examples), np.array([example.task for example in examples])
    found = {}
    for task, dials in world.items():
        n, share = int((tasks == task).sum()), float(right[tasks == task].mean())
        found[task] = Accuracy(share, math.sqrt(share * (1 - share) / n), chance(task, dials), n)
    return found


def right_among(folder: str | Path, count: int, *, seed: int = 0, world: World = BOTH_NEEDED) -> int:
    """How many of the first `count` examples of the test split the model in a folder answers rightly, in float32."""
    examples = list(toyworld.generate(count, seed=seed, split="test", world=world))
    return int(is_right(llava.load(folder, dtype=jnp.float32), examples).sum())


def of_folder(folder: str | Path, *, count: int, seed: int = 0, world: World = WORLD) -> dict[str, Accuracy]:
    """`measure` of the model in a Hugging Face folder, its weights computed with in float32."""
    return measure(llava.load(folder, dtype=jnp.float32), count=count, seed=seed, world=world)

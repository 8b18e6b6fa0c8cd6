"""Accuracy of a model in the tasks of the toy world, on scenes of the test split."""

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
"""The six tasks without leaks: neither words nor image alone determine the answer."""


class Accuracy(NamedTuple):
    """Accuracy of a model in one task."""

    accuracy: float
    """Share of right answers. An answer is the most likely of all words in the vocabulary."""
    error: float
    """Its binomial standard error √(a(1 - a)/n)."""
    chance: float
    """Accuracy of the best guess without the image: 1 if the words determine the answer, 1/2 if two answers remain."""
    examples: int
    """Number of examples n."""


def chance(task: str, leak_rates: LeakRates) -> float:
    """Return λ + (1 - λ)/2, since words that do not determine the answer leave two answers in all six tasks."""
    if task not in TASKS:
        raise ValueError(f"chance is known for {', '.join(TASKS)}, got {task!r}.")
    return leak_rates.language + (1 - leak_rates.language) / 2


def is_right(model: llava.Llava, examples: Sequence[Example], *, batch: int = 256) -> np.ndarray:
    """Return for each example whether its answer is the most likely word, bool (n,)."""
    right = []
    for start in range(0, len(examples), batch):
        rows = toyworld.arrays((list(examples[start : start + batch]) * batch)[:batch])
        logits = llava.forward(
            model,
            rows.ids,
            rows.pixels,
            token_types=rows.types,
            collect="pooled",
            groups=(TokenType.LAST,),
        ).logits
        right.append(np.asarray(logits).argmax(axis=-1) == rows.answers)
    return np.concatenate(right)[: len(examples)]


def measure(model: llava.Llava, *, count: int, seed: int = 0, world: World = WORLD) -> dict[str, Accuracy]:
    """Return the accuracy of each task of a world, on `count` examples of the test split in all."""
    examples = list(toyworld.generate(count, seed=seed, split="test", world=world))
    right, tasks = is_right(model, examples), np.array([example.task for example in examples])
    accuracies = {}
    for task, leak_rates in world.items():
        n, share = int((tasks == task).sum()), float(right[tasks == task].mean())
        accuracies[task] = Accuracy(share, math.sqrt(share * (1 - share) / n), chance(task, leak_rates), n)
    return accuracies


def count_right(folder: str | Path, count: int, *, seed: int = 0, world: World = BOTH_NEEDED) -> int:
    """Return how many of the first `count` test examples the model in a folder answers correctly, in float32."""
    examples = list(toyworld.generate(count, seed=seed, split="test", world=world))
    return int(is_right(llava.load(folder, dtype=jnp.float32), examples).sum())


def measure_folder(
    folder: str | Path, *, count: int, seed: int = 0, world: World = WORLD
) -> dict[str, Accuracy]:
    """Return `measure` of the model in a Hugging Face folder, computed in float32."""
    return measure(llava.load(folder, dtype=jnp.float32), count=count, seed=seed, world=world)

"""Examples of the toy world for tests."""

from functools import cache

from pid import toyworld
from pid.toyworld import NAMING, TASKS, LeakRates

EVERYTHING = {**dict.fromkeys(TASKS, LeakRates(language=0.5, vision=0.5)), **NAMING}


@cache
def examples_of(count=1000, seed=0, split="train"):
    """Generate examples of all tasks."""
    return tuple(toyworld.generate(count, seed=seed, split=split, world=EVERYTHING))


@cache
def examples_of_task(task, language, vision, count=2000):
    """Generate examples of one task with these leak rates."""
    return tuple(toyworld.generate(count, seed=1, world={task: LeakRates(language=language, vision=vision)}))

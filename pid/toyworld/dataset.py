"""Examples of the toy world as streams: the same seed gives the same examples, and test scenes are never trained on."""

from collections.abc import Iterator
from random import Random
from typing import Literal, NamedTuple

from pid.toyworld.scenes import Scene, is_test
from pid.toyworld.tasks import GROUNDING, TASKS
from pid.toyworld.truth import WORLD, LeakRates, World

Split = Literal["train", "test"]


class Example(NamedTuple):
    """A question about a scene, and its answer."""

    name: str
    """Split, seed and number."""
    task: str
    """One of `TASKS` or `GROUNDING`."""
    scene: Scene
    """The things in the picture."""
    question: str
    """Words with spaces between them."""
    answer: str
    """One word."""
    told: bool
    """Whether the wording of the question tells the answer."""
    shown: bool
    """Whether the scene tells it, whatever is asked."""


def check_world(world: World) -> None:
    """Raise ValueError for a world without tasks, with an unknown task, or with dials where a task has none."""
    known = TASKS | GROUNDING
    wrong = [task for task in world if task not in known]
    if wrong or not world:
        raise ValueError(f"a world has tasks among {', '.join(known)}, got {', '.join(wrong) or 'none'}.")
    for task in GROUNDING:
        if world.get(task, LeakRates()) != LeakRates():
            raise ValueError(
                f"nothing shows or tells what {task} asks for, got {world[task]}; leave its dials at 0."
            )


def generate(
    count: int, *, seed: int, split: Split | str = "train", world: World = WORLD
) -> Iterator[Example]:
    """Yield `count` examples; a smaller count gives the beginning of a larger one.

    The coins for telling and showing are fair to every answer: independent of it and of each other.

    Raises ValueError for a split that is neither train nor test, or a world that is none.
    """
    if split not in ("train", "test"):
        raise ValueError(f"a split is 'train' or 'test', got {split!r}.")
    check_world(world)
    return _stream(count, seed, split, world)


def _stream(count: int, seed: int, split: str, world: World) -> Iterator[Example]:
    random, known, tasks = Random(f"{split} {seed}"), TASKS | GROUNDING, tuple(world)
    for number in range(count):
        name = random.choice(tasks)
        task, dials = known[name], world[name]
        answer = random.choice(task.answers)
        told, shown = random.random() < dials.language, random.random() < dials.vision
        scene = task.scene(random, answer, shown=shown)
        while is_test(scene) != (split == "test"):
            scene = task.scene(random, answer, shown=shown)
        question = task.ask(random, scene, answer, told=told)
        yield Example(f"{split}-{seed}-{number}", name, scene, question, answer, told, shown)

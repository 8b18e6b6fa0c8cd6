"""Examples of the toy world as streams: equal seeds give equal examples, and no scene is in both splits."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, Literal, NamedTuple, SupportsIndex

from pid.interface.deprecation import former_attribute
from pid.toyworld.scenes import Scene, is_test
from pid.toyworld.tasks import GROUNDING, TASKS
from pid.toyworld.truth import WORLD, LeakRates, World

Split = Literal["train", "test"]


class Example(NamedTuple):
    """A question about a scene, and its answer.

    Example:
        >>> from pid import toyworld
        >>> example = next(toyworld.generate(1, seed=0))
        >>> example.name, example.question, example.answer
        ('train-0-0', 'is the ring above or below of the cross', 'below')
    """

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

    answer_in_question: bool
    """Whether the wording of the question reveals the answer."""

    answer_in_image: bool
    """Whether the scene reveals the answer, whatever the question is."""

    def __getattr__(self, name: str) -> Any:
        """Resolve the former names of the last two fields, with a DeprecationWarning."""
        return former_attribute(self, name, {"told": "answer_in_question", "shown": "answer_in_image"})


def check_world(world: World) -> None:
    """Raise ValueError for a world without tasks, with an unknown task, or with leak rates of a grounding task."""
    known = TASKS | GROUNDING
    if not isinstance(world, Mapping) or not all(isinstance(rates, LeakRates) for rates in world.values()):
        raise ValueError(
            f"a world has the LeakRates of each task, got {world!r:.80}; write {{'QueryAttr': LeakRates()}}."
        )
    unknown = [task for task in world if task not in known]
    if unknown or not world:
        raise ValueError(f"a world has tasks among {', '.join(known)}, got {', '.join(unknown) or 'none'}.")
    for task in GROUNDING:
        if world.get(task, LeakRates()) != LeakRates():
            raise ValueError(
                f"no scene or question reveals what {task} asks for, got {world[task]}; leave its leak rates at 0."
            )


def generate(
    count: int, *, seed: int, split: Split | str = "train", world: World = WORLD
) -> Iterator[Example]:
    """Yield `count` examples; a smaller count gives the beginning of a larger stream.

    Question and image reveal the answer independently of the answer and of each other.

    Args:
        count: number of examples.
        seed: seed of the stream; equal seeds give equal examples.
        split: "train" or "test"; no scene is in both.
        world: tasks, equally frequent, with their leak rates.

    Returns:
        Iterator over the examples.

    Raises:
        ValueError: a split that is neither train nor test, a count or a seed that is no whole number, or a world
            without tasks or with unknown ones.

    Example:
        >>> from pid import toyworld
        >>> [example.task for example in toyworld.generate(3, seed=0)]
        ['ChooseRel', 'ChooseCat', 'ChooseRel']
    """
    if split not in ("train", "test"):
        raise ValueError(f"a split is 'train' or 'test', got {split!r}.")
    for name, value, least in (("count", count, 0), ("seed", seed, None)):
        is_whole = isinstance(value, SupportsIndex) and not isinstance(value, bool)
        if not is_whole or (least is not None and value < least):
            raise ValueError(
                f"{name} is a whole number{'' if least is None else f' from {least}'}, got {value!r}; pass one."
            )
    check_world(world)
    return _stream(count, seed, split, world)


def _stream(count: int, seed: int, split: str, world: World) -> Iterator[Example]:
    random, known, tasks = Random(f"{split} {seed}"), TASKS | GROUNDING, tuple(world)
    for number in range(count):
        name = random.choice(tasks)
        task, leak_rates = known[name], world[name]
        answer = random.choice(task.answers)
        answer_in_question, answer_in_image = (
            random.random() < leak_rates.language,
            random.random() < leak_rates.vision,
        )
        scene = task.scene(random, answer, answer_in_image=answer_in_image)
        while is_test(scene) != (split == "test"):
            scene = task.scene(random, answer, answer_in_image=answer_in_image)
        question = task.ask(random, scene, answer, answer_in_question=answer_in_question)
        yield Example(
            f"{split}-{seed}-{number}", name, scene, question, answer, answer_in_question, answer_in_image
        )

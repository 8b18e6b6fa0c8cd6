"""The six tasks of `pid.gqa` in the toy world, and three that only name the contents of the picture.

An example is drawn in this order: the answer Y, uniform; two Bernoulli draws, whether the image and whether the
question reveals the answer; the scene; a question about it whose answer is Y.

If the image does not reveal the answer, the scene is drawn independently of it and has questions for every answer, so
I(Y; scene) = 0. If the question does not reveal it, all questions are equally frequent under every answer that they
allow, so I(Y; question) is the information of the two options. Scenes that reveal the answer differ in kind from other
scenes, and questions that reveal it use a word that no other question uses, so both are recognizable. `truth` adds up
the bits. Splits select scenes by a hash: statements about scenes stay exact, and statements about questions hold up to
the sampling error of thousands of scenes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from random import Random

from pid.toyworld.scenes import Scene, relations, scene_of
from pid.toyworld.vocabulary import ABSENT, CELLS, COLORS, NEUTRAL_COLOR, RELATIONS, SHAPES, SIDE, SIDES

ROWS = [range(start, start + SIDE) for start in range(0, SIDE**2, SIDE)]
HALVES = {
    side: [cell for cell in range(SIDE**2) if (cell % SIDE < SIDE // 2) == (side == "left")] for side in SIDES
}


@dataclass(frozen=True)
class ToyTask:
    """Sampler of the scenes and questions of a task.

    Example:
        >>> from random import Random
        >>> from pid import toyworld
        >>> task = toyworld.TASKS["QueryAttr"]
        >>> scene = task.scene(Random(0), "left", answer_in_image=True)
        >>> {thing.side for thing in scene}
        {'left'}
    """

    answers: tuple[str, ...]
    """All answers, equally frequent."""

    options: float
    """I(Y; question) in bits if the wording does not reveal the answer."""

    scene: Callable[..., Scene]
    """(random, answer, *, answer_in_image) → a scene; independent of the answer unless `answer_in_image`."""

    ask: Callable[..., str]
    """(random, scene, answer, *, answer_in_question) → a question about the scene with that answer."""


def permute(random: Random, items: tuple[str, ...]) -> list[str]:
    """Return the items in random order."""
    return random.sample(items, len(items))


def random_cells(random: Random) -> list[int]:
    """Draw one cell for each shape."""
    return random.sample(range(SIDE**2), len(SHAPES))


def one_of_each(random: Random) -> Scene:
    """Draw a scene with every shape once and every color once, anywhere."""
    return scene_of(random_cells(random), SHAPES, permute(random, COLORS))


def random_order(random: Random, true: str, false: str) -> tuple[str, str]:
    """Return two options in random order."""
    return (true, false) if random.random() < 0.5 else (false, true)


def random_other(random: Random, items: tuple[str, ...], item: str) -> str:
    """Draw one of the other items."""
    return random.choice([other for other in items if other != item])


def attr_scene(random: Random, answer: str, *, answer_in_image: bool) -> Scene:
    """Draw every color once; with the answer in the image, all things of one color."""
    if answer_in_image:
        return scene_of(random_cells(random), SHAPES, [answer] * len(SHAPES))
    return one_of_each(random)


def ask_attr(random: Random, scene: Scene, answer: str, *, answer_in_question: bool) -> str:
    """Ask "is the ball red or blue"; with the answer in the question, red or purple."""
    thing = random.choice([thing for thing in scene if thing.color == answer])
    first, second = random_order(
        random, answer, ABSENT["color"] if answer_in_question else random_other(random, COLORS, answer)
    )
    return f"is the {thing.shape} {first} or {second}"


def cat_scene(random: Random, answer: str, *, answer_in_image: bool) -> Scene:
    """Draw every shape once; with the answer in the image, all things of one shape."""
    if answer_in_image:
        return scene_of(random_cells(random), [answer] * len(SHAPES), permute(random, COLORS))
    return one_of_each(random)


def ask_cat(random: Random, scene: Scene, answer: str, *, answer_in_question: bool) -> str:
    """Ask "is b3 a ball or a ring"; with the answer in the question, a ball or a cloud."""
    thing = random.choice([thing for thing in scene if thing.shape == answer])
    first, second = random_order(
        random, answer, ABSENT["shape"] if answer_in_question else random_other(random, SHAPES, answer)
    )
    return f"is {CELLS[thing.cell]} a {first} or a {second}"


def rel_scene(random: Random, answer: str, *, answer_in_image: bool) -> Scene:
    """Draw things that are not all in one line, so that every relation occurs.

    What is left of one thing is right of another, so no such scene reveals the answer. With the answer in the image,
    two things are in one line, and questions are always about the one that is first in the alphabet.
    """
    if answer_in_image:
        low, high = sorted(random.sample(range(SIDE), 2))
        line = random.randrange(SIDE)
        ends = [low, high] if answer in ("left", "above") else [high, low]
        cells = [SIDE * line + end if answer in SIDES else SIDE * end + line for end in ends]
        return scene_of(cells, sorted(random.sample(SHAPES, 2)), random.sample(COLORS, 2))
    while True:
        scene = one_of_each(random)
        if len({thing.row for thing in scene}) > 1 and len({thing.column for thing in scene}) > 1:
            return scene


def ask_rel(random: Random, scene: Scene, answer: str, *, answer_in_question: bool) -> str:
    """Ask "is the ball left or right of the ring"; with the answer in the question, left or inside."""
    pairs = list(permutations(scene, 2))
    thing, other = next(pair for pair in random.sample(pairs, len(pairs)) if answer in relations(*pair))
    opposite = RELATIONS[RELATIONS.index(answer) ^ 1]
    first, second = random_order(random, answer, ABSENT["relation"] if answer_in_question else opposite)
    return f"is the {thing.shape} {first} or {second} of the {other.shape}"


def shared_pairs(scene: Scene, answer: str) -> list[tuple[str, str]]:
    """List the shapes of all ordered pairs of things that share only the color, or only the row."""
    return [
        (a.shape, b.shape)
        for a, b in permutations(scene, 2)
        if (a.color == b.color) == (answer == "color") and (a.row == b.row) == (answer == "row")
    ]


def compare_scene(random: Random, answer: str, *, answer_in_image: bool) -> Scene:
    """Draw some things that share a color, some a row.

    With the answer in the image, all things share the answer and none share the other property.
    """
    if answer_in_image and answer == "row":
        return scene_of(random.choice(ROWS), permute(random, SHAPES), permute(random, COLORS))
    if answer_in_image:
        cells = [random.choice(row) for row in ROWS]
        return scene_of(cells, permute(random, SHAPES), [random.choice(COLORS)] * len(SHAPES))
    while True:
        scene = scene_of(random_cells(random), SHAPES, random.choices(COLORS, k=len(SHAPES)))
        if shared_pairs(scene, "color") and shared_pairs(scene, "row"):
            return scene


def ask_compare(random: Random, scene: Scene, answer: str, *, answer_in_question: bool) -> str:
    """Ask "do the ball and the ring share color or row"; with the answer in the question, color or age."""
    first_shape, second_shape = random.choice(shared_pairs(scene, answer))
    other = "row" if answer == "color" else "color"
    first, second = random_order(random, answer, ABSENT["shared"] if answer_in_question else other)
    return f"do the {first_shape} and the {second_shape} share {first} or {second}"


def logical_scene(random: Random, answer: str, *, answer_in_image: bool) -> Scene:
    """Draw every shape once, in any colors.

    With the answer in the image, the scene has everything that a question can name, or nothing of it.
    """
    if answer_in_image and answer == "yes":
        cells = random.sample(range(SIDE**2), SIDE**2)
        return scene_of(cells, [shape for shape in SHAPES for _ in COLORS], COLORS * len(SHAPES))
    colors = [NEUTRAL_COLOR] * len(SHAPES) if answer_in_image else random.choices(COLORS, k=len(SHAPES))
    return scene_of(random_cells(random), SHAPES, colors)


def ask_logical(random: Random, scene: Scene, answer: str, *, answer_in_question: bool) -> str:
    """Ask "is there a red ball or a blue ring".

    With the answer in the question, it names "a thing", which every scene has, or purple things, which no scene has.
    """
    present = {(thing.color, thing.shape) for thing in scene}
    while True:
        shapes = random.sample(SHAPES, 2)
        colors = (
            [ABSENT["color"]] * 2 if answer_in_question and answer == "no" else random.choices(COLORS, k=2)
        )
        phrases = list(zip(colors, shapes, strict=True))
        if answer_in_question or any(phrase in present for phrase in phrases) == (answer == "yes"):
            break
    first, second = (" ".join(phrase) for phrase in phrases)
    if answer_in_question and answer == "yes":
        first, second = random_order(random, "thing", second)
    return f"is there a {first} or a {second}"


def side_scene(random: Random, answer: str, *, answer_in_image: bool) -> Scene:
    """Draw two things on either side; with the answer in the image, all on one side."""
    if answer_in_image:
        cells = random.sample(HALVES[answer], len(SHAPES))
    else:
        cells = [cell for side in SIDES for cell in random.sample(HALVES[side], len(SHAPES) // 2)]
    return scene_of(cells, permute(random, SHAPES), permute(random, COLORS))


def ask_side(random: Random, scene: Scene, answer: str, *, answer_in_question: bool) -> str:
    """Ask "which side is the ball on"; with the answer in the question, "the left ball"."""
    thing = random.choice([thing for thing in scene if thing.side == answer])
    return (
        f"which side is the {answer} {thing.shape} on"
        if answer_in_question
        else f"which side is the {thing.shape} on"
    )


TASKS = {
    "ChooseAttr": ToyTask(COLORS, 1.0, attr_scene, ask_attr),
    "ChooseCat": ToyTask(SHAPES, 1.0, cat_scene, ask_cat),
    "ChooseRel": ToyTask(RELATIONS, 1.0, rel_scene, ask_rel),
    "CompareAttr": ToyTask(("color", "row"), 0.0, compare_scene, ask_compare),
    "LogicalObj": ToyTask(("yes", "no"), 0.0, logical_scene, ask_logical),
    "QueryAttr": ToyTask(SIDES, 0.0, side_scene, ask_side),
}
"""The six tasks. Two options of four answers give one of the two bits."""


def name_scene(random: Random, answer: str, *, answer_in_image: bool) -> Scene:
    """Draw every shape and every color once; if the answer is a cell, something is in it."""
    scene = one_of_each(random)
    while answer in CELLS and all(CELLS[thing.cell] != answer for thing in scene):
        scene = one_of_each(random)
    return scene


def ask_shape(random: Random, scene: Scene, answer: str, *, answer_in_question: bool) -> str:
    """Ask "what shape is at b3"."""
    return next(f"what shape is at {CELLS[thing.cell]}" for thing in scene if thing.shape == answer)


def ask_color(random: Random, scene: Scene, answer: str, *, answer_in_question: bool) -> str:
    """Ask "what color is the ball"."""
    return next(f"what color is the {thing.shape}" for thing in scene if thing.color == answer)


def ask_cell(random: Random, scene: Scene, answer: str, *, answer_in_question: bool) -> str:
    """Ask "where is the ball"."""
    return next(f"where is the {thing.shape}" for thing in scene if CELLS[thing.cell] == answer)


GROUNDING = {
    "NameShape": ToyTask(SHAPES, 0.0, name_scene, ask_shape),
    "NameColor": ToyTask(COLORS, 0.0, name_scene, ask_color),
    "NameCell": ToyTask(CELLS, 0.0, name_scene, ask_cell),
}
"""Tasks to learn first, which name shapes, colors and cells. Neither image nor question alone reveals the answer."""

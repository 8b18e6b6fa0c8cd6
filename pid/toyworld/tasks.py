"""The six tasks of `pid.gqa` in the toy world, and three that only name what is seen.

An example is drawn in this order: the answer Y, uniform; whether the scene shows and whether the question tells it,
two coins; the scene; a question about it whose answer is Y.

Where the scene does not show the answer, it is drawn without a look at it, and has questions for every answer: then
I(Y; scene) = 0. Where the question does not tell it, all questions are equally frequent under every answer that they
allow: then I(Y; question) is the bits by which two options narrow the answers down. Scenes that show the answer are of
another kind than those that do not, and questions that tell it use a word that no other question does, so both kinds
are recognised. `truth` adds up the bits. (A split takes its scenes by a hash: what is said of scenes stays exact, what
is said of questions then holds as nearly as a random draw of thousands of scenes allows.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from random import Random

from pid.toyworld.scenes import Scene, relations, scene_of
from pid.toyworld.vocabulary import CELLS, COLORS, NEVER, RELATIONS, SHAPES, SIDE, SIDES, UNASKED

ROWS = [range(start, start + SIDE) for start in range(0, SIDE**2, SIDE)]
HALVES = {
    side: [cell for cell in range(SIDE**2) if (cell % SIDE < SIDE // 2) == (side == "left")] for side in SIDES
}


@dataclass(frozen=True)
class ToyTask:
    """How scenes and questions of a task are drawn."""

    answers: tuple[str, ...]
    """All answers, equally frequent."""
    options: float
    """I(Y; question) in bits where the wording does not tell the answer."""
    scene: Callable[..., Scene]
    """(random, answer, *, shown) → a scene; unless shown, the answer is not looked at."""
    ask: Callable[..., str]
    """(random, scene, answer, *, told) → a question about the scene with that answer."""


def shuffled(random: Random, items: tuple[str, ...]) -> list[str]:
    """The items in random order."""
    return random.sample(items, len(items))


def scattered(random: Random) -> list[int]:
    """One cell for each shape."""
    return random.sample(range(SIDE**2), len(SHAPES))


def one_of_each(random: Random) -> Scene:
    """Every shape once and every colour once, anywhere."""
    return scene_of(scattered(random), SHAPES, shuffled(random, COLORS))


def either(random: Random, true: str, false: str) -> tuple[str, str]:
    """Two options in random order."""
    return (true, false) if random.random() < 0.5 else (false, true)


def another(random: Random, items: tuple[str, ...], item: str) -> str:
    """One of the other items."""
    return random.choice([other for other in items if other != item])


def attr_scene(random: Random, answer: str, *, shown: bool) -> Scene:
    """Every colour once; shown: all things of one colour."""
    if shown:
        return scene_of(scattered(random), SHAPES, [answer] * len(SHAPES))
    return one_of_each(random)


def ask_attr(random: Random, scene: Scene, answer: str, *, told: bool) -> str:
    """Is the ball red or blue; told: red or purple, which nothing is."""
    thing = random.choice([thing for thing in scene if thing.color == answer])
    first, second = either(random, answer, NEVER["color"] if told else another(random, COLORS, answer))
    return f"is the {thing.shape} {first} or {second}"


def cat_scene(random: Random, answer: str, *, shown: bool) -> Scene:
    """Every shape once; shown: all things of one shape."""
    if shown:
        return scene_of(scattered(random), [answer] * len(SHAPES), shuffled(random, COLORS))
    return one_of_each(random)


def ask_cat(random: Random, scene: Scene, answer: str, *, told: bool) -> str:
    """Is b3 a ball or a ring; told: a ball or a cloud, which nothing is."""
    thing = random.choice([thing for thing in scene if thing.shape == answer])
    first, second = either(random, answer, NEVER["shape"] if told else another(random, SHAPES, answer))
    return f"is {CELLS[thing.cell]} a {first} or a {second}"


def rel_scene(random: Random, answer: str, *, shown: bool) -> Scene:
    """Not all in one line, so that every relation occurs.

    What is left of one thing is right of another, so no such scene shows the answer. Shown: two things in one line,
    of which the one that is first in the alphabet is always asked about.
    """
    if shown:
        near, far = sorted(random.sample(range(SIDE), 2))
        line = random.randrange(SIDE)
        ends = [near, far] if answer in ("left", "above") else [far, near]
        cells = [SIDE * line + end if answer in SIDES else SIDE * end + line for end in ends]
        return scene_of(cells, sorted(random.sample(SHAPES, 2)), random.sample(COLORS, 2))
    while True:
        scene = one_of_each(random)
        if len({thing.row for thing in scene}) > 1 and len({thing.column for thing in scene}) > 1:
            return scene


def ask_rel(random: Random, scene: Scene, answer: str, *, told: bool) -> str:
    """Is the ball left or right of the ring; told: left or inside, where nothing is."""
    pairs = list(permutations(scene, 2))
    thing, other = next(pair for pair in random.sample(pairs, len(pairs)) if answer in relations(*pair))
    opposite = RELATIONS[RELATIONS.index(answer) ^ 1]
    first, second = either(random, answer, NEVER["relation"] if told else opposite)
    return f"is the {thing.shape} {first} or {second} of the {other.shape}"


def shared(scene: Scene, answer: str) -> list[tuple[str, str]]:
    """The shapes of all ordered pairs of things that share the colour or the row, and not the other."""
    return [
        (one.shape, two.shape)
        for one, two in permutations(scene, 2)
        if (one.color == two.color) == (answer == "color") and (one.row == two.row) == (answer == "row")
    ]


def compare_scene(random: Random, answer: str, *, shown: bool) -> Scene:
    """Some things share a colour, some a row; shown: all share the one, none the other."""
    if shown and answer == "row":
        return scene_of(random.choice(ROWS), shuffled(random, SHAPES), shuffled(random, COLORS))
    if shown:
        cells = [random.choice(row) for row in ROWS]
        return scene_of(cells, shuffled(random, SHAPES), [random.choice(COLORS)] * len(SHAPES))
    while True:
        scene = scene_of(scattered(random), SHAPES, random.choices(COLORS, k=len(SHAPES)))
        if shared(scene, "color") and shared(scene, "row"):
            return scene


def ask_compare(random: Random, scene: Scene, answer: str, *, told: bool) -> str:
    """Do the ball and the ring share color or row; told: color or age, which nothing has."""
    one, two = random.choice(shared(scene, answer))
    other = "row" if answer == "color" else "color"
    first, second = either(random, answer, NEVER["shared"] if told else other)
    return f"do the {one} and the {two} share {first} or {second}"


def logical_scene(random: Random, answer: str, *, shown: bool) -> Scene:
    """Every shape once, in any colours; shown: whatever can be asked for, or nothing of it."""
    if shown and answer == "yes":
        cells = random.sample(range(SIDE**2), SIDE**2)
        return scene_of(cells, [shape for shape in SHAPES for _ in COLORS], COLORS * len(SHAPES))
    colors = [UNASKED] * len(SHAPES) if shown else random.choices(COLORS, k=len(SHAPES))
    return scene_of(scattered(random), SHAPES, colors)


def ask_logical(random: Random, scene: Scene, answer: str, *, told: bool) -> str:
    """Is there a red ball or a blue ring; told: a thing, which there always is, or purple, which nothing is."""
    there = {(thing.color, thing.shape) for thing in scene}
    while True:
        shapes = random.sample(SHAPES, 2)
        colors = [NEVER["color"]] * 2 if told and answer == "no" else random.choices(COLORS, k=2)
        looks = list(zip(colors, shapes, strict=True))
        if told or any(look in there for look in looks) == (answer == "yes"):
            break
    first, second = (" ".join(look) for look in looks)
    if told and answer == "yes":
        first, second = either(random, "thing", second)
    return f"is there a {first} or a {second}"


def side_scene(random: Random, answer: str, *, shown: bool) -> Scene:
    """Two things on either side; shown: all on one side."""
    if shown:
        cells = random.sample(HALVES[answer], len(SHAPES))
    else:
        cells = [cell for side in SIDES for cell in random.sample(HALVES[side], len(SHAPES) // 2)]
    return scene_of(cells, shuffled(random, SHAPES), shuffled(random, COLORS))


def ask_side(random: Random, scene: Scene, answer: str, *, told: bool) -> str:
    """Which side is the ball on; told: the left ball."""
    thing = random.choice([thing for thing in scene if thing.side == answer])
    return f"which side is the {answer} {thing.shape} on" if told else f"which side is the {thing.shape} on"


TASKS = {
    "ChooseAttr": ToyTask(COLORS, 1.0, attr_scene, ask_attr),
    "ChooseCat": ToyTask(SHAPES, 1.0, cat_scene, ask_cat),
    "ChooseRel": ToyTask(RELATIONS, 1.0, rel_scene, ask_rel),
    "CompareAttr": ToyTask(("color", "row"), 0.0, compare_scene, ask_compare),
    "LogicalObj": ToyTask(("yes", "no"), 0.0, logical_scene, ask_logical),
    "QueryAttr": ToyTask(SIDES, 0.0, side_scene, ask_side),
}
"""The six tasks. Two options of four answers tell one bit of the two."""


def name_scene(random: Random, answer: str, *, shown: bool) -> Scene:
    """Every shape and every colour once; if the answer is a cell, something is in it."""
    scene = one_of_each(random)
    while answer in CELLS and all(CELLS[thing.cell] != answer for thing in scene):
        scene = one_of_each(random)
    return scene


def ask_shape(random: Random, scene: Scene, answer: str, *, told: bool) -> str:
    """What shape is at b3."""
    return next(f"what shape is at {CELLS[thing.cell]}" for thing in scene if thing.shape == answer)


def ask_color(random: Random, scene: Scene, answer: str, *, told: bool) -> str:
    """What color is the ball."""
    return next(f"what color is the {thing.shape}" for thing in scene if thing.color == answer)


def ask_cell(random: Random, scene: Scene, answer: str, *, told: bool) -> str:
    """Where is the ball."""
    return next(f"where is the {thing.shape}" for thing in scene if CELLS[thing.cell] == answer)


GROUNDING = {
    "NameShape": ToyTask(SHAPES, 0.0, name_scene, ask_shape),
    "NameColor": ToyTask(COLORS, 0.0, name_scene, ask_color),
    "NameCell": ToyTask(CELLS, 0.0, name_scene, ask_cell),
}
"""To be learnt first: what is where. Nothing shows or tells the answer."""

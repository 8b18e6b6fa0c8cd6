"""The toy world: answers by an oracle that reads the text, bits by counting, one result by arrays and by processor."""

import math
import re
from collections import Counter
from functools import cache
from itertools import pairwise, permutations
from pathlib import Path
from random import Random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from pid import llava, toyworld
from pid.llava import TokenType
from pid.toyworld import EXPECTED, GROUNDING, NAMING, TASKS, VOCABULARY, WORLD, LeakRates
from pid.toyworld.scenes import LOOKS, STAMPS, is_test
from pid.toyworld.toy_encoding import IMAGE_TOKENS
from pid.toyworld.vocabulary import CELLS, COLORS, NEVER

GOLDEN = Path(__file__).parent.parent / "golden"
EVERYTHING = {**dict.fromkeys(TASKS, LeakRates(language=0.5, vision=0.5)), **NAMING}


@cache
def drawn(count=1000, seed=0, split="train"):
    return tuple(toyworld.generate(count, seed=seed, split=split, world=EVERYTHING))


@cache
def drawn_of(task, language, vision, count=2000):
    return tuple(toyworld.generate(count, seed=1, world={task: LeakRates(language=language, vision=vision)}))


# The oracle: the question as text, the scene as a list of things


def position(thing):
    """(row, column)."""
    return int(CELLS[thing.cell][1]), "abcd".index(CELLS[thing.cell][0])


def is_so(scene, shape, relation, other):
    (one,), (two,) = ([thing for thing in scene if thing.shape == name] for name in (shape, other))
    (row, column), (other_row, other_column) = position(one), position(two)
    holds = {
        "left": column < other_column,
        "right": column > other_column,
        "above": row < other_row,
        "below": row > other_row,
        "inside": False,
    }
    return holds[relation]


def is_shared(scene, shape, what, other):
    (one,), (two,) = ([thing for thing in scene if thing.shape == name] for name in (shape, other))
    same = {"color": one.color == two.color, "row": position(one)[0] == position(two)[0], "age": False}
    return same[what]


def is_there(scene, phrase):
    return (
        bool(scene) if phrase == "thing" else any(f"{thing.color} {thing.shape}" == phrase for thing in scene)
    )


def one_that(holds, options):
    """The one option that holds; that it is exactly one is part of the claim."""
    (found,) = [option for option in options if holds(option)]
    return found


def side(thing):
    return "left" if position(thing)[1] < 2 else "right"


def oracle(question, scene):
    def match(pattern):
        found = re.fullmatch(pattern.replace("_", r"(\w+)"), question)
        return found.groups() if found else None

    if found := match("is there a (.*) or a (.*)"):
        return "yes" if any(is_there(scene, phrase) for phrase in found) else "no"
    if found := match("is the _ _ or _ of the _"):
        shape, first, second, other = found
        return one_that(lambda relation: is_so(scene, shape, relation, other), (first, second))
    if found := match("is the _ _ or _"):
        (color,) = {thing.color for thing in scene if thing.shape == found[0]}
        return one_that(lambda option: option == color, found[1:])
    if found := match("is _ a _ or a _"):
        (shape,) = [thing.shape for thing in scene if CELLS[thing.cell] == found[0]]
        return one_that(lambda option: option == shape, found[1:])
    if found := match("do the _ and the _ share _ or _"):
        one, two, *options = found
        return one_that(lambda what: is_shared(scene, one, what, two), options)
    if found := match("which side is the(?: left| right)? _ on"):
        (where,) = {side(thing) for thing in scene if thing.shape == found[0]}
        return where
    if found := match("what shape is at _"):
        return next(thing.shape for thing in scene if CELLS[thing.cell] == found[0])
    if found := match("what color is the _"):
        return next(thing.color for thing in scene if thing.shape == found[0])
    found = match("where is the _")
    assert found, question
    return next(CELLS[thing.cell] for thing in scene if thing.shape == found[0])


def every_answer(task, scene):
    """The answers to all questions of a task about a scene."""
    pairs = list(permutations(scene, 2))
    if len(scene) == 2:
        pairs = [pair for pair in pairs if pair[0].shape < pair[1].shape]
    shapes = [(one.shape, two.shape) for one, two in pairs]
    looks = [f"{color} {shape}" for color in COLORS for shape in ("ball", "box", "cross", "ring")]
    if task == "ChooseAttr":
        return {thing.color for thing in scene}
    if task == "ChooseCat":
        return {thing.shape for thing in scene}
    if task == "ChooseRel":
        return {
            r for one, two in shapes for r in ("left", "right", "above", "below") if is_so(scene, one, r, two)
        }
    if task == "CompareAttr":
        both = [
            [what for what in ("color", "row") if is_shared(scene, one, what, two)] for one, two in shapes
        ]
        return {found[0] for found in both if len(found) == 1}
    if task == "LogicalObj":
        there = {look: is_there(scene, look) for look in looks}
        asked = [(x, y) for x, y in permutations(looks, 2) if x.split()[1] != y.split()[1]]
        return {"yes" if there[x] or there[y] else "no" for x, y in asked}
    return {side(thing) for thing in scene}


# Scenes and questions


def test_every_answer_is_that_of_an_oracle_that_reads_question_and_scene():
    seen = Counter()
    for example in drawn():
        assert oracle(example.question, example.scene) == example.answer, example
        seen[example.task, example.told, example.shown] += 1
    assert set(seen) == {
        (task, told, shown) for task in TASKS for told in (True, False) for shown in (True, False)
    } | {(task, False, False) for task in GROUNDING}


def test_things_have_cells_of_their_own():
    for example in drawn():
        cells = [thing.cell for thing in example.scene]
        assert all(one < two for one, two in pairwise(cells))
        assert 0 <= cells[0] <= cells[-1] < 16


def test_same_seed_gives_the_same_stream_and_a_smaller_count_its_beginning():
    assert drawn(40) == tuple(toyworld.generate(40, seed=0, world=EVERYTHING)) == drawn()[:40]
    other = toyworld.generate(40, seed=1, world=EVERYTHING)
    assert len({example.scene for example in (*drawn(40), *other)}) > 70
    first = [(example.question, example.answer) for example in toyworld.generate(3, seed=0)]
    assert first == [
        ("is the ring above or below of the cross", "below"),
        ("is a2 a box or a ring", "ring"),
        ("is the box above or below of the cross", "below"),
    ]


def test_either_option_stands_first_as_often_whichever_is_true():
    first = [e.question.index(e.answer) < e.question.index(" or ") for e in drawn() if e.task.startswith("C")]
    assert len(first) > 300
    assert abs(np.mean(first) - 0.5) < 0.09


def test_no_scene_is_both_trained_on_and_tested():
    train, test = ({example.scene for example in drawn(200, split=split)} for split in ("train", "test"))
    assert all(is_test(scene) for scene in test)
    assert not any(is_test(scene) for scene in train)
    scenes = [TASKS["QueryAttr"].scene(Random(seed), "left", shown=False) for seed in range(500)]
    assert 30 < sum(map(is_test, scenes)) < 70  # one in ten


# Bits


def entropy(counts):
    total = sum(counts)
    return sum(n / total * math.log2(total / n) for n in counts if n)


def counted_information(pairs):
    """I(X; Y) in bits by counting, less the bias of counting [Miller 1955]."""
    joint = Counter(pairs)
    x, y = Counter(x for x, _ in pairs), Counter(y for _, y in pairs)
    plain = entropy(x.values()) + entropy(y.values()) - entropy(joint.values())
    return plain - (len(joint) - len(x) - len(y) + 1) / (2 * len(pairs) * math.log(2))


@pytest.mark.parametrize("dials", [(0.0, 0.0), (0.5, 0.25), (1.0, 1.0)], ids=str)
@pytest.mark.parametrize("task", TASKS)
def test_bits_are_those_of_the_closed_form(task, dials):
    """Of the question by counting, of the scene by the answers it allows: they are equally likely.

    Questions are counted as the same if they have the same words or tell the same answer, for few of each are drawn;
    the order of options and the words that tell have tests of their own.
    """
    language, vision = dials
    known = toyworld.truth(task, LeakRates(language=language, vision=vision))
    examples = drawn_of(task, language, vision, 200 if language == 1 else 1200)
    heard = [f"told {e.answer}" if e.told else " ".join(sorted(e.question.split())) for e in examples]
    told = counted_information(list(zip(heard, (example.answer for example in examples), strict=True)))
    left = [math.log2(len(every_answer(task, example.scene))) for example in examples[:200]]
    assert abs(entropy(Counter(example.answer for example in examples).values()) - known.answer) < 0.03
    assert abs(told - known.language) < 0.05
    assert abs(known.answer - np.mean(left) - known.vision) < 0.1 * known.answer
    if vision in (0.0, 1.0):
        assert set(left) == {(1 - vision) * known.answer}


@pytest.mark.parametrize("task", TASKS)
def test_scene_that_does_not_show_the_answer_is_drawn_without_a_look_at_it(task):
    for seed in range(20):
        scenes = {TASKS[task].scene(Random(seed), answer, shown=False) for answer in TASKS[task].answers}
        assert len(scenes) == 1
        assert every_answer(task, scenes.pop()) == set(TASKS[task].answers)


def test_scene_that_shows_the_answer_shows_no_other():
    for example in drawn():
        if example.task in TASKS:
            answers = every_answer(example.task, example.scene)
            assert answers == ({example.answer} if example.shown else set(TASKS[example.task].answers))


def test_question_that_tells_the_answer_is_known_by_its_words_and_has_one_answer():
    answers: dict[str, set[str]] = {}
    for example in drawn():
        words = example.question.split()
        gives_away = {*NEVER.values(), "thing"} & set(words) or re.search(
            "the (left|right)", example.question
        )
        assert bool(gives_away) == example.told
        answers.setdefault(example.question, set()).add(example.answer)
        if example.told:
            assert len(answers[example.question]) == 1


def test_coins_do_not_depend_on_the_answer_or_on_each_other():
    examples = drawn_of("QueryAttr", 0.25, 0.5, 2000)
    counts = Counter((example.answer, example.told, example.shown) for example in examples)
    for answer in ("left", "right"):
        for told in (True, False):
            for shown in (True, False):
                share = counts[answer, told, shown] / len(examples)
                assert abs(share - 0.5 * (0.25 if told else 0.75) * 0.5) < 0.025


@pytest.mark.parametrize("corner", EXPECTED)
@pytest.mark.parametrize("task", [task for task in TASKS if TASKS[task].options == 0])
def test_corner_puts_all_bits_into_the_expected_atom(task, corner):
    """Each source tells all or nothing here, so every nonnegative decomposition agrees with this one."""
    expected = EXPECTED[corner]
    known = toyworld.truth(task, expected.dials)
    redundancy = min(known.vision, known.language)
    atoms = {
        "redundancy": redundancy,
        "unique_x": known.vision - redundancy,
        "unique_y": known.language - redundancy,
        "synergy": known.answer - max(known.vision, known.language),
    }
    assert atoms == {atom: known.answer * (atom == expected.atom) for atom in atoms}
    assert known.unique_gap == atoms["unique_x"] - atoms["unique_y"]
    assert known.redundancy_gap == atoms["redundancy"] - atoms["synergy"]
    assert expected.knockout == (
        None if corner == "image suffices" else "falls" if known.at_stake else "stays"
    )
    assert expected.reason


def test_the_world_runs_from_what_needs_the_image_to_what_words_tell():
    shares = {task: toyworld.truth(task, dials) for task, dials in WORLD.items()}
    assert set(WORLD) == set(TASKS)
    assert shares["QueryAttr"].language == 0
    assert shares["ChooseRel"].vision == 0
    assert shares["LogicalObj"].at_stake == 0.25
    assert shares["QueryAttr"].unique_gap > 0 > shares["LogicalObj"].unique_gap


# Pictures and arrays


def test_picture_has_each_thing_in_its_cell():
    scene = (toyworld.Thing(1, "box", "red"), toyworld.Thing(11, "cross", "grey"))
    (picture,) = toyworld.render([scene])
    assert picture.shape == (32, 32, 3)
    box, cross = picture[0:8, 8:16], picture[16:24, 24:32]  # b1 and d3
    assert (box[1:7, 1:7] == (220, 40, 40)).all()
    assert (cross[3:5] == 128).all()
    assert (cross[:, 3:5] == 128).all()
    assert box[0].max() == cross[0, 0].max() == 0
    assert (picture > 0).any(-1).sum() == 36 + 28
    assert [CELLS[thing.cell] for thing in scene] == ["b1", "d3"]


def test_every_look_is_another_picture():
    assert len({stamp.tobytes() for stamp in STAMPS}) == len(LOOKS) + 1 == 21


@cache
def processor():
    return toyworld.processor()


def test_arrays_are_what_the_real_processor_makes():
    examples = drawn()[:60]
    fast = toyworld.arrays(examples)
    rows = list(llava.encode_prompts(processor(), toyworld.samples(examples)))
    slow = llava.pad(rows, pad_token=processor().pad_token, length=toyworld.LENGTH)
    np.testing.assert_array_equal(fast.ids, slow.ids)
    np.testing.assert_array_equal(fast.types, slow.token_types)
    assert slow.pixels is not None
    np.testing.assert_allclose(fast.pixels, slow.pixels, atol=1e-6)
    spoken = processor().tokenizer.convert_ids_to_tokens(fast.answers)
    assert spoken == [example.answer for example in examples]


def test_no_token_stands_between_image_and_question_and_none_but_the_last_behind():
    fast = toyworld.arrays(drawn())
    assert (fast.types[:, :IMAGE_TOKENS] == TokenType.IMAGE).all()
    assert (fast.types[:, IMAGE_TOKENS] == TokenType.QUESTION).all()
    assert not (fast.types == TokenType.TEXT).any()
    assert (np.diff((fast.types == TokenType.QUESTION).astype(int), axis=1) == -1).sum() == len(fast.types)
    assert ((fast.types == TokenType.LAST) == (fast.ids == VOCABULARY["?"])).all()
    assert ((fast.types == TokenType.LAST).sum(1) == 1).all()


def test_knockout_makes_the_question_blind_as_it_stands_and_not_behind_another_token():
    """Two pictures, the prompt of the toy world and one whose first word is TEXT, in a model with random weights.

    The shapes are those of the golden batch, whose program test_llava.py compiles as well.
    """
    model = llava.load(GOLDEN / "llava_15_llama", dtype=jnp.float32)
    types = np.pad(toyworld.arrays(drawn()[:1]).types[0], (0, 29 - toyworld.LENGTH))
    ids = np.where(types == TokenType.IMAGE, 39, np.arange(29))
    pictures = np.random.default_rng(0).standard_normal((2, 3, 28, 28), np.float32)

    def moved(types):
        """How far the picture moves the tokens of each type, at most."""
        with jax.default_matmul_precision("highest"):
            output = llava.forward(
                model,
                np.stack([ids] * 2),
                pictures,
                token_types=np.stack([types] * 2),
                knockouts=(llava.Knockout("all"),),
            )
        states = np.asarray(output.residual)
        far = np.abs(states[:, 0] - states[:, 1]).max(axis=(0, 2))
        return [far[types == kind].max() for kind in (TokenType.IMAGE, TokenType.QUESTION, TokenType.LAST)]

    image, question, last = moved(types)
    assert question == 0.0 < min(image, last)
    image, question, last = moved(np.where(np.arange(29) == IMAGE_TOKENS, TokenType.TEXT, types))
    assert min(image, question, last) > 0.01


def test_prompts_are_short_and_the_longest_fills_the_arrays():
    fast = toyworld.arrays(drawn())
    assert (fast.types > TokenType.PAD).sum(1).max() == toyworld.LENGTH == 27
    assert len(VOCABULARY) == max(VOCABULARY.values()) + 1 == 57
    assert (fast.ids != VOCABULARY["<unk>"]).all()


def test_processor_comes_back_from_a_folder_and_pictures_from_files(tmp_path):
    toyworld.hugging_face_processor().save_pretrained(tmp_path)
    read = llava.read_processor(tmp_path, style=toyworld.STYLE, suffix="none")
    assert llava.fingerprint(read) == llava.fingerprint(processor())
    sample = toyworld.samples(drawn()[:1])[0]
    file = tmp_path / "scene.png"
    Image.fromarray(np.asarray(sample.image)).save(file)
    made, again = (
        llava.encode_prompt(by, s) for by, s in ((processor(), sample), (read, sample._replace(image=file)))
    )
    np.testing.assert_array_equal(made.ids, again.ids)
    assert made.pixels is not None
    assert again.pixels is not None
    np.testing.assert_array_equal(made.pixels, again.pixels)


# Refusals


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LeakRates(language=1.5), "a dial is a share from 0 to 1, got language=1.5, vision=0.0"),
        (lambda: LeakRates(vision=-0.1), "got language=0.0, vision=-0.1"),
        (lambda: toyworld.generate(1, seed=0, split="val"), "a split is 'train' or 'test', got 'val'"),
        (lambda: toyworld.generate(1, seed=0, world={}), "a world has tasks among ChooseAttr, .* got none"),
        (lambda: toyworld.generate(1, seed=0, world={"Choose": LeakRates()}), "got Choose"),
        (
            lambda: toyworld.generate(1, seed=0, world={"NameCell": LeakRates(vision=1.0)}),
            "what NameCell asks for",
        ),
        (lambda: toyworld.truth("NameCell", LeakRates()), "bits are known for ChooseAttr, .* got 'NameCell'"),
    ],
)
def test_world_that_makes_no_sense_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()

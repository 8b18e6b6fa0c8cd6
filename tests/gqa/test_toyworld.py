"""Toy world: answers by an oracle that reads the text, bits by counting, errors."""

import math
import re
from collections import Counter
from itertools import pairwise, permutations
from random import Random
from typing import Any

import numpy as np
import pytest

from pid import toyworld
from pid.toyworld import EXPECTED, GROUNDING, TASKS, WORLD, LeakRates
from pid.toyworld.scenes import is_test
from pid.toyworld.vocabulary import ABSENT, CELLS, COLORS
from tests.gqa.toy_examples import EVERYTHING, examples_of, examples_of_task

# The oracle: the question as text, the scene as a list of things


def position(thing):
    """Return (row, column)."""
    return int(CELLS[thing.cell][1]), "abcd".index(CELLS[thing.cell][0])


def relation_holds(scene, shape, relation, other):
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


def only_option(holds, options):
    """Return the only option that holds; the unpacking fails unless there is exactly one."""
    (matches,) = [option for option in options if holds(option)]
    return matches


def side(thing):
    return "left" if position(thing)[1] < 2 else "right"


def oracle(question, scene):
    def match(pattern):
        matches = re.fullmatch(pattern.replace("_", r"(\w+)"), question)
        return matches.groups() if matches else None

    if matches := match("is there a (.*) or a (.*)"):
        return "yes" if any(is_there(scene, phrase) for phrase in matches) else "no"
    if matches := match("is the _ _ or _ of the _"):
        shape, first, second, other = matches
        return only_option(lambda relation: relation_holds(scene, shape, relation, other), (first, second))
    if matches := match("is the _ _ or _"):
        (color,) = {thing.color for thing in scene if thing.shape == matches[0]}
        return only_option(lambda option: option == color, matches[1:])
    if matches := match("is _ a _ or a _"):
        (shape,) = [thing.shape for thing in scene if CELLS[thing.cell] == matches[0]]
        return only_option(lambda option: option == shape, matches[1:])
    if matches := match("do the _ and the _ share _ or _"):
        one, two, *options = matches
        return only_option(lambda what: is_shared(scene, one, what, two), options)
    if matches := match("which side is the(?: left| right)? _ on"):
        (where,) = {side(thing) for thing in scene if thing.shape == matches[0]}
        return where
    if matches := match("what shape is at _"):
        return next(thing.shape for thing in scene if CELLS[thing.cell] == matches[0])
    if matches := match("what color is the _"):
        return next(thing.color for thing in scene if thing.shape == matches[0])
    matches = match("where is the _")
    assert matches, question
    return next(CELLS[thing.cell] for thing in scene if thing.shape == matches[0])


def every_answer(task, scene):
    """Return the answers to all questions of a task about a scene."""
    pairs = list(permutations(scene, 2))
    if len(scene) == 2:
        pairs = [pair for pair in pairs if pair[0].shape < pair[1].shape]
    shapes = [(one.shape, two.shape) for one, two in pairs]
    phrases = [f"{color} {shape}" for color in COLORS for shape in ("ball", "box", "cross", "ring")]
    if task == "ChooseAttr":
        return {thing.color for thing in scene}
    if task == "ChooseCat":
        return {thing.shape for thing in scene}
    if task == "ChooseRel":
        return {
            r
            for one, two in shapes
            for r in ("left", "right", "above", "below")
            if relation_holds(scene, one, r, two)
        }
    if task == "CompareAttr":
        shared = [
            [what for what in ("color", "row") if is_shared(scene, one, what, two)] for one, two in shapes
        ]
        return {names[0] for names in shared if len(names) == 1}
    if task == "LogicalObj":
        present = {phrase: is_there(scene, phrase) for phrase in phrases}
        pairs_of_phrases = [(x, y) for x, y in permutations(phrases, 2) if x.split()[1] != y.split()[1]]
        return {"yes" if present[x] or present[y] else "no" for x, y in pairs_of_phrases}
    return {side(thing) for thing in scene}


# Scenes and questions


def test_every_answer_is_that_of_an_oracle_that_reads_question_and_scene():
    counts = Counter()
    for example in examples_of():
        assert oracle(example.question, example.scene) == example.answer, example
        counts[example.task, example.answer_in_question, example.answer_in_image] += 1
    assert set(counts) == {
        (task, in_question, in_image)
        for task in TASKS
        for in_question in (True, False)
        for in_image in (True, False)
    } | {(task, False, False) for task in GROUNDING}


def test_things_have_cells_of_their_own():
    for example in examples_of():
        cells = [thing.cell for thing in example.scene]
        assert all(one < two for one, two in pairwise(cells))
        assert 0 <= cells[0] <= cells[-1] < 16


def test_same_seed_gives_the_same_stream_and_a_smaller_count_its_beginning():
    assert examples_of(40) == tuple(toyworld.generate(40, seed=0, world=EVERYTHING)) == examples_of()[:40]
    other = toyworld.generate(40, seed=1, world=EVERYTHING)
    assert len({example.scene for example in (*examples_of(40), *other)}) > 70
    first = [(example.question, example.answer) for example in toyworld.generate(3, seed=0)]
    assert first == [
        ("is the ring above or below of the cross", "below"),
        ("is a2 a box or a ring", "ring"),
        ("is the box above or below of the cross", "below"),
    ]


def test_either_option_stands_first_as_often_whichever_is_true():
    first = [
        e.question.index(e.answer) < e.question.index(" or ") for e in examples_of() if e.task.startswith("C")
    ]
    assert len(first) > 300
    assert abs(np.mean(first) - 0.5) < 0.09


def test_no_scene_is_both_trained_on_and_tested():
    train, test = (
        {example.scene for example in examples_of(200, split=split)} for split in ("train", "test")
    )
    assert all(is_test(scene) for scene in test)
    assert not any(is_test(scene) for scene in train)
    scenes = [TASKS["QueryAttr"].scene(Random(seed), "left", answer_in_image=False) for seed in range(500)]
    assert 30 < sum(map(is_test, scenes)) < 70  # one in ten


# Bits


def entropy(counts):
    total = sum(counts)
    return sum(n / total * math.log2(total / n) for n in counts if n)


def counted_information(pairs):
    """Estimate I(X; Y) in bits by counting, less the bias of counting [Miller 1955]."""
    joint = Counter(pairs)
    x, y = Counter(x for x, _ in pairs), Counter(y for _, y in pairs)
    plain = entropy(x.values()) + entropy(y.values()) - entropy(joint.values())
    return plain - (len(joint) - len(x) - len(y) + 1) / (2 * len(pairs) * math.log(2))


@pytest.mark.parametrize("leak_rates", [(0.0, 0.0), (0.5, 0.25), (1.0, 1.0)], ids=str)
@pytest.mark.parametrize("task", TASKS)
def test_bits_are_those_of_the_closed_form(task, leak_rates):
    """Bits of the question are counted; bits of the scene follow from the answers that it allows equally.

    Questions count as equal if they have the same words or reveal the same answer, because few of each are drawn. The
    order of options and the revealing words have tests of their own.
    """
    language, vision = leak_rates
    known = toyworld.truth(task, LeakRates(language=language, vision=vision))
    examples = examples_of_task(task, language, vision, 200 if language == 1 else 1200)
    readings = [
        f"reveals {e.answer}" if e.answer_in_question else " ".join(sorted(e.question.split()))
        for e in examples
    ]
    information = counted_information(
        list(zip(readings, (example.answer for example in examples), strict=True))
    )
    remaining_bits = [math.log2(len(every_answer(task, example.scene))) for example in examples[:200]]
    assert abs(entropy(Counter(example.answer for example in examples).values()) - known.answer) < 0.03
    assert abs(information - known.language) < 0.05
    assert abs(known.answer - np.mean(remaining_bits) - known.vision) < 0.1 * known.answer
    if vision in (0.0, 1.0):
        assert set(remaining_bits) == {(1 - vision) * known.answer}


@pytest.mark.parametrize("task", TASKS)
def test_scene_that_does_not_show_the_answer_is_drawn_without_a_look_at_it(task):
    for seed in range(20):
        scenes = {
            TASKS[task].scene(Random(seed), answer, answer_in_image=False) for answer in TASKS[task].answers
        }
        assert len(scenes) == 1
        assert every_answer(task, scenes.pop()) == set(TASKS[task].answers)


def test_scene_that_shows_the_answer_shows_no_other():
    for example in examples_of():
        if example.task in TASKS:
            answers = every_answer(example.task, example.scene)
            assert answers == (
                {example.answer} if example.answer_in_image else set(TASKS[example.task].answers)
            )


def test_question_that_tells_the_answer_is_known_by_its_words_and_has_one_answer():
    answers: dict[str, set[str]] = {}
    for example in examples_of():
        words = example.question.split()
        gives_away = {*ABSENT.values(), "thing"} & set(words) or re.search(
            "the (left|right)", example.question
        )
        assert bool(gives_away) == example.answer_in_question
        answers.setdefault(example.question, set()).add(example.answer)
        if example.answer_in_question:
            assert len(answers[example.question]) == 1


def test_coins_do_not_depend_on_the_answer_or_on_each_other():
    examples = examples_of_task("QueryAttr", 0.25, 0.5, 2000)
    counts = Counter(
        (example.answer, example.answer_in_question, example.answer_in_image) for example in examples
    )
    for answer in ("left", "right"):
        for in_question in (True, False):
            for in_image in (True, False):
                share = counts[answer, in_question, in_image] / len(examples)
                assert abs(share - 0.5 * (0.25 if in_question else 0.75) * 0.5) < 0.025


@pytest.mark.parametrize("corner", EXPECTED)
@pytest.mark.parametrize("task", [task for task in TASKS if TASKS[task].options == 0])
def test_corner_puts_all_bits_into_the_expected_atom(task, corner):
    """Each source has all or none of the information here, so every nonnegative decomposition agrees with this one."""
    expected = EXPECTED[corner]
    known = toyworld.truth(task, expected.leak_rates)
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
    shares = {task: toyworld.truth(task, leak_rates) for task, leak_rates in WORLD.items()}
    assert set(WORLD) == set(TASKS)
    assert shares["QueryAttr"].language == 0
    assert shares["ChooseRel"].vision == 0
    assert shares["LogicalObj"].at_stake == 0.25
    assert shares["QueryAttr"].unique_gap > 0 > shares["LogicalObj"].unique_gap


# Refusals


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LeakRates(language=1.5), "a leak rate is a share from 0 to 1, got language=1.5, vision=0.0"),
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


def test_former_names_work_and_warn():
    example = examples_of(1)[0]
    for holder, former, name in (
        (toyworld, "Dials", "LeakRates"),
        (toyworld, "normali" + "se", "normalize"),
        (example, "told", "answer_in_question"),
        (example, "shown", "answer_in_image"),
        (EXPECTED["both needed"], "dials", "leak_rates"),
    ):
        with pytest.warns(DeprecationWarning, match=f"{former} is now called .*{name}"):
            assert getattr(holder, former) is getattr(holder, name)
    with pytest.warns(DeprecationWarning, match="is now called leak_rates="):
        toyworld.truth("QueryAttr", dials=LeakRates())  # pyright: ignore[reportCallIssue]
    expected: Any = type(EXPECTED["both needed"])
    with pytest.warns(DeprecationWarning, match=r"Expected\(dials=...\) is now called leak_rates="):
        assert expected(dials=LeakRates(), atom="synergy", knockout=None, reason="").leak_rates == LeakRates()
    with pytest.raises(AttributeError, match="Example has no attribute 'heard'"):
        example.heard  # noqa: B018

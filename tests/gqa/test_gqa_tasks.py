"""GQA questions: tasks by type, options, draws by seed, entropy and warnings."""

import math
import random
from collections import Counter

import pytest

from pid import gqa
from pid.gqa.question import parse, program
from tests.helpers.folders import gqa_folder
from tests.helpers.folders.gqa_folder import copies_of, expected


def test_tasks_are_counted_by_their_types():
    counts = Counter(gqa.task_of(row) for row in expected())
    assert counts == dict.fromkeys(gqa.TASKS, 3) | {None: 6}


def test_the_tasks_share_no_question():
    keys = [(t.structural, t.semantic, detailed) for t in gqa.TASKS.values() for detailed in t.detailed]
    assert len(keys) == len(set(keys)) == 12


LAST_STEPS = [
    (("choose", "empty|full"), "empty", ("empty", "full")),
    (("choose color", "red|short sleeved"), "short sleeved", ("short sleeved", "red")),
    (("choose rel", "cup,to the left of|to the right of,s (1)"), "right", ("right", "left")),
    (("choose rel", "cup,behind|in front of,s (1)"), "front", ("front", "behind")),
    (("choose rel", "man,holding|wearing,o (1)"), "holding", ("holding", "wearing")),
    (("choose", "a|b|c"), "a", ("", "")),
    (("choose", "a|b"), "c", ("", "")),
    (("choose", "a|a"), "a", ("", "")),
    (("choose", "a"), "a", ("", "")),
    (("query", "a|b"), "a", ("", "")),
]


@pytest.mark.parametrize(
    ("step", "answer", "options"),
    LAST_STEPS,
    ids=[f"step{i}-{answer}-found{i}" for i, (_, answer, _) in enumerate(LAST_STEPS)],
)
def test_options_come_from_the_last_step(step, answer, options):
    entry = gqa_folder.entry("ChooseAttr", 0, "1")
    entry["semantic"][-1] |= dict(zip(("operation", "argument"), step, strict=True))
    row = parse("1", entry | {"answer": answer})
    assert (row.true_option, row.false_option) == options


def test_the_program_is_written_as_gqa_writes_it():
    entry = gqa_folder.entry("ChooseRel", 7, "1")
    assert parse("1", entry).operations == entry["semanticStr"]
    steps = [{"operation": name, "dependencies": [], "argument": "a (1)"} for name in ("select", "select")]
    steps.append({"operation": "or", "dependencies": [0, 1], "argument": ""})
    assert program(steps) == "select: a (1)->select: a (1)->or:  [0, 1]"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ([], "an object, got list in question 01"),
        ({"answer": 3}, "got TypeError('3 for a text')"),
        ({"semantic": [{}]}, "got KeyError"),
        ({"types": None}, "got TypeError"),
        ({"annotations": []}, "got AttributeError"),
    ],
)
def test_a_question_of_another_shape_is_refused_with_its_id(entry, words):
    if isinstance(entry, dict):
        entry = gqa_folder.entry("QueryAttr", 0, "1") | entry
    with pytest.raises(ValueError, match="in question 01") as error:
        parse("01", entry)
    assert words in str(error.value)


def test_a_question_without_annotations_mentions_nothing():
    entry = gqa_folder.entry("QueryAttr", 0, "1")
    del entry["annotations"]
    assert parse("1", entry).mentions == ()


def ids(rows):
    return [row.question_id for row in rows]


def test_a_draw_depends_on_the_seed_and_not_on_order_or_company():
    rows = copies_of(50)
    sample = gqa.select(rows, "QueryAttr", limit=10, seed=0)
    shuffled = random.Random(1).sample([*rows, *expected()[:15]], 65)  # `expected` adds five other tasks
    assert ids(gqa.select(iter(shuffled), "QueryAttr", limit=10, seed=0)) == ids(sample)
    assert len(set(ids(sample))) == 10
    assert set(ids(gqa.select(rows, "QueryAttr", limit=10, seed=1))) != set(ids(sample))


def test_a_smaller_draw_is_the_beginning_of_a_larger_one_and_none_is_all():
    rows = copies_of(50)
    everything = ids(gqa.select(rows, "QueryAttr", limit=None, seed=3))
    assert sorted(everything) == ids(rows)
    assert everything != ids(rows)
    for limit in (1, 10, 50, 1000):
        assert ids(gqa.select(rows, "QueryAttr", limit=limit, seed=3)) == everything[:limit]


def test_the_draw_of_a_seed_never_changes():
    """The ids are fixed, because after another draw stored activations would belong to other questions."""
    assert ids(gqa.select(copies_of(10), "QueryAttr", limit=4, seed=0)) == ["005", "007", "008", "004"]


def test_every_row_is_drawn_equally_often():
    rows, draws = copies_of(20), 800
    counts = Counter(
        i for seed in range(draws) for i in ids(gqa.select(rows, "QueryAttr", limit=5, seed=seed))
    )
    spread = math.sqrt(draws * 0.25 * 0.75)
    assert max(abs(counts[row.question_id] - draws * 0.25) for row in rows) < 4 * spread


def test_only_what_the_model_answered_correctly_is_drawn():
    rows = copies_of(6)
    answers = dict(zip(ids(rows), ("left", " Left\n", "LEFT", "right", "left.", "the left"), strict=True))
    sample = gqa.select(rows, "QueryAttr", correct=answers, seed=0)
    assert sorted(ids(sample)) == ["000", "001", "002"]
    by_rule = gqa.select(
        rows, "QueryAttr", correct=lambda row: gqa.is_correct(answers[row.question_id], row), seed=0
    )
    assert by_rule == sample
    assert gqa.select(rows, "QueryAttr", correct=dict.fromkeys(answers, "no"), seed=0) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"task": "ChooseColour"}, "a task is one of ChooseAttr, ChooseCat, .*got 'ChooseColour'"),
        ({"limit": 0}, "at least one row, got limit=0; None takes all"),
        ({"correct": {"000": "left"}}, "got none to 001; ask the model"),
        ({"rows": copies_of(3) + copies_of(1)}, "drawn once, got 000 twice"),
    ],
)
def test_a_draw_that_cannot_be_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        gqa.select(**{"rows": copies_of(3), "task": "QueryAttr", "seed": 0, **arguments})


@pytest.mark.parametrize(
    ("answers", "bits"),
    [
        ([], 0),
        (["a"] * 5, 0),
        (["a", "b"] * 3, 1),
        (["a", "b", "c", "d"], 2),
        (["a"] * 2 + ["b", "c"], 1.5),
        (["color"] * 510 + ["material"] * 60, 0.4855),  # the published CompareAttr
        (
            ["right"] * 486 + ["left"] * 451 + ["front"] * 16 + ["behind"] * 11,
            1.1826,
        ),  # the published ChooseRel
    ],
)
def test_the_entropy_is_that_of_the_shares(answers, bits):
    assert gqa.entropy(answers) == pytest.approx(bits, abs=1e-4)


def test_a_skewed_task_is_told_with_its_bits():
    rows = copies_of(510, task="CompareAttr", answer="color") + copies_of(
        60, task="CompareAttr", answer="material"
    )
    bits, skew = gqa.answer_diagnostics(rows)
    assert bits.startswith("CompareAttr: 2 different answers in 570 rows, H(Y) = 0.49 bits")
    assert skew.startswith("CompareAttr: 89% of the answers are 'color'")


def test_a_type_that_determines_the_answer_is_told():
    yes_and_no = (
        copies_of(545, task="LogicalObj", answer="yes"),
        copies_of(446, task="LogicalObj", answer="no"),
    )
    split = yes_and_no[0] + [row._replace(detailed="existThatOrC") for row in yes_and_no[1]]
    bits, shortcut = gqa.answer_diagnostics(split)
    assert "H(Y) = 0.99 bits" in bits
    assert "(existThatOr is always 'yes', existThatOrC is always 'no')" in shortcut
    assert len(gqa.answer_diagnostics(yes_and_no[0] + yes_and_no[1])) == 1  # one type with both answers
    assert len(gqa.answer_diagnostics([*split, split[0]._replace(answer="no")])) == 1
    third = copies_of(2, task="ChooseAttr", answer="a", detailed="chooseAttr")
    mixed = [copies_of(2, task="ChooseAttr", answer=a, detailed="typeChoose") for a in "bc"]
    others = copies_of(2, task="ChooseAttr", answer="d", detailed="materialChoose")
    assert (
        len(gqa.answer_diagnostics([*third, *others, *mixed[0], *mixed[1]])) == 1
    )  # the answer to a typeChoose is open
    assert not [
        line for line in gqa.answer_diagnostics(third) if "determines" in line
    ]  # one answer has nothing to determine


def test_each_task_has_its_own_sentences_and_none_has_none():
    messages = gqa.answer_diagnostics(expected())
    assert [line.split(":")[0] for line in messages if "H(Y)" in line] == [*sorted(gqa.TASKS), "no task"]
    assert gqa.answer_diagnostics([]) == ()


def test_the_former_name_of_the_diagnostics_works_and_warns():
    with pytest.warns(DeprecationWarning, match="is now called pid.gqa.answer_diagnostics"):
        assert getattr(gqa, "doubts") is gqa.answer_diagnostics  # noqa: B009  a former name
    with pytest.raises(AttributeError, match="no attribute 'doubt'"):
        gqa.doubt  # noqa: B018  the access is the test

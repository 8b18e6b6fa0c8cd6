"""The public doors of `pid.gqa` and `pid.toyworld`: arguments of another kind are refused by rule and remedy."""

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest

from pid import gqa, toyworld

questions: Any = gqa
toys: Any = toyworld


def select(**arguments):
    row = questions.Question(*[""] * 13)._replace(
        question_id="0", structural="query", semantic="attr", detailed="positionQuery", answer="left"
    )
    return questions.select([row], **{"task": "QueryAttr", "seed": 0} | arguments)


def generate(**arguments):
    return toys.generate(**{"count": 1, "seed": 0} | arguments)


REFUSALS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "limit": (lambda: select(limit="4"), ValueError, "a whole number of rows, got limit='4'"),
    "float limit": (lambda: select(limit=2.5), ValueError, "a whole number of rows, got limit=2.5"),
    "true limit": (lambda: select(limit=True), ValueError, "a whole number of rows, got limit=True"),
    "draw": (lambda: select(seed=None), ValueError, "a seed is a whole number, got seed=None"),
    "correct": (lambda: select(correct="left"), TypeError, "or is a function, got str; pass a dict"),
    "bytes": (lambda: select(correct={"0": b"left"}), TypeError, "a text, got bytes to 0; decode it"),
    "no answer": (lambda: select(correct={"0": None}), TypeError, "a text, got NoneType to 0"),
    "tasks": (lambda: select(task=["QueryAttr"]), ValueError, r"a task is one of .* got \['QueryAttr'\]"),
    "samples": (lambda: questions.from_csv(3), TypeError, "a file of samples is a path, got int; pass the path"),
    "only tasks": (lambda: questions.GQAConfig(only_tasks="no"), ValueError, "only_tasks=.no."),
    "number of splits": (lambda: questions.GQAConfig(splits=3), ValueError, "a tuple of splits among .* splits=3"),
    "one split": (lambda: questions.GQAConfig(splits="val"), ValueError, "a tuple of splits among .* splits='val'"),
    "nested splits": (lambda: questions.GQAConfig(splits=(["val"],)), ValueError, "a tuple of splits among"),
    "name": (lambda: questions.GQA(config="nonsense"), ValueError, "or .*, got 'nonsense'; make a GQAConfig"),
    "no configuration": (lambda: questions.GQA(config=None), ValueError, "got None; make a GQAConfig"),
    "rate": (lambda: toys.LeakRates("1"), ValueError, "a share from 0 to 1, got language='1', vision=0.0"),
    "truth": (lambda: toys.truth("QueryAttr", 0.5), TypeError, "leak rates are LeakRates.* got 0.5; make them"),
    "count": (lambda: generate(count="3"), ValueError, "count is a whole number from 0, got '3'"),
    "negative count": (lambda: generate(count=-1), ValueError, "count is a whole number from 0, got -1"),
    "seed": (lambda: generate(seed=None), ValueError, "seed is a whole number, got None"),
    "world": (lambda: generate(world=["QueryAttr"]), ValueError, "a world has the LeakRates of each task, got"),
    "rates": (lambda: generate(world={"QueryAttr": 0.5}), ValueError, "the LeakRates of each task, got .*0.5"),
    "examples": (lambda: toys.arrays([1]), TypeError, "examples are of type Example, got int; draw them by generate"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_wrong_argument_is_refused_by_rule_and_remedy(case):
    call, kind, message = REFUSALS[case]
    with pytest.raises((kind, jaxtyping.TypeCheckError)) as refusal:
        call()
    if "Type-check error" not in str(refusal.value):  # by the annotations, which are checked in tests alone
        assert re.search(message, str(refusal.value), re.DOTALL)


def test_users_see_these_sentences_where_annotations_are_not_checked():
    tests = f"{__file__}::test_wrong_argument_is_refused_by_rule_and_remedy"
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", tests]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert f"{len(REFUSALS)} passed" in finished.stdout, finished.stdout[-3000:]

"""Knockouts, groups and collected states: one stands for a list of one, and what is none of them is refused."""

import re

import numpy as np
import pytest

from pid import llava
from pid.llava import Knockout, TokenType
from pid.llava.knockout import as_knockouts, check_type, to_layers
from pid.llava.model.choices import as_groups, check_collect
from tests.helpers.llava_golden import NAMES, WINDOW, run


def test_one_layer_one_knockout_and_one_group_stand_for_a_list_of_one():
    assert Knockout(2) == Knockout((2,)) == Knockout([2])
    assert to_layers(np.array([2, 0])) == (2, 0)
    assert to_layers(np.int64(2)) == to_layers(np.array(2)) == (2,)
    np.testing.assert_array_equal(
        llava.knockout_mask(Knockout(2), 4), llava.knockout_mask([Knockout((2,))], 4)
    )
    ours = run(NAMES[1], knockouts=Knockout(range(1, 3)), collect="pooled", groups=TokenType.IMAGE)
    theirs = run(NAMES[1], knockouts=WINDOW, collect="pooled", groups=(TokenType.IMAGE,))
    np.testing.assert_array_equal(ours.residual, theirs.residual)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: to_layers(1.5), "layers are numbers or 'all', got 1.5"),
        (lambda: to_layers((0, 2.0)), "layers are numbers or 'all', got (0, 2.0)"),
        (lambda: to_layers(None), "layers are numbers or 'all', got None"),
        (lambda: to_layers(np.True_), "layers are numbers or 'all', got np.True_"),
        (lambda: Knockout("5"), "layers are numbers or 'all', got '5'"),
        (lambda: Knockout(-1), "layers are counted from 0, got (-1,)"),
        (lambda: check_type("target", "LAST"), "the target of a knockout is a TokenType, got 'LAST'"),
        (lambda: check_type("source", 2.0), "the source of a knockout is a TokenType, got 2.0"),
        (lambda: as_knockouts([5]), "knockouts are a list of Knockout, got 5"),
        (lambda: as_knockouts(5), "knockouts are a list of Knockout, got 5"),
        (lambda: as_knockouts("all"), "knockouts are a list of Knockout, got 'a'"),
        (lambda: llava.knockout_mask(Knockout(3), 3), "the model has layers 0 … 2, got [3]"),
        (lambda: check_collect("al"), "collect is one of 'all', 'pooled', 'logits', got 'al'"),
        (lambda: check_collect(None), "collect is one of 'all', 'pooled', 'logits', got None"),
        (lambda: as_groups(()), "groups are different types above PAD=0, got ()"),
        (lambda: as_groups((TokenType.PAD,)), "groups are different types above PAD=0, got (0,)"),
        (lambda: as_groups(("IMAGE",)), "groups are different types above PAD=0, got ('IMAGE',)"),
        (lambda: as_groups((2.5,)), "groups are different types above PAD=0, got (2.5,)"),
    ],
)
def test_choice_of_other_things_is_refused(make, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        make()

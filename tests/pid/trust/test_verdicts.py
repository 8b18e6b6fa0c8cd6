"""Verdicts on situations whose estimate is known to be right or to mislead, and the table that counts them."""

from typing import Any

import numpy as np
import pytest

import pid
from experiments.pid_gaussian.studies import trust
from experiments.pid_gaussian.systems.situations import SITUATIONS

SEED = 7_000
"""Data sets of other seeds than those of the study."""
NAMES = list(SITUATIONS)


@pytest.fixture(scope="module")
def verdict():
    """Return the verdict on one data set of a situation, without intervals."""

    def of(name, seed=SEED):
        case = SITUATIONS[name].generate(np.random.default_rng((seed, NAMES.index(name))))
        choices: Any = {"ci": None, "null": None} | case.choices
        return pid.estimate(case.target, case.x, case.y, key=seed, **choices)

    return of


@pytest.mark.parametrize("name", [name for name in NAMES if not SITUATIONS[name].sound])
def test_no_unsound_estimate_is_called_sound(name, verdict):
    estimate = verdict(name)
    assert estimate.verdict != "sound"
    assert estimate.reasons


@pytest.mark.parametrize("name", [name for name in NAMES if SITUATIONS[name].sound])
def test_no_sound_estimate_is_refused(name, verdict):
    assert verdict(name).verdict != "not to be used"


def test_half_of_forty_situations_are_sound_and_the_rest_is_of_ten_kinds():
    kinds = [situation.kind for situation in SITUATIONS.values()]
    assert len(kinds) == 40
    assert kinds.count("sound") == 20
    assert len(set(kinds)) == 11


def test_shares_of_errors_and_coverage_by_hand():
    def row(situation, kind, verdicts, inside=()):
        reasons = [[] if verdict == "sound" else ["drift"] for verdict in verdicts]
        return {
            "situation": situation,
            "kind": kind,
            "verdicts": verdicts,
            "reasons": reasons,
            "inside": list(inside),
        }

    rows = [
        row("a", "sound", ["sound", "not to be used"], [[True, False], [True, True]]),
        row("a", "sound", ["sound", "doubtful"]),
        row("b", "sound", ["sound"]),
        row("c", "drift", ["sound", "doubtful", "not to be used", "doubtful"]),
    ]
    assert trust.error_shares(rows) == (0.25, 0.125)
    first, second, third = trust.count_verdicts(rows)
    assert first["shares"] == {"sound": 0.5, "doubtful": 0.25, "not to be used": 0.25}
    assert (first["count"], first["coverage"], first["reason"]) == (4, 0.75, "drift")
    assert (second["coverage"], second["reason"]) == (None, "")
    assert third["shares"]["sound"] == 0.25
    by_situation, errors = trust.report(rows)
    assert [cells[1] for cells in errors.rows] == ["25.0 %", "12.5 %", "75.0 %"]
    assert by_situation.rows[2] == ("c", "drift", "25.0 %", "50.0 %", "25.0 %", "drift", "-")

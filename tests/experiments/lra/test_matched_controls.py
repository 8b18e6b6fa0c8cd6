"""The diffusion layer against the controls in its place: differences, intervals, sign tests and sentences."""

import io
import math

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from experiments.lra.comparison.matched_controls import (
    conclude_tasks,
    is_layer,
    match_controls,
    show_matches,
    tabulate_tasks,
)
from experiments.run.report.tables import lay_out_table
from tests.experiments.lra.test_lra_report import trainings

VARIANTS = {
    "baseline": (),
    "after_embedding": ("after_embedding",),
    "after_ffn+attention_wave": ("after_ffn", "attention_wave"),
    "convolution": ("convolution",),
    "positions_only": ("positions_only",),
    "lru": ("lru",),
    "window_4": ("window_4",),
}
SHARES = {
    "baseline": (0.40, 0.40),
    "after_embedding": (0.50, 0.40),
    "after_ffn+attention_wave": (0.30, 0.40),
    "convolution": (0.40, 0.40),
    "positions_only": (0.50, 0.40),
    "lru": (0.90, 0.90),
    "window_4": (0.1, 0.1),
}


def matches_of(**shares):
    results, hits = trainings(SHARES | shares, seeds=(0, 1))
    return results, hits, {(m.variant, m.control): m for m in match_controls(results, VARIANTS, hits)}


def test_every_equation_meets_every_control_that_is_a_layer_in_its_place():
    *_, matches = matches_of()
    equations, controls = ("after_embedding", "after_ffn+attention_wave"), ("convolution", "positions_only")
    assert list(matches) == [(variant, control) for variant in equations for control in controls]
    assert [name for name in VARIANTS if is_layer(name)] == list(controls)


def test_the_difference_is_that_of_the_pair_and_not_from_the_baseline():
    *_, matches = matches_of()
    match = matches["after_embedding", "convolution"]
    # 40 of 400 examples are right in one model only, with both seeds alike
    assert match.last.value == pytest.approx(0.1)
    assert match.p_value == pytest.approx(stats.binomtest(40, 40).pvalue)
    assert match.last.sign == 1
    assert match.best.sign == 0
    assert match.verdict == (
        "a gain by the last weights, no difference beyond chance by the best on validation"
    )
    equal = matches["after_embedding", "positions_only"]
    assert (equal.last.value, equal.p_value) == (0, 1)
    assert matches["after_ffn+attention_wave", "convolution"].last.value == pytest.approx(-0.1)


def test_seeds_that_only_one_of_both_has_do_not_count():
    results, hits, _ = matches_of()
    results = [r for r in results if (r.variant, r.seed) != ("convolution", 1)]
    match = match_controls(results, VARIANTS, hits)[0]
    assert match.last.value == pytest.approx(0.1)
    one_seed = trainings(SHARES)
    assert match.last == match_controls(one_seed[0], VARIANTS, one_seed[1])[0].last


def test_without_hits_there_is_a_difference_but_no_interval():
    results, _, _ = matches_of()
    match = match_controls(results, VARIANTS, {})[0]
    assert match.last.value == pytest.approx(0.1)
    assert np.isnan([match.last.low, match.best.high, match.p_value]).all()
    assert match.verdict == "the difference has no interval by last, so nothing is claimed"


def test_a_task_prints_its_differences_and_verdicts():
    output = io.StringIO()
    show_matches(list(matches_of()[2].values()), Console(file=output, width=120))
    printed = output.getvalue()
    assert "Diffusion minus control, in points" in printed
    assert "after_embedding against convolution: a gain by the last weights" in printed
    assert "+10.0 [" in printed
    output.truncate(0)
    show_matches([], Console(file=output, width=120))
    assert not output.getvalue()


def test_a_suite_says_on_which_tasks_diffusion_beats_a_control():
    better = list(matches_of()[2].values())
    worse = list(matches_of(after_embedding=(0.3, 0.3))[2].values())
    by_task = {"ListOps": better, "MQAR": worse, "Image": better[1:]}
    table = tabulate_tasks(by_task)
    assert table is not None
    assert table.columns == ("pair", "ListOps", "MQAR", "Image")
    first = table.rows[0]
    assert first[0] == "after_embedding - convolution"
    assert first[1].startswith("+10.0 [")
    assert first[2].startswith("-10.0 [")
    assert first[3] == ""
    assert ", p = " in first[1]
    assert lay_out_table(table.columns, table.rows, None)
    sentences = conclude_tasks(by_task)
    assert sentences[0] == (
        "after_embedding against convolution, last weights: better on ListOps; worse on MQAR"
    )
    assert sentences[1] == (
        "after_embedding against positions_only, last weights: worse on MQAR; no difference beyond chance on ListOps, "
        "Image"
    )
    assert tabulate_tasks({}) is None
    assert conclude_tasks({}) == []
    assert math.isfinite(better[0].p_value)

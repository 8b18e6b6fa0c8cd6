"""Variants that the options of `experiments.placement` make, their names, families and sizes, and its presets."""

import dataclasses

import numpy as np
import pytest

from experiments import placement
from experiments.lra.controls import CONTROLS as LRA_CONTROLS
from experiments.placement.family_training import make_family
from experiments.placement.layer_kinds import CANON_PLACES, KINDS, weight_sum
from experiments.placement.member_results import count_parameters
from experiments.placement.switched_model import make_settings
from experiments.placement.variant_families import (
    BASE,
    Variant,
    families,
    make_variants,
    matched_control,
    places_of,
    single_scale,
)
from experiments.run import LoopIntervals
from experiments.run.training.member_loop import chunk_of
from experiments.run.training.member_programs import largest_divisor
from pdeformer.model import PLACEMENTS

QUICK = placement.PRESETS["quick"][1]


def test_every_layer_stands_at_every_place_with_every_smoothing():
    config = dataclasses.replace(
        QUICK,
        layers=("heat", "adaptive"),
        alphas=(0.25, 0.6),
        starts=(0.1, 0.3, 0.7),
        controls=("convolution",),
    )
    variants = config.variants("listops")
    assert variants[0] == BASE
    cells = [(v.kind, v.alpha) for v in variants if v.place == "before_ffn"]
    assert cells == [
        *(("heat", 0.25), ("heat", 0.6), ("adaptive", 0.1), ("adaptive", 0.3)),
        *(("convolution", 0.1), ("convolution", 0.3), ("convolution", 0.7)),  # beyond the bound only this one
    ]
    assert len(variants) == 1 + 7 * 7
    assert len({v.name for v in variants}) == len(variants)


def test_canon_stands_at_its_four_places_and_positions_only_is_the_first_layer():
    config = dataclasses.replace(QUICK, layers=("multiscale",), controls=("canon", "shift", "positions_only"))
    variants = config.variants("listops")
    assert tuple(v.place for v in variants if v.kind == "canon") == CANON_PLACES
    assert [v.place for v in variants if v.kind == "shift"] == list(PLACEMENTS)
    assert variants[-1] == Variant("multiscale", "positions_only", 0.1)
    assert KINDS["canon"].stencil == LRA_CONTROLS["canon"].stencil
    assert KINDS["convolution"].stencil == LRA_CONTROLS["convolution"].stencil


def test_a_narrow_task_has_the_first_layer_and_the_convolution():
    config = dataclasses.replace(QUICK, narrow=("listops",), controls=("convolution", "canon", "shift"))
    assert {v.kind for v in config.variants("listops")} == {"", "heat", "convolution"}
    assert len(config.variants("listops")) == 1 + 2 * 7


def test_a_task_that_reads_no_later_token_has_no_convolution():
    assert "convolution" in {v.kind for v in QUICK.variants("listops")}
    assert "convolution" not in {v.kind for v in dataclasses.replace(QUICK, tasks=("mqar",)).variants("mqar")}


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (BASE, "baseline"),
        (Variant("heat", "after_ffn", 0.25), "heat@after_ffn"),
        (Variant("heat", "after_ffn", 0.6), "heat-0.6@after_ffn"),
        (Variant("canon", "in_ffn", None), "canon@in_ffn"),
    ],
)
def test_a_name_has_the_smoothing_where_it_is_not_the_default(variant, name):
    assert variant.name == name


def test_families_have_one_kind_and_the_first_has_the_baseline():
    groups = families(QUICK.variants("listops"))
    assert list(groups) == ["heat", "adaptive", "multiscale", "convolution"]
    assert [len(group) for group in groups.values()] == [8, 7, 7, 7]
    assert groups["heat"][0] == BASE
    assert places_of(groups["multiscale"]) == PLACEMENTS
    assert families([BASE]) == {"heat": [BASE]}
    settings = make_settings([BASE, *groups["adaptive"]], PLACEMENTS)
    assert np.array_equal(settings.switches, np.eye(8, 7, -1, bool))
    assert not settings.alpha.any()


def test_the_matched_control_has_the_place_and_if_there_is_one_the_start():
    variants = make_variants(
        layers=("heat", "adaptive", "multiscale"),
        places=("after_ffn",),
        alphas={"heat": (0.25,), "adaptive": (0.1, 0.3), "multiscale": (0.3,), "convolution": (0.1, 0.3)},
        controls=("convolution",),
    )
    named = {v.name: v for v in variants}
    assert matched_control(named["adaptive-0.3@after_ffn"], variants) == named["convolution-0.3@after_ffn"]
    assert matched_control(named["heat@after_ffn"], variants) == named["convolution@after_ffn"]
    assert matched_control(BASE, variants) is None
    assert single_scale(named["multiscale-0.3@after_ffn"], variants) == named["adaptive-0.3@after_ffn"]
    assert single_scale(named["adaptive@after_ffn"], variants) is None


def test_controls_of_a_place_have_nearly_the_size_of_the_diffusion_layer():
    places = ("after_embedding", "before_norm", "before_attention", "before_ffn")
    config = dataclasses.replace(QUICK, places=places, controls=("convolution", "shift", "canon"))
    task = config.task_config("listops")
    family = make_family(task, config.variants("listops")[:2], (0,), 16, 10)
    sizes = {v: count_parameters(task, v, family.model) for v in config.variants("listops")}
    width, blocks = task.model.width, task.model.layers
    for variant, (size, own) in sizes.items():
        assert size - own == sizes[BASE][0]
        if variant.place not in ("", "in_attention", "in_ffn"):
            reference = sizes[Variant("adaptive", variant.place, 0.1)][0]
            assert size == pytest.approx(reference, rel=0.02)  # multiscale and canon have the most
    assert sizes[Variant("canon", "in_attention")][1] == blocks * 4 * 3 * width
    assert sizes[Variant("canon", "in_ffn")][1] == blocks * 4 * task.model.ffn
    assert sizes[Variant("convolution", "before_norm", 0.1)][1] == blocks * 3 * width  # both sites share it


def test_presets_fit_their_tasks():
    for _, config in placement.PRESETS.values():
        for task in config.tasks:
            own = config.task_config(task)
            assert own.cadence == config.cadence
            assert chunk_of(config.cadence, own.steps) >= 5
    study = placement.PRESETS["study"][1]
    assert len(study.seeds) == 3
    assert set(study.places) == set(PLACEMENTS)


def test_steps_and_batches_are_one_for_all_tasks_or_one_for_each():
    config = dataclasses.replace(QUICK, tasks=("listops", "image"), steps=(30, 20), batch=(4, 6))
    assert [(c.steps, c.batch) for c in map(config.task_config, config.tasks)] == [(30, 4), (20, 6)]
    config = dataclasses.replace(config, steps=(0,), batch=(0,))
    assert [(c.steps, c.batch) for c in map(config.task_config, config.tasks)] == [(400, 32), (60, 16)]


def test_small_numbers():
    assert [largest_divisor(12, n) for n in (1, 5, 7, 12, 99)] == [1, 4, 6, 12, 12]
    intervals = LoopIntervals(log_every=1, eval_every=100, checkpoint_every=50)
    assert [chunk_of(intervals, steps) for steps in (100, 250, 30, 7)] == [25, 25, 10, 1]
    np.testing.assert_allclose(
        weight_sum(np.array([[0.2, 0.6, 0.2], [0.1, 0.8, 0.1]])), [0.2, 0.1], atol=1e-7
    )

"""Controls of `python -m experiments.lra`: what each changes, their sizes, and their place in a run."""

import dataclasses
import functools

import jax
import pytest
from flax import nnx

from experiments import lra, run
from experiments.lra.benchmark_tasks import HEADS, TASKS
from experiments.lra.controls import CONTROLS
from experiments.lra.extension import extend
from experiments.lra.learned import example_hits, learned_stencils
from experiments.lra.presets import CONFIGURATIONS, CONTINUATION
from experiments.lra.requirements import check
from experiments.lra.suite import SuiteConfig
from pdeformer import sharding
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model import Classifier
from tests.experiments.lra.test_lra import TINY

QUICK = lra.PRESETS["quick"][1]
EVERY = dataclasses.replace(QUICK, controls=tuple(CONTROLS), windows=(0, 16))
SIZES = (16, 10)
CHANGES = {
    "convolution": {
        "placements": ("after_embedding",),
        "stencil": StencilConfig("adaptive", free=True),
    },
    "canon": {"placements": ("after_embedding",), "stencil": StencilConfig("canon")},
    "shift": {"placements": ("after_embedding",), "stencil": StencilConfig("shift")},
    "positions_only": {"placements": ("positions_only",)},
    "sinusoidal": {},
    "learned": {"positions": "learned"},
    "rotary": {"positions": "rotary"},
    "alibi": {"positions": "alibi"},
    "no_positions": {"positions": "none"},
    "performer": {"mixer": "performer"},
    "lru": {"mixer": "lru"},
    "window_0": {"mixer": "windowed", "window": 0},
    "window_16": {"mixer": "windowed", "window": 16},
}


@functools.cache
def parameters(config, variant, model=Classifier):
    network = config.network(config.variants()[variant], *SIZES)
    shapes = nnx.eval_shape(lambda: nnx.state(model(network, nnx.Rngs(0)), nnx.Param))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_controls_follow_the_places_in_the_order_of_the_options():
    config = dataclasses.replace(QUICK, controls=("rotary", "canon"), windows=(16, 4))
    controls = ["rotary", "canon", "window_16", "window_4"]
    assert list(config.variants()) == ["baseline", "after_embedding", *controls]
    evolved = dataclasses.replace(config, attention=PDEAttentionConfig("wave"))
    assert list(evolved.variants()) == ["baseline", "after_embedding", "attention_wave", *controls]
    joint = dataclasses.replace(evolved, combine=True)
    assert list(joint.variants()) == ["baseline", "after_embedding+attention_wave", *controls]
    assert list(EVERY.variants()) == ["baseline", "after_embedding", *CHANGES]


@pytest.mark.parametrize("variant", CHANGES)
def test_a_control_changes_what_it_names_and_nothing_else(variant):
    evolved = dataclasses.replace(EVERY, attention=PDEAttentionConfig("diffusion"))
    baseline = evolved.network((), *SIZES)
    network = evolved.network(evolved.variants()[variant], *SIZES)
    assert network == dataclasses.replace(baseline, **CHANGES[variant])
    assert (baseline.placements, baseline.attention.kind) == ((), "none")


@pytest.mark.parametrize("variant", CHANGES)
def test_a_control_has_as_many_parameters_as_the_diffusion_layer_to_1_percent(variant):
    own, diffusion, plain = (parameters(EVERY, name) for name in (variant, "after_embedding", "baseline"))
    table = QUICK.model.max_len * QUICK.model.width if variant == "learned" else 0
    assert own - table == pytest.approx(diffusion, rel=0.01)
    layer = {"after_embedding": 2, "convolution": 3, "canon": 4, "shift": 1, "positions_only": 2}
    if variant != "lru":
        assert own - table - plain == layer.get(variant, 0) * QUICK.model.width


@pytest.mark.parametrize("head", ["matcher", "tokens"])
@pytest.mark.parametrize("variant", ["canon", "positions_only", "alibi", "performer", "lru", "window_16"])
def test_the_other_heads_take_the_controls_too(variant, head):
    plain, own = (parameters(EVERY, name, HEADS[head]) for name in ("after_embedding", variant))
    assert own == pytest.approx(plain, rel=0.01)
    assert head in {task.head for task in TASKS.values()}


def test_a_layer_stands_at_the_first_place_with_the_width_of_the_diffusion_layer():
    stencil = StencilConfig("adaptive", width=5)
    places = ("before_ffn", "after_embedding")
    config = dataclasses.replace(
        QUICK, placement=places, stencil=stencil, controls=("convolution", "canon", "positions_only")
    )
    networks = {name: config.network((name,), *SIZES) for name in config.controls}
    assert networks["convolution"].placements == networks["canon"].placements == ("before_ffn",)
    assert networks["convolution"].stencil == StencilConfig("adaptive", width=5, free=True)
    assert networks["positions_only"].stencil == stencil
    alone = dataclasses.replace(config, placement=("none",))
    assert alone.network(("canon",), *SIZES).placements == ("after_embedding",)
    heat = dataclasses.replace(config, stencil=StencilConfig())
    assert heat.network(("convolution",), *SIZES).stencil == StencilConfig("adaptive", free=True)


def test_controls_of_the_mixer_replace_its_options_and_the_positions_it_cannot_have():
    config = dataclasses.replace(
        CONFIGURATIONS["amos"]["pathx"], controls=("performer", "lru", "alibi"), windows=(8,)
    )
    models = {
        name: config.network((name,), *SIZES) for name in config.variants() if name not in ("baseline",)
    }
    windowed = config.network((), *SIZES)
    assert (windowed.mixer, windowed.window, windowed.positions) == ("windowed", 4096, "rotary")
    assert (models["performer"].window, models["performer"].positions) == (None, "rotary")
    assert (models["lru"].window, models["lru"].positions) == (None, "none")
    assert (models["alibi"].mixer, models["alibi"].window, models["alibi"].positions) == (
        *("windowed", 4096),
        "alibi",
    )
    assert (models["window_8"].window, models["window_8"].positions) == (8, "rotary")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"controls": ("canonn",)}, "got 'canonn'; did you mean 'canon'?"),
        ({"controls": ("zzz",)}, "--controls has values among .*, got 'zzz'; choose among them"),
        ({"controls": ("canon", "canon")}, "values of --controls are different, got canon canon; drop"),
        ({"windows": (4, 4)}, "values of --windows are different, got 4 4; drop"),
        ({"windows": (-1,)}, "windows must be at least 0"),
    ],
)
def test_controls_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        dataclasses.replace(QUICK, **changes)


def test_a_control_without_a_layer_needs_no_place_and_may_use_the_stencil():
    config = dataclasses.replace(QUICK, placement=("none",), controls=("rotary",))
    assert list(config.variants()) == ["baseline", "rotary"]
    assert "stencil" in config.idle_options()
    config = dataclasses.replace(config, controls=("positions_only",))
    assert "stencil" not in config.idle_options()
    assert "text" in config.idle_options()


@pytest.mark.parametrize(
    ("controls", "changes", "words"),
    [
        ((), {}, ""),
        (("rotary",), {}, ""),
        (("canon",), {}, ""),
        (("positions_only",), {}, "stencil.width: saved 3, now 5"),
        (("convolution",), {}, "stencil.width: saved 3, now 5"),
        (("canon",), {"placement": ("before_ffn",)}, r"placement: saved \['none'\], now \['before_ffn'\]"),
        (("rotary",), {"placement": ("before_ffn",)}, ""),
    ],
)
def test_a_later_layer_leaves_the_saved_controls_as_they_are(tmp_path, controls, changes, words):
    saved = dataclasses.replace(QUICK, placement=("none",), out=tmp_path, controls=controls)
    changes = {"placement": ("after_embedding",), "stencil": StencilConfig("adaptive", width=5)} | changes
    extended = extend(saved, dataclasses.replace(saved, **changes)).config
    run.open_run(tmp_path, saved, continuation=CONTINUATION).close()
    if words:
        with pytest.raises(ValueError, match=words):
            run.open_run(tmp_path, extended, resume=True, continuation=CONTINUATION)
        return
    run.open_run(tmp_path, extended, resume=True, continuation=CONTINUATION).close()
    for name in controls:
        now, before = (config.network((name,), *SIZES) for config in (extended, saved))
        unused = {} if before.placements else {"stencil": before.stencil}
        assert dataclasses.replace(now, **unused) == before
    assert list(extended.variants()) == ["baseline", *changes["placement"], *controls]


def test_controls_and_windows_are_trained_beside_the_variants_of_a_saved_run(tmp_path):
    out = tmp_path / "run"
    config = dataclasses.replace(
        TINY,
        steps=2,
        placement=("none",),
        data_dir=tmp_path / "data",
        out=out,
        cadence=run.LoopIntervals(log_every=1, eval_every=2, checkpoint_every=2),
    )
    lra.main(config)
    before = {path: path.read_bytes() for path in sorted((out / "rows").iterdir())}
    words = ["--out", str(out), "--resume", "--controls", "convolution", "--windows", "2"]
    later = lra.main(lra.command_line(words))
    names = ["baseline", "convolution", "window_2"]
    assert [row["variant"] for row in later["rows"]] == names
    assert {path: path.read_bytes() for path in before} == before
    files = run.Run(out)
    assert not any(learned_stencils.load(files, name, 0) for name in names)  # those of PDEs only
    assert all(example_hits.load(files, name, 0) is not None for name in names)
    counts = {row["variant"]: row["parameters"] for row in later["rows"]}
    assert counts["window_2"] == counts["baseline"]
    assert counts["convolution"] == counts["baseline"] + 3 * config.model.width


@pytest.mark.parametrize(
    ("changes", "variant"),
    [
        ({"controls": ("canon", "convolution")}, "convolution"),
        ({"stencil": StencilConfig("adaptive", free=True)}, "after_embedding"),
        ({"stencil": StencilConfig("multiscale", gated=True)}, "after_embedding"),
    ],
)
def test_a_layer_that_reads_later_tokens_is_refused_where_labels_belong_to_tokens(changes, variant):
    config = dataclasses.replace(lra.PRESETS["mqar-quick"][1], **changes)
    with pytest.raises(ValueError, match=f"mqar cannot have the variant {variant}: .* no causal form"):
        check(config, sharding.make_mesh(1))


def test_a_suite_leaves_out_controls_that_read_later_tokens_where_labels_belong_to_tokens():
    suite = SuiteConfig(tasks=("listops", "mqar"), controls=("convolution", "canon"))
    assert suite.task_config("listops").controls == ("convolution", "canon")
    assert suite.task_config("mqar").controls == ("canon",)

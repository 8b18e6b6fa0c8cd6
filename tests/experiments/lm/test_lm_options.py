"""Presets, names of variants, and the models that options describe."""

import dataclasses
from typing import Any

import pytest

from experiments import lm, run
from experiments.data.language_modeling import CorpusConfig
from experiments.lm.cells import cells
from experiments.lm.config import EQUATIONS
from experiments.lm.presets import CONTINUATION
from pdeformer.layers import PDEAttentionConfig, StencilConfig

PRESETS = {name: config for name, (_, config) in lm.PRESETS.items()}
QUICK = PRESETS["quick"]


def test_every_preset_has_its_name_and_a_baseline():
    for name, config in PRESETS.items():
        assert config.preset == name
        trainings = cells(config)
        assert len({cell.name for cell in trainings}) == len(trainings)
        assert {cell.baseline for cell in trainings} <= {cell.name for cell in trainings}
        assert lm.command_line([name]) == config
    assert QUICK.text.source == "python-manual"  # nothing is downloaded


def test_presets_of_the_paper_have_its_sizes():
    for name in ("wikitext103-bytes", "wikitext103-tokens", "ablation-types", "ablation-steps"):
        config = PRESETS[name]
        model = config.network((), 1000, 512)
        assert (model.width, model.heads, model.ffn, model.layers) == (128, 4, 256, 2)
        assert config.lengths == (512,)
        assert config.text.source == "wikitext103"
        assert len(config.seeds) == 3
        assert (config.optimizer.warmup, config.optimizer.warmup_start) == (config.steps // 10, 0.1)
    assert PRESETS["wikitext103-bytes"].batch == PRESETS["wikitext103-tokens"].batch == 16
    assert (PRESETS["wikitext103-bytes"].text.unit, PRESETS["wikitext103-tokens"].text.unit) == (
        "byte",
        "word",
    )


def test_ablations_are_those_of_the_paper():
    types, steps, length, data = (
        PRESETS[f"ablation-{name}"] for name in ("types", "steps", "length", "data")
    )
    assert list(types.variants()) == ["baseline", *(f"attention_{kind}_4" for kind in EQUATIONS)]
    assert list(steps.variants()) == ["baseline", *(f"attention_diffusion_{n}" for n in (1, 2, 4, 8))]
    assert length.lengths == (256, 512, 1024)
    assert data.shares == (0.001, 0.01, 0.05, 0.1)
    assert {config.batch for config in (types, steps, length, data)} == {128}
    assert PRESETS["padding"].official_padding


def test_components_are_parts_of_the_model():
    config = dataclasses.replace(
        QUICK,
        equations=EQUATIONS,
        pde_steps=(1, 8),
        evolution=lm.Evolution(alpha=0.2, share="layer"),
        placement=("before_ffn",),
        stencil=StencilConfig("multiscale"),
        controls=("canon", "rotary"),
        control_place="before_attention",
        windows=(5,),
        dtype="bfloat16",
    )
    models = {name: config.network(parts, 300, 64) for name, parts in config.variants().items()}
    assert len(models) == 1 + 8 + 1 + 2 + 1
    assert {(model.vocabulary, model.max_len, model.dtype) for model in models.values()} == {
        (300, 64, "bfloat16")
    }
    assert models["baseline"].attention == PDEAttentionConfig()
    assert models["attention_reaction-diffusion_8"].attention == PDEAttentionConfig(
        "reaction-diffusion", steps=8, alpha=0.2, share="layer"
    )
    assert models["attention_wave_1"].attention == PDEAttentionConfig("wave", steps=1, share="layer")
    assert (models["before_ffn"].placements, models["before_ffn"].stencil.kind) == (
        ("before_ffn",),
        "multiscale",
    )
    assert (models["canon"].placements, models["canon"].stencil.kind) == (("before_attention",), "canon")
    assert (models["rotary"].positions, models["rotary"].placements) == ("rotary", ())
    assert (models["window_5"].mixer, models["window_5"].window) == ("windowed", 5)


def test_a_run_without_layers_or_equations_may_have_them_later(tmp_path):
    folder = tmp_path / "run"
    changes: dict[str, Any] = {"out": folder, "equations": ("none",), "controls": ("shift",)}
    config = dataclasses.replace(PRESETS["ablation-types"], **changes)
    with run.open_run(folder, config, continuation=CONTINUATION):
        pass
    words = ["--out", str(folder), "--resume", "--placement", "before_ffn", "--equations", "wave"]
    more = lm.command_line(words)
    assert (more.placement, more.equations) == (("before_ffn",), ("wave",))
    assert list(more.variants()) == ["baseline", "attention_wave_4", "before_ffn", "shift"]
    with run.open_run(folder, more, resume=True, continuation=CONTINUATION):
        pass
    again = lm.command_line([*words[:3], "--placement", "none"])  # typing fewer drops nothing
    assert again.placement == ("before_ffn",)


def test_options_without_effect_are_named():
    idle = dataclasses.replace(
        QUICK, equations=("none",), placement=("none",), controls=("rotary",)
    ).idle_options()
    assert set(idle) == {"pde-steps", "evolution", "stencil", "control-place", "padding"}
    busy = dataclasses.replace(QUICK, official_padding=True).idle_options()
    assert set(busy) == set()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stride": 3}, "got stride 3 for lengths 128"),
        ({"lengths": ()}, "got none; change --lengths"),
        ({"shares": (1.0, 0.5)}, "got 1.0 0.5"),
        ({"pde_steps": (2, 2)}, "got 2 2"),
        ({"equations": ("none",), "placement": ("none",), "controls": ()}, "got none; add --equations"),
        ({"text": CorpusConfig(), "manual_dir": "here"}, "drop it, or use --text.source wikitext103"),
    ],
)
def test_contradictions_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(QUICK, **changes)

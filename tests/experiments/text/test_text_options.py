"""Options of `experiments.text`: presets at the official sizes, variants, refusals, and options without effect."""

import dataclasses

import numpy as np
import pytest

from experiments import text
from experiments.lra import Mesh
from experiments.text.config import Official, TextOptions
from experiments.text.presets import PRESETS, QUICK
from experiments.text.published_results import ACCURACIES
from experiments.text.result_tables import published_table
from experiments.text.text_requirements import check
from experiments.text.variants import check_variants, variants
from pdeformer import cta, train

SIZES = {  # tokens, batch, width, heads, feed-forward width, layers, epochs, training texts
    "imdb": (256, 64, 128, 4, 256, 2, 5, 25_000),
    "ag-news": (256, 64, 128, 4, 256, 2, 5, 120_000),
    "sst2": (128, 512, 128, 4, 256, 2, 2, 67_349),
    "char-imdb": (2048, 16, 256, 4, 1024, 4, 10, 25_000),
}


@pytest.mark.parametrize("name", SIZES)
def test_presets_of_the_paper_have_the_official_sizes(name):
    config = PRESETS[name][1]
    length, batch, width, heads, ffn, layers, epochs, count = SIZES[name]
    (data,) = config.data().values()
    assert (data.max_len, config.batch) == (length, batch)
    for network in (config.official, config.model):
        assert (network.width, network.heads, network.ffn, network.layers) == (width, heads, ffn, layers)
    assert config.steps == epochs * -(-count // batch)
    assert config.official.kinds == cta.KINDS
    assert (config.official.steps, config.official.dropout) == (1, 0.1)
    assert config.seeds == (0, 1, 2)
    assert data.tokens == ("characters" if name == "char-imdb" else "word-pieces")
    assert data.protocol == "held_out"


@pytest.mark.parametrize("name", SIZES)
def test_the_learning_rate_is_that_of_the_official_code(name):
    config = PRESETS[name][1]
    rate, total = train.schedule(config.optimizer, config.steps), config.steps
    warmup = total // 10
    for s in (0, 1, warmup // 2, warmup, total - 1):
        np.testing.assert_allclose(rate(s), 1e-4 * (0.1 + 0.9 * min(s, warmup) / warmup), rtol=1e-5)
    assert (config.optimizer.weight_decay, config.optimizer.clip) == (0.01, 1.0)
    by_group = {variant.group: variant.optimizer.decay for variant in variants(config).values()}
    assert by_group == {"official": "all", "corrected": "kernels"}


@pytest.mark.parametrize("name", PRESETS)
def test_the_models_of_every_preset_can_be_built(name):
    check_variants(PRESETS[name][1])


def test_a_run_has_the_variants_that_it_is_asked_for():
    config = dataclasses.replace(
        QUICK, equations=("wave", "reaction-diffusion"), targets=("weights", "logits")
    )
    assert list(variants(config)) == [
        *("official", "official_diffusion", "baseline"),
        *("wave_weights", "wave_logits", "reaction-diffusion_weights", "reaction-diffusion_logits"),
        "between_layers",
    ]
    only = dataclasses.replace(QUICK, official=Official(kinds=("none",)), equations=("none",))
    assert list(variants(only)) == ["baseline", "between_layers"]
    only = dataclasses.replace(QUICK, placement=("none",), equations=("none",))
    assert list(variants(only)) == ["official", "official_diffusion"]


def test_task_is_another_way_to_write_a_preset():
    assert text.command_line(["--task", "imdb", "--steps", "9"]) == text.command_line(
        ["imdb", "--steps", "9"]
    )
    assert text.command_line(["--task=char_imdb"]) == PRESETS["char-imdb"][1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"corpora": ()}, "--corpora needs one or more of documentation, .*got none; name"),
        ({"corpora": ("bbc", "bbc")}, "values of --corpora are different, got bbc bbc; drop"),
        ({"equations": ("heat",)}, "got 'heat'"),
        ({"equations": ("none", "wave")}, "--equations none stands alone, got none wave; drop none"),
        ({"official": Official(heads=3)}, "heads=3 and width=128"),
        ({"official": Official(dropout=1.0)}, "--official.dropout"),
        (
            {"official": Official(kinds=("none",)), "equations": ("none",), "placement": ("none",)},
            "needs a variant",
        ),
        ({"dtype": "bfloat16"}, "got dtype=bfloat16"),
        ({"mesh": Mesh(seq=2)}, "mesh.seq=2"),
        ({"mesh": Mesh(model=2)}, "mesh.model=2"),
        ({"corpora": ("char-imdb",), "model": dataclasses.replace(QUICK.model, max_len=512)}, "2048 tokens"),
        ({"corpora": ("ag-news",), "text": TextOptions(source="original")}, "ag-news needs a source among"),
        ({"corpora": ("bbc",), "text": TextOptions(train=9_999)}, "has 1,703 rows, got train=9999"),
        ({"seeds": (1, 1)}, "--seeds"),
    ],
)
def test_contradictory_options_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(QUICK, **changes)


def test_equations_of_models_that_cannot_be_built_are_refused_before_data_are_read(tmp_path):
    from pdeformer import sharding

    model = dataclasses.replace(QUICK.model, positions="alibi")
    config = dataclasses.replace(QUICK, model=model, mesh=Mesh(data=1), data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"diffusion_weights: .*alibi"):
        check(config, sharding.make_mesh(1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("--equations none --targets logits", "--targets"),
        ("--placement none --stencil.alpha 0.2", "--stencil.alpha"),
        ("--equations none --placement none --model.layers 3", "--model.layers"),
        ("--official.kinds none --official.width 32", "--official.width"),
        ("quick --text.source huggingface", "--text.source"),
        ("--evaluate model.pt --text.tokenizer published --steps 9", "--steps"),
    ],
)
def test_options_without_effect_are_refused(words, name, capsys):
    with pytest.raises(SystemExit) as stopped:
        text.command_line(words.split())
    assert stopped.value.code == 2
    assert f"{name} has an effect only with" in capsys.readouterr().err


def test_published_numbers_stand_in_a_table_of_their_own():
    floors = {"imdb": {"bag of words": 0.879}, "documentation": {"bag of words": 0.7}}
    table = published_table({"imdb": None, "documentation": None}, floors)
    assert table is not None
    assert "not measured here" in table.title
    assert table.rows == [("imdb", "59.4", "62.4", "87.9")]
    assert published_table({"documentation": None}, floors) is None
    assert set(ACCURACIES) == set(SIZES)

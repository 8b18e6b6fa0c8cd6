"""Options of `python -m experiments.lra`: command line, presets, variants, and refusals."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from experiments import lra
from experiments.data import listops
from experiments.data.listops.listops_splits import ListOpsData
from experiments.lra import program
from pdeformer import train
from pdeformer.layers import PDEAttentionConfig, StencilConfig
from pdeformer.model import PLACEMENTS, Classifier

QUICK, LRA, TWO_LAYER, AMOS = (
    lra.PRESETS[name][1] for name in ("quick", "listops-lra", "listops-two-layer", "listops-amos")
)


def test_no_word_is_quick_and_options_may_come_first():
    assert lra.command_line([]) == QUICK
    assert lra.command_line(["--steps", "50"]) == dataclasses.replace(QUICK, steps=50)
    assert lra.command_line(["listops_two_layer"]) == TWO_LAYER


def test_the_old_name_of_an_option_serves_with_a_hint(capsys):
    assert lra.command_line(["--together"]) == dataclasses.replace(QUICK, combine=True)
    assert "--together is now called --combine" in capsys.readouterr().err


def test_every_preset_is_itself_on_the_command_line():
    for name, (_, config) in lra.PRESETS.items():
        assert lra.command_line([name]) == config
        assert config.preset == name


def test_options_reach_their_fields():
    words = (
        "quick --steps 3 --seeds 0 1 2 --mesh.data 4 --mesh.model 2 --dtype bfloat16 --batch 16 --data-dir d"
    )
    words += " --placement after_embedding before_ffn --stencil.kind multiscale --stencil.dilations 1 4"
    words += " --attention.kind reaction-diffusion --attention.beta -0.1 --attention.order euler"
    words += " --source lra_release --model.max-len 1999 --manual-dir m --out o --resume"
    config = lra.command_line(words.split())
    assert (config.steps, config.seeds, config.batch, config.dtype) == (3, (0, 1, 2), 16, "bfloat16")
    assert config.mesh == lra.Mesh(4, 2)
    assert config.placement == ("after_embedding", "before_ffn")
    assert config.stencil == StencilConfig(kind="multiscale", dilations=(1, 4))
    assert config.attention == PDEAttentionConfig("reaction-diffusion", beta=-0.1, order="euler")
    assert config.data() == ListOpsData(listops.RELEASE, 1999)
    assert [str(path) for path in (config.data_dir, config.manual_dir, config.out)] == ["d", "m", "o"]
    assert config.network((), 16, 10).dtype == "bfloat16"
    assert config.resume


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("quik", "did you mean quick?"),
        ("listops", "did you mean listops-lra?"),
        ("nonsense", "choose among them"),
        ("--placement after_embeding", "did you mean after_embedding?"),
        ("quick --step 3", "did you mean --steps?"),
        ("quick --dtype float16", "float32"),
        ("quick --steps 0", "must be at least 1"),
        ("--attention.kind heat", "advection-diffusion"),
        ("--attention.steps 2", "steps belongs to kind diffusion"),
    ],
)
def test_what_cannot_be_read_exits_with_2_and_a_suggestion(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        lra.command_line(words.split())
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert message in " ".join((printed.out + printed.err).replace("│", " ").split())


def test_help_lists_the_presets_and_documents_every_field(capsys):
    with pytest.raises(SystemExit):
        lra.command_line(["--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in lra.PRESETS)
    with pytest.raises(SystemExit):
        lra.command_line(["quick", "--help"])
    text = capsys.readouterr().out
    for field in dataclasses.fields(lra.Config):
        assert (f"--{field.name.replace('_', '-')}" in text) == (field.name != "preset")


def test_published_configurations_have_the_published_numbers():
    def numbers(config):
        net, opt = config.model, config.optimizer
        shape = (net.layers, net.width, net.heads, net.head_width or net.width // net.heads, net.ffn)
        return (
            *shape,
            opt.learning_rate,
            opt.schedule,
            opt.warmup,
            config.steps,
            config.batch,
            opt.weight_decay,
        )

    assert numbers(LRA) == (4, 512, 8, 64, 1024, 0.05, "rsqrt", 1000, 5000, 32, 0.1)
    assert numbers(TWO_LAYER) == (2, 64, 2, 32, 128, 1e-4, "linear", 1000, 5000, 32, 0.0)
    assert numbers(AMOS) == (6, 512, 8, 64, 2048, 0.05, "rsqrt", 1000, 5000, 32, 0.1)
    peak = train.schedule(LRA.optimizer, LRA.steps)(1000)
    np.testing.assert_allclose(peak, 1.6e-3, rtol=0.02)
    for config in (LRA, TWO_LAYER, AMOS):
        assert config.data().title == "ListOps (generated)"
        assert config.data().sizes() == {"train": 96_000, "val": 2000, "test": 2000}
        assert (config.model.dropout, config.model.attention_dropout, config.model.norm) == (0.1, 0.1, "pre")
    assert (LRA.model.pooling, LRA.model.positions, LRA.optimizer.b2, LRA.optimizer.eps) == (
        "cls",
        "sinusoidal",
        0.98,
        1e-9,
    )
    assert (TWO_LAYER.model.pooling, TWO_LAYER.model.positions) == ("mean", "learned")


def test_published_configurations_have_the_published_parameter_counts():
    def parameters(config):
        model = config.network((), len(listops.VOCABULARY), listops.CLASSES)
        shapes = nnx.eval_shape(lambda: nnx.state(Classifier(model, nnx.Rngs(0)), nnx.Param))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    learned = dataclasses.replace(LRA, model=dataclasses.replace(LRA.model, positions="learned"))
    # the papers give three digits: 10.0 M and 18.9 M parameters
    assert parameters(learned) == pytest.approx(10.0e6, rel=0.005)
    assert parameters(LRA) == parameters(learned) - 2001 * 512  # sinusoids are no parameters
    assert 0.17e6 < parameters(TWO_LAYER) < 0.37e6
    assert parameters(AMOS) == pytest.approx(18.9e6, rel=0.005)
    assert parameters(QUICK) == 68_234


def test_preparing_generated_data_logs_nothing_of_tfds(tmp_path, caplog):
    sizes = dataclasses.replace(lra.PRESETS["quick"][1].generated, train=20, val=5, test=5)
    program.prepare(dataclasses.replace(lra.PRESETS["quick"][1], generated=sizes, data_dir=tmp_path))
    assert [record for record in caplog.records if record.name == "absl"] == []


def test_variants_are_the_baseline_and_one_per_place_or_one_with_all():
    places = ("after_embedding", "before_ffn")
    several = dataclasses.replace(QUICK, placement=places)
    assert several.variants() == {"baseline": (), "after_embedding": places[:1], "before_ffn": places[1:]}
    joint = dataclasses.replace(several, combine=True)
    assert joint.variants() == {"baseline": (), "after_embedding+before_ffn": places}
    assert dataclasses.replace(QUICK, placement=("none",)).variants() == {"baseline": ()}
    assert list(dataclasses.replace(QUICK, placement=PLACEMENTS).variants()) == ["baseline", *PLACEMENTS]


def test_evolved_attention_is_one_more_variant_or_a_part_of_the_one_with_all():
    config = dataclasses.replace(QUICK, attention=PDEAttentionConfig("wave"))
    name, sizes = "attention_wave", (16, 10)
    assert config.variants() == {
        "baseline": (),
        "after_embedding": ("after_embedding",),
        name: (name,),
    }
    assert config.network((), *sizes) == QUICK.network((), *sizes)
    evolved = config.network((name,), *sizes)
    assert (evolved.placements, evolved.attention) == ((), PDEAttentionConfig("wave"))
    joint = dataclasses.replace(config, combine=True)
    assert list(joint.variants()) == ["baseline", f"after_embedding+{name}"]
    both = joint.network(("after_embedding", name), *sizes)
    assert (both.placements, both.attention) == (("after_embedding",), PDEAttentionConfig("wave"))
    assert list(dataclasses.replace(config, placement=("none",)).variants()) == ["baseline", name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"placement": ("after_embeding",)}, "did you mean 'after_embedding'"),
        (
            {"placement": ("none", "before_ffn")},
            "--placement none stands alone, got none before_ffn; drop none",
        ),
        (
            {"placement": ("before_ffn", "before_ffn")},
            "values of --placement are different, got before_ffn before_ffn; drop",
        ),
        ({"steps": 0}, "steps must be at least 1, got 0; change --steps."),
        ({"seeds": ()}, "one or more different numbers"),
        ({"seeds": (1, 1)}, "one or more different numbers"),
        ({"source": "lra_release"}, "pass --manual-dir"),
        ({"resume": True}, "got no --out"),
        ({"generated": lra.Generated(max_length=66)}, "up to 65 tokens for max_len=64"),
        ({"generated": lra.Generated(9, 25, train=0)}, "generated.train must be at least 1, got 0"),
    ],
)
def test_contradictions_are_refused_when_the_configuration_is_made(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(QUICK, **changes)

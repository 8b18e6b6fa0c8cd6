"""`python -m pid.llava verify`: reports of intact, damaged and differing checkpoints."""

import dataclasses
import json
import re

import numpy as np
import pytest

from pid import llava
from pid.llava import TokenType
from pid.llava.__main__ import main, read
from pid.llava.checkpoint.key_mapping import layout
from pid.llava.parity import report as verify_file
from pid.llava.parity.fixed_prompt import ModelStates, parity_prompt, picture
from pid.llava.parity.report import Verify, differences, run_flax
from pid.llava.published_models import PUBLISHED_MODELS
from tests.helpers.llava_golden import GOLDEN, NAMES, folder_of, loaded


@pytest.fixture
def no_torch(monkeypatch):
    monkeypatch.setattr(verify_file, "has_torch", lambda: False)


def printed_lines(capsys):
    """The printed lines by their first word."""
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line for line in lines if line and not line.startswith(" ")}


# The parity prompt


@pytest.mark.parametrize("name", NAMES)
def test_probe_is_a_batch_that_the_model_takes(name):
    config = loaded(name).config
    prompt = parity_prompt(config)
    inputs = llava.prepare(config, **prompt._asdict())
    assert ((inputs.types == TokenType.IMAGE) == (inputs.ids == config.image_token)).all()
    assert (inputs.types == TokenType.QUESTION).sum() > 0
    assert inputs.types[0, -1] == TokenType.LAST


def test_picture_of_a_probe_is_a_red_disc_on_blue_and_of_published_size():
    red, _, blue = np.moveaxis(picture(101, 101), -1, 0)
    assert red[50, 50] > 0.8 > 0.2 > blue[50, 50]
    assert blue[0, 0] > 0.6 > 0.2 > red[0, 0]
    prompt = parity_prompt(PUBLISHED_MODELS["llava-v1.6-mistral-7b-hf"].config)
    assert prompt.pixel_values.shape == (1, 3, 3, 336, 336)  # the base tile and 1 x 2 of 336 x 672
    assert prompt.image_sizes is not None
    assert prompt.image_sizes.tolist() == [[336, 504]]
    red = prompt.pixel_values[0, 1:, 0].transpose(1, 0, 2).reshape(336, 672)  # the two tiles side by side
    black = -0.48145466 / 0.26862954
    np.testing.assert_allclose(red[:, [0, 83, 588, 671]], black, rtol=1e-6)
    assert (red[:, [84, 587]] > black).all()
    assert red[168, 336] > 1 > red[168, 100]
    assert parity_prompt(PUBLISHED_MODELS["llava-1.5-7b-hf"].config).pixel_values.shape == (1, 3, 336, 336)


# The report


def test_whole_checkpoint_passes_and_its_parts_are_named(no_torch, capsys, tmp_path):
    command = ["verify", str(GOLDEN / "llava_next_mistral"), "--top", "3", "--mesh.model", "2"]
    assert main([*command, "--cache", str(tmp_path)]) == 0
    lines = printed_lines(capsys)
    assert "LLaVA-1.6, resolutions ((28, 56), (56, 28), (56, 56))" in lines["family"]
    assert "eps 1e-05, theta 1e+06, image token 39" in lines["constants"]
    assert "99 in the layout 'saved by v5'" in lines["keys"]
    parts = ("encoder.layers.2 (16)", "post_layernorm.bias (1)", "post_layernorm.weight (1)")
    assert lines["not"] == f"not computed {', '.join(f'vision_tower.{part}' for part in parts)}"
    assert "42,320, every one with its tensor, in float32" in lines["parameters"]
    assert "69 tokens by fixed ids" in lines["prompt"]
    assert "not compared" in lines["torch"]
    assert "PASS" in lines
    assert list(tmp_path.iterdir())


def test_tokenizer_of_the_folder_makes_the_prompt(no_torch, capsys, tmp_path, monkeypatch):
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    folder_of("llava_15_mistral", tmp_path)
    words = {"<unk>": 0, "USER": 1, ":": 2, "What": 3, "color": 4, "disc": 5, "?": 6, "ASSISTANT": 7}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(tmp_path)
    prompts = []

    def run(model, prompt):
        prompts.append(prompt.input_ids[0].tolist())
        logits = np.zeros((1, len(prompts[0]), 40), np.float32)
        logits[0, -1, 5] = 8.0
        return ModelStates(np.zeros(3), {"logits": logits}, {})

    monkeypatch.setattr(verify_file, "run_flax", run)
    assert main(["verify", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "36 tokens by the tokenizer of the folder" in printed
    assert "0.9871       5  'disc'" in printed
    (ids,) = prompts
    assert (ids[:2], ids[2:18], ids[18:20], ids[-2:]) == ([1, 2], [39] * 16, [3, 4], [7, 2])


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda config, tensors: tensors.pop("language_model.model.norm.weight"),
            "got none for language_model.norm",
        ),
        (lambda config, tensors: config.update(model_type="qwen2_vl"), "got 'qwen2_vl'"),
        (
            lambda config, tensors: tensors["language_model.lm_head.weight"].fill(np.nan),
            "some states or logits are not",
        ),
    ],
)
def test_checkpoint_that_is_not_whole_fails(edit, words, no_torch, capsys, tmp_path):
    folder_of("llava_15_mistral", tmp_path, edit=edit)
    assert main(["verify", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "FAIL" in printed
    assert words in printed
    with pytest.raises(FileNotFoundError, match=r"nothing, which is no folder; check the path"):
        main(["verify", str(tmp_path / "nothing")])


def test_layout_of_keys_is_told():
    end = "encoder.layers.0.mlp.fc1.weight"
    assert layout(["language_model.model.norm.weight", f"vision_tower.vision_model.{end}"]) == "hub"
    assert layout(["lm_head.weight", f"model.vision_tower.vision_model.{end}"]) == "in memory"
    assert layout(["language_model.model.norm.weight", f"vision_tower.{end}"]) == "saved by v5"


# The comparison with torch


def test_layer_that_differs_fails_and_is_named():
    name = "llava_15_mistral"
    states = run_flax(loaded(name), parity_prompt(loaded(name).config))
    rows = differences(states, states)
    assert [row.point for row in rows[:4]] == ["vision 0", "vision 1", "vision 2", "residual 0"]
    assert [row.point for row in rows[-3:]] == ["residual 4", "final", "logits"]
    assert all(row.passes for row in rows)

    def with_fault(run, value):
        residual = run["residual"].copy()
        residual[2, 0, 5, 7] += value * np.abs(residual[2]).max()
        return {**run, "residual": residual}

    for ours, failing in (
        (states._replace(baseline=with_fault(states.baseline, 2e-5)), []),
        (states._replace(baseline=with_fault(states.baseline, 4e-5)), ["residual 2"]),
        (states._replace(knockout=with_fault(states.knockout, 4e-5)), ["residual 2"]),
        (states._replace(knockout=with_fault(states.knockout, np.nan)), ["residual 2"]),
        (states._replace(vision=states.vision * 1.0001), ["vision 0", "vision 1", "vision 2"]),
    ):
        assert [row.point for row in differences(ours, states) if not row.passes] == failing


def test_comparison_without_torch_or_in_bfloat16_is_refused(no_torch):
    with pytest.raises(ValueError, match="compared with torch where it is installed, got none"):
        Verify(GOLDEN, against_torch=True)
    with pytest.raises(ValueError, match="compared with torch in float32, got dtype=bfloat16") as refusal:
        Verify(GOLDEN, against_torch=True, dtype="bfloat16")
    remedies = [
        remedy.rstrip(".").split() for remedy in re.findall(r"--[^;]*?(?= or |$)", str(refusal.value))
    ]
    assert remedies == [["--dtype", "float32"], ["--no-against-torch"]]
    for remedy in remedies:
        assert read("verify", ["verify", str(GOLDEN), *remedy])
    assert not Verify(GOLDEN).compares


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_agrees_with_torch_itself(name, capsys):
    pytest.importorskip("torch")
    assert main(["verify", str(GOLDEN / name)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("pass\n") == 3 + 5 + 2
    assert not dataclasses.replace(Verify(GOLDEN), dtype="bfloat16").compares


def test_layer_that_torch_computes_otherwise_fails(capsys, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    folder_of("llava_15_mistral", tmp_path)
    wrong = json.loads((tmp_path / "config.json").read_text())
    read = verify_file.read_config(tmp_path)
    wrong["text_config"]["rms_norm_eps"] = 1e-6
    (tmp_path / "config.json").write_text(json.dumps(wrong))
    monkeypatch.setattr("pid.llava.checkpoint.loading.read_config", lambda path: read)
    assert main(["verify", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    failing = [line.split("  ")[1] for line in lines if line.endswith("FAIL") and line.startswith("  ")]
    assert failing == ["residual 1", "residual 2", "residual 3", "residual 4", "final", "logits"]

"""Fields of a config.json: wrong types and numbers are refused by part, name, value and remedy."""

import dataclasses
import json
import re

import pytest

from pid import llava
from pid.llava.config import parse_config, read_text_config
from tests.helpers.llava_golden import GOLDEN

COUNT, POSITIVE = "must be a whole number from 1, got ", "must be a positive number, got "
PAIRS = "image_grid_pinpoints must be pairs (height, width) of whole tiles of 28 pixels, got "
BY_TRANSFORMERS = "config.json must fit a model of transformers, got one that it refuses: "


def fields(name="llava_15_llama", **changes):
    """The fields of a golden config.json; `text_config__x` is a field of a part."""
    content = json.loads((GOLDEN / name / "config.json").read_text())
    for path, value in changes.items():
        *parts, field = path.split("__")
        inner = content
        for part in parts:
            inner = inner[part]
        inner[field] = value
    return content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_config__hidden_size": "4096"}, f"text_config.hidden_size in config.json {COUNT}'4096'; write it as"),
        ({"text_config__hidden_size": 32.0}, f"text_config.hidden_size in config.json {COUNT}32.0; "),
        ({"text_config__vocab_size": True}, f"text_config.vocab_size in config.json {COUNT}True; "),
        ({"text_config__num_attention_heads": 0}, f"text_config.num_attention_heads in config.json {COUNT}0; "),
        ({"text_config__num_hidden_layers": -1}, f"text_config.num_hidden_layers in config.json {COUNT}-1; "),
        ({"vision_config__image_size": "28"}, f"vision_config.image_size in config.json {COUNT}'28'; "),
        ({"vision_config__patch_size": 0}, f"vision_config.patch_size in config.json {COUNT}0; "),
        ({"text_config__rms_norm_eps": "1e-5"}, f"text_config.rms_norm_eps in config.json {POSITIVE}'1e-5'; "),
        ({"text_config__rms_norm_eps": float("nan")}, f"text_config.rms_norm_eps in config.json {POSITIVE}nan; "),
        ({"vision_config__layer_norm_eps": 0.0}, f"vision_config.layer_norm_eps in config.json {POSITIVE}0.0; "),
        ({"image_token_index": "32000"}, "image_token_index in config.json must be a whole number from 0, got '32000'"),
        ({"text_config": "llama"}, "text_config in config.json must be a JSON object, got 'llama'; "),
        (
            {"vision_feature_layer": True},
            "vision_feature_layer in config.json must be a whole number or a list, got vision_feature_layer=True; ",
        ),
        (
            {"tie_word_embeddings": "false"},
            "tie_word_embeddings in config.json must be true or false, got tie_word_embeddings='false'; ",
        ),
        (
            {"text_config__rope_parameters": "x"},
            "rope_parameters in config.json must be an object or null, got text_config.rope_parameters='x'; ",
        ),
        (
            {"vision_config__image_size": [28, 56]},
            "vision_config.image_size in config.json must be one number or a pair of equal ones, got [28, 56]; ",
        ),
        ({"vision_config__patch_size": 5}, "a tile has whole patches, got image_size=28 and patch_size=5 in the "),
        ({"text_config__num_key_value_heads": 3}, "got num_key_value_heads=3 for num_attention_heads=4 in config.json"),
        (
            {"vision_config__num_attention_heads": 3},
            f"{BY_TRANSFORMERS}The hidden size (16) is not a multiple of the number of attention heads (3); ",
        ),
        ({"text_config__head_dim": 7}, f"{BY_TRANSFORMERS}RoPE requires an even rotary dimension"),
    ],
)  # fmt: skip
def test_field_of_a_wrong_type_or_value_is_refused_by_its_name(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_config(fields(**changes))


@pytest.mark.parametrize("pinpoints", [[28, 56], [], [[28, 56, 56]], [[30, 60]], [["28", "56"]], [[0, 28]]])
def test_resolutions_are_pairs_of_whole_tiles(pinpoints):
    with pytest.raises(ValueError, match=re.escape(f"{PAIRS}{pinpoints!r}; ")):
        parse_config(fields("llava_next_llama", image_grid_pinpoints=pinpoints))


def test_fields_of_a_text_model_are_refused_by_their_names(tmp_path):
    content = fields("llava_15_mistral")["text_config"] | {"sliding_window": "none"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"^sliding_window in config.json {COUNT}'none'; write it as"):
        read_text_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(content | {"sliding_window": 30}))
    assert read_text_config(tmp_path) == dataclasses.replace(
        llava.read_config(GOLDEN / "llava_15_mistral").text, sliding_window=30
    )


def test_sides_may_be_pairs_of_equal_numbers():
    expected = parse_config(fields())
    assert (
        parse_config(fields(vision_config__image_size=[28, 28], vision_config__patch_size=[7, 7])) == expected
    )


def test_fields_that_transformers_does_not_read_change_nothing():
    """A LLaVA-1.5 has no resolutions, and a Llama no sliding window, whatever its config.json says besides."""
    expected = parse_config(fields())
    assert parse_config(fields(image_grid_pinpoints=[[28, 56]], text_config__sliding_window=4)) == expected
    assert parse_config(fields("llava_15_mistral", text_config__sliding_window=4)).text.sliding_window == 4

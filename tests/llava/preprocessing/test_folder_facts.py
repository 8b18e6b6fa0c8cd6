"""Facts that stand in two files of a model folder: filled where one lacks them, refused where they disagree."""

import json

import numpy as np
import pytest

from pid import llava
from pid.llava.config import parse_config
from tests.helpers.folders import llava_folder
from tests.helpers.folders.llava_folder import sample
from tests.llava.preprocessing.model_folders import config_fields, edit_json, make_old, save_folder

CONFIG, PROCESSOR, IMAGES = "config.json", "processor_config.json", "preprocessor_config.json"


@pytest.mark.parametrize("anyres", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_old_and_new_layout_encode_alike(anyres, old, tmp_path):
    folder = save_folder(tmp_path, anyres=anyres)
    read = llava.read_processor(make_old(folder) if old else folder)
    wrapped = llava.wrap_processor(llava_folder.processor(anyres=anyres))
    assert llava.fingerprint(read) == llava.fingerprint(wrapped)
    ours, expected = (llava.encode_prompt(by, sample(size=(31, 57))) for by in (read, wrapped))
    np.testing.assert_array_equal(ours.ids, expected.ids)
    np.testing.assert_array_equal(np.asarray(ours.pixels), np.asarray(expected.pixels))


def test_old_layout_without_config_is_told_what_to_add(tmp_path):
    folder = make_old(save_folder(tmp_path))
    (folder / CONFIG).unlink()
    words = (
        "patch_size and vision_feature_select_strategy, got None and None; .* or the config.json of the model"
    )
    with pytest.raises(ValueError, match=words):
        llava.read_processor(folder)


def nested(**fields):
    """Change a field of the image processor."""

    def edit(folder):
        old = json.loads((folder / PROCESSOR).read_text())["image_processor"]
        edit_json(folder / PROCESSOR, image_processor=old | fields)

    return edit


def file_edit(name, **fields):
    return lambda folder: edit_json(folder / name, **fields)


OTHER_SIDE = {"height": 56, "width": 56}
DISAGREEMENTS = {
    "patch_size": (
        file_edit(PROCESSOR, patch_size=14),
        f"patch_size .* got 14 in {PROCESSOR} and 7 in {CONFIG}",
    ),
    "strategy": (
        file_edit(PROCESSOR, vision_feature_select_strategy="full"),
        f"got 'full' in {PROCESSOR} and 'default' in {CONFIG}",
    ),
    "crop": (
        nested(crop_size=OTHER_SIDE, size={"shortest_edge": 56}),
        f"crop_size, image_size.* got 56 in {PROCESSOR} and 28 in {CONFIG}",
    ),
    "mean": (
        file_edit(IMAGES, image_mean=[0.5, 0.5, 0.5]),
        rf"image_mean .* got \[0.48.*\] in {PROCESSOR} and \[0.5, 0.5, 0.5\] in {IMAGES}",
    ),
    "deviation": (
        file_edit(IMAGES, image_std=[0.5, 0.5, 0.5]),
        rf"image_std .* \[0.5, 0.5, 0.5\] in {IMAGES}",
    ),
    "size": (file_edit(IMAGES, size=336), f"size .* got .*28.* in {PROCESSOR} and 336 in {IMAGES}"),
    "patch of images": (file_edit(IMAGES, patch_size=14), f"got 7 in {PROCESSOR} and 14 in {IMAGES}"),
    "image token": (
        file_edit(PROCESSOR, image_token="<picture>"),
        "the tokenizer of a LLaVA knows <picture>, got one of",
    ),
    "two image tokens": (
        lambda folder: (
            edit_json(folder / PROCESSOR, image_token="<image>"),
            edit_json(folder / "tokenizer_config.json", image_token="<pad>"),
        ),
        f"image_token .* got '<image>' in {PROCESSOR} and '<pad>' in tokenizer_config.json",
    ),
    "image id": (
        file_edit(CONFIG, image_token_index=7),
        rf"token id of <image> .* got 361 in the tokenizer \(tokenizer.json\) and 7 in {CONFIG}",
    ),
    "image id by its other name": (
        file_edit(CONFIG, image_token_index=None, image_token_id=7),
        f"got 361 in the tokenizer .* and 7 in {CONFIG}",
    ),
    "image id by two names": (
        file_edit(CONFIG, image_token_id=7),
        "image_token_index and image_token_id in config.json are two names of one number, got 361 and 7",
    ),
    "embedding": (
        lambda folder: edit_json(
            folder / CONFIG, text_config=config_fields()["text_config"] | {"vocab_size": 300}
        ),
        f"got 361 for '<image>' in the tokenizer .* and vocab_size 300 in {CONFIG}",
    ),
    "theta": (
        lambda folder: edit_json(
            folder / CONFIG,
            text_config=config_fields()["text_config"]
            | {"rope_theta": 1e6, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
        ),
        "rope_theta and rope_parameters.rope_theta in config.json are .* one number, got 1000000.0 and 10000.0",
    ),
    "model": (file_edit(CONFIG, model_type="llava_next"), f"'LlavaProcessor' .* 'llava_next' in {CONFIG}"),
}


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_files_that_disagree_are_refused_with_both_values_and_files(name, tmp_path):
    edit, words = DISAGREEMENTS[name]
    folder = save_folder(tmp_path)
    llava.read_processor(folder)
    edit(folder)
    with pytest.raises(ValueError, match=words):
        llava.read_processor(folder)


def test_resolutions_that_disagree_are_refused(tmp_path):
    folder = save_folder(tmp_path, anyres=True)
    llava.read_processor(folder)
    edit_json(folder / CONFIG, image_grid_pinpoints=[[28, 56]])
    words = rf"image_grid_pinpoints .* got \(\(28, 56\), .* in {PROCESSOR} and \(\(28, 56\),\) in {CONFIG}"
    with pytest.raises(ValueError, match=words):
        llava.read_processor(folder)


def test_equal_facts_in_other_words_agree(tmp_path):
    folder = save_folder(tmp_path)
    edit_json(
        folder / IMAGES, size=28, crop_size=28, do_resize=True, image_processor_type="CLIPImageProcessor"
    )
    edit_json(folder / CONFIG, image_token_id=361)
    assert llava.fingerprint(llava.read_processor(folder)) == llava.fingerprint(
        llava.wrap_processor(llava_folder.processor())
    )


def test_padding_id_is_filled_from_config(tmp_path):
    folder = save_folder(tmp_path, config=config_fields(pad_token_id=5))
    assert llava.read_processor(folder).pad_token == 360  # that of the tokenizer
    edit_json(folder / "tokenizer_config.json", pad_token=None)
    assert llava.read_processor(folder).pad_token == 5
    edit_json(folder / CONFIG, pad_token_id=361)  # that of the image, which no padding may have
    assert llava.read_processor(folder).pad_token == 0
    edit_json(folder / CONFIG, pad_token_id=None)
    assert llava.read_processor(folder).pad_token == 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_side_of_the_tokenizer_changes_no_batch(side, tmp_path):
    folder = save_folder(tmp_path)
    edit_json(folder / "tokenizer_config.json", padding_side=side)
    read = llava.read_processor(folder)
    assert read.tokenizer.padding_side == side
    batch = llava.encode(read, [sample("a", "What?"), sample("b", "Is it to the left of the tower?")])
    expected = llava.encode(
        llava.wrap_processor(llava_folder.processor()),
        [sample("a", "What?"), sample("b", "Is it to the left of the tower?")],
    )
    np.testing.assert_array_equal(batch.ids, expected.ids)
    np.testing.assert_array_equal(batch.attention_mask, batch.token_types > 0)
    assert batch.attention_mask[0, [0, -1]].tolist() == [1, 0]


# Image processors


def test_image_processor_of_another_tower_is_refused_by_its_name(tmp_path):
    transformers = llava_folder.import_transformers()
    processor = llava_folder.processor()
    processor.image_processor = transformers.SiglipImageProcessorPil(size={"height": 28, "width": 28})
    with pytest.raises(ValueError, match="the image processor must be 'CLIP.* got 'SiglipImageProcessor'"):
        llava.wrap_processor(processor)
    folder = save_folder(tmp_path)
    edit_json(
        folder / CONFIG,
        vision_config={"model_type": "siglip_vision_model", "image_size": 28, "patch_size": 7},
    )
    with pytest.raises(
        ValueError, match="the vision tower must be 'clip_vision_model', got 'siglip_vision_model'"
    ):
        llava.read_processor(folder)
    edit_json(folder / CONFIG, model_type="vipllava")
    with pytest.raises(ValueError, match="model_type in config.json must be .* got 'vipllava'"):
        llava.read_processor(folder)


@pytest.mark.parametrize("size", [{"height": 28, "width": 28}, {"shortest_edge": 28}])
@pytest.mark.parametrize("mode", ["pad", "hf_crop"])
def test_image_processor_that_crops_nothing_takes_the_tile_from_its_size(size, mode):
    transformers = llava_folder.import_transformers()
    processor = llava_folder.processor()
    processor.image_processor = transformers.CLIPImageProcessorPil(
        size=size, crop_size=None, do_center_crop=False
    )
    if mode == "hf_crop" and "shortest_edge" in size:
        with pytest.raises(ValueError, match="a tile is a square of whole patches, got None × None pixels"):
            llava.wrap_processor(processor, image_mode=mode)
        return
    wrapped = llava.wrap_processor(processor, image_mode=mode)
    row = llava.encode_prompt(wrapped, sample(size=(40, 20)))
    assert row.pixels is not None
    assert (wrapped.tile, row.pixels.shape) == (28, (1, 3, 28, 28))
    if mode == "hf_crop":
        expected = processor.image_processor(llava_folder.picture(), return_tensors="np")["pixel_values"]
        np.testing.assert_array_equal(row.pixels, expected)


# Broken files


@pytest.mark.parametrize("name", [CONFIG, PROCESSOR, "tokenizer.json", "tokenizer_config.json"])
def test_broken_files_are_named(name, tmp_path):
    folder = save_folder(tmp_path)
    (folder / name).write_text((folder / name).read_text()[:-30])
    with pytest.raises(ValueError, match=r"download .*again"):
        llava.read_processor(folder)


def test_tokenizer_without_the_image_is_refused(tmp_path):
    folder = save_folder(tmp_path)
    llava_folder.tokenizer(image=False).save_pretrained(folder)
    with pytest.raises(
        ValueError, match="the tokenizer of a LLaVA knows <image>, got one of 361 tokens without it"
    ):
        llava.read_processor(folder)


def test_image_token_that_the_tokenizer_splits_is_one_token(tmp_path):
    """A tokenizer may know `<image>` as a word and still split it; the id is that of the word."""
    folder = save_folder(tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [
        token for token in tokenizer["added_tokens"] if token["content"] != "<image>"
    ]
    tokenizer["model"]["vocab"]["<image>"] = 361
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    edit_json(folder / "tokenizer_config.json", extra_special_tokens=None, additional_special_tokens=None)
    read = llava.read_processor(folder)
    assert len(read.tokenizer("<image>", add_special_tokens=False)["input_ids"]) > 1
    row = llava.encode_prompt(read, sample())
    assert (row.ids == 361).sum() == 16


def test_batch_of_another_tokenizer_names_both_ids():
    config = parse_config(config_fields(image_token_index=7))
    batch = llava.encode(llava.wrap_processor(llava_folder.processor()), [sample()])
    words = "one image token 7 per image feature, got 0 for 16; token 361 stands there 16 times: take the tokenizer of"
    with pytest.raises(ValueError, match=words):
        llava.prepare(config, batch.ids, batch.pixels, token_types=batch.token_types)

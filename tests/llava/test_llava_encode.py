"""Encoded samples: pixels, batches, fingerprints, refusals."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pid import llava
from pid.llava import Sample, TokenType
from pid.llava.config import LlavaConfig
from pid.llava.preprocessing.images import to_rgb
from pid.llava.preprocessing.prompts import STYLES, SUFFIXES
from tests.helpers.folders import llava_folder
from tests.helpers.folders.llava_folder import picture, sample, theirs, token_types, words
from tests.helpers.folders.llava_folder import wrapped_processor as processor

GOLDEN = Path(__file__).parent.parent / "golden"
MEAN, STD = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
SIZES = [(40, 20), (20, 40), (28, 28), (31, 57), (100, 99), (300, 12)]  # (width, height)


# Pixels


def normalized(image):
    return ((np.asarray(image, np.float64) / 255 - MEAN) / STD).transpose(2, 0, 1)


def padded_twin(image, side):
    """Center the image on a square of the mean color, pixel by pixel, then resize it."""
    longest = max(image.size)
    canvas = [[tuple(int(255 * mean) for mean in MEAN) for _ in range(longest)] for _ in range(longest)]
    left, top = (longest - image.width) // 2, (longest - image.height) // 2
    for y in range(image.height):
        for x in range(image.width):
            canvas[top + y][left + x] = image.getpixel((x, y))
    square = Image.fromarray(np.array(canvas, np.uint8))
    return normalized(square.resize((side, side), Image.Resampling.BICUBIC))


def cropped_twin(image, side):
    """Resize the shorter edge to the side, then crop the middle of the longer one."""
    shortest = min(image.size)
    width, height = (int(side * edge / shortest) for edge in image.size)
    large = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return normalized(large.crop((left, top, left + side, top + side)))


@pytest.mark.parametrize(("mode", "twin"), [("pad", padded_twin), ("hf_crop", cropped_twin)])
def test_image_of_llava_15_is_padded_or_cropped_as_its_twin(mode, twin):
    wrapped = processor(image_mode=mode)
    for size in SIZES:
        row = llava.encode_prompt(wrapped, sample(size=size))
        assert row.pixels is not None
        assert row.image_size == size[::-1]
        np.testing.assert_allclose(row.pixels, twin(picture(*size), 28)[None], atol=2e-6)


def test_image_of_llava_16_has_the_tiles_and_the_tokens_that_hugging_face_counts():
    wrapped, hugging_face = processor(anyres=True), theirs(anyres=True)
    for size in [*SIZES, (1, 1), (1, 50), (50, 1), (3, 40), (40, 3)]:
        row = llava.encode_prompt(wrapped, sample(size=size))
        assert wrapped.pinpoints is not None
        rows = llava.anyres_rows((size[1], size[0]), wrapped.pinpoints, tile=28, side=4)
        count = hugging_face._get_num_multimodal_tokens(image_sizes=[size[::-1]]).num_image_tokens[0]
        assert (row.types == TokenType.IMAGE).sum() == len(rows) == count
        assert row.image_size == size[::-1]
        expected = hugging_face.image_processor(picture(*size), return_tensors="np")["pixel_values"][0]
        assert row.pixels is not None
        np.testing.assert_array_equal(row.pixels, expected)


@pytest.mark.parametrize("mode", ["pad", "hf_crop"])
@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (3, 3)])
def test_image_of_a_few_pixels_keeps_its_colours(mode, size):
    row = llava.encode_prompt(
        processor(image_mode=mode), Sample("a", Image.new("RGB", size, (250, 10, 90)), "Q?")
    )
    assert row.pixels is not None
    expected = normalized(Image.new("RGB", (1, 1), (250, 10, 90)))[:, 0, 0]
    np.testing.assert_allclose(
        row.pixels[0, :, 14, 14], expected, atol=0.02
    )  # tolerance: bicubic interpolation overshoots beside padding


def test_images_of_every_kind_are_the_same_image(tmp_path):
    color = np.asarray(picture())
    file = tmp_path / "a.png"
    Image.fromarray(color).save(file)
    opaque = np.concatenate([color, np.full((20, 40, 1), 255, np.uint8)], axis=-1)
    for image in (
        color,
        Image.fromarray(color),
        file,
        str(file),
        opaque,
        Image.fromarray(opaque),
        file.read_bytes(),
    ):
        np.testing.assert_array_equal(np.asarray(to_rgb(image)), color)
    gray = color[..., 0]
    for image in (gray, Image.fromarray(gray)):
        np.testing.assert_array_equal(np.asarray(to_rgb(image)), np.stack([gray] * 3, axis=-1))


# Batches


def config_for(wrapped, name) -> LlavaConfig:
    """The config of a golden checkpoint with the image id of our tokenizer."""
    config = llava.read_config(GOLDEN / name)
    text = replace(config.text, vocab_size=len(wrapped.tokenizer))
    return replace(config, text=text, image_token=wrapped.image_token)


QUESTIONS = ["What?", "Is the robot to the left or to the right of the tower?", "Is it red?"]


@pytest.mark.parametrize("anyres", [False, True])
def test_batch_is_what_forward_takes_and_gives_its_rows_back(anyres):
    wrapped = processor(anyres=anyres)
    sizes = ((40, 20), (20, 40), (100, 99))
    samples = [sample(str(i), text, size=sizes[i]) for i, text in enumerate(QUESTIONS)]
    rows = [llava.encode_prompt(wrapped, item) for item in samples]
    batch = llava.encode(wrapped, samples)
    padded = llava.pad(rows, pad_token=wrapped.pad_token, length=240, tiles=5 if anyres else None)
    for encoded in (batch, padded, llava.encode(wrapped, samples[::-1])):
        by_name = {row.name: row for row in encoded.rows()}
        for row in rows:
            for ours, expected in zip(by_name[row.name], row, strict=True):
                np.testing.assert_array_equal(ours, expected)
        config = config_for(wrapped, "llava_next_llama" if anyres else "llava_15_llama")
        inputs = llava.prepare(
            config,
            encoded.ids,
            encoded.pixels,
            image_sizes=encoded.image_sizes,
            token_types=encoded.token_types,
        )
        np.testing.assert_array_equal(inputs.types, encoded.token_types)
        np.testing.assert_array_equal(inputs.feature_rows >= 0, encoded.token_types == TokenType.IMAGE)
    assert padded.ids.shape == (3, 240)
    assert batch.names == ("0", "1", "2")
    assert (padded.ids[padded.token_types == TokenType.PAD] == wrapped.pad_token).all()
    assert batch.pixels is not None
    assert batch.pixels.shape[1:] == ((5, 3, 28, 28) if anyres else (3, 28, 28))
    if anyres:
        assert batch.tiles.tolist() == [3, 3, 5]
        assert (batch.pixels[0, 3:] == 0).all()


def test_batch_of_text_alone_has_no_pixels():
    row = llava.EncodedPrompt("t", np.array([3, 4], np.int32), np.array([1, 4], np.int32), None, None)
    batch = llava.pad([row, row._replace(name="u")], length=3)
    assert batch.pixels is batch.image_sizes is None
    assert batch.token_types.tolist() == [[1, 4, 0]] * 2
    assert [row.ids.tolist() for row in batch.rows()] == [[3, 4]] * 2


def test_rows_are_encoded_as_they_are_asked_for():
    rows = llava.encode_prompts(processor(), (sample(name) for name in ("a", "a")))
    assert next(rows).name == "a"
    with pytest.raises(ValueError, match="names of samples are unique, got 'a' twice"):
        next(rows)


# Folders and fingerprints


@pytest.mark.parametrize("anyres", [False, True])
def test_folder_gives_the_rows_and_the_fingerprint_of_what_was_saved(anyres, tmp_path):
    theirs(anyres=anyres).save_pretrained(tmp_path)
    read, wrapped = llava.read_processor(tmp_path), processor(anyres=anyres)
    assert llava.fingerprint(read) == llava.fingerprint(wrapped)
    assert (read.image_mode, read.tile, read.side) == ("anyres" if anyres else "pad", 28, 4)
    ours, expected = (llava.encode_prompt(by, sample(question="é?")) for by in (read, wrapped))
    for x, y in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(x, y)


def test_fingerprint_changes_with_each_ingredient_and_not_with_names():
    other = llava_folder.tokenizer()
    other.add_tokens(["kettle"])
    processors = {
        "plain": processor(),
        "style": processor(style="hf_15"),
        "suffix": processor(suffix="llava"),
        "no suffix": processor(suffix="none"),
        "mode": processor(image_mode="hf_crop"),
        "tokenizer": llava.wrap_processor(llava_folder.processor(words=other)),
        "size": llava.wrap_processor(llava_folder.processor(side=35)),
        "patch": llava.wrap_processor(llava_folder.processor(patch=14)),
        "anyres": processor(anyres=True),
    }
    assert len({llava.fingerprint(item) for item in processors.values()}) == len(processors)
    by_text = processor(style=STYLES["vicuna_v1"], suffix=SUFFIXES["zhang"])
    assert llava.fingerprint(by_text) == llava.fingerprint(processors["plain"])
    before = llava.fingerprint(processors["plain"])
    processors["plain"].tokenizer(["a", "b c d"], padding=True, truncation=True, max_length=2)
    assert llava.fingerprint(processors["plain"]) == before


# Refusals


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: llava.prompt(""), "a question is a text without <image>, got ''"),
        (lambda: llava.prompt(" \n"), "a question is a text without <image>"),
        (
            lambda: llava.prompt("Is <image> red?"),
            "a question is a text without <image>, got 'Is <image> red?'",
        ),
        (
            lambda: llava.prompt("Q", style="vicuna"),
            "a style is vicuna_v1, hf_15, hf_16_vicuna, mistral, llama_3, chatml or",
        ),
        (lambda: llava.prompt("Q", style="{question}<image>"), "behind it one {question}, got"),
        (lambda: llava.prompt("Q", style="<image><image>{question}"), "a text with one <image>"),
        (
            lambda: llava.prompt("Q", suffix="Zhang"),
            "begins with a space or a newline and has no <image>, got 'Zhang'",
        ),
        (lambda: llava.prompt("Q", suffix=" <image>"), "has no <image>"),
        (
            lambda: token_types("red", "<image>{question} END", [(0, 4, 5)]),
            "got (0, 4, 5) in one of 3 characters",
        ),
        (lambda: token_types("red", "<image>{question} END", [(0, 3, 4)]), "a type from 5 on, got (0, 3, 4)"),
        (lambda: llava.encode_prompt(processor(), sample("x7", "")), "sample 'x7': a question is a text"),
        (lambda: to_rgb(np.zeros((4, 4, 3), np.float32)), "got float32 (4, 4, 3); scale it to 0 … 255"),
        (lambda: to_rgb(np.zeros((3, 4, 8), np.uint8)), "got uint8 (3, 4, 8)"),
        (lambda: to_rgb(np.zeros((0, 4, 3), np.uint8)), "at least one pixel each way, got (0, 4, 3)"),
        (
            lambda: to_rgb(Image.new("RGB", (0, 4))),
            "at least one pixel each way, got (width, height) = (0, 4)",
        ),
        (lambda: llava.pad([]), "a batch has at least one row, got none"),
        (lambda: llava.encode(processor(), []), "a batch has at least one row, got none"),
        (
            lambda: processor(image_mode="anyres"),
            "image_mode for a LlavaProcessor must be 'pad' or 'hf_crop'",
        ),
        (lambda: processor(anyres=True, image_mode="pad"), "must be 'anyres', got 'pad'"),
        (
            lambda: llava.wrap_processor(words()),
            "the processor must be 'LlavaProcessor' or 'LlavaNextProcessor'",
        ),
        (
            lambda: llava.wrap_processor(llava_folder.processor(words=llava_folder.tokenizer(image=False))),
            "the tokenizer of a LLaVA knows <image>, got one of 361 tokens without it",
        ),
        (
            lambda: llava.wrap_processor(llava_folder.processor(patch=8)),
            "a tile is a square of whole patches, got 28 × 28 pixels and patch_size=8",
        ),
    ],
)
def test_what_cannot_be_encoded_is_refused_with_rule_value_and_remedy(make, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        make()


def test_batches_that_make_no_sense_are_refused():
    row = llava.encode_prompt(processor(), sample())
    with pytest.raises(ValueError, match=r"has room for its longest row, \d+ tokens, got 3"):
        llava.pad([row], length=3)
    with_tiles = llava.encode_prompt(processor(anyres=True), sample())
    with pytest.raises(ValueError, match="its longest row, 3 tiles, got 2"):
        llava.pad([with_tiles], tiles=2)
    with pytest.raises(ValueError, match="all rows of a batch have an image or none has, got 1 of 2"):
        llava.pad([row, row._replace(name="t", pixels=None, image_size=None)])


def test_unreadable_images_are_named(tmp_path):
    broken, truncated = tmp_path / "broken.png", tmp_path / "cut.png"
    broken.write_bytes(b"no image")
    picture().save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:900])
    for file in (broken, truncated):
        with pytest.raises(
            ValueError, match=rf"sample 'a': an image is a file that PIL reads whole, got {file.name}"
        ):
            llava.encode_prompt(processor(), Sample("a", file, "Q?"))
    with pytest.raises(FileNotFoundError, match="sample 'a': a sample needs its image, found no file"):
        llava.encode_prompt(processor(), Sample("a", tmp_path / "none.png", "Q?"))


def test_folder_without_the_files_is_refused_by_their_names(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="a tokenizer is a file tokenizer.json or tokenizer.model, found none"
    ):
        llava.read_processor(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({}))
    with pytest.raises(
        FileNotFoundError, match="an image processor is a file processor_config.json or preproc"
    ):
        llava.read_processor(tmp_path)

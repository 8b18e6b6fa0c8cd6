"""What `forward` takes as arrays, and what it refuses before anything is traced."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pid import llava
from tests.helpers.llava_golden import NAMES, batch_of, golden, loaded, prepared, run
from tests.llava.model.test_padding_masks import PAD

NAME, NEXT = NAMES[0], NAMES[2]


class Tensor:
    """A tensor of torch, as far as it is seen from here: on another device, with a gradient, in a dtype NumPy lacks."""

    def __init__(self, array, state="cuda with gradient", dtype="torch.bfloat16"):
        self._array, self.state, self.dtype = array, state, dtype

    def detach(self):
        return Tensor(self._array, self.state.replace(" with gradient", ""), self.dtype)

    def cpu(self):
        return Tensor(self._array, "cpu" + self.state.removeprefix("cuda"), self.dtype)

    def float(self):
        return Tensor(self._array.astype(np.float32), self.state, "torch.float32")

    def __array__(self, dtype=None, copy=None):
        if self.state != "cpu" or self.dtype == "torch.bfloat16":
            raise TypeError("can't convert to NumPy")
        return self._array


def as_torch(value):
    return Tensor(value, dtype="torch.int64" if value.dtype.kind == "i" else "torch.bfloat16")


def as_double(value):
    return value.astype(np.int64 if value.dtype.kind == "i" else np.float64)


@pytest.mark.parametrize("name", [NAME, NEXT])
@pytest.mark.parametrize(
    "convert", [as_torch, as_double, np.ndarray.tolist, jnp.asarray, lambda x: tuple(map(tuple, x))]
)
def test_lists_and_tensors_are_converted(convert, name):
    batch: Any = {key: value if value is None else convert(value) for key, value in batch_of(name).items()}
    np.testing.assert_array_equal(llava.forward(loaded(name), **batch).logits, run(name).logits)


def test_fields_of_a_batch_of_transformers_are_keywords():
    transformers = pytest.importorskip("transformers")
    mask = golden(NEXT)["token_types"] > 0
    fields = {key: value for key, value in batch_of(NEXT).items() if key != "token_types"}
    inputs = transformers.BatchFeature(fields | {"attention_mask": mask.astype(np.int64)})
    ours = np.asarray(llava.forward(loaded(NEXT), **inputs).logits)
    np.testing.assert_array_equal(ours[mask], np.asarray(run(NEXT).logits)[mask])
    with pytest.raises(
        ValueError, match=re.escape("got BatchFeature with input_ids, pixel_values, image_sizes,")
    ):
        llava.forward(loaded(NEXT), inputs)


def test_gradient_by_the_pixels_is_that_of_before():
    """Pixels may be traced, and are then not tested."""
    batch = batch_of(NAME)
    pixels = jnp.asarray(batch.pop("pixel_values"))
    gradient = jax.grad(
        lambda pixels: llava.forward(loaded(NAME), pixel_values=pixels, **batch).logits.sum()
    )(pixels)
    assert np.abs(np.asarray(gradient)).min(axis=0).max() > 0


def with_nan(pixels, place=(1, 0, 3, 3), value=np.nan):
    pixels = pixels.copy()
    pixels[place] = value
    return pixels


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"input_ids": np.zeros((0, 29), int)},
            "a batch has at least one row and one token, got input_ids (0, 29)",
        ),
        ({"input_ids": []}, "input_ids are integers (B, T), got float64 (0,)"),
        ({"input_ids": [[]]}, "a batch has at least one row and one token, got input_ids (1, 0)"),
        ({"input_ids": np.arange(29)}, "input_ids are integers (B, T), got int64 (29,); add a batch axis"),
        ({"input_ids": [[1, 2], [3]]}, "input_ids is one array, got list: "),
        ({"input_ids": np.ones((2, 29), bool)}, "input_ids are integers (B, T), got bool"),
        ({"input_ids": "What is it?"}, "input_ids is an array of numbers, got str"),
        ({"input_ids": {"input_ids": [[1]]}}, "got dict with input_ids; pass its entries by name"),
        (
            {"input_ids": golden(NAME)["input_ids"] * 1.0},
            "input_ids are integers (B, T), got float64 (2, 29)",
        ),
        (
            {"input_ids": np.where(golden(NAME)["input_ids"] == PAD, -1, 5)},
            "token ids lie in 0 … 39, got -1 … 5",
        ),
        (
            {"input_ids": golden(NAME)["input_ids"].astype(np.int64) + 2**32},
            "token ids lie in 0 … 39, got 42949",
        ),
        (
            {"pixel_values": np.zeros((2, 3, 28, 28), np.uint8)},
            "pixel_values are floating, with the colors standar",
        ),
        (
            {"pixel_values": np.zeros((2, 3, 28, 28), bool)},
            "pixel_values are floating, with the colors standardized",
        ),
        (
            {"pixel_values": jnp.zeros((2, 3, 28, 28), jnp.int32)},
            "pixel_values are floating, with the colors stand",
        ),
        (
            {"pixel_values": [np.zeros((3, 28, 28)), np.zeros((3, 28, 14))]},
            "pixel_values is one array, got list: ",
        ),
        ({"pixel_values": np.zeros((0, 3, 28, 28))}, "(2, 3, 28, 28), got (0, 3, 28, 28)"),
        (
            {"pixel_values": with_nan(golden(NAME)["pixel_values"])},
            "finite, got NaN or infinity in the rows [1]",
        ),
        (
            {"pixel_values": jnp.asarray(with_nan(golden(NAME)["pixel_values"], 0, -np.inf))},
            "pixel_values are finite, got NaN or infinity in the rows [0]",
        ),
        ({"token_types": golden(NAME)["token_types"] > 0}, "token_types are integers from 0 in the shape"),
        ({"token_types": "IMAGE"}, "token_types is an array of numbers, got str"),
    ],
)
def test_arrays_that_break_a_rule_are_refused(changed, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        prepared(NAME, **changed)


# Tiles of LLaVA-1.6


def fewer(pixels, count):
    """The pixels with zeros in place of the tiles from `count` on, in the first row."""
    pixels = pixels.copy()
    pixels[0, count:] = 0
    return pixels


@pytest.mark.parametrize("count", [1, 3, 4])
def test_image_with_fewer_tiles_than_its_size_needs_is_refused(count):
    pixels = golden(NEXT)["pixel_values"]
    for changed in (
        pixels[:, :count],
        fewer(pixels, count),
    ):  # alone, and behind the zeros that fill up the axis
        with pytest.raises(ValueError, match=re.escape(f"(41, 60) needs 5 tiles, got {count}")):
            prepared(NEXT, pixel_values=changed)


def test_tiles_beyond_those_of_the_size_are_not_read_as_in_hugging_face():
    pixels = golden(NEXT)["pixel_values"].copy()
    assert llava.anyres_rows((50, 20), ((28, 56), (56, 28), (56, 56)), tile=28, side=4).max() < 3 * 16
    pixels[1, 3:] = 0
    np.testing.assert_array_equal(run(NEXT, pixel_values=pixels).logits, run(NEXT).logits)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (None, "LLaVA-1.6 needs image_sizes, (height, width) for each of 2 rows, got None"),
        ([(41, 60)], "LLaVA-1.6 needs image_sizes, (height, width) for each of 2 rows, got (1, 2)"),
        ([(41, 60), (0, 20)], "an image has at least one pixel each way, got (height, width) = (0, 20)"),
        ([(41, 60), (20, 50)], "row 1 must have one image token 39 per image feature"),
        ([(41, 60), "wide"], "image_sizes is one array, got list"),
    ],
)
def test_sizes_of_other_images_are_refused(sizes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        prepared(NEXT, image_sizes=sizes)

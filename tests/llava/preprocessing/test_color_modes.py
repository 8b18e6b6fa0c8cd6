"""Pictures of every color mode: blended onto white, scaled to 8 bits, as Hugging Face and the definition have them."""

import io

import numpy as np
import pytest
from PIL import Image

from pid.llava.preprocessing.images import to_rgb

RANDOM = np.random.default_rng(0)
RGBA = RANDOM.integers(0, 256, (6, 5, 4), np.uint8)
COLOR, GRAY = Image.fromarray(RGBA[..., :3]), Image.fromarray(RGBA[..., 0])
GRAY_16 = RANDOM.integers(0, 65536, (6, 5)).astype(np.uint16)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reread(image, **options):
    return Image.open(io.BytesIO(encoded(image, **options)))


def array(image):
    return np.asarray(to_rgb(image)).astype(int)


def test_drawing_on_a_transparent_ground_is_on_white():
    drawing = np.zeros((4, 4, 4), np.uint8)
    drawing[1:3, 1:3, 3] = 255
    white = np.full((4, 4, 3), 255)
    white[1:3, 1:3] = 0
    picture = Image.fromarray(drawing)
    for image in (drawing, picture, encoded(picture), picture.convert("RGBa"), picture.convert("LA")):
        np.testing.assert_array_equal(array(image), white)


def test_half_transparent_pixels_are_mixed_with_white():
    """c·a + 255·(1 - a) up to rounding."""
    alpha = RGBA[..., 3:].astype(float) / 255
    for image in (RGBA, Image.fromarray(RGBA)):
        np.testing.assert_allclose(array(image), RGBA[..., :3] * alpha + 255 * (1 - alpha), atol=1)


PALETTE = COLOR.quantize(8)
MODES = {
    "RGBA": Image.fromarray(RGBA),
    "LA": Image.fromarray(RGBA).convert("LA"),
    "PA": PALETTE.convert("PA"),
    "P": PALETTE,
    "P, one color transparent": reread(PALETTE, transparency=3),
    "P, colors half transparent": reread(PALETTE, transparency=bytes([0, 128, 255, 3, 0, 9, 8, 7])),
    "L, one gray transparent": reread(GRAY, transparency=int(RGBA[0, 0, 0])),
    "RGB, one color transparent": reread(COLOR, transparency=tuple(int(v) for v in RGBA[0, 0, :3])),
    "L": GRAY,
    "1": GRAY.convert("1"),
    "CMYK": COLOR.convert("CMYK"),
    "YCbCr": COLOR.convert("YCbCr"),
    "HSV": COLOR.convert("HSV"),
    "array of four": RGBA,
    "array of one": RGBA[..., :1],
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_what_the_image_processors_of_hugging_face_make_of_it(mode):
    from transformers.image_transforms import convert_to_rgb

    np.testing.assert_array_equal(array(MODES[mode]), convert_to_rgb(MODES[mode], return_numpy=True))


def test_16_bits_become_8_by_division():
    expected = np.rint(GRAY_16 / 257)[..., None].repeat(3, axis=-1)
    big_endian = Image.frombytes("I;16B", (5, 6), GRAY_16.astype(">u2").tobytes())
    picture = Image.fromarray(GRAY_16)
    for image in (picture, encoded(picture), encoded(picture, "TIFF"), big_endian):
        np.testing.assert_array_equal(array(image), expected)
    transparent = reread(picture, transparency=int(GRAY_16[1, 1]))
    expected[GRAY_16[1, 1] == GRAY_16] = 255
    np.testing.assert_array_equal(array(transparent), expected)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.fromarray(GRAY_16.astype(np.int32)), "got mode I of 32-bit integers, which has none"),
        (Image.fromarray(GRAY_16.astype(np.float32)), "got mode F of floats, which has none; scale it"),
        (GRAY_16, "got uint16 .6, 5.; scale it to 0 … 255"),
        (RGBA[..., :3].astype(np.uint16), "got uint16"),
        (RGBA[..., :3] / 255, "got float64"),
        (RGBA[..., :3].astype(np.int64), "got int64"),
        (RGBA[..., 0] > 9, "got bool"),
        (RGBA[..., :2], "got uint8 .6, 5, 2."),
        (
            RGBA[..., :3].transpose(2, 0, 1),
            "got uint8 .3, 6, 5.; scale it to 0 … 255 and put the colors last",
        ),
    ],
)
def test_images_without_a_defined_white_or_layout_are_refused(image, words):
    with pytest.raises(ValueError, match=words):
        to_rgb(image)

"""Images from files, bytes and objects: upright, and named by their sample where they cannot be read."""

import io
import struct
import warnings
import zlib
from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from pid import llava
from pid.llava import Sample
from pid.llava.preprocessing.images import to_rgb
from tests.helpers.folders.llava_folder import picture, wrapped_processor

COLORS = np.asarray(picture(4, 6))
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
"""EXIF orientation → the upright picture of the stored one, from the definition of the tag."""


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photographs_are_turned_upright(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "photograph.png"
    file.write_bytes(encoded(Image.fromarray(COLORS), exif=exif))
    expected = UPRIGHT[orientation](COLORS)
    for image in (file, str(file), file.read_bytes(), Image.open(file), Image.open(file).convert("RGB")):
        upright = to_rgb(image)
        np.testing.assert_array_equal(np.asarray(upright), expected)
        np.testing.assert_array_equal(np.asarray(to_rgb(upright)), expected)  # turned once
    row = llava.encode_prompt(wrapped_processor(), Sample("a", file, "Q?"))
    assert row.image_size == expected.shape[:2]
    assert row.pixels is not None
    same = llava.encode_prompt(wrapped_processor(), Sample("a", np.ascontiguousarray(expected), "Q?"))
    np.testing.assert_array_equal(row.pixels, same.pixels)


def test_photograph_in_16_bits_is_turned_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    gray = np.arange(6, dtype=np.uint16).reshape(2, 3) * 257
    turned = to_rgb(encoded(Image.fromarray(gray), exif=exif))
    np.testing.assert_array_equal(np.asarray(turned)[..., 0], np.rot90(gray // 257, -1))


def with_size(width, height):
    """A PNG whose header says another size."""
    file = bytearray(encoded(Image.new("1", (1, 1))))
    header = struct.pack(">II", width, height) + file[24:29]
    file[16:29], file[29:33] = header, struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return bytes(file)


def tiff_of_12_bits():
    """A TIFF of one row of two pixels, 0 and white, written out by hand."""
    fields = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 1), (279, 3)]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in fields)
    header = struct.pack("<2sHIH", b"II", 42, 8, len(fields))
    return (header + entries).ljust(122, b"\0") + bytes(8)


ANIMATION = encoded(picture(), "GIF", save_all=True, append_images=[picture(seed=1), picture(seed=2)])
CUT = encoded(picture(300, 300), "JPEG")[:900]
UNREADABLE = {
    "animation": (ANIMATION, ValueError, "an image has one frame, got .* with 3; save the frame"),
    "opened animation": (Image.open(io.BytesIO(ANIMATION)), ValueError, "got an opened image with 3"),
    "cut": (CUT, ValueError, "PIL reads whole, got 900 bytes: image file is truncated"),
    "opened and cut": (Image.open(io.BytesIO(CUT)), ValueError, "PIL reads whole, got an opened image"),
    "enormous": (
        with_size(20000, 10000),
        ValueError,
        "200000000 pixels.* Shrink it, or raise PIL.Image.MAX_IMAGE",
    ),
    "of no height": (with_size(4, 0), ValueError, "an image is a file that PIL reads whole"),
    "12 bits": (tiff_of_12_bits(), ValueError, "a gray image has 8 or 16 bits, got 130 bytes with 12"),
    "no bytes": (b"", ValueError, "got 0 bytes: it knows no such format; download or save it again"),
    "no pixels": (Image.new("RGB", (0, 3)), ValueError, "at least one pixel each way"),
    "number": (5, TypeError, "the path of a file or its bytes, got int; convert it"),
    "list": ([[0]], TypeError, "got list"),
    "dictionary": ({"pixels": b""}, ValueError, "a dictionary of an image has bytes or path, got pixels"),
    "base64": ("iVBORw0KGgo" * 30, FileNotFoundError, "decode it if it is base64, and pass the bytes"),
    "address": (
        "https://host/kettle.png",
        ValueError,
        "the path of a file, got 'https://host/kettle.png'; download",
    ),
    "data": (
        "data:image/png;base64,AAAA",
        ValueError,
        "download or decode it, and pass the path or the bytes",
    ),
    "long text": ("A" * 9000, FileNotFoundError, "found no file AAA"),
    "null": ("a\0b", FileNotFoundError, "found no file"),
    "folder": (".", FileNotFoundError, "found no file"),
    "array of objects": (np.array([None]), ValueError, "got object"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_image_that_cannot_be_read_names_its_sample(name):
    image, kind, words = UNREADABLE[name]
    with pytest.raises(kind, match=f"sample 'q7': .*{words}"):
        llava.encode(wrapped_processor(), [Sample("ok", picture(), "Q?"), Sample("q7", image, "Q?")])


def test_large_picture_below_the_limit_is_served(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # warns above it, raises above twice as many
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        assert to_rgb(encoded(picture(40, 20))).size == (40, 20)
    with pytest.raises(ValueError, match="as PIL takes for harmless, got"):
        to_rgb(encoded(picture(80, 20)))
    with pytest.raises(
        ValueError, match="as PIL takes for harmless, got"
    ):  # where warnings are errors, as here
        to_rgb(encoded(picture(40, 20)))


def test_photograph_with_a_preview_is_one_picture():
    photograph = encoded(picture(), "MPO", save_all=True, append_images=[picture(seed=1)])
    assert getattr(Image.open(io.BytesIO(photograph)), "n_frames", 1) == 2
    assert to_rgb(photograph).size == (40, 20)


def test_arrays_of_other_libraries_are_arrays():
    import jax.numpy as jnp

    np.testing.assert_array_equal(np.asarray(to_rgb(jnp.asarray(COLORS))), COLORS)


def test_opened_file_is_read_every_time():
    file = io.BytesIO(encoded(Image.fromarray(COLORS)))
    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(to_rgb(file)), COLORS)


class Elsewhere:
    """A tensor on a device, as NumPy sees it."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


class AsPath:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


def closed():
    file = io.BytesIO(encoded(picture()))
    file.close()
    return file


def test_any_path_is_a_path(tmp_path):
    picture().save(tmp_path / "a.png")
    expected = np.asarray(to_rgb(tmp_path / "a.png"))
    for path in (AsPath(tmp_path / "a.png"), PurePosixPath(tmp_path / "a.png")):
        np.testing.assert_array_equal(np.asarray(to_rgb(path)), expected)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            Elsewhere(),
            "in the memory of the host, got Elsewhere: can't convert cuda.* for a tensor by .detach",
        ),
        (np.ma.masked_less(COLORS, 255), "an image has all its pixels, got a masked array; fill it"),
        (
            closed(),
            "a file opened in binary mode, got an opened file .BytesIO.: .* closed file.*; open it by",
        ),
        (io.StringIO("x"), "a file opened in binary mode, got an opened file .StringIO.: .*; open it by"),
        (
            "file:///pictures/a.png",
            "a text for an image is the path of a file, got 'file:///pictures/a.png'; download",
        ),
        ("zip://a.png::b.zip", "a text for an image is the path of a file, got 'zip://a.png::b.zip'"),
        ({"bytes": None, "path": None}, "has bytes or path, got bytes=None, path=None; pass"),
    ],
)
def test_source_that_holds_no_picture_is_refused_with_the_remedy(source, words):
    with pytest.raises(ValueError, match=words):
        to_rgb(source)

"""Open an image wherever it comes from: a PIL image, an array, a file, or the bytes of a file.

The result is decoded and upright, in the color mode of its source.
"""

import io
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

ImageLike = Image.Image | np.ndarray | str | PathLike[str] | bytes | BinaryIO | Mapping[str, Any]
"""What an image may come from. A `str` is the path of a file, a dictionary has `bytes` or `path`, as in `datasets`."""

REMOTE = re.compile(r"((https?|ftp|s3|gs|hf|data):|[a-z][a-z0-9+.-]+://)", re.IGNORECASE)
BITS_PER_SAMPLE = 258  # a tag of TIFF
FILES_OF_ONE_PICTURE = ("MPO", "PSD")
"""Formats whose further frames are no moments in time: previews of a photograph, layers of a drawing."""


def open_image(source: object) -> Image.Image:
    """The decoded picture of a source, turned upright by its EXIF orientation.

    Raises:
        FileNotFoundError: the file does not exist.
        TypeError: the source is of another type.
        ValueError: the file is no image or is truncated, is too large for PIL, or has several frames, the array has
            another dtype or shape, or the image has no pixels.
    """
    if isinstance(source, Mapping):
        source = _of_row(source)
    if isinstance(source, Image.Image):
        return _upright(source, "an opened image")
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(source), f"{len(source)} bytes")
    if isinstance(source, str | PathLike):
        path = _existing(source)
        return _from_file(path, f"{path.name} of {path.stat().st_size} bytes")
    if hasattr(source, "read"):
        return _from_file(source, f"an opened file ({type(source).__name__})")
    if hasattr(source, "__array__"):
        return _from_array(_to_array(source))
    if source is None:
        raise ValueError(
            "a sample has an image, got None; pass one, or a prompt style without <image> for text alone."
        )
    raise TypeError(
        f"an image is a PIL image, an array, the path of a file or its bytes, got {type(source).__name__}; convert it."
    )


def _of_row(row: Mapping[str, Any]) -> object:
    """The bytes, else the path, of an image that `datasets` has not decoded.

    Raises:
        ValueError: the dictionary has neither.
    """
    if (content := row.get("bytes")) is None and (content := row.get("path")) is None:
        names = (f"{key}=None" if row[key] is None else str(key) for key in row)
        raise ValueError(
            f"a dictionary of an image has bytes or path, got {', '.join(names) or 'none'}; pass the image of the row "
            f"alone."
        )
    return content


def _to_array(source: Any) -> np.ndarray:
    """The array of an object of another library, which must be on the host and have no mask."""
    if isinstance(source, np.ma.MaskedArray) and np.ma.is_masked(source):
        raise ValueError("an image has all its pixels, got a masked array; fill it by its method filled.")
    try:
        return np.asarray(source)
    except Exception as error:  # libraries raise many types
        raise ValueError(
            f"an image is an array in the memory of the host, got {type(source).__name__}: {error}; move it there, "
            f"for a tensor by .detach().cpu().numpy()."
        ) from error


def _existing(source: str | PathLike[str]) -> Path:
    if isinstance(source, str) and REMOTE.match(source):
        raise ValueError(
            f"a text for an image is the path of a file, got {source[:60]!r}; download or decode it, and pass the "
            f"path or the bytes."
        )
    path = Path(source)
    try:
        exists = path.is_file()
    except (OSError, ValueError):  # too long for a path, or with a null character
        exists = False
    if not exists:
        remedy = (
            "check the path" if len(str(path)) <= 200 else "decode it if it is base64, and pass the bytes"
        )
        raise FileNotFoundError(f"a sample needs its image, found no file {str(path)[:200]}; {remedy}.")
    return path


def _from_array(array: np.ndarray) -> Image.Image:
    colors = array.shape[2:]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or colors not in ((), (1,), (3,), (4,)):
        raise ValueError(
            f"an image is uint8 (height, width) or (height, width, 1, 3 or 4), got {array.dtype} {array.shape}; "
            f"scale it to 0 … 255 and put the colors last."
        )
    if 0 in array.shape:
        raise ValueError(f"an image has at least one pixel each way, got {array.shape}; check its source.")
    return Image.fromarray(array[..., 0] if colors == (1,) else array)


def _from_file(file: Any, label: str) -> Image.Image:
    try:
        decoder = _open(file, label)
        with decoder as image:
            return _upright(image, label)
    except UnidentifiedImageError as error:
        raise _unreadable(label, "it knows no such format") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(label, error) from error
    except (OSError, SyntaxError) as error:  # PIL raises SyntaxError for a broken header
        raise _unreadable(label, error) from error


def _open(file: Any, label: str) -> Image.Image:
    try:
        return Image.open(file)
    except (TypeError, ValueError) as error:  # a closed file, or a file of text
        raise ValueError(
            f"an image is read from a file opened in binary mode, got {label}: {error}; open it by open(path, 'rb')."
        ) from error


def _upright(image: Image.Image, label: str) -> Image.Image:
    if min(image.size) < 1:
        raise ValueError(
            f"an image has at least one pixel each way, got (width, height) = {image.size}; check its source."
        )
    if getattr(image, "is_animated", False) and image.format not in FILES_OF_ONE_PICTURE:
        raise ValueError(
            f"an image has one frame, got {label} with {getattr(image, 'n_frames', 'several')}; save the frame, or "
            f"pass a copy of it."
        )
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))
    if image.mode.startswith("I;16") and max(bits) != 16:
        raise ValueError(
            f"a gray image has 8 or 16 bits, got {label} with {max(bits)}; scale it to 0 … 255 and save it anew."
        )
    try:
        return ImageOps.exif_transpose(image)
    except Image.DecompressionBombError as error:
        raise _too_large(label, error) from error
    except Exception as error:  # the decoders of PIL raise many types: OSError, struct.error, zlib.error, ...
        raise _unreadable(label, error) from error


def _too_large(label: str, error: Exception) -> ValueError:
    return ValueError(
        f"an image has at most as many pixels as PIL takes for harmless, got {label}: {error} Shrink it, or raise "
        f"PIL.Image.MAX_IMAGE_PIXELS if you trust it."
    )


def _unreadable(label: str, reason: object) -> ValueError:
    return ValueError(
        f"an image is a file that PIL reads whole, got {label}: {reason}; download or save it again."
    )

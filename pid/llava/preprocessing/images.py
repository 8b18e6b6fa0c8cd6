"""Convert an image to tiles of pixels by the PIL versions of Hugging Face's processors.

The PIL versions resize with PIL whether torch is installed or not. The torchvision versions, which transformers
prefers, give other pixels (by up to 0.03 of a standard deviation).

M tiles
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError

MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of the pixels that CLIP was trained with, for red, green and blue, in 0 … 1."""
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviation of these pixels."""

ImageLike = Image.Image | np.ndarray | str | Path


def to_rgb(image: ImageLike) -> Image.Image:
    """Convert a PIL image, a uint8 array or a file to a red-green-blue image.

    Arrays are (height, width), gray, or (height, width, 3 or 4). Gray becomes three equal colors. An alpha channel is
    dropped without blending. The EXIF orientation is not applied, as in the original code.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is no image or is truncated, the array has another dtype or shape, or the image has no
            pixels.
    """
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if not isinstance(image, Image.Image):
        return _from_file(Path(image))
    if min(image.size) < 1:
        raise ValueError(f"an image has at least one pixel each way, got (width, height) = {image.size}.")
    return image.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    colors = array.shape[2:]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or colors not in ((), (3,), (4,)):
        raise ValueError(
            f"an image is uint8 (height, width), (height, width, 3) or (height, width, 4), got {array.dtype} "
            f"{array.shape}; scale it to 0 … 255 and put the colors last."
        )
    if 0 in array.shape:
        raise ValueError(f"an image has at least one pixel each way, got {array.shape}.")
    return Image.fromarray(array)


def _from_file(path: Path) -> Image.Image:
    if not path.is_file():
        raise FileNotFoundError(f"a sample needs its image, found no file {path}; check the path.")
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(
            f"an image is a file that PIL reads whole, got {path.name} of {path.stat().st_size} bytes: {error}; "
            f"download or save it again."
        ) from error


def tiles(image_processor: Any, image: Image.Image) -> Float[np.ndarray, "m c y x"]:
    """The tiles of an RGB image from an image processor of Hugging Face: (M, 3, side, side), float32.

    M is 1 in LLaVA-1.5. In LLaVA-1.6 it is one for the whole image and one for each part of it.
    """
    pixels = np.asarray(image_processor(image, return_tensors="np")["pixel_values"], np.float32)
    return pixels[0] if pixels.ndim == 5 else pixels

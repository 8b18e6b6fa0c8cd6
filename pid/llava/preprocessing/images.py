"""From an image to tiles of pixels, through Hugging Face's own processors in their PIL form.

Those resize with PIL whether torch is there or not; the torchvision form, which transformers takes where it can,
gives other pixels (by up to 0.03 of a standard deviation).

M tiles
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError

MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Of the pixels that CLIP was trained with, by colour, in 0 … 1."""
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Their standard deviation."""

ImageLike = Image.Image | np.ndarray | str | Path


def to_rgb(image: ImageLike) -> Image.Image:
    """An image of red, green and blue from a PIL image, an array of uint8 or a file.

    Arrays are (height, width), grey, or (height, width, 3 or 4). Grey becomes three equal colours; an alpha channel
    is dropped, whatever it hides. The orientation that a camera notes beside an image is not applied, as in the
    original code.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no image or is cut off, an array of another kind, an image without pixels.
    """
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if not isinstance(image, Image.Image):
        return _from_file(Path(image))
    if min(image.size) < 1:
        raise ValueError(f"an image has at least one pixel each way, got (width, height) = {image.size}.")
    return image.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    colours = array.shape[2:]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or colours not in ((), (3,), (4,)):
        raise ValueError(
            f"an image is uint8 (height, width), (height, width, 3) or (height, width, 4), got {array.dtype} "
            f"{array.shape}; scale it to 0 … 255 and put the colours last."
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
    except (UnidentifiedImageError, OSError, SyntaxError) as problem:
        raise ValueError(
            f"an image is a file that PIL reads whole, got {path.name} of {path.stat().st_size} bytes: {problem}; "
            f"download or save it again."
        ) from problem


def tiles(images: Any, image: Image.Image) -> Float[np.ndarray, "m c y x"]:
    """The tiles of an RGB image by `images`, an image processor of Hugging Face: (M, 3, side, side), float32.

    M is 1 in LLaVA-1.5; in LLaVA-1.6 one for the whole image and one for each part of it.
    """
    pixels = np.asarray(images(image, return_tensors="np")["pixel_values"], np.float32)
    return pixels[0] if pixels.ndim == 5 else pixels

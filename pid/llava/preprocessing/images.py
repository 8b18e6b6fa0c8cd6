"""Convert an image to tiles of pixels by the PIL versions of Hugging Face's processors.

The PIL versions resize with PIL whether torch is installed or not. The torchvision versions, which transformers
prefers, give other pixels (by up to 0.03 of a standard deviation).

M tiles
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from pid.llava.preprocessing.sources.color_modes import blend_onto_white
from pid.llava.preprocessing.sources.image_sources import open_image

MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of the pixels that CLIP was trained with, for red, green and blue, in 0 … 1."""
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviation of these pixels."""


def to_rgb(image: object) -> Image.Image:
    """Convert an image from any source to red, green and blue, upright and in 8 bits.

    Sources are PIL images, files, their bytes, and uint8 arrays (height, width) or (height, width, 1, 3 or 4). Gray
    becomes three equal colors. Transparent pixels are blended onto white, 16 bits are scaled to 8, and the EXIF
    orientation is applied, as Hugging Face does. The original code applies neither transparency nor orientation.

    Raises:
        FileNotFoundError: the file does not exist.
        TypeError: the image is of another type.
        ValueError: the file is no image or is truncated, too large or animated, the array has another dtype or shape,
            or the image has no pixels or no defined white.
    """
    return blend_onto_white(open_image(image))


def tiles(image_processor: Any, image: Image.Image) -> Float[np.ndarray, "m c y x"]:
    """The tiles of an RGB image from an image processor of Hugging Face: (M, 3, side, side), float32.

    M is 1 in LLaVA-1.5. In LLaVA-1.6 it is one for the whole image and one for each part of it.
    """
    pixels = np.asarray(image_processor(image, return_tensors="np")["pixel_values"], np.float32)
    return pixels[0] if pixels.ndim == 5 else pixels

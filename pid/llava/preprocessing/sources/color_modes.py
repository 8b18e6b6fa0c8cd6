"""Convert a picture of any color mode to red, green and blue in 8 bits.

Transparent pixels are blended onto white, as the image processors of Hugging Face do. 16 bits become 8 by division by
257, which takes white to white. Modes without a defined white are refused.
"""

import numpy as np
from PIL import Image

WITHOUT_WHITE = {"I": "32-bit integers", "F": "floats"}
WHITE_16 = 65535 / 255


def blend_onto_white(image: Image.Image) -> Image.Image:
    """The RGB picture of an image of any mode, on a white background.

    Raises:
        ValueError: the mode has no defined white, or PIL does not convert it.
    """
    if image.mode.startswith("I;16"):
        return _from_16_bits(image)
    if image.mode in WITHOUT_WHITE:
        raise ValueError(
            f"the white of an image is 255 or 65535, got mode {image.mode} of {WITHOUT_WHITE[image.mode]}, which has "
            f"none; scale it to 0 … 255 and convert it to 8 bits."
        )
    premultiplied = {"RGBa": "RGBA", "La": "LA"}.get(image.mode)
    image = image if premultiplied is None else image.convert(premultiplied)
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return _convert(image)
    transparent = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, transparent).convert("RGB")


def _convert(image: Image.Image) -> Image.Image:
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise ValueError(
            f"an image has a color mode that PIL converts to RGB, got {image.mode}: {error}; save it as RGB."
        ) from error


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    gray = np.rint(values / WHITE_16)
    transparency = image.info.get("transparency")
    if isinstance(transparency, int):
        gray = np.where(values == transparency, 255, gray)
    return Image.fromarray(gray.astype(np.uint8)).convert("RGB")

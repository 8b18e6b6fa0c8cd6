"""Gray values of color images as the benchmark has them, and images of 32 x 32 pixels as rows of 1024.

n images, h height, w width
"""

import numpy as np
from jaxtyping import UInt8

WEIGHTS = (0.2989, 0.5870, 0.1140)
"""Weights of red, green and blue in `tf.image.rgb_to_grayscale`."""
SIDE = 32


def to_gray(images: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n h w"]:
    """Return gray values as `tf.image.rgb_to_grayscale` rounds them.

    With c/255 for every color c in float32, gray = floor(255.5 (0.2989 r + 0.5870 g + 0.1140 b)). The sum runs from
    red to blue. The order of the sum moves at most 47 of the 2^24 colors by one, and exact arithmetic 237.

    Args:
        images: colors, 0 to 255.
    """
    weights = np.array(WEIGHTS, np.float32)
    colors = images.astype(np.float32) * np.float32(1 / 255)
    gray = colors[..., 0] * weights[0] + colors[..., 1] * weights[1] + colors[..., 2] * weights[2]
    return (gray * np.float32(255.5)).astype(np.uint8)


def pad_to_square(images: UInt8[np.ndarray, "n h w"]) -> UInt8[np.ndarray, "n 32 32"]:
    """Return images of 32 x 32 pixels, with the given ones in the middle and black around them.

    Args:
        images: images of at most 32 x 32 pixels.
    """
    height, width = images.shape[1:]
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    return np.pad(images, ((0, 0), (top, SIDE - height - top), (left, SIDE - width - left)))

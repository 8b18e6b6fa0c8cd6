"""Small pictures of a segment and of a marker, drawn at twice the size and reduced by a Lanczos filter.

Points are (y, x). The direction of angle o is (sin o, cos o).

s side of a stamp, W image size
"""

import math

import numpy as np
from jaxtyping import Float32, Float64, Int, UInt8
from PIL import Image, ImageDraw

SCALE = 2  # pictures are drawn at this multiple of their size


def direction(angle: float) -> Float64[np.ndarray, " 2"]:
    """Return the unit vector of an angle in radians."""
    return np.array([math.sin(angle), math.cos(angle)])  # NumPy's own differ in the last bit from CPU to CPU


def flip(angle: float) -> float:
    """Return the opposite angle."""
    return angle + math.pi if angle < 0 else angle - math.pi


def disc(radius: int) -> Int[np.ndarray, "n 2"]:
    """Return the integer offsets (dy, dx) with dy² + dx² ≤ radius²."""
    side = np.arange(-radius, radius + 1)
    offsets = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    return offsets[(offsets**2).sum(1) <= radius**2]


def to_bytes(picture: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """Map minimum and maximum of a picture to 0 and 255; a picture of bytes stays as it is."""
    if picture.dtype == np.uint8:
        return picture
    low, high = picture.min(), picture.max()
    scale = 255.0 / float(high - low or 1)
    return ((picture - low) * scale + 0.5).astype(np.uint8)


def reduce(picture: UInt8[np.ndarray, "h w"], side: int) -> UInt8[np.ndarray, "s s"]:
    """Return the picture at another size, by a Lanczos filter."""
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def stamp_radius(length: int, thickness: float, margin: int) -> int:
    """Return the number of pixels between the center and the edge of a stamp."""
    return length + math.ceil(thickness) + margin


def segment_stamps(
    angle: float, *, length: int, thickness: float, margin: int
) -> tuple[UInt8[np.ndarray, "s s"], UInt8[np.ndarray, "s s"]]:
    """Return the picture of a segment that starts at the center, and of the area that it keeps free.

    Args:
        angle: direction of the segment in radians.
        length: length of the segment in pixels.
        thickness: half the width of its line.
        margin: width of the free area around it.
    """
    radius = stamp_radius(length, thickness, margin)
    side, center = 2 * radius + 1, np.array([SCALE * radius] * 2)
    end = np.ceil(center + SCALE * length * direction(angle)).astype(int)
    canvas = Image.new("F", (2 * SCALE * radius + 1, 2 * SCALE * radius + 1))
    line = [(int(center[1]), int(center[0])), (int(end[1]), int(end[0]))]
    ImageDraw.Draw(canvas).line(line, fill=255, width=round(SCALE * thickness))
    picture = np.asarray(canvas)
    return reduce(to_bytes(picture), side), reduce(_dilate(picture, SCALE * margin).astype(np.uint8), side)


def _dilate(picture: Float32[np.ndarray, "h w"], radius: int) -> Float32[np.ndarray, "h w"]:
    """Return the maximum over the disc around each pixel."""
    height, width = picture.shape
    padded = np.pad(picture, radius)
    shifts = [padded[radius + dy :, radius + dx :][:height, :width] for dy, dx in disc(radius)]
    return np.max(shifts, axis=0)


def marker_stamp(point: tuple[int, int], radius: float, size: int) -> UInt8[np.ndarray, "W W"]:
    """Return the picture of an image that has only a marker at a point."""
    y, x = np.ogrid[: SCALE * size, : SCALE * size]
    squares = (y - SCALE * point[0]) ** 2 + (x - SCALE * point[1]) ** 2
    return reduce(np.where(squares <= (SCALE * radius) ** 2, 255, 0).astype(np.uint8), size)
